//! Cutting a step into pieces that are each computed in one way.

use crate::lower::Path;
use ingot_plan::{Sequence, Step};
use std::ops::Range;

/// Most rows of a piece on the tile path: what a window server still takes for a
/// short submission.
pub const MOST_ROWS: usize = 512;
/// The same where products are fastest with many rows: see [`Info::wide`](crate::device::Info::wide).
const MOST_ROWS_WIDE: usize = 2048;
/// Sequences are cut at positions that are multiples of this: recurrences take so many rows
/// at once (`kernels/include/rwkv7_chunk.h`), and where else they are cut can be seen in last bits.
const ALIGNMENT: usize = 16;

/// What decides how steps are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From so many sequences of one row on these share weights.
    pub(super) few_from: Option<usize>,
    /// Most rows of a piece on the tile path.
    pub(super) rows: usize,
}

impl Limits {
    /// Those of a device.
    pub(super) fn new(few_from: Option<usize>, wide: bool) -> Self {
        Self { few_from, rows: if wide { MOST_ROWS_WIDE } else { MOST_ROWS } }
    }
}

/// A part of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) step: Step,
    pub(super) path: Path,
    /// Which outputs of the whole step its outputs are.
    pub(super) outputs: Vec<usize>,
}

/// The pieces of a step, in the order they have to be run.
///
/// Sequences of one row go together, and share weights if there are enough of them; longer ones
/// are packed into pieces of as many rows as there may be, cut where they do not fit.
pub(super) fn pieces(step: &Step, limits: Limits) -> Vec<Piece> {
    let mut all = Vec::new();
    let one = |s: &&Sequence| s.rows.len() == 1;
    let singles: Vec<_> = step.sequences.iter().filter(one).map(|s| (s, s.rows.clone())).collect();
    if !singles.is_empty() {
        all.push(piece(step, of_singles(singles.len(), limits.few_from), &singles));
    }
    let mut pending: Vec<(&Sequence, Range<usize>)> = Vec::new();
    let mut rows = 0;
    for s in step.sequences.iter().filter(|s| !one(s)) {
        let mut start = s.rows.start;
        while start < s.rows.end {
            let room = start + limits.rows - rows;
            let fits = s.rows.end <= room;
            let position = s.past + room - s.rows.start;
            let aligned = room.saturating_sub(position % ALIGNMENT).max(start);
            let end = if fits { s.rows.end } else { aligned };
            if start < end {
                pending.push((s, start..end));
                (rows, start) = (rows + end - start, end);
            }
            if !fits || rows == limits.rows {
                all.push(piece(step, Path::Tile, &pending));
                pending.clear();
                rows = 0;
            }
        }
    }
    if !pending.is_empty() {
        all.push(piece(step, Path::Tile, &pending));
    }
    all
}

/// The path of so many sequences of one row.
pub(super) fn of_singles(sequences: usize, few_from: Option<usize>) -> Path {
    if few_from.is_some_and(|least| sequences >= least) { Path::Few } else { Path::Vector }
}

/// The given rows of some sequences as a step of its own.
fn piece(step: &Step, path: Path, parts: &[(&Sequence, Range<usize>)]) -> Piece {
    let mut piece = Piece { step: Step::default(), path, outputs: Vec::new() };
    for (s, rows) in parts {
        let first = piece.step.tokens.len();
        piece.step.tokens.extend_from_slice(&step.tokens[rows.clone()]);
        for (i, &row) in step.outputs.iter().enumerate() {
            if rows.contains(&(row as usize)) {
                piece.outputs.push(i);
                piece.step.outputs.push((first + row as usize - rows.start) as u32);
            }
        }
        piece.step.sequences.push(Sequence {
            rows: first..piece.step.tokens.len(),
            past: s.past + rows.start - s.rows.start,
            slot: s.slot,
            pages: s.pages.clone(),
        });
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(lengths: &[usize]) -> Step {
        let mut step = Step::default();
        for (i, &n) in lengths.iter().enumerate() {
            let first = step.tokens.len();
            step.tokens.extend((first..first + n).map(|t| t as u32));
            step.sequences.push(Sequence {
                rows: first..first + n,
                past: 10 * i,
                slot: i as u32,
                pages: vec![],
            });
            step.outputs.push((first + n - 1) as u32);
        }
        step
    }

    #[test]
    fn rows_are_sorted_by_path() {
        let whole = step(&[1, 3, 1]);
        let [vector, tile] = &pieces(&whole, Limits::new(Some(3), false))[..] else { panic!("two pieces") };
        assert_eq!(
            (vector.path, &vector.step.tokens[..], &vector.outputs[..]),
            (Path::Vector, &[0, 4][..], &[0, 2][..])
        );
        assert_eq!(vector.step.sequences[1], Sequence { rows: 1..2, past: 20, slot: 2, pages: vec![] });
        assert_eq!((tile.path, &tile.step.outputs[..], &tile.outputs[..]), (Path::Tile, &[2][..], &[1][..]));
    }

    #[test]
    fn several_rows_share_weights() {
        let paths = |lengths: &[usize], few_from| {
            pieces(&step(lengths), Limits::new(few_from, false)).iter().map(|p| p.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(&[1, 1, 3, 1], Some(3)), [Path::Few, Path::Tile]);
        assert_eq!(paths(&[1, 1, 3], Some(3)), [Path::Vector, Path::Tile]);
        assert_eq!(paths(&[1; 9], None), [Path::Vector]);
    }

    #[test]
    fn long_sequences_are_cut() {
        let whole = step(&[2 * MOST_ROWS + 1, 5]);
        let all = pieces(&whole, Limits::new(None, false));
        assert_eq!(all.iter().map(|p| p.step.rows()).collect::<Vec<_>>(), [MOST_ROWS, MOST_ROWS, 6]);
        assert!(all.iter().all(|p| p.path == Path::Tile), "the last row alone stays on its path");
        assert_eq!(all[2].step.sequences[0].past, 2 * MOST_ROWS);
        assert_eq!(all[2].outputs, [0, 1]);
        let tokens: Vec<u32> = all.iter().flat_map(|p| p.step.tokens.clone()).collect();
        assert_eq!(tokens, whole.tokens);
    }

    #[test]
    fn cuts_are_at_multiples_of_the_alignment() {
        for lengths in [[3, 700], [500, 700], [505, 1200], [509, 20], [512, 20]] {
            let whole = step(&lengths);
            let all = pieces(&whole, Limits::new(None, false));
            let tokens: Vec<u32> = all.iter().flat_map(|p| p.step.tokens.clone()).collect();
            assert_eq!(tokens, whole.tokens);
            for s in all.iter().flat_map(|p| &p.step.sequences) {
                let of = &whole.sequences[s.slot as usize];
                let end = s.past + s.rows.len();
                assert!(
                    end.is_multiple_of(ALIGNMENT) || end == of.past + of.rows.len(),
                    "{lengths:?}: {s:?}"
                );
            }
            assert!(all.iter().all(|p| (1..=MOST_ROWS).contains(&p.step.rows())));
        }
    }
}
