//! Feeding token lists to an executor, whole or in pieces.

use ingot_plan::{Executor, PAGE, Sequence, Step};

/// One sequence on an executor of its own.
pub struct Feeder<'a, E: Executor + ?Sized> {
    executor: &'a mut E,
    past: usize,
    slot: u32,
}

impl<'a, E: Executor + ?Sized> Feeder<'a, E> {
    /// A fresh sequence in the executor's first slot and pages.
    pub fn new(executor: &'a mut E) -> Self {
        executor.reserve(1, 1).expect("a page and a slot");
        executor.clear_slot(0).expect("slot 0");
        Self { executor, past: 0, slot: 0 }
    }

    /// Feeds tokens in chunks; the logits of all of them: `[T, vocab]`.
    pub fn feed(&mut self, tokens: &[u32], chunk: usize) -> Vec<f32> {
        let (mut all, mut logits) = (Vec::new(), Vec::new());
        for piece in tokens.chunks(chunk) {
            let pages = (self.past + piece.len()).div_ceil(PAGE);
            self.executor.reserve(pages, 1).expect("pages");
            let step = Step {
                tokens: piece.to_vec(),
                sequences: vec![Sequence {
                    rows: 0..piece.len(),
                    past: self.past,
                    slot: self.slot,
                    pages: (0..pages as u32).collect(),
                }],
                outputs: (0..piece.len() as u32).collect(),
            };
            self.executor.run(&step, &mut logits).expect("a valid step");
            self.past += piece.len();
            all.extend_from_slice(&logits);
        }
        all
    }

    /// Continues greedily for `n` tokens, beginning with what follows `logits`,
    /// the last row of which counts.
    pub fn greedy(&mut self, logits: &[f32], n: usize) -> Vec<u32> {
        let vocab = self.executor.plan().vocab();
        let mut last = logits[logits.len() - vocab..].to_vec();
        let mut out = Vec::new();
        while out.len() < n {
            out.push(argmax(&last));
            last = self.feed(&out[out.len() - 1..], 1);
        }
        out
    }
}

/// Index of the largest value, the first of several.
pub fn argmax(values: &[f32]) -> u32 {
    let best = (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b]));
    best.expect("no values") as u32
}
