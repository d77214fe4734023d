//! Products with many tokens: a strip of a few tiles is unpacked into the
//! first-level cache once and multiplied with some tokens at a time, their sums
//! in registers.

use super::TILE;
use super::group::{accumulate, accumulate_pair, beginning, dot, scale_and_add};
use super::target::Product;
use crate::blocks::{Block, Float, GROUP, Group, Kind, Sink};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::simd::{Kernel, LANES, Simd, Tile};
use std::marker::PhantomData;
use std::ops::Range;

/// Tiles that are multiplied together, if the instruction set is wide enough.
const TILES: usize = 2;
/// Groups of a strip: with two tiles, 16 KiB of unpacked bytes.
const STRIP: usize = 16;
/// The same for weights unpacked to floats; as much as the largest block has.
const FLOAT_STRIP: usize = 8;
/// Tokens that are multiplied with a strip while it is there.
const TOKENS: usize = 264;

/// Sums of a pair of tiles: a row for each token, a part of it for each tile.
struct Sums([[f32; TILES * LANES]; TOKENS]);

/// Calls `f` for some tokens with every two tiles (or one, where two are not left)
/// for every strip of columns: (tiles, strip in groups, tokens, sums).
fn for_strips<T: Tile>(
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

/// What a strip is multiplied with.
struct Work<'a, A> {
    /// `[T, groups]`
    x: &'a [A],
    groups: usize,
    /// The strip's first group, and how many there are.
    from: usize,
    len: usize,
    tokens: Range<usize>,
    sums: &'a mut Sums,
}

impl<'a, A> Work<'a, A> {
    /// The strip's activations of N tokens from the `t`-th on.
    #[inline(always)]
    fn rows<const N: usize>(&self, t: usize) -> [&'a [A]; N] {
        let mut rows = [&self.x[..0]; N];
        for n in 0..N {
            rows[n] = &self.x[(self.tokens.start + t + n) * self.groups + self.from..][..self.len];
        }
        rows
    }

    /// What the strips before gave for tile `r` and the `t`-th token.
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, r: usize, t: usize) -> S::F {
        if self.from == 0 {
            return s.splat_f(0.0);
        }
        s.load_f(&self.sums.0[t].as_chunks().0[r])
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, s: S, r: usize, t: usize, v: S::F) {
        s.store_f(v, &mut self.sums.0[t].as_chunks_mut().0[r]);
    }
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
pub(super) fn float<V: Values, T: Tile>(product: Product, x: &[f32]) {
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
