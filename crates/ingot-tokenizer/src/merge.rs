//! Byte-pair merging with a heap: O(n log n) however long the text is.
//!
//! Byte-level BPE and SentencePiece BPE differ only in what may be merged and
//! which merge comes first, so both are this function with another `rule`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A piece of the text; merging makes the left one longer and the right one empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    /// The token, or whatever the rule wants to know of the piece.
    pub id: u32,
    /// Bytes of the text: `start..end`.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// The symbols of a text, and the memory to merge them in, for reuse.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A possible merge; the order of the fields is the order in which merges are done.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    priority: u32,
    /// Position of the left symbol.
    left: u32,
    /// Where both symbols end, which tells whether they still are what they were.
    left_end: u32,
    right_end: u32,
    /// The id of the result.
    id: u32,
}

impl Merger {
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }

    /// Appends the symbol for the next `len` bytes of the text.
    pub(crate) fn push(&mut self, id: u32, len: usize) {
        let index = self.symbols.len() as u32;
        let (start, previous) = match self.symbols.last_mut() {
            Some(last) => {
                last.next = index;
                (last.end, index - 1)
            }
            None => (0, NONE),
        };
        self.symbols.push(Symbol { id, start, end: start + len as u32, previous, next: NONE });
    }

    /// Merges neighbors, lowest priority first, from left to right among
    /// equals, until `rule` allows none. `rule` gives priority and merged id.
    pub(crate) fn merge(&mut self, mut rule: impl FnMut(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        for right in 1..self.symbols.len() as u32 {
            self.propose(right - 1, right, &mut rule);
        }
        while let Some(Reverse(candidate)) = self.heap.pop() {
            let Candidate { left, left_end, right_end, id, .. } = candidate;
            let Symbol { start, end, next: right, .. } = self.symbols[left as usize];
            // Stale if either side was merged since: an absorbed symbol is empty.
            if start == end
                || end != left_end
                || right == NONE
                || self.symbols[right as usize].end != right_end
            {
                continue;
            }
            let absorbed = &mut self.symbols[right as usize];
            let next = absorbed.next;
            absorbed.start = absorbed.end;
            let merged = &mut self.symbols[left as usize];
            (merged.id, merged.end, merged.next) = (id, right_end, next);
            let previous = merged.previous;
            if next != NONE {
                self.symbols[next as usize].previous = left;
                self.propose(left, next, &mut rule);
            }
            if previous != NONE {
                self.propose(previous, left, &mut rule);
            }
        }
    }

    fn propose(
        &mut self,
        left: u32,
        right: u32,
        rule: &mut impl FnMut(&Symbol, &Symbol) -> Option<(u32, u32)>,
    ) {
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((priority, id)) = rule(a, b) {
            self.heap.push(Reverse(Candidate { priority, left, left_end: a.end, right_end: b.end, id }));
        }
    }

    /// What is left, in order.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.start != symbol.end)
    }
}

#[cfg(test)]
mod tests {
    use super::Merger;

    #[test]
    fn priority_then_leftmost() {
        // Ids are letters; ab -> 1 (priority 5), bc -> 2 (priority 3), aa -> 3 (priority 7).
        let rule = |a: &super::Symbol, b: &super::Symbol| match (a.id as u8, b.id as u8) {
            (b'a', b'b') => Some((5, 1)),
            (b'b', b'c') => Some((3, 2)),
            (b'a', b'a') => Some((7, 3)),
            _ => None,
        };
        let run = |text: &str| {
            let mut merger = Merger::default();
            for byte in text.bytes() {
                merger.push(u32::from(byte), 1);
            }
            merger.merge(rule);
            merger.symbols().map(|s| s.id).collect::<Vec<_>>()
        };
        let a = u32::from(b'a');
        assert_eq!(run("abc"), [a, 2]);
        assert_eq!(run("aaa"), [3, a]);
        assert_eq!(run("abab"), [1, 1]);
        assert_eq!(run(""), [0u32; 0]);
    }
}
