//! Products with block-quantized weights, sixteen rows at a time.
//!
//! Each lane of a vector belongs to one row, from the bytes to the result, so
//! there is nothing to add up across lanes. A single token: a group is multiplied
//! as soon as it is unpacked. Several: a strip of the tile is unpacked once into
//! the first-level cache and multiplied with all of them.

use super::Matrix;
use crate::blocks::{Block, GROUP, Group, Kind, Sink};
use crate::isa::Enabled;
use crate::q8::Q8;
use crate::shared::Out;
use crate::simd::{Kernel, LANES, Rows, Simd};
use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of a tile.
pub(crate) const TILE: usize = LANES;
/// Groups of a strip: with 16 rows, 16 KiB of unpacked bytes.
const STRIP: usize = 32;
/// The same for weights unpacked to floats.
const FLOAT_STRIP: usize = 8;
/// Tokens whose strip of activations stays in the second-level cache.
const TOKENS: usize = 128;
/// Tokens that are multiplied with a group while it is in registers.
const WIDTH: usize = 4;
/// Bytes to a cache line.
const LINE: usize = 64;

/// Rows `rows` of weights times all tokens of `x` `[T, C / 32]`, into the same
/// columns of `out`.
///
/// # Safety
/// Nobody else uses these columns of `out`.
pub(super) unsafe fn integer<B: Block>(isa: Enabled, m: Matrix, rows: Range<usize>, x: &[Q8], out: Out) {
    let groups = m.cols / GROUP;
    let tokens = x.len() / groups;
    if tokens == 1 {
        for_tiles::<B>(m, rows, out, |tile, target| {
            isa.run(Direct::<B> { tile, x, target, block: PhantomData })
        });
        return;
    }
    let mut kept = [const { Kept::EMPTY }; STRIP];
    for first in (0..tokens).step_by(TOKENS) {
        let tokens = first..tokens.min(first + TOKENS);
        for from in (0..groups).step_by(STRIP) {
            let strip = from..groups.min(from + STRIP);
            for_tiles::<B>(m, rows.clone(), out, |tile, target| {
                let kept = &mut kept[..strip.len()];
                isa.run(Unpack::<B> { tile, from, kept, block: PhantomData });
                let (tokens, offset) = (tokens.clone(), B::OFFSET);
                isa.run(Multiply::<B::Kind> {
                    kept,
                    offset,
                    x,
                    groups,
                    from,
                    tokens,
                    target,
                    kind: PhantomData,
                });
            });
        }
    }
}

/// As [`integer`], with activations in f32, `[T, C]`: the weights are unpacked
/// to floats first, so that they are what dequantizing them gives.
///
/// # Safety
/// Nobody else uses these columns of `out`.
pub(super) unsafe fn float<B: Block>(isa: Enabled, m: Matrix, rows: Range<usize>, x: &[f32], out: Out) {
    let groups = m.cols / GROUP;
    let tokens = x.len() / m.cols;
    let mut values = [[[0.0; LANES]; GROUP]; FLOAT_STRIP];
    for first in (0..tokens).step_by(TOKENS) {
        let tokens = first..tokens.min(first + TOKENS);
        for from in (0..groups).step_by(FLOAT_STRIP) {
            let strip = from..groups.min(from + FLOAT_STRIP);
            for_tiles::<B>(m, rows.clone(), out, |tile, target| {
                let values = &mut values[..strip.len()];
                isa.run(Expand::<B> { tile, from, values, block: PhantomData });
                let tokens = tokens.clone();
                isa.run(MultiplyFloats {
                    values: values.as_flattened(),
                    x,
                    cols: m.cols,
                    from: from * GROUP,
                    tokens,
                    target,
                });
            });
        }
    }
}

/// Calls `f` with every sixteen of `rows` and the columns they belong to.
fn for_tiles<B: Block>(m: Matrix, rows: Range<usize>, out: Out, mut f: impl FnMut(Rows, Target)) {
    let values = B::GROUPS * GROUP;
    assert!(m.cols.is_multiple_of(values), "{} columns in blocks of {values}", m.cols);
    let row_bytes = m.cols / values * B::BYTES;
    let total = m.bytes.len() / row_bytes;
    for at in rows.clone().step_by(TILE) {
        let end = rows.end.min(at + TILE);
        // A tile that would reach over the end begins earlier and gives away
        // less; the rows that a small matrix lacks are zeros.
        let first = at.min(total.saturating_sub(TILE));
        let target = Target { out, skip: at - first, at, height: end - at };
        if total >= TILE {
            f(Rows::new(&m.bytes[first * row_bytes..(first + TILE) * row_bytes], row_bytes), target);
        } else {
            let mut padded = m.bytes.to_vec();
            padded.resize(TILE * row_bytes, 0);
            f(Rows::new(&padded, row_bytes), target);
        }
    }
}

/// The columns of the output that belong to a tile. Nobody else uses them: the
/// promise of whoever makes a kernel with a target.
#[derive(Clone, Copy)]
struct Target {
    out: Out,
    /// Rows of the tile that come before those wanted.
    skip: usize,
    at: usize,
    height: usize,
}

