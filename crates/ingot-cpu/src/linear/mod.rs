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
//! * `columns` and `active`: the layout in which a column is, and products with the few
//!   columns that a token wants.

mod active;
mod columns;
mod few;
mod floats;
mod group;
mod many;
mod pack;
mod strips;
mod target;

pub(crate) use active::{Active, MOST as MOST_ACTIVE};
pub(crate) use columns::panel_of;
pub(crate) use pack::{pack_panel, packed_len, unpack_row};

use crate::blocks::{Block, Kind};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::shared::Out;
use crate::simd::{LANES, Packed, Rows};
use columns::Columns;
use floats::{Plain, Quantized};
use ingot_format::DType;
use std::ops::Range;
use target::Product;

/// Rows of a tile.
pub(crate) const TILE: usize = LANES;

/// Rows that work is best handed out in, but for columns: two tiles, which are multiplied together.
pub(crate) const PAIR: usize = 2 * TILE;

/// A stored matrix `[R, C]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// How it is stored.
    pub(crate) dtype: DType,
    /// C
    pub(crate) cols: usize,
    /// All rows; if packed, followed by zeros to a whole number of panels.
    pub(crate) bytes: &'a [u8],
    /// Where what is in the bytes.
    pub(crate) layout: Layout,
}

/// The order of a matrix's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As in the file. There are at least sixteen rows and C is a multiple of 32.
    Rows,
    /// Packed: sixteen rows are a run of memory.
    Tiles,
    /// Packed: a column of a [panel](panel_of) is a run of memory. Products take
    /// rounded activations.
    Columns,
}

impl Layout {
    /// Rows that can only be moved together.
    ///
    /// # Panics
    /// If the type has no such layout.
    pub(crate) fn panel(self, dtype: DType) -> usize {
        match self {
            Self::Rows => 1,
            Self::Tiles => TILE,
            Self::Columns => panel_of(dtype).expect("a type that has columns"),
        }
    }
}

/// Activations `[T, C]` in one of the forms that products take.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// As they are; any weights.
    Floats(&'a [f32]),
    /// Rounded; quantized weights only.
    Q8(&'a [Q8]),
    /// Rounded, and what has been found out about them; weights in columns only.
    Active(&'a [Q8], &'a Active),
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

/// The same with a name for the type's [`crate::blocks::Columnar`].
macro_rules! with_columns {
    ($dtype:expr, $block:ident => $body:expr, $rest:expr $(,)?) => {
        with_columns!(@ $dtype, $block, $body, $rest; Q8_0 Q8_0, Q4_0 Q4_0, Q4_K Q4K)
    };
    (@ $dtype:expr, $block:ident, $body:expr, $rest:expr; $($name:ident $type:ident),*) => {
        match $dtype {
            $(DType::$name => { type $block = crate::blocks::$type; $body })*
            _ => $rest,
        }
    };
}
use with_columns;

impl<'a> Matrix<'a> {
    /// The memory of some rows, which must be whole [units](Self::unit) or the last ones.
    pub(crate) fn bytes_of(self, rows: Range<usize>) -> &'a [u8] {
        &self.bytes[rows.start * self.row_bytes()..rows.end * self.row_bytes()]
    }

    /// `rows` of the matrix times `x`, into the same columns of `out`.
    ///
    /// # Safety
    /// Nobody else uses these columns of `out` meanwhile.
    pub(crate) unsafe fn multiply(self, isa: Enabled, rows: Range<usize>, x: Input, out: Out) {
        if let Input::Active(x, active) = x {
            return active::product(Product { isa, matrix: self, rows, out }, active, x);
        }
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
            let height = rows.end.min(first + TILE) - at;
            let (one, place) = self.only_tile(first);
            let width = place + TILE;
            let mut all = vec![0.0; out.rows() * width];
            let aside = Out::new(&mut all, width);
            one.tiles(Product { isa, matrix: one, rows: place..place + TILE, out: aside }, x);
            for (t, row) in all.chunks_exact(width).enumerate() {
                // SAFETY: by the caller's promise.
                unsafe { out.part(t, at, height) }.copy_from_slice(&row[place + at - first..][..height]);
            }
            at += height;
        }
    }

    /// Rows that work is best handed out in.
    pub(crate) fn unit(self) -> usize {
        self.layout.panel(self.dtype).max(PAIR)
    }

    /// The first row of a tile that has the row. Packed rows have their place in
    /// one; others can begin anywhere, but sixteen of them must be there.
    fn tile_of(self, row: usize) -> usize {
        match self.layout {
            Layout::Rows => row.min(self.bytes.len() / self.row_bytes() - TILE),
            Layout::Tiles | Layout::Columns => row - row % TILE,
        }
    }

    /// The tile that begins with a row, in a matrix as small as can be, and its row there.
    fn only_tile(self, first: usize) -> (Self, usize) {
        let panel = self.layout.panel(self.dtype);
        let (place, bytes) = (first % panel, &self.bytes[(first - first % panel) * self.row_bytes()..]);
        (Self { bytes: &bytes[..panel.max(TILE) * self.row_bytes()], ..self }, place)
    }

    /// A product of whole tiles.
    fn tiles(self, product: Product, x: Input) {
        match x {
            Input::Q8(x) if self.layout == Layout::Columns => with_columns!(self.dtype,
                B => match x.len() * 32 / self.cols {
                    0 => {}
                    1..=few::PANEL_TOKENS => few::columns::<B>(product, x),
                    _ => many::integer::<B, Columns<B>>(product, x),
                },
                unreachable!("{} has no columns", self.dtype)),
            Input::Active(..) => unreachable!("whole panels"),
            Input::Q8(x) => with_block!(self.dtype,
                B => match (self.layout == Layout::Tiles, x.len() * 32 / self.cols) {
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
            Input::Floats(_) if self.layout == Layout::Columns => {
                unreachable!("columns take rounded activations")
            }
            Input::Floats(x) => with_block!(self.dtype,
            B => if self.layout == Layout::Tiles {
                floats::product::<Quantized<B>, Packed>(product, x)
            } else {
                floats::product::<Quantized<B>, Rows>(product, x)
            },
            W => match (self.layout == Layout::Tiles, x.len() / self.cols) {
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
