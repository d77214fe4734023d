//! Single launches on a device, their operands filled by hand.

use ingot_format::Tensor;
use ingot_gpu::device::{Bound, Device, Recorded};
use ingot_gpu::eights;
use ingot_gpu::launch::{Launch, What};
use ingot_plan::{Sequence, Step};
use std::collections::HashMap;

/// A device with the memory of some operands.
pub struct Bench<D: Device> {
    device: D,
    memory: HashMap<What, (D::Buffer, usize)>,
}

impl<D: Device> Bench<D> {
    pub fn new(device: D) -> Self {
        Self { device, memory: HashMap::new() }
    }

    /// Memory with these values.
    pub fn put(&mut self, what: impl Into<What>, values: &[f32]) {
        self.bytes(what.into(), &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    }

    /// Memory for `len` values, which are undefined.
    pub fn room(&mut self, what: impl Into<What>, len: usize) {
        let buffer = self.device.alloc(4 * len).unwrap();
        self.memory.insert(what.into(), (buffer, 4 * len));
    }

    /// Matrices as they are stored; `eights`: arranged as devices with memory of their own have them.
    pub fn matrix(&mut self, what: What, tensor: &Tensor, eights: bool) {
        let (dtype, cols) = (tensor.dtype(), tensor.shape().last().copied().unwrap_or(1));
        match eights::row_bytes(dtype, cols).filter(|_| eights) {
            None => self.bytes(what, tensor.data()),
            Some(bytes) => {
                let mut arranged = vec![0; bytes * tensor.len() / cols];
                eights::arrange(dtype, cols, tensor.data(), &mut arranged);
                self.bytes(what, &arranged);
            }
        }
    }

    /// The step buffer.
    pub fn step(&mut self, step: &Step) {
        let words = step_words(step);
        self.bytes(What::Step, &words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>());
    }

    /// Memory with these bytes.
    pub fn bytes(&mut self, what: What, bytes: &[u8]) {
        let buffer = self.device.alloc(bytes.len()).unwrap();
        self.device.write(&buffer, 0, bytes).unwrap();
        self.memory.insert(what, (buffer, bytes.len()));
    }

    pub fn get(&self, what: impl Into<What>) -> Vec<f32> {
        let bytes = self.get_bytes(what);
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub fn get_bytes(&self, what: impl Into<What>) -> Vec<u8> {
        let (buffer, len) = &self.memory[&what.into()];
        let mut bytes = vec![0; *len];
        self.device.read(buffer, 0, &mut bytes).unwrap();
        bytes
    }

    /// Runs launches one after the other.
    pub fn run(&mut self, launches: &[Launch]) {
        self.seconds(launches, 1);
    }

    /// The same several times; how long the device was busy each time, where that is known.
    pub fn seconds(&mut self, launches: &[Launch], runs: usize) -> Vec<Option<f64>> {
        let compile = |l: &Launch| self.device.compile(&l.kernel).unwrap_or_else(|e| panic!("{e}"));
        let mut pipelines = HashMap::new();
        for launch in launches {
            pipelines.entry(&launch.kernel).or_insert_with(|| compile(launch));
        }
        let bound = |l: &Launch| {
            let bind = |o: &ingot_gpu::launch::Operand| {
                let (buffer, len) = &self.memory[&o.what];
                let range = o.range.clone().unwrap_or(0..*len);
                Bound { buffer, at: range.start, bytes: range.len(), access: o.access }
            };
            l.operands.iter().map(bind).collect()
        };
        let recorded: Vec<Recorded<D>> = launches
            .iter()
            .enumerate()
            .map(|(i, l)| Recorded {
                pipeline: &pipelines[&l.kernel],
                operands: bound(l),
                grid: l.grid,
                threads: l.threads,
                after: i.checked_sub(1).into_iter().collect(),
            })
            .collect();
        let recording = self.device.record(&recorded).unwrap_or_else(|e| panic!("{e}"));
        let run = |_| {
            let fence = self.device.submit(&recording).unwrap_or_else(|e| panic!("{e}"));
            self.device.wait(fence).unwrap_or_else(|e| panic!("{e}"))
        };
        (0..runs).map(run).collect()
    }
}

/// The step buffer's words (`kernels/include/step.h`).
fn step_words(step: &Step) -> Vec<u32> {
    let entries = step.rows().max(step.sequences.len()).max(step.outputs.len());
    let pages = step.sequences.iter().map(|s| s.pages.len()).max().unwrap_or(0);
    let counts = [step.rows(), step.outputs.len(), step.sequences.len(), pages, 8 + 8 * entries, 0, 0, 0];
    let mut words: Vec<u32> = counts.iter().map(|&x| x as u32).collect();
    words.resize(8 + 8 * entries, 0);
    for (o, &row) in step.outputs.iter().enumerate() {
        words[8 + 8 * o + 3] = row;
    }
    for (i, s) in step.sequences.iter().enumerate() {
        let sequence = [s.rows.start as u32, s.rows.len() as u32, s.past as u32, s.slot];
        words[8 + 8 * i + 4..][..4].copy_from_slice(&sequence);
        for (position, t) in (s.past..).zip(s.rows.clone()) {
            words[8 + 8 * t..][..3].copy_from_slice(&[step.tokens[t], position as u32, i as u32]);
        }
    }
    for s in &step.sequences {
        words.extend(&s.pages);
        words.resize(words.len() + pages - s.pages.len(), 0);
    }
    words.push(0);
    words
}

/// A step with sequences of these (slot, rows).
pub fn sequences(of: &[(u32, usize)]) -> Step {
    let mut step = Step::default();
    for &(slot, n) in of {
        let first = step.tokens.len();
        step.tokens.resize(first + n, 0);
        step.sequences.push(Sequence { rows: first..first + n, past: 0, slot, pages: Vec::new() });
    }
    step
}

/// Reproducible numbers.
pub struct Random(pub u64);

impl Random {
    /// Roughly normal values with this spread around `middle`.
    pub fn values(&mut self, n: usize, middle: f32, spread: f32) -> Vec<f32> {
        (0..n).map(|_| middle + spread * (0..4).map(|_| self.unit() - 0.5).sum::<f32>() * 1.7).collect()
    }

    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

/// Panics unless all values are near what is expected, relative to the largest.
pub fn assert_near(what: &str, got: &[f32], expected: &[f64], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(g) - e).abs() / largest;
        assert!(off <= limit, "{what}: value {i} is {g:e}, expected {e:e}; off by {off:e} of {largest:e}");
    }
}
