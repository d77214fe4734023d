//! How much memory a model takes, and how much there is.

use ingot_format::DType;
use ingot_plan::{Layout, Op, PAGE, Plan, Rows};

/// Memory of a model, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All weights. Those of a mapped file are shared with the system's cache.
    pub weights: u64,
    /// One page of keys and values, which holds [`PAGE`] positions.
    pub page_bytes: u64,
    /// The recurrent state of one sequence.
    pub slot_bytes: u64,
}

impl Memory {
    /// The memory that a plan needs with keys and values stored as `cache`.
    pub fn of(plan: &Plan, cache: DType) -> Self {
        let bytes = cache.row_bytes(plan.page_len()).expect("pages hold whole blocks");
        Self {
            weights: plan.weights().iter().map(|w| w.bytes as u64).sum(),
            page_bytes: bytes as u64,
            slot_bytes: 4 * plan.slot_len() as u64,
        }
    }

    /// What one sequence of `tokens` tokens takes beside the weights.
    pub fn sequence(&self, tokens: usize) -> u64 {
        let pages = tokens.div_ceil(PAGE) as u64;
        self.slot_bytes.saturating_add(self.page_bytes.saturating_mul(pages))
    }
}

/// Scratch memory of the processor for steps of up to `rows` tokens of which
/// `outputs` have logits, in bytes: the plan's buffers, a copy of one op's input in
/// 8 bits with its scales, and the logits once more for whoever asked for them.
pub fn buffer_bytes(plan: &Plan, rows: usize, outputs: usize) -> u64 {
    let count = |kind| if kind == Rows::Tokens { rows } else { outputs } as u64;
    let regions = Layout::new(plan).regions;
    let values: u64 = regions.iter().map(|r| count(r.rows) * r.width as u64).sum();
    let input = |op: &Op| match op {
        Op::Linear(op) => {
            let buffer = plan.buffer(op.x);
            count(buffer.rows) * buffer.width as u64
        }
        _ => 0,
    };
    let rounded = plan.ops().iter().map(input).max().unwrap_or(0);
    4 * (values + (outputs * plan.vocab()) as u64) + rounded * 3 / 2
}

/// Bytes that this process can still use: what the system and, where there is
/// one, the control group leave.
pub fn available_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    system.available_memory().min(group)
}
