//! Products with few tokens: weights are read once, and each group is multiplied
//! as soon as it is there.

use super::TILE;
use super::columns::{CHUNK, Columns, PackedTile, panel_rows};
use super::group::accumulate;
use super::target::{Product, Target};
use crate::blocks::{Block, Columnar, Float, GROUP, Group, Sink};
use crate::q8::Q8;
use crate::simd::{Kernel, LANES, Packed, Simd, Tile};
use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of quantized weights times the tokens of `x` `[T, C / 32]`, N at a time:
/// a tile is in the caches when it is wanted again.
pub(super) fn integer<B: Block, T: Tile, const N: usize>(product: Product, x: &[Q8]) {
    let groups = product.matrix.cols / GROUP;
    let row_bytes = product.matrix.row_bytes();
    for (tile, target) in product.tiles() {
        for (i, x) in x.chunks(N * groups).enumerate() {
            let tokens = i * N..i * N + x.len() / groups;
            // The last stands in for those that lack.
            let x = from_fn(|n| &x[n.min(tokens.len() - 1) * groups..][..groups]);
            product.isa.run(Integer::<B, T, N> { tile, row_bytes, x, tokens, target, block: PhantomData });
        }
    }
}

/// A tile times some tokens.
struct Integer<'a, B, T, const N: usize> {
    tile: T,
    row_bytes: usize,
    /// `[N, C / 32]`
    x: [&'a [Q8]; N],
    /// Those of them that are wanted.
    tokens: Range<usize>,
    target: Target,
    block: PhantomData<B>,
}

impl<B: Block, T: Tile, const N: usize> Kernel for Integer<'_, B, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let groups = self.x[0].len();
        let mut x = [self.x[0].as_ptr(); N];
        for n in 0..N {
            x[n] = self.x[n].as_ptr();
        }
        let ahead = self.tile.ahead(self.row_bytes);
        let mut sink = Accumulate::<S, B, N> { s, x, sums: [s.splat_f(0.0); N], ahead, block: PhantomData };
        for block in 0..groups / B::GROUPS {
            // SAFETY: a row of weights has as many groups as one of activations.
            unsafe { B::unpack(s, self.tile.advance(block * B::BYTES), &mut sink) };
        }
        for (n, t) in self.tokens.enumerate() {
            self.target.store(s, t, sink.sums[n]);
        }
    }
}

/// Asks memory for some bytes; returns where they end.
#[inline(always)]
fn ask<S: Simd>(s: S, from: *const u8, bytes: usize) -> *const u8 {
    const LINE: usize = 64;
    for line in 0..bytes.div_ceil(LINE) {
        s.prefetch(from.wrapping_add(line * LINE));
    }
    from.wrapping_add(bytes)
}

/// Tokens that a panel is multiplied with at once, at most.
pub(super) const PANEL_TOKENS: usize = 16;

/// Rows of weights in columns times up to [`PANEL_TOKENS`] tokens: some groups of a panel
/// are made tiles in the first-level cache.
pub(super) fn columns<B: Columnar>(product: Product, x: &[Q8]) {
    let rows = panel_rows::<B>();
    let groups = product.matrix.cols / GROUP;
    let panel_bytes = rows * product.matrix.row_bytes();
    let mut kept = Kept { tiles: [PackedTile::EMPTY; 8], sums: [[[0.0; LANES]; PANEL_TOKENS]; 8] };
    for p in product.rows.start / rows..product.rows.end.div_ceil(rows) {
        let panel = &product.matrix.bytes[p * panel_bytes..][..panel_bytes];
        product.isa.run(Panel::<B> { panel, x, groups, kept: &mut kept, block: PhantomData });
        for (k, sums) in kept.sums[..rows / TILE].iter().enumerate() {
            let row = p * rows + k * TILE;
            if !product.rows.contains(&row) {
                continue;
            }
            for (t, sums) in sums[..x.len() / groups].iter().enumerate() {
                // SAFETY: nobody else uses the columns, as whoever made the product promised.
                *unsafe { product.out.block(t, row) } = *sums;
            }
        }
    }
}

/// What is known of a panel of at most eight tiles.
struct Kept {
    tiles: [PackedTile; 8],
    sums: [[[f32; LANES]; PANEL_TOKENS]; 8],
}

/// A panel times some tokens.
struct Panel<'a, B> {
    panel: &'a [u8],
    /// `[T, C / 32]`
    x: &'a [Q8],
    groups: usize,
    kept: &'a mut Kept,
    block: PhantomData<B>,
}

