//! Which columns of the output a tile fills.

use super::{Product, TILE};
use crate::shared::Out;
use crate::simd::{Simd, Tile};

impl Product<'_> {
    /// The tile that begins with the row, and its part of the output.
    pub(super) fn tile<T: Tile>(&self, at: usize) -> (T, Target) {
        let (matrix, end) = (self.matrix, self.rows.end);
        let row_bytes = matrix.row_bytes();
        // Packed rows have their place in a tile. Others can begin anywhere, but
        // sixteen of them must be there.
        let first = if matrix.packed { at - at % TILE } else { at.min(matrix.bytes.len() / row_bytes - TILE) };
        let target = Target { out: self.out, skip: at - first, at, height: end.min(first + TILE) - at };
        (T::new(matrix.bytes, row_bytes, first), target)
    }

    /// All tiles.
    pub(super) fn tiles<T: Tile>(&self) -> impl Iterator<Item = (T, Target)> {
        let mut at = self.rows.start;
        std::iter::from_fn(move || {
            (at < self.rows.end).then(|| {
                let (tile, target) = self.tile(at);
                at += target.height;
                (tile, target)
            })
        })
    }
}

/// The columns of the output that belong to a tile.
#[derive(Clone, Copy)]
pub(super) struct Target {
    out: Out,
    /// Rows of the tile that come before those wanted.
    skip: usize,
    at: usize,
    height: usize,
}

impl Target {
    /// Sets the columns of token `t`.
    #[inline(always)]
    pub(super) fn store<S: Simd>(self, s: S, t: usize, v: S::F) {
        // SAFETY: nobody else uses the columns, as whoever made the product promised.
        let part = unsafe { self.out.part(t, self.at, self.height) };
        if let Ok(all) = <&mut [f32; TILE]>::try_from(&mut *part) {
            s.store_f(v, all);
        } else {
            let mut all = [0.0; TILE];
            s.store_f(v, &mut all);
            part.copy_from_slice(&all[self.skip..self.skip + self.height]);
        }
    }

    /// The columns of token `t`.
    #[inline(always)]
    pub(super) fn load<S: Simd>(self, s: S, t: usize) -> S::F {
        // SAFETY: as above.
        let part = unsafe { self.out.part(t, self.at, self.height) };
        if let Ok(all) = <&[f32; TILE]>::try_from(&*part) {
            s.load_f(all)
        } else {
            let mut all = [0.0; TILE];
            all[self.skip..self.skip + self.height].copy_from_slice(part);
            s.load_f(&all)
        }
    }
}
