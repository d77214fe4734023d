//! What products with many tokens have in common: the order in which strips of
//! weights meet tokens, and where sums are meanwhile.

use super::TILE;
use super::target::Product;
use crate::simd::{LANES, Simd, Tile};
use std::ops::Range;

/// Tiles that are multiplied together, if the instruction set is wide enough.
pub(super) const TILES: usize = 2;
/// Tokens that are multiplied with a strip while it is there.
const TOKENS: usize = 264;

/// Sums of a pair of tiles: a row for each token, a part of it for each tile.
pub(super) struct Sums([[f32; TILES * LANES]; TOKENS]);

/// Calls `f` for some tokens with every two tiles (or one, where two are not left)
/// for every strip of columns: (tiles, strip in groups, tokens, sums).
pub(super) fn for_strips<T: Tile>(
    product: &Product,
    tokens: usize,
    (groups, strip): (usize, usize),
    mut f: impl FnMut(&[T], Range<usize>, Range<usize>, &mut Sums),
) {
    // Close together, unlike the rows of the output, which would push each other out of caches.
    let mut sums = Sums([[0.0; TILES * LANES]; TOKENS]);
    for first in (0..tokens).step_by(TOKENS) {
        let tokens = first..tokens.min(first + TOKENS);
        for row in product.rows.clone().step_by(TILES * TILE) {
            let width = (product.rows.end - row).min(TILES * TILE);
            let tiles = [0, 1].map(|i| product.tile::<T>(row + (i * TILE).min(width - TILE)));
            let tiles = &tiles[..width / TILE];
            for from in (0..groups).step_by(strip) {
                let strip = from..groups.min(from + strip);
                f(tiles, strip, tokens.clone(), &mut sums);
            }
            for (t, sums) in tokens.clone().zip(&sums.0) {
                for (i, sums) in sums.as_chunks::<TILE>().0[..tiles.len()].iter().enumerate() {
                    // SAFETY: nobody else uses the columns, as whoever made the product promised.
                    *unsafe { product.out.block(t, row + i * TILE) } = *sums;
                }
            }
        }
    }
}

/// What a strip is multiplied with.
pub(super) struct Work<'a, A> {
    /// `[T, groups]`
    pub(super) x: &'a [A],
    pub(super) groups: usize,
    /// The strip's first group, and how many there are.
    pub(super) from: usize,
    pub(super) len: usize,
    pub(super) tokens: Range<usize>,
    pub(super) sums: &'a mut Sums,
}

impl<'a, A> Work<'a, A> {
    /// The strip's activations of N tokens from the `t`-th on.
    #[inline(always)]
    pub(super) fn rows<const N: usize>(&self, t: usize) -> [&'a [A]; N] {
        let mut rows = [&self.x[..0]; N];
        for n in 0..N {
            rows[n] = &self.x[(self.tokens.start + t + n) * self.groups + self.from..][..self.len];
        }
        rows
    }

    /// What the strips before gave for tile `r` and the `t`-th token.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, s: S, r: usize, t: usize) -> S::F {
        if self.from == 0 {
            return s.splat_f(0.0);
        }
        s.load_f(&self.sums.0[t].as_chunks().0[r])
    }

    #[inline(always)]
    pub(super) fn store<S: Simd>(&mut self, s: S, r: usize, t: usize, v: S::F) {
        s.store_f(v, &mut self.sums.0[t].as_chunks_mut().0[r]);
    }
}
