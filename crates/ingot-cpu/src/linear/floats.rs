//! Products in floats with many tokens: weights of whatever type are expanded to
//! floats, a strip of a few tiles at a time, and multiplied with some tokens at a time.

use super::strips::{TILES, Work, for_strips};
use super::target::Product;
use crate::blocks::{Block, Float, GROUP, Group, Kind, Sink};
use crate::simd::{Kernel, LANES, Simd, Tile};
use std::marker::PhantomData;

/// Groups of a strip, as many as the largest block has.
const FLOAT_STRIP: usize = 8;

/// Weights as floats: what dequantizing them gives.
pub(crate) trait Values: 'static {
    /// Groups of a strip.
    const STRIP: usize;
    /// A vector for each column of the groups from `from` on.
    fn expand<S: Simd, T: Tile>(s: S, tile: T, from: usize, values: &mut [[f32; LANES]]);
}

/// Those of a quantized type.
pub(super) struct Quantized<B>(PhantomData<B>);
/// Those of an unquantized type.
pub(super) struct Plain<W>(PhantomData<W>);

impl<B: Block> Values for Quantized<B> {
    const STRIP: usize = FLOAT_STRIP;
    #[inline(always)]
    fn expand<S: Simd, T: Tile>(s: S, tile: T, from: usize, values: &mut [[f32; LANES]]) {
        let (groups, _) = values.as_chunks_mut::<GROUP>();
        let blocks = from / B::GROUPS..(from + groups.len()) / B::GROUPS;
        let mut sink = Floats::<S, B> { s, values: groups.chunks_exact_mut(1), block: PhantomData };
        for block in blocks {
            // SAFETY: the tile has these groups.
            unsafe { B::unpack(s, tile.advance(block * B::BYTES), &mut sink) };
        }
    }
}

impl<W: Float> Values for Plain<W> {
    const STRIP: usize = FLOAT_STRIP / 2;
    #[inline(always)]
    fn expand<S: Simd, T: Tile>(s: S, tile: T, from: usize, values: &mut [[f32; LANES]]) {
        let first = from * GROUP * W::BYTES;
        if let Some(packed) = tile.packed() {
            for (c, value) in values.iter_mut().enumerate() {
                // SAFETY: the tile has these columns.
                s.store_f(unsafe { W::read(s, packed.advance(first + c * W::BYTES)) }, value);
            }
            return;
        }
        let each = 4 / W::BYTES;
        for (i, values) in values.chunks_exact_mut(4 * each).enumerate() {
            // SAFETY: as above; unless packed, columns come in whole groups.
            let words = unsafe { tile.words(s, first + 16 * i) };
            for j in 0..4 {
                let two = W::of_word(s, words[j]);
                for k in 0..each {
                    s.store_f(two[k], &mut values[each * j + k]);
                }
            }
        }
    }
}

struct Floats<'a, S, B> {
    s: S,
    values: std::slice::ChunksExactMut<'a, [[f32; LANES]; GROUP]>,
    block: PhantomData<B>,
}

impl<S: Simd, B: Block> Sink<S> for Floats<'_, S, B> {
    #[inline(always)]
    fn put(&mut self, group: Group<S>) {
        let Some([values]) = self.values.next() else { return };
        let s = self.s;
        let signed = B::Kind::SIGNED && S::SIGNED_OFFSET == 0;
        let offset = s.splat_f(if B::Kind::SIGNED { S::SIGNED_OFFSET } else { B::OFFSET } as f32);
        for (i, four) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let half = if B::Kind::HALVES { i / 4 } else { 0 };
            for (b, value) in four.iter_mut().enumerate() {
                let up = s.shl(group.q[i], 24 - 8 * b as u32);
                let byte = if signed { s.sar(up, 24) } else { s.shr(up, 24) };
                let v = s.mul(group.scale[half], s.sub(s.to_f(byte), offset));
                s.store_f(if B::Kind::MIN { s.sub(v, group.min[half]) } else { v }, value);
            }
        }
    }
}

/// A strip of weights as floats.
type FloatStrip = [[f32; LANES]; FLOAT_STRIP * GROUP];

/// Rows of weights times the tokens of `x` `[T, C]`.
pub(super) fn product<V: Values, T: Tile>(product: Product, x: &[f32]) {
    #[repr(align(64))]
    struct Aligned([FloatStrip; TILES]);
    let cols = product.matrix.cols;
    let mut values = Aligned([[[0.0; LANES]; FLOAT_STRIP * GROUP]; TILES]);
    let groups = cols.div_ceil(GROUP);
    for_strips::<T>(&product, x.len() / cols, (groups, V::STRIP), |tiles, strip, tokens, sums| {
        let (from, end) = (strip.start * GROUP, cols.min(strip.end * GROUP));
        for (tile, values) in tiles.iter().zip(&mut values.0) {
            let values = &mut values[..end - from];
            product.isa.run(Expand::<V, T> { tile: *tile, from: strip.start, values, kind: PhantomData });
        }
        let work = Work { x, groups: cols, from, len: end - from, tokens, sums };
        let [one, other] = &values.0;
        if tiles.len() == 1 {
            product.isa.run(MultiplyFloats { tiles: [one], work });
        } else {
            product.isa.run(MultiplyFloats { tiles: [one, other], work });
        }
    });
}

/// Writes a strip of a tile as floats.
struct Expand<'a, V, T> {
    tile: T,
    /// The strip's first group.
    from: usize,
    values: &'a mut [[f32; LANES]],
    kind: PhantomData<V>,
}

impl<V: Values, T: Tile> Kernel for Expand<'_, V, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        V::expand(s, self.tile, self.from, self.values);
    }
}

/// A strip of some tiles times some tokens, added to what the strips before gave.
struct MultiplyFloats<'a, const R: usize> {
    tiles: [&'a FloatStrip; R],
    /// In columns, not groups.
    work: Work<'a, f32>,
}

impl<const R: usize> Kernel for MultiplyFloats<'_, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (mut t, end) = (0, self.work.tokens.len());
        while S::REGISTERS >= 32 && t + 6 <= end {
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
}

impl<const R: usize> MultiplyFloats<'_, R> {
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, s: S, t: usize) {
        let rows: [&[f32]; N] = self.work.rows(t);
        let mut sums = [[s.splat_f(0.0); N]; R];
        for r in 0..R {
            for n in 0..N {
                sums[r][n] = self.work.load(s, r, t + n);
            }
        }
        // A sum of its own for each group keeps the error small.
        for from in (0..self.work.len).step_by(GROUP) {
            let mut parts = [[s.splat_f(0.0); N]; R];
            for c in from..self.work.len.min(from + GROUP) {
                let mut w = [s.splat_f(0.0); R];
                for r in 0..R {
                    w[r] = s.load_f(&self.tiles[r][c]);
                }
                for n in 0..N {
                    let x = s.splat_f(rows[n][c]);
                    for r in 0..R {
                        parts[r][n] = s.fma(w[r], x, parts[r][n]);
                    }
                }
            }
            for r in 0..R {
                for n in 0..N {
                    sums[r][n] = s.add(sums[r][n], parts[r][n]);
                }
            }
        }
        for r in 0..R {
            for n in 0..N {
                self.work.store(s, r, t + n, sums[r][n]);
            }
        }
    }
}
