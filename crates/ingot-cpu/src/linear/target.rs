//! Where the results of a tile go.

use super::{Matrix, TILE};
use crate::isa::Enabled;
use crate::shared::Out;
use crate::simd::{Simd, Tile};
use std::ops::Range;

/// What a product of whole tiles is made of, but for the activations. Whoever
/// makes one promises that nobody else uses the columns `rows` of `out`
/// meanwhile.
pub(super) struct Product<'a> {
    pub(super) isa: Enabled,
    pub(super) matrix: Matrix<'a>,
    /// A multiple of sixteen; in packed matrices also where they begin.
    pub(super) rows: Range<usize>,
    /// `[T, at least the last row]`
    pub(super) out: Out,
}

impl Product<'_> {
    /// The tile that begins with a row.
    pub(super) fn tile<T: Tile>(&self, row: usize) -> T {
        T::new(self.matrix.bytes, self.matrix.row_bytes(), row)
    }

    /// All tiles and where their results go.
    pub(super) fn tiles<T: Tile>(&self) -> impl Iterator<Item = (T, Target)> {
        self.rows.clone().step_by(TILE).map(|row| (self.tile(row), Target { out: self.out, at: row }))
    }
}

/// The columns of the output that belong to a tile.
#[derive(Clone, Copy)]
pub(super) struct Target {
    out: Out,
    at: usize,
}

impl Target {
    /// Sets the columns of token `t`.
    #[inline(always)]
    pub(super) fn store<S: Simd>(self, s: S, t: usize, v: S::F) {
        // SAFETY: nobody else uses the columns, as whoever made the product promised.
        s.store_f(v, unsafe { self.out.block(t, self.at) });
    }
}
