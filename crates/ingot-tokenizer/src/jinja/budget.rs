//! What a template may spend: steps and bytes, charged before they are used.

/// Steps for a template of any kind; a step costs well under 200 ns.
const STEPS: u64 = 1_000_000;
/// Bytes of strings and lists that may be created in total, freed or not.
const BYTES: u64 = 16 << 20;
/// Bytes of a string that one step may read.
const SCAN_BYTES_PER_STEP: usize = 64;
/// Longest text a template may produce.
const MAX_OUTPUT: usize = 4 << 20;

/// The remaining allowance of one rendering.
#[derive(Debug)]
pub(super) struct Budget {
    steps: u64,
    bytes: u64,
    output: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { steps: STEPS, bytes: BYTES, output: MAX_OUTPUT }
    }

    /// Enlarges the allowance for `bytes` of the caller's own input, so that
    /// long conversations still render: they are copied and searched a few times.
    pub(super) fn grant(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.steps = self.steps.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(16));
        self.output = self.output.saturating_add((bytes as usize).saturating_mul(4));
    }

    /// Charges `n` steps.
    pub(super) fn steps(&mut self, n: usize) -> Result<(), String> {
        match self.steps.checked_sub(n as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err("too many steps: the template loops for too long".into()),
        }
    }

    /// Charges the creation of `n` bytes.
    pub(super) fn bytes(&mut self, n: usize) -> Result<(), String> {
        self.scan(n)?;
        match self.bytes.checked_sub(n as u64) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err("too much text: the template builds strings or lists that are too long".into()),
        }
    }

    /// Charges reading `n` bytes of a string.
    pub(super) fn scan(&mut self, n: usize) -> Result<(), String> {
        self.steps(n / SCAN_BYTES_PER_STEP + 1)
    }

    /// Charges the creation of a list or map with `n` entries.
    pub(super) fn entries(&mut self, n: usize) -> Result<(), String> {
        self.bytes(n.saturating_mul(size_of::<super::value::Value>() * 2))
    }

    /// The longest text that may be produced.
    pub(super) fn max_output(&self) -> usize {
        self.output
    }
}
