//! Products of integers with many tokens: a strip of a few tiles is unpacked into the
//! first-level cache once and multiplied with some tokens at a time, their sums
//! in registers.

use super::group::{accumulate, accumulate_pair, beginning, dot, scale_and_add};
use super::strips::{TILES, Work, for_strips};
use super::target::Product;
use crate::blocks::{Block, GROUP, Group, Kind, Sink};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::simd::{Kernel, LANES, Simd, Tile};
use std::marker::PhantomData;

/// Groups of a strip: with two tiles, 16 KiB of unpacked bytes.
const STRIP: usize = 16;

/// Rows of quantized weights times the tokens of `x` `[T, C / 32]`.
pub(super) fn integer<B: Block, T: Tile>(product: Product, x: &[Q8]) {
    let groups = product.matrix.cols / GROUP;
    let mut kept = [const { [const { Kept::EMPTY }; STRIP] }; TILES];
    for_strips::<T>(&product, x.len() / groups, (groups, STRIP), |tiles, strip, tokens, sums| {
        for (tile, kept) in tiles.iter().zip(&mut kept) {
            let kept = &mut kept[..strip.len()];
            product.isa.run(Unpack::<B, T> { tile: *tile, from: strip.start, kept, block: PhantomData });
        }
        let work = Work { x, groups, from: strip.start, len: strip.len(), tokens, sums };
        if tiles.len() == 1 {
            multiply::<B, 1>(product.isa, [&kept[0]], work);
        } else {
            multiply::<B, TILES>(product.isa, [&kept[0], &kept[1]], work);
        }
    });
}

fn multiply<B: Block, const R: usize>(isa: Enabled, tiles: [&[Kept; STRIP]; R], work: Work<Q8>) {
    isa.run(Multiply::<B::Kind, R> { tiles, work, offset: B::OFFSET, kind: PhantomData });
}

/// A group in memory, interleaved if the instruction set works with pairs.
#[repr(align(64))]
struct Kept {
    q: [[u8; 64]; 8],
    scale: [[f32; LANES]; 2],
    min: [[f32; LANES]; 2],
}

impl Kept {
    const EMPTY: Self = Self { q: [[0; 64]; 8], scale: [[0.0; LANES]; 2], min: [[0.0; LANES]; 2] };

    #[inline(always)]
    fn set<S: Simd, K: Kind>(&mut self, s: S, group: Group<S>) {
        for i in [0, 2, 4, 6] {
            let two = [group.q[i], group.q[i + 1]];
            let two = if S::PAIRS { s.interleave(two) } else { two };
            s.store(two[0], &mut self.q[i]);
            s.store(two[1], &mut self.q[i + 1]);
        }
        for half in 0..if K::HALVES { 2 } else { 1 } {
            s.store_f(group.scale[half], &mut self.scale[half]);
            if K::MIN {
                s.store_f(group.min[half], &mut self.min[half]);
            }
        }
    }

    #[inline(always)]
    fn get<S: Simd, K: Kind>(&self, s: S) -> Group<S> {
        let zero = s.splat_f(0.0);
        let mut group = Group { q: [s.splat(0); 8], scale: [zero; 2], min: [zero; 2] };
        for i in 0..8 {
            group.q[i] = s.load(&self.q[i]);
        }
        for half in 0..if K::HALVES { 2 } else { 1 } {
            (group.scale[half], group.min[half]) = self.scale::<S, K>(s, half);
        }
        group
    }

    /// Scale and minimum of a half, or of all.
    #[inline(always)]
    fn scale<S: Simd, K: Kind>(&self, s: S, half: usize) -> (S::F, S::F) {
        let min = if K::MIN { s.load_f(&self.min[half]) } else { s.splat_f(0.0) };
        (s.load_f(&self.scale[half]), min)
    }
}

/// Unpacks the groups of a tile from `from` on.
struct Unpack<'a, B, T> {
    tile: T,
    from: usize,
    kept: &'a mut [Kept],
    block: PhantomData<B>,
}

impl<B: Block, T: Tile> Kernel for Unpack<'_, B, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sink = Keep::<S, B> { s, kept: self.kept.chunks_exact_mut(1), block: PhantomData };
        for block in self.from / B::GROUPS..(self.from + sink.kept.len()) / B::GROUPS {
            // SAFETY: the tile has these groups.
            unsafe { B::unpack(s, self.tile.advance(block * B::BYTES), &mut sink) };
        }
    }
}

