//! The packed layout: what a vector takes lies side by side.
//!
//! Sixteen rows are a tile, rows that lack are zeros. A tile is a run of memory
//! as long as its rows: block by block, and in a block field by field, each
//! field's sixteen values next to each other. Fields are words of four bytes but for what comes
//! before the first (a scale of two bytes, or an exponent of one) and what
//! remains after the last. Floats are blocks of one field.

use super::{Layout, TILE, columns, with_block};
use crate::blocks::{Block, Float};
use crate::isa::Enabled;
use crate::simd::{Kernel, Rows, Simd, Tile};
use ingot_format::DType;

/// Bytes of a packed matrix `[R, C]`.
pub(crate) fn packed_len((layout, dtype): (Layout, DType), rows: usize, row_bytes: usize) -> usize {
    rows.next_multiple_of(layout.panel(dtype)) * row_bytes
}

/// Packs up to as many rows of a type as a panel has, all of a matrix from one that is a multiple
/// of so many on, into as many bytes as a panel has.
pub(crate) fn pack_panel(
    isa: Enabled,
    (layout, dtype): (Layout, DType),
    rows: &[u8],
    row_bytes: usize,
    out: &mut [u8],
) {
    let (height, panel) = (rows.len() / row_bytes, layout.panel(dtype));
    assert!(height <= panel && out.len() == panel * row_bytes, "{height} rows into {} bytes", out.len());
    let padded;
    let rows = if height < panel {
        padded = [rows, &vec![0; (panel - height) * row_bytes]].concat();
        &padded
    } else {
        rows
    };
    if layout == Layout::Columns {
        return columns::pack(isa, dtype, rows, row_bytes, out);
    }
    with_block!(dtype,
        B => isa.run(Pack::<{ B::HEAD }, { B::BYTES }> { rows, row_bytes, out }),
        W => isa.run(Pack::<{ W::BYTES % 4 }, { W::BYTES }> { rows, row_bytes, out }));
}

/// Takes row `r` out of a packed tile.
pub(crate) fn unpack_row(dtype: DType, tile: &[u8], r: usize, row: &mut [u8]) {
    let (head, block) = with_block!(dtype, B => (B::HEAD, B::BYTES), W => (W::BYTES % 4, W::BYTES));
    for (row, tile) in row.chunks_exact_mut(block).zip(tile.chunks_exact(TILE * block)) {
        let mut at = 0;
        while at < block {
            let field = if at == 0 && head > 0 { head } else { 4.min(block - at) };
            row[at..at + field].copy_from_slice(&tile[TILE * at + r * field..][..field]);
            at += field;
        }
    }
}

/// Sixteen rows of blocks of so many bytes, the first field of which has HEAD.
struct Pack<'a, const HEAD: usize, const BLOCK: usize> {
    rows: &'a [u8],
    row_bytes: usize,
    out: &'a mut [u8],
}

impl<const HEAD: usize, const BLOCK: usize> Kernel for Pack<'_, HEAD, BLOCK> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = Rows::new(self.rows, self.row_bytes, 0);
        let words = (BLOCK - HEAD) / 4;
        for (b, out) in self.out.chunks_exact_mut(TILE * BLOCK).enumerate() {
            // SAFETY: all rows have the block.
            unsafe {
                let block = rows.advance(b * BLOCK);
                side_by_side::<HEAD>(block, 0, out);
                for w in (0..words / 4 * 4).step_by(4) {
                    let at = HEAD + 4 * w;
                    let four = block.words(s, at);
                    for i in 0..4 {
                        s.store(four[i], &mut *out[TILE * (at + 4 * i)..].as_mut_ptr().cast());
                    }
                }
                for w in words / 4 * 4..words {
                    let at = HEAD + 4 * w;
                    side_by_side::<4>(block, at, out);
                }
                match BLOCK - HEAD - 4 * words {
                    0 => {}
                    2 => side_by_side::<2>(block, BLOCK - 2, out),
                    tail => unreachable!("a last field of {tail} bytes"),
                }
            }
        }
    }
}

/// Copies the field at `at` of each row.
///
/// # Safety
/// The rows have the field.
#[inline(always)]
unsafe fn side_by_side<const BYTES: usize>(block: Rows, at: usize, out: &mut [u8]) {
    let out = &mut out[TILE * at..][..TILE * BYTES];
    for r in 0..TILE {
        // SAFETY: by the caller's promise; the output is as long as all rows' fields.
        unsafe { std::ptr::copy_nonoverlapping(block.at(r, at), out.as_mut_ptr().add(r * BYTES), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn isa() -> Enabled {
        Enabled::new(Isa::best()).unwrap()
    }

    #[test]
    fn fields_lie_side_by_side() {
        // Blocks of a scale and eight words; row r has byte i as 16 i + r, two blocks a row.
        let row = |r: usize| (0..68).map(move |i| ((i % 34) * 7 + 3 * r + i / 34) as u8);
        let rows: Vec<u8> = (0..5).flat_map(row).collect();
        let mut out = vec![0xff; TILE * 68];
        pack_panel(isa(), (Layout::Tiles, DType::Q8_0), &rows, 68, &mut out);
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
    fn rows_come_out_as_they_went_in() {
        for dtype in DType::ALL {
            let row_bytes = dtype.row_bytes(3 * dtype.block_len()).unwrap();
            let rows: Vec<u8> = (0..11 * row_bytes).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut tile = vec![0xff; TILE * row_bytes];
            pack_panel(isa(), (Layout::Tiles, dtype), &rows, row_bytes, &mut tile);
            for (r, want) in rows.chunks(row_bytes).enumerate() {
                let mut row = vec![0; row_bytes];
                unpack_row(dtype, &tile, r, &mut row);
                assert_eq!(row, want, "{dtype}, row {r}");
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
            pack_panel(isa(), (Layout::Tiles, dtype), &low, row_bytes, &mut packed[0]);
            pack_panel(isa(), (Layout::Tiles, dtype), &high, row_bytes, &mut packed[1]);
            let mut places: Vec<_> = packed[0].iter().zip(&packed[1]).collect();
            places.sort();
            places.dedup();
            assert_eq!(places.len(), low.len(), "{dtype}");
        }
    }
}