impl<B: Columnar> Kernel for Panel<'_, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const N: usize = 4;
        let tokens = self.x.len() / self.groups;
        self.kept.sums = [[[0.0; LANES]; PANEL_TOKENS]; 8];
        for first in (0..self.groups).step_by(CHUNK) {
            let blocks = first / B::GROUPS..self.groups.min(first + CHUNK) / B::GROUPS;
            for block in blocks.clone() {
                // SAFETY: the panel has the block.
                unsafe {
                    Columns::<B>::of_panel(self.panel.as_ptr(), 0).pack_tiles(s, block, &mut self.kept.tiles)
                };
            }
            for k in 0..panel_rows::<B>() / TILE {
                let tile = Packed::new(self.kept.tiles[k].bytes(), CHUNK / B::GROUPS * B::BYTES, 0);
                for t in (0..tokens).step_by(N) {
                    let mut x = [self.x.as_ptr(); N];
                    let mut sums = [s.splat_f(0.0); N];
                    for n in 0..N {
                        // The last stands in for those that lack.
                        x[n] = self.x[(t + n).min(tokens - 1) * self.groups + first..].as_ptr();
                        sums[n] = s.load_f(&self.kept.sums[k][t + n]);
                    }
                    let mut sink =
                        Accumulate::<S, B, N> { s, x, sums, ahead: tile.first(), block: PhantomData };
                    for block in 0..blocks.len() {
                        // SAFETY: the tile has been made of these blocks, and the activations
                        // have their groups.
                        unsafe { B::unpack(s, tile.advance(block * B::BYTES), &mut sink) };
                    }
                    for n in 0..N {
                        s.store_f(sink.sums[n], &mut self.kept.sums[k][t + n]);
                    }
                }
            }
        }
    }
}

/// Multiplies groups as they come.
struct Accumulate<S: Simd, B, const N: usize> {
    s: S,
    /// The next group of each token; there are as many as groups come.
    x: [*const Q8; N],
    sums: [S::F; N],
    /// What to ask memory for next.
    ahead: *const u8,
    block: PhantomData<B>,
}

impl<S: Simd, B: Block, const N: usize> Sink<S> for Accumulate<S, B, N> {
    #[inline(always)]
    fn put(&mut self, group: Group<S>) {
        self.ahead = ask(self.s, self.ahead, LANES * B::BYTES / B::GROUPS);
        for n in 0..N {
            // SAFETY: whoever made this lets no more groups come than there are.
            let x = unsafe { &*self.x[n] };
            self.x[n] = self.x[n].wrapping_add(1);
            self.sums[n] = accumulate::<S, B::Kind>(self.s, &group, B::OFFSET, x, self.sums[n]);
        }
    }
}

/// Rows of unquantized weights times the tokens of `x` `[T, C]`, T <= N.
pub(super) fn float<W: Float, const N: usize>(product: Product, x: &[f32]) {
    let cols = product.matrix.cols;
    let tokens = x.len() / cols;
    let x = from_fn(|n| &x[n.min(tokens - 1) * cols..][..cols]);
    for (tile, target) in product.tiles() {
        product.isa.run(Floats::<W, N> { tile, x, tokens, target, element: PhantomData });
    }
}

/// A tile times some tokens.
struct Floats<'a, W, const N: usize> {
    tile: Packed,
    /// `[N, C]`
    x: [&'a [f32]; N],
    /// Of these, how many are wanted.
    tokens: usize,
    target: Target,
    element: PhantomData<W>,
}

impl<W: Float, const N: usize> Kernel for Floats<'_, W, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.x[0].len();
        let mut x = [self.x[0].as_ptr(); N];
        for n in 0..N {
            x[n] = self.x[n].as_ptr();
        }
        let mut sums = [s.splat_f(0.0); N];
        let mut ahead = self.tile.ahead(0);
        for from in (0..cols).step_by(GROUP) {
            let mut parts = [s.splat_f(0.0); N];
            for c in from..cols.min(from + GROUP) {
                ahead = ask(s, ahead, LANES * W::BYTES);
                // SAFETY: column `c` is in the tile and in the rows of activations.
                unsafe {
                    let w = W::read(s, self.tile.advance(c * W::BYTES));
                    for n in 0..N {
                        parts[n] = s.fma(w, s.splat_f(*x[n].add(c)), parts[n]);
                    }
                }
            }
            for n in 0..N {
                sums[n] = s.add(sums[n], parts[n]);
            }
        }
        for n in 0..self.tokens {
            self.target.store(s, n, sums[n]);
        }
    }
}