struct Keep<'a, S, B> {
    s: S,
    kept: std::slice::ChunksExactMut<'a, Kept>,
    block: PhantomData<B>,
}

impl<S: Simd, B: Block> Sink<S> for Keep<'_, S, B> {
    #[inline(always)]
    fn put(&mut self, group: Group<S>) {
        if let Some([kept]) = self.kept.next() {
            kept.set::<S, B::Kind>(self.s, group);
        }
    }
}

/// A strip of some tiles times some tokens, added to what the strips before gave.
struct Multiply<'a, K, const R: usize> {
    tiles: [&'a [Kept; STRIP]; R],
    work: Work<'a, Q8>,
    offset: i32,
    kind: PhantomData<K>,
}

impl<K: Kind, const R: usize> Kernel for Multiply<'_, K, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (mut t, end) = (0, self.work.tokens.len());
        if S::REGISTERS >= 32 {
            while t + 6 <= end {
                self.block::<S, 6>(s, t);
                t += 6;
            }
            while t + 3 <= end {
                self.block::<S, 3>(s, t);
                t += 3;
            }
            while t < end {
                self.block::<S, 1>(s, t);
                t += 1;
            }
        }
        for r in 0..R {
            let mut t = t;
            while t + 4 <= end {
                self.row::<S, 4>(s, r, t);
                t += 4;
            }
            while S::PAIRS && t + 2 <= end {
                self.row::<S, 2>(s, r, t);
                t += 2;
            }
            while t < end {
                self.row::<S, 1>(s, r, t);
                t += 1;
            }
        }
    }
}

impl<K: Kind, const R: usize> Multiply<'_, K, R> {
    /// All tiles times N tokens: weights and activations are loaded once for
    /// `R * N` products.
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, s: S, t: usize) {
        let rows = self.work.rows::<N>(t);
        let mut sums = [[s.splat_f(0.0); N]; R];
        for r in 0..R {
            for n in 0..N {
                sums[r][n] = self.work.load(s, r, t + n);
            }
        }
        for i in 0..self.work.len {
            let mut dots = [[s.splat(0); N]; R];
            for half in 0..2 {
                if half == 0 || K::HALVES {
                    for n in 0..N {
                        let first = beginning::<S, K>(s, self.offset, &rows[n][i], half);
                        for r in 0..R {
                            dots[r][n] = first;
                        }
                    }
                }
                for j in 4 * half..4 * half + 4 {
                    let mut w = [s.splat(0); R];
                    for r in 0..R {
                        w[r] = s.load(&self.tiles[r][i].q[j]);
                    }
                    for n in 0..N {
                        let x = rows[n][i].q[j];
                        for r in 0..R {
                            dots[r][n] = dot::<S, K>(s, dots[r][n], w[r], x);
                        }
                    }
                }
                if half == 1 || K::HALVES {
                    let part = if K::HALVES { half } else { 0 };
                    for r in 0..R {
                        let scale = self.tiles[r][i].scale::<S, K>(s, part);
                        for n in 0..N {
                            let (x, dot) = (&rows[n][i], dots[r][n]);
                            sums[r][n] = scale_and_add::<S, K>(s, scale, x, part, dot, sums[r][n]);
                        }
                    }
                }
            }
        }
        for r in 0..R {
            for n in 0..N {
                self.work.store(s, r, t + n, sums[r][n]);
            }
        }
    }

    /// One tile times N tokens, a group of weights in registers.
    #[inline(always)]
    fn row<S: Simd, const N: usize>(&mut self, s: S, r: usize, t: usize) {
        let kept = self.tiles[r];
        let rows = self.work.rows::<N>(t);
        let mut sums = [s.splat_f(0.0); N];
        for n in 0..N {
            sums[n] = self.work.load(s, r, t + n);
        }
        for i in 0..self.work.len {
            let group = kept[i].get::<S, K>(s);
            if S::PAIRS {
                for n in 0..N.div_ceil(2) {
                    // A token that comes alone is its own partner.
                    let [a, b] = [2 * n, (2 * n + 1).min(N - 1)];
                    let x = [&rows[a][i], &rows[b][i]];
                    [sums[a], sums[b]] =
                        accumulate_pair::<S, K>(s, &group, self.offset, x, [sums[a], sums[b]]);
                }
                continue;
            }
            for n in 0..N {
                sums[n] = accumulate::<S, K>(s, &group, self.offset, &rows[n][i], sums[n]);
            }
        }
        for n in 0..N {
            self.work.store(s, r, t + n, sums[n]);
        }
    }
}
