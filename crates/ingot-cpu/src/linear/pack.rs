//! The packed layout: what a vector takes lies side by side.
//!
//! Sixteen rows are a tile, rows that lack are zeros. A tile is a run of memory
//! as long as its rows: block by block, and in a block field by field, each
//! field's sixteen values next to each other. Fields are words of four bytes but for what comes
//! before the first (a scale of two bytes, or an exponent of one) and what
//! remains after the last. Floats are blocks of one field.

use super::{TILE, with_block};
use crate::blocks::{Block, Float};
use ingot_format::DType;

/// Bytes of a packed matrix `[R, C]`.
pub(crate) fn packed_len(rows: usize, row_bytes: usize) -> usize {
    rows.next_multiple_of(TILE) * row_bytes
}

/// How to pack a type.
#[derive(Clone, Copy)]
pub(crate) struct Packer {
    /// Bytes of a block.
    block: usize,
    /// Bytes of the field before the first word.
    head: usize,
}

impl Packer {
    /// Packs matrices of this type.
    pub(crate) fn new(dtype: DType) -> Self {
        with_block!(dtype,
            B => Self { block: B::BYTES, head: B::HEAD },
            W => Self { block: W::BYTES, head: if W::BYTES == 4 { 0 } else { W::BYTES } })
    }

    /// Packs up to sixteen rows, all of a matrix from one that is a multiple of
    /// sixteen on, into as many bytes as sixteen rows have.
    pub(crate) fn tile(self, rows: &[u8], row_bytes: usize, out: &mut [u8]) {
        let height = rows.len() / row_bytes;
        assert!(height <= TILE && out.len() == TILE * row_bytes, "{height} rows into {} bytes", out.len());
        if height < TILE {
            out.fill(0);
        }
        if self.block == 2 {
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                for (value, out) in row.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<{ 2 * TILE }>().0) {
                    out[2 * r..2 * r + 2].copy_from_slice(value);
                }
            }
            return;
        }
        for (b, out) in out.chunks_exact_mut(TILE * self.block).enumerate() {
            let (heads, body) = out.split_at_mut(TILE * self.head);
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                let (head, rest) = row[b * self.block..][..self.block].split_at(self.head);
                heads[r * self.head..][..self.head].copy_from_slice(head);
                let (words, tail) = rest.as_chunks::<4>();
                let (lines, tails) = body.as_chunks_mut::<{ 4 * TILE }>();
                for (word, line) in words.iter().zip(&mut *lines) {
                    line[4 * r..4 * r + 4].copy_from_slice(word);
                }
                // What remains is less than a line, so none of it is in `lines`.
                tails[r * tail.len()..][..tail.len()].copy_from_slice(tail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_side_by_side() {
        // Blocks of a scale and eight words; row r has byte i as 16 i + r, two blocks a row.
        let row = |r: usize| (0..68).map(move |i| ((i % 34) * 7 + 3 * r + i / 34) as u8);
        let rows: Vec<u8> = (0..5).flat_map(row).collect();
        let mut out = vec![0xff; TILE * 68];
        Packer::new(DType::Q8_0).tile(&rows, 68, &mut out);
        let byte = |r: usize, i: usize| row(r).nth(i).unwrap();
        for b in 0..2 {
            let block = &out[b * TILE * 34..][..TILE * 34];
            for r in 0..TILE {
                let want = |i: usize| if r < 5 { byte(r, b * 34 + i) } else { 0 };
                assert_eq!(block[2 * r..2 * r + 2], [want(0), want(1)], "scale of row {r}");
                for w in 0..8 {
                    let got = &block[32 + 64 * w + 4 * r..][..4];
                    assert_eq!(got, [2, 3, 4, 5].map(|i| want(i + 4 * w)), "word {w} of row {r}");
                }
            }
        }
    }

    #[test]
    fn every_byte_goes_somewhere_else() {
        for dtype in DType::ALL {
            let row_bytes = dtype.row_bytes(dtype.block_len()).unwrap();
            // Two digits a byte name its place.
            let (mut low, mut high) = (vec![0; TILE * row_bytes], vec![0; TILE * row_bytes]);
            for i in 0..low.len() {
                (low[i], high[i]) = (i as u8, (i >> 8) as u8);
            }
            let mut packed = [low.clone(), high.clone()];
            Packer::new(dtype).tile(&low, row_bytes, &mut packed[0]);
            Packer::new(dtype).tile(&high, row_bytes, &mut packed[1]);
            let mut places: Vec<_> = packed[0].iter().zip(&packed[1]).collect();
            places.sort();
            places.dedup();
            assert_eq!(places.len(), low.len(), "{dtype}");
        }
    }
}
