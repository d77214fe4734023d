//! Several decode steps in one go: the executor draws the tokens itself.

use crate::{ExecError, PAGE, Plan, Step};

/// Decode steps that follow each other without a word from the host.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The first step: every sequence has one row, and all rows are outputs. Its
    /// pages hold the positions of all steps.
    pub first: &'a Step,
    /// How each sequence's tokens are drawn.
    pub draws: &'a [Draw],
    /// Tokens after which a sequence draws no more.
    pub ends: &'a [u32],
    /// How many steps.
    pub steps: usize,
}

/// How a sequence's next token is drawn from its logits. The order of the stages is
/// top-k, top-p, min-p (all at temperature 1), temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the most probable tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Start of the random numbers.
    pub seed: u64,
    /// Which random number of the seed the first draw takes.
    pub counter: u64,
}

impl Draw {
    /// The most probable token, the first of several.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, counter: 0 };
}

impl Window<'_> {
    /// Refuses a window that would read or write outside of anything; `pages` and
    /// `slots` are the numbers that exist in the executor.
    pub fn check(&self, plan: &Plan, pages: usize, slots: usize) -> Result<(), ExecError> {
        self.first.check(plan, pages, slots)?;
        let bad = |what: String| Err(ExecError::Request(what));
        let rows = self.first.rows();
        if self.first.sequences.len() != rows || self.first.outputs.len() != rows || self.draws.len() != rows
        {
            return bad("a window takes one row, one output and one way to draw for each sequence".into());
        }
        if self.steps == 0 {
            return bad("a window needs at least one step".into());
        }
        for (i, s) in self.first.sequences.iter().enumerate() {
            let end = s.past.saturating_add(self.steps);
            if plan.page_len() > 0 && s.pages.len() < end.div_ceil(PAGE) {
                return bad(format!("sequence {i}: {} pages do not hold {end} positions", s.pages.len()));
            }
        }
        Ok(())
    }
}
