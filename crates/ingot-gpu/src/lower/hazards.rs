//! Which launch has to wait for which: the ranges they touch decide.

use crate::launch::Access;
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// A range of one memory and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch<M> {
    /// Which memory.
    pub memory: M,
    /// The bytes.
    pub range: Range<usize>,
    /// What is done.
    pub access: Access,
}

/// For each launch the earlier ones it has to wait for, without those that one of
/// them waits for anyway.
pub fn after<M: Copy + Eq + Hash>(launches: &[Vec<Touch<M>>]) -> Vec<Vec<usize>> {
    let mut history: HashMap<M, Vec<(usize, Range<usize>, Access)>> = HashMap::new();
    let mut waits = Vec::with_capacity(launches.len());
    let mut before = Ancestors::new(launches.len());
    for (i, touches) in launches.iter().enumerate() {
        let mut direct: Vec<usize> = Vec::new();
        for touch in touches {
            let past = history.entry(touch.memory).or_default();
            let conflicts = past.iter().filter(|(_, range, access)| {
                overlap(range, &touch.range) && (*access != Access::Read || touch.access != Access::Read)
            });
            direct.extend(conflicts.map(|(launch, ..)| *launch));
            if touch.access != Access::Read {
                // Whoever comes later and meets one of these meets this launch first.
                past.retain(|(_, range, _)| {
                    !(touch.range.start <= range.start && range.end <= touch.range.end)
                });
            }
        }
        for touch in touches {
            let past = history.entry(touch.memory).or_default();
            past.push((i, touch.range.clone(), touch.access));
        }
        waits.push(before.reduce(i, direct));
    }
    waits
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Who waits, directly or not, for whom: a bit per pair.
struct Ancestors {
    words: usize,
    bits: Vec<u64>,
}

impl Ancestors {
    fn new(n: usize) -> Self {
        let words = n.div_ceil(64);
        Self { words, bits: vec![0; n * words] }
    }

    fn has(&self, of: usize, ancestor: usize) -> bool {
        self.bits[of * self.words + ancestor / 64] >> (ancestor % 64) & 1 == 1
    }

    /// Keeps of `direct` what no other of them waits for, and remembers.
    fn reduce(&mut self, i: usize, mut direct: Vec<usize>) -> Vec<usize> {
        direct.sort_unstable();
        direct.dedup();
        direct.retain(|&d| d != i);
        let all = direct.clone();
        direct.retain(|&d| !all.iter().any(|&other| other != d && self.has(other, d)));
        for &d in &direct {
            for w in 0..self.words {
                self.bits[i * self.words + w] |= self.bits[d * self.words + w];
            }
            self.bits[i * self.words + d / 64] |= 1 << (d % 64);
        }
        direct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(memory: u8, range: Range<usize>, access: Access) -> Touch<u8> {
        Touch { memory, range, access }
    }

    #[test]
    fn readers_run_together_and_writers_wait() {
        let (r, w) = (Access::Read, Access::Write);
        let launches = vec![
            vec![touch(0, 0..8, w)],
            vec![touch(0, 0..8, r), touch(1, 0..8, w)],
            vec![touch(0, 0..8, r), touch(2, 0..8, w)],
            vec![touch(1, 0..8, r), touch(2, 0..4, r), touch(0, 0..4, w)],
            vec![touch(0, 4..8, r)],
        ];
        assert_eq!(after(&launches), [vec![], vec![0], vec![0], vec![1, 2], vec![0]]);
    }

    #[test]
    fn what_follows_from_another_wait_is_left_out() {
        let u = Access::Update;
        let launches: Vec<_> = (0..4).map(|_| vec![touch(0, 0..8, u)]).collect();
        assert_eq!(after(&launches), [vec![], vec![0], vec![1], vec![2]]);
        let partly = vec![
            vec![touch(0, 0..4, u)],
            vec![touch(0, 0..8, u)],
            vec![touch(0, 0..4, Access::Read), touch(0, 6..8, u)],
        ];
        assert_eq!(after(&partly), [vec![], vec![0], vec![1]]);
    }
}
