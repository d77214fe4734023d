//! Which rows of which sequences are run together, step after step.

use ingot_plan::{PAGE, Plan, Sequence, Step};

/// Steps of several sequences: for each step its (sequence, rows), in order.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    steps: &'static [&'static [(usize, usize)]],
    outputs: Outputs,
}

/// Rows whose results are wanted.
#[derive(Clone, Copy, Debug)]
enum Outputs {
    All,
    /// The first and every third after it.
    Some,
    /// The last of each sequence.
    Last,
}

impl Schedule {
    /// One row, some, rows of many sequences, and a chunk longer than a tile among others.
    pub(super) const ROWS: Self = Self {
        steps: &[
            &[(0, 1)],
            &[(1, 5)],
            &[(2, 1), (0, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1)],
            &[(0, 16), (4, 1), (2, 3), (5, 67), (6, 1)],
        ],
        outputs: Outputs::All,
    };

    /// The same in few rows, for cases with much work in each.
    pub(super) const FEW: Self =
        Self { steps: &[&[(0, 1)], &[(1, 1), (2, 1), (0, 1)], &[(3, 10), (1, 3)]], outputs: Outputs::All };

    /// Few of many rows are wanted.
    pub(super) const SELECTED: Self = Self { outputs: Outputs::Some, ..Self::ROWS };

    /// As sampling wants them.
    pub(super) const LAST: Self =
        Self { steps: &[&[(0, 1)], &[(1, 4), (2, 2)], &[(0, 1), (1, 1)]], outputs: Outputs::Last };

    /// Contexts that grow over the borders of pages, by prompts and row by row.
    pub(super) const CONTEXTS: Self = Self {
        steps: &[
            &[(0, 61)],
            &[(0, 1)],
            &[(0, 1), (1, 1)],
            &[(0, 1), (2, 1), (1, 1)],
            &[(0, 1)],
            &[(0, 5), (1, 66), (3, 1), (4, 17)],
            &[(4, 1), (0, 1), (2, 1)],
            &[(0, 130)],
            &[(2, 1), (0, 1), (1, 1)],
        ],
        outputs: Outputs::All,
    };

    fn sequences(&self) -> usize {
        1 + self.steps.iter().flat_map(|step| step.iter()).map(|(s, _)| *s).max().unwrap_or(0)
    }
}

/// Makes the steps of a schedule for a plan.
pub(super) struct Driver {
    schedule: Schedule,
    next: usize,
    vocab: usize,
    past: Vec<usize>,
    /// Each sequence's pages, none in order.
    pages: Vec<Vec<u32>>,
}

impl Driver {
    pub(super) fn new(schedule: &Schedule, plan: &Plan) -> Self {
        let n = schedule.sequences();
        let mut rows = vec![0; n];
        schedule.steps.iter().flat_map(|step| step.iter()).for_each(|&(s, count)| rows[s] += count);
        let mut free = rows.iter().map(|rows| rows.div_ceil(PAGE)).sum::<usize>() as u32;
        // Handed out in turns from the end, so that neighbours belong to different sequences.
        let mut pages = vec![Vec::new(); n];
        while free > 0 {
            for (pages, rows) in pages.iter_mut().zip(&rows) {
                if pages.len() < rows.div_ceil(PAGE) {
                    free -= 1;
                    pages.push(free);
                }
            }
        }
        Self { schedule: *schedule, next: 0, vocab: plan.vocab(), past: vec![0; n], pages }
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.iter().map(Vec::len).sum()
    }

    /// One more than there are sequences.
    pub(super) fn slots(&self) -> usize {
        self.past.len() + 1
    }

    pub(super) fn step(&mut self) -> Option<Step> {
        let of = self.schedule.steps.get(self.next)?;
        self.next += 1;
        let mut step = Step::default();
        for &(s, count) in *of {
            let first = step.tokens.len();
            let past = self.past[s];
            // Every sequence walks through the table from a place of its own.
            step.tokens.extend(
                (past..past + count).map(|p| ((p + 3 * s) % self.vocab.min(super::maker::TOKENS)) as u32),
            );
            let pages = self.pages[s][..(past + count).div_ceil(PAGE)].to_vec();
            let slot = (self.past.len() - s) as u32;
            step.sequences.push(Sequence { rows: first..first + count, past, slot, pages });
            self.past[s] += count;
        }
        let rows = 0..step.tokens.len() as u32;
        step.outputs = match self.schedule.outputs {
            Outputs::All => rows.collect(),
            Outputs::Some => rows.step_by(3).collect(),
            Outputs::Last => step.sequences.iter().map(|s| s.rows.end as u32 - 1).collect(),
        };
        Some(step)
    }
}