impl Target {
    #[inline(always)]
    fn store<S: Simd>(self, s: S, t: usize, v: S::F) {
        // SAFETY: nobody else uses the columns.
        let part = unsafe { self.out.part(t, self.at, self.height) };
        if let Ok(all) = <&mut [f32; TILE]>::try_from(&mut *part) {
            s.store_f(v, all);
        } else {
            let mut all = [0.0; TILE];
            s.store_f(v, &mut all);
            part.copy_from_slice(&all[self.skip..self.skip + self.height]);
        }
    }

    #[inline(always)]
    fn load<S: Simd>(self, s: S, t: usize) -> S::F {
        // SAFETY: nobody else uses the columns.
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

/// `sum` gains what a group of weights gives with a group of activations.
#[inline(always)]
fn accumulate<S: Simd, K: Kind>(s: S, w: &Group<S>, offset: f32, x: &Q8, sum: S::F) -> S::F {
    // Two short chains rather than a long one; the sums are exact.
    let mut dots = [s.splat(0); 2];
    for i in 0..4 {
        for half in 0..2 {
            let (w, x) = (w.q[4 * half + i], x.q[4 * half + i]);
            dots[half] = if K::SIGNED { s.dot_signed(dots[half], w, x) } else { s.dot(dots[half], w, x) };
        }
    }
    if !K::HALVES {
        dots[0] = s.add_i32(dots[0], dots[1]);
    }
    scale_and_add::<S, K>(s, w, offset, x, dots, sum)
}

/// As [`accumulate`], for two tokens and interleaved weights.
#[inline(always)]
fn accumulate_pair<S: Simd, K: Kind>(
    s: S,
    w: &Group<S>,
    offset: f32,
    x: [&Q8; 2],
    sums: [S::F; 2],
) -> [S::F; 2] {
    let mut dots = [[s.splat(0); 2]; 2];
    for half in 0..2 {
        let q = [w.q[4 * half], w.q[4 * half + 1], w.q[4 * half + 2], w.q[4 * half + 3]];
        let words = [&x[0].q.as_chunks().0[half], &x[1].q.as_chunks().0[half]];
        let place = if K::HALVES { half } else { 0 };
        dots[place] = s.dot_pair(dots[place], q, words, K::SIGNED);
    }
    let halves = [s.split_pair(dots[0]), s.split_pair(dots[1])];
    [
        scale_and_add::<S, K>(s, w, offset, x[0], [halves[0][0], halves[1][0]], sums[0]),
        scale_and_add::<S, K>(s, w, offset, x[1], [halves[0][1], halves[1][1]], sums[1]),
    ]
}

/// The dot products of a group's halves, or of all of it in the first place,
/// scaled and added to `sum`.
#[inline(always)]
fn scale_and_add<S: Simd, K: Kind>(
    s: S,
    w: &Group<S>,
    offset: f32,
    x: &Q8,
    dots: [S::V; 2],
    sum: S::F,
) -> S::F {
    let offset = if K::SIGNED { S::SIGNED_OFFSET } else { offset };
    let centered = K::CENTERED || (K::SIGNED && S::SIGNED_OFFSET != 0.0);
    let parts = if K::HALVES {
        [(s.to_f(dots[0]), x.half_sums[0]), (s.to_f(dots[1]), x.half_sums[1])]
    } else {
        [(s.to_f(dots[0]), x.sum), (s.splat_f(0.0), 0.0)]
    };
    let mut product = s.splat_f(0.0);
    for half in 0..if K::HALVES { 2 } else { 1 } {
        let (dot, sum) = parts[half];
        let dot = if centered { s.fnma(s.splat_f(offset), s.splat_f(sum), dot) } else { dot };
        product = if half == 0 { s.mul(w.scale[0], dot) } else { s.fma(w.scale[1], dot, product) };
        if K::MIN {
            product = s.fnma(w.min[half], s.splat_f(sum), product);
        }
    }
    s.fma(s.splat_f(x.scale), product, sum)
}

/// A tile times the only token.
struct Direct<'a, B> {
    tile: Rows,
    x: &'a [Q8],
    target: Target,
    block: PhantomData<B>,
}

impl<B: Block> Kernel for Direct<'_, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tile = self.tile;
        let mut sink = Accumulate::<S, B> { s, x: self.x.iter(), sum: s.splat_f(0.0), block: PhantomData };
        for block in 0..self.x.len() / B::GROUPS {
            // The next tile follows in memory; ask for as much of it as is used here.
            let next = tile.stride() * TILE + block * TILE * B::BYTES;
            for line in (0..TILE * B::BYTES).step_by(LINE) {
                s.prefetch(tile.hint(next + line));
            }
            // SAFETY: a row of weights has as many groups as one of activations.
            unsafe { B::unpack(s, tile.advance(block * B::BYTES), &mut sink) };
        }
        self.target.store(s, 0, sink.sum);
    }
}

/// Multiplies groups as they come.
struct Accumulate<'a, S: Simd, B> {
    s: S,
    x: std::slice::Iter<'a, Q8>,
    sum: S::F,
    block: PhantomData<B>,
}

