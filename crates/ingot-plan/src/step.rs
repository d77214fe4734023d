//! What one run of a plan is about: which tokens of which sequences.

use crate::{ExecError, PAGE, Plan};
use std::ops::Range;

/// Rows of several sequences to be run together: prompt chunks and single
/// decoded tokens in any mixture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Token ids of all rows, sequence after sequence: `[T]`.
    pub tokens: Vec<u32>,
    /// The sequences, in the order of their rows.
    pub sequences: Vec<Sequence>,
    /// Rows whose logits are wanted, ascending: `[O]`.
    pub outputs: Vec<u32>,
}

/// The part of a step that belongs to one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its rows in the step.
    pub rows: Range<usize>,
    /// Tokens it has seen before this step: the position of its first row.
    pub past: usize,
    /// Its recurrent state; no two sequences of a step share one.
    pub slot: u32,
    /// Its key/value pages, one per [`PAGE`] positions, long enough for the
    /// rows of this step.
    pub pages: Vec<u32>,
}

impl Step {
    /// A step of a single sequence whose last row's logits are wanted.
    pub fn single(tokens: &[u32], past: usize, slot: u32, pages: &[u32]) -> Self {
        let rows = 0..tokens.len();
        Self {
            tokens: tokens.to_vec(),
            sequences: vec![Sequence { rows, past, slot, pages: pages.to_vec() }],
            outputs: vec![tokens.len().saturating_sub(1) as u32],
        }
    }

    /// Number of rows, T.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Position of every row in its sequence: `[T]`.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences.iter().flat_map(|s| s.past..s.past + s.rows.len())
    }

    /// Refuses a step that would read or write outside of anything.
    ///
    /// `pages` and `slots` are the numbers that exist in the executor.
    pub fn check(&self, plan: &Plan, pages: usize, slots: usize) -> Result<(), ExecError> {
        let bad = |what: String| Err(ExecError::Request(what));
        let vocab = plan.embedded_tokens();
        if self.tokens.is_empty() {
            return bad("a step needs at least one token".into());
        }
        if let Some(id) = self.tokens.iter().find(|&&id| id as usize >= vocab) {
            return bad(format!("token id {id} is outside of the vocabulary of {vocab}"));
        }
        let mut row = 0;
        for (i, s) in self.sequences.iter().enumerate() {
            if s.rows.start != row || s.rows.end <= row || s.rows.end > self.rows() {
                return bad(format!("rows {:?} of sequence {i} do not follow the one before", s.rows));
            }
            row = s.rows.end;
            let Some(end) = s.past.checked_add(s.rows.len()) else {
                return bad(format!("position {} overflows", s.past));
            };
            if plan.page_len() > 0 && s.pages.len() < end.div_ceil(PAGE) {
                return bad(format!("sequence {i}: {} pages do not hold {end} positions", s.pages.len()));
            }
            if let Some(page) = s.pages.iter().find(|&&p| p as usize >= pages) {
                return bad(format!("sequence {i}: page {page} of {pages}"));
            }
            if plan.slot_len() > 0 && s.slot as usize >= slots {
                return bad(format!("sequence {i}: slot {} of {slots}", s.slot));
            }
            if plan.slot_len() > 0 && self.sequences[..i].iter().any(|o| o.slot == s.slot) {
                return bad(format!("two sequences share slot {}", s.slot));
            }
        }
        if row != self.rows() {
            return bad(format!("{} rows belong to no sequence", self.rows() - row));
        }
        let ascending = self.outputs.windows(2).all(|w| w[0] < w[1]);
        if !ascending || self.outputs.last().is_some_and(|&o| o as usize >= self.rows()) {
            return bad("output rows must be ascending and inside of the step".into());
        }
        Ok(())
    }
}
