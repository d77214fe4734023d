//! The step buffer: what differs from step to step, as words for the kernels.
//! The twin of `kernels/include/step.h`.

use ingot_plan::Step;

/// Words before the entries.
const HEADER: usize = 8;
/// Words of an entry: what there is of a row, an output and a sequence.
const ENTRY: usize = 8;

/// How much fits into a step buffer, and where its tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Rows, T.
    pub rows: usize,
    /// Sequences, S.
    pub sequences: usize,
    /// Pages of one sequence.
    pub pages: usize,
}

impl Capacity {
    /// What a step needs.
    pub fn of(step: &Step) -> Self {
        let pages = step.sequences.iter().map(|s| s.pages.len()).max().unwrap_or(0);
        Self { rows: step.rows(), sequences: step.sequences.len(), pages }
    }

    /// True if a step that needs `other` fits.
    pub fn holds(&self, other: Self) -> bool {
        self.rows >= other.rows && self.sequences >= other.sequences && self.pages >= other.pages
    }

    /// Enough for both, in powers of two, so that a growing sequence seldom asks for more.
    pub fn grown(self, other: Self) -> Self {
        let grow = |a: usize, b: usize| if a >= b { a } else { b.next_power_of_two() };
        Self {
            rows: grow(self.rows, other.rows),
            sequences: grow(self.sequences, other.sequences),
            pages: grow(self.pages, other.pages.max(16)),
        }
    }

    fn pages_at(&self) -> usize {
        HEADER + ENTRY * self.rows.max(self.sequences)
    }

    /// Size of the whole buffer.
    pub fn words(&self) -> usize {
        self.pages_at() + self.sequences * self.pages
    }

    /// The words of a step that fits.
    pub fn fill(&self, step: &Step) -> Vec<u32> {
        let mut words = vec![0u32; self.words()];
        let small = |x: usize| u32::try_from(x).expect("checked by Step::check and the pools' sizes");
        let header =
            [step.rows(), step.outputs.len(), step.sequences.len(), self.pages, self.pages_at()].map(small);
        words[..header.len()].copy_from_slice(&header);
        // Rows, outputs and sequences share entries.
        let entry = |i: usize| HEADER + ENTRY * i;
        for (o, &row) in step.outputs.iter().enumerate() {
            words[entry(o) + 3] = row;
        }
        for (i, s) in step.sequences.iter().enumerate() {
            words[entry(i) + 4..][..4].copy_from_slice(&[
                small(s.rows.start),
                small(s.rows.len()),
                small(s.past),
                s.slot,
            ]);
            for (position, t) in (s.past..).zip(s.rows.clone()) {
                words[entry(t)..][..3].copy_from_slice(&[step.tokens[t], small(position), small(i)]);
            }
            let at = self.pages_at() + i * self.pages;
            words[at..at + s.pages.len()].copy_from_slice(&s.pages);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_plan::Sequence;

    #[test]
    fn layout() {
        let step = Step {
            tokens: vec![7, 8, 9],
            sequences: vec![
                Sequence { rows: 0..2, past: 5, slot: 3, pages: vec![4] },
                Sequence { rows: 2..3, past: 64, slot: 1, pages: vec![6, 2] },
            ],
            outputs: vec![1, 2],
        };
        let capacity = Capacity { rows: 4, sequences: 2, pages: 2 };
        assert!(capacity.holds(Capacity::of(&step)));
        let words = capacity.fill(&step);
        assert_eq!(words[..8], [3, 2, 2, 2, 40, 0, 0, 0]);
        assert_eq!(words[8..16], [7, 5, 0, 1, 0, 2, 5, 3]);
        assert_eq!(words[16..24], [8, 6, 0, 2, 2, 1, 64, 1]);
        assert_eq!(words[24..32], [9, 64, 1, 0, 0, 0, 0, 0]);
        assert_eq!(words[40..44], [4, 0, 6, 2]);
        assert_eq!(words.len(), capacity.words());
    }

    #[test]
    fn growth_is_geometric() {
        let small = Capacity { rows: 1, sequences: 1, pages: 16 };
        let grown = small.grown(Capacity { rows: 1, sequences: 3, pages: 17 });
        assert_eq!(grown, Capacity { rows: 1, sequences: 4, pages: 32 });
        assert_eq!(grown.grown(small), grown);
    }
}
