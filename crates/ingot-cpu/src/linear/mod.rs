//! Matrix products `y[t, r] = sum_c w[r, c] x[t, c]` with stored weights.
//!
//! Sixteen rows at a time: each lane of a vector belongs to one row, from the
//! bytes to the result, so there is nothing to add up across lanes. A value
//! depends only on its row of weights and its row of activations: all ways to
//! compute it add the same products in the same order, so it makes no difference
//! to the bits how many tokens come together or how the weights are stored.
//!
//! * `few`: up to sixteen tokens. A group of weights is multiplied with up to four
//!   of them as soon as it is unpacked; bound by memory.
//! * `many` and `floats`: a strip of one or two tiles is unpacked into the
//!   first-level cache and multiplied with all tokens; bound by arithmetic.
//! * `pack`: the layout in which a tile is one run of memory.

mod few;
mod floats;
mod group;
mod many;
mod pack;
mod strips;
mod target;

pub(crate) use pack::{pack_tile, packed_len, unpack_row};

use crate::blocks::{Block, Kind};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::shared::Out;
use crate::simd::{LANES, Packed, Rows};
use floats::{Plain, Quantized};
use ingot_format::DType;
use std::ops::Range;
use target::Product;

/// Rows of a tile.
pub(crate) const TILE: usize = LANES;

/// Rows that work is best handed out in: two tiles, which are multiplied together.
pub(crate) const PAIR: usize = 2 * TILE;

/// A stored matrix `[R, C]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// How it is stored.
    pub(crate) dtype: DType,
    /// C
    pub(crate) cols: usize,
    /// All rows; if packed, followed by zeros to a whole number of tiles.
    pub(crate) bytes: &'a [u8],
    /// Whether the tiles have gone through [`pack_tile`]. If not, there are at least
    /// sixteen rows and C is a multiple of 32.
    pub(crate) packed: bool,
}

/// Activations `[T, C]` in one of the forms that products take.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// As they are; any weights.
    Floats(&'a [f32]),
    /// Rounded; quantized weights only.
    Q8(&'a [Q8]),
}

/// Evaluates an expression with a name for the type's [`crate::blocks::Block`];
/// other arms for the rest.
macro_rules! with_block {
    ($dtype:expr, $block:ident => $body:expr, $float:ident => $rest:expr $(,)?) => {
        with_block!(@ $dtype, $block, $body, $float, $rest;
            Q8_0 Q8_0, Q4_0 Q4_0, Q4_1 Q4_1, Q5_0 Q5_0, Q5_1 Q5_1, Q2_K Q2K, Q3_K Q3K, Q4_K Q4K, Q5_K Q5K,
            Q6_K Q6K, IQ4_NL Iq4Nl, IQ4_XS Iq4Xs, MXFP4 Mxfp4; F32 F32, F16 F16, BF16 Bf16)
    };
    (@ $dtype:expr, $block:ident, $body:expr, $float:ident, $rest:expr;
       $($name:ident $type:ident),*; $($float_name:ident $float_type:ident),*) => {
        match $dtype {
            $(DType::$name => { type $block = crate::blocks::$type; $body })*
            $(DType::$float_name => { type $float = crate::blocks::$float_type; $rest })*
        }
    };
}
use with_block;

impl Matrix<'_> {
    /// `rows` of the matrix times `x`, into the same columns of `out`.
    ///
    /// # Safety
    /// Nobody else uses these columns of `out` meanwhile.
    pub(crate) unsafe fn multiply(self, isa: Enabled, rows: Range<usize>, x: Input, out: Out) {
        let mut at = rows.start;
        while at < rows.end {
            let first = self.tile_of(at);
            let whole = (rows.end - at) / TILE * TILE;
            if first == at && whole > 0 {
                self.tiles(Product { isa, matrix: self, rows: at..at + whole, out }, x);
                at += whole;
                continue;
            }
            // Of a tile only some rows are wanted: all are computed, beside the output.
            let (skip, height) = (at - first, rows.end.min(first + TILE) - at);
            let one = self.only_tile(first);
            let mut all = vec![0.0; out.rows() * TILE];
            one.tiles(Product { isa, matrix: one, rows: 0..TILE, out: Out::new(&mut all, TILE) }, x);
            for (t, row) in all.chunks_exact(TILE).enumerate() {
                // SAFETY: by the caller's promise.
                unsafe { out.part(t, at, height) }.copy_from_slice(&row[skip..skip + height]);
            }
            at += height;
        }
    }

    /// The first row of a tile that has the row. Packed rows have their place in
    /// one; others can begin anywhere, but sixteen of them must be there.
    fn tile_of(self, row: usize) -> usize {
        if self.packed { row - row % TILE } else { row.min(self.bytes.len() / self.row_bytes() - TILE) }
    }

    /// The tile that begins with a row, as a matrix.
    fn only_tile(self, first: usize) -> Self {
        let row_bytes = self.row_bytes();
        Self { bytes: &self.bytes[first * row_bytes..][..TILE * row_bytes], ..self }
    }

    /// A product of whole tiles.
    fn tiles(self, product: Product, x: Input) {
        match x {
            Input::Q8(x) => with_block!(self.dtype,
                B => match (self.packed, x.len() * 32 / self.cols) {
                    (_, 0) => {}
                    (false, 1) => few::integer::<B, Rows, 1>(product, x),
                    (false, _) => many::integer::<B, Rows>(product, x),
                    (true, 1) => few::integer::<B, Packed, 1>(product, x),
                    (true, 2) => few::integer::<B, Packed, 2>(product, x),
                    // With a scale for each half of a group, four tokens are too much for the registers.
                    (true, 3..=16) if !<B as Block>::Kind::HALVES => few::integer::<B, Packed, 4>(product, x),
                    (true, _) => many::integer::<B, Packed>(product, x),
                },
                _W => unreachable!("{} weights take float activations", self.dtype)),
            Input::Floats(x) => with_block!(self.dtype,
            B => if self.packed {
                floats::product::<Quantized<B>, Packed>(product, x)
            } else {
                floats::product::<Quantized<B>, Rows>(product, x)
            },
            W => match (self.packed, x.len() / self.cols) {
                (_, 0) => {}
                (true, 1) => few::float::<W, 1>(product, x),
                (true, 2) => few::float::<W, 2>(product, x),
                (true, 3..=4) => few::float::<W, 4>(product, x),
                (true, 5..=8) => few::float::<W, 8>(product, x),
                (true, _) => floats::product::<Plain<W>, Packed>(product, x),
                (false, _) => floats::product::<Plain<W>, Rows>(product, x),
            }),
        }
    }

    /// Bytes of a row.
    fn row_bytes(self) -> usize {
        self.dtype.row_bytes(self.cols).expect("rows of whole blocks")
    }
}

#[cfg(test)]
mod tests;