impl<S: Simd, B: Block> Sink<S> for Accumulate<'_, S, B> {
    #[inline(always)]
    fn put(&mut self, group: Group<S>) {
        if let Some(x) = self.x.next() {
            self.sum = accumulate::<S, B::Kind>(self.s, &group, B::OFFSET, x, self.sum);
        }
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
            group.scale[half] = s.load_f(&self.scale[half]);
            if K::MIN {
                group.min[half] = s.load_f(&self.min[half]);
            }
        }
        group
    }
}

/// Unpacks the groups of a tile from `from` on.
struct Unpack<'a, B> {
    tile: Rows,
    from: usize,
    kept: &'a mut [Kept],
    block: PhantomData<B>,
}

impl<B: Block> Kernel for Unpack<'_, B> {
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

/// A strip of weights times some tokens, added to what the strips before gave.
struct Multiply<'a, K> {
    kept: &'a [Kept],
    offset: f32,
    /// `[T, groups]`
    x: &'a [Q8],
    groups: usize,
    /// The strip's first group.
    from: usize,
    tokens: Range<usize>,
    target: Target,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Multiply<'_, K> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut t = self.tokens.start;
        while t + WIDTH <= self.tokens.end {
            self.some::<S, WIDTH>(s, t);
            t += WIDTH;
        }
        while S::PAIRS && t + 2 <= self.tokens.end {
            self.some::<S, 2>(s, t);
            t += 2;
        }
        while t < self.tokens.end {
            self.some::<S, 1>(s, t);
            t += 1;
        }
    }
}

impl<K: Kind> Multiply<'_, K> {
    #[inline(always)]
    fn some<S: Simd, const N: usize>(&self, s: S, t: usize) {
        let mut sums = [s.splat_f(0.0); N];
        let mut rows = [&self.x[..0]; N];
        for n in 0..N {
            rows[n] = &self.x[(t + n) * self.groups + self.from..][..self.kept.len()];
            if self.from > 0 {
                sums[n] = self.target.load(s, t + n);
            }
        }
        for (i, kept) in self.kept.iter().enumerate() {
            let group = kept.get::<S, K>(s);
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
            self.target.store(s, t + n, sums[n]);
        }
    }
}

/// Unpacks the groups of a tile from `from` on to floats, a vector a column.
struct Expand<'a, B> {
    tile: Rows,
    from: usize,
    values: &'a mut [[[f32; LANES]; GROUP]],
    block: PhantomData<B>,
}

impl<B: Block> Kernel for Expand<'_, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks = self.from / B::GROUPS..(self.from + self.values.len()) / B::GROUPS;
        let mut sink = Floats::<S, B> { s, values: self.values.chunks_exact_mut(1), block: PhantomData };
        for block in blocks {
            // SAFETY: the tile has these groups.
            unsafe { B::unpack(s, self.tile.advance(block * B::BYTES), &mut sink) };
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
        let signed = B::Kind::SIGNED && S::SIGNED_OFFSET == 0.0;
        let offset = s.splat_f(if B::Kind::SIGNED { S::SIGNED_OFFSET } else { B::OFFSET });
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

/// A strip of float weights times some tokens, added to what the strips before
/// gave.
struct MultiplyFloats<'a> {
    /// A vector of rows for each column.
    values: &'a [[f32; LANES]],
    /// `[T, cols]`
    x: &'a [f32],
    cols: usize,
    /// The strip's first column.
    from: usize,
    tokens: Range<usize>,
    target: Target,
}

impl Kernel for MultiplyFloats<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut t = self.tokens.start;
        while t + WIDTH <= self.tokens.end {
            self.some::<S, WIDTH>(s, t);
            t += WIDTH;
        }
        while t < self.tokens.end {
            self.some::<S, 1>(s, t);
            t += 1;
        }
    }
}

impl MultiplyFloats<'_> {
    #[inline(always)]
    fn some<S: Simd, const N: usize>(&self, s: S, t: usize) {
        let mut sums = [s.splat_f(0.0); N];
        if self.from > 0 {
            for n in 0..N {
                sums[n] = self.target.load(s, t + n);
            }
        }
        let rows: [&[f32]; N] = from_fn(|n| &self.x[(t + n) * self.cols + self.from..][..self.values.len()]);
        // A sum of its own for each group keeps the error small; two, for speed.
        for (g, group) in self.values.as_chunks::<GROUP>().0.iter().enumerate() {
            let mut parts = [[s.splat_f(0.0); 2]; N];
            for (c, w) in group.iter().enumerate() {
                let w = s.load_f(w);
                for n in 0..N {
                    let x = s.splat_f(rows[n][g * GROUP + c]);
                    parts[n][c % 2] = s.fma(w, x, parts[n][c % 2]);
                }
            }
            for n in 0..N {
                sums[n] = s.add(sums[n], s.add(parts[n][0], parts[n][1]));
            }
        }
        for n in 0..N {
            self.target.store(s, t + n, sums[n]);
        }
    }
}
