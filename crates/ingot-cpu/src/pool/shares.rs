//! Who does which items of a job.
//!
//! Every worker begins with a share of its own, the same part of the items in
//! every job of as many items: neighbouring memory, and the same memory each
//! time. Who is done with its own share takes from those of the others, so that
//! all end together even if one of them was late.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How the items of a job are cut up.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Number of items.
    pub(super) items: usize,
    /// Items that stay together.
    pub(super) grain: usize,
    /// A worker takes one part in so many of what is left of a share.
    pub(super) portion: usize,
    /// Number of shares.
    pub(super) shares: usize,
}

impl Cut {
    /// No items at all.
    pub(super) const NOTHING: Self = Self { items: 0, grain: 1, portion: 1, shares: 1 };

    /// Grains of share `i`.
    pub(super) fn share(&self, i: usize) -> Range<usize> {
        let grains = self.items.div_ceil(self.grain);
        // Not `grains * i / shares`, which could overflow; the first few get the rest.
        let (each, rest) = (grains / self.shares, grains % self.shares);
        let start = i * each + i.min(rest);
        start..start + each + usize::from(i < rest)
    }

    /// Items of some grains.
    pub(super) fn items_of(&self, grains: Range<usize>) -> Range<usize> {
        grains.start * self.grain..self.items.min(grains.end.saturating_mul(self.grain))
    }
}

/// How much of a share is taken: the number of the job in the upper half, of the
/// grains in the lower. A cursor of an earlier job counts as zero, so that nobody
/// has to reset all cursors before each job.
#[derive(Default)]
pub(super) struct Cursor(AtomicU64);

/// More grains than a share of this many can not be counted.
pub(super) const MOST_GRAINS: usize = u32::MAX as usize;

impl Cursor {
    /// Forgets all jobs, before numbers are used again.
    pub(super) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    /// Takes items of share `i` for job `number` (above zero); `None` if there
    /// are no more. The order is relaxed: it only matters that nobody else gets
    /// the same, and when a job begins and ends is not this counter's business.
    pub(super) fn take(&self, number: u32, cut: &Cut, i: usize) -> Option<Range<usize>> {
        let share = cut.share(i);
        let mut now = self.0.load(Relaxed);
        loop {
            let taken = if (now >> 32) as u32 == number { now as u32 as usize } else { 0 };
            let left = share.len() - taken;
            if left == 0 {
                return None;
            }
            let end = taken + (left / cut.portion).max(1);
            let next = u64::from(number) << 32 | end as u64;
            match self.0.compare_exchange_weak(now, next, Relaxed, Relaxed) {
                Ok(_) => return Some(cut.items_of(share.start + taken..share.start + end)),
                Err(other) => now = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        for (items, grain) in [(0, 1), (1, 1), (7, 1), (64, 1), (65, 8), (1000, 7), (3, 100)] {
            for shares in 1..9 {
                for portion in [1, 4, usize::MAX] {
                    let cut = Cut { items, grain, portion, shares };
                    let mut next = 0;
                    let mut sizes = Vec::new();
                    for i in 0..shares {
                        let (cursor, first) = (Cursor::default(), next);
                        while let Some(range) = cursor.take(1, &cut, i) {
                            assert_eq!(range.start, next);
                            assert!(!range.is_empty());
                            next = range.end;
                        }
                        sizes.push((next - first).div_ceil(grain));
                    }
                    assert_eq!(next, items);
                    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_taken_belongs_to_one_job() {
        let cut = Cut { items: 10, grain: 2, portion: usize::MAX, shares: 2 };
        let cursor = Cursor::default();
        let all = |number| std::iter::from_fn(|| cursor.take(number, &cut, 0)).collect::<Vec<_>>();
        assert_eq!(all(1), [0..2, 2..4, 4..6]);
        assert_eq!(all(1), []);
        assert_eq!(all(2), [0..2, 2..4, 4..6]);
        cursor.reset();
        assert_eq!(all(2), [0..2, 2..4, 4..6]);
    }
}
