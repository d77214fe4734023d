//! Products of matrices, as much of the sums in registers as fits.
//!
//! An element of the result is one chain of fused additions in the order of the
//! inner dimension, whatever the tiles are.

use super::lines::Line;
use crate::simd::Simd;
use std::ops::Range;

/// `A`: rows of numbers that are multiplied with whole rows of `B`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    /// `[rows, stride]`
    pub(super) data: &'a [f32],
    /// From one row to the next.
    pub(super) stride: usize,
}

/// `B`: rows of vectors, `[inner, vectors]`, however they are stored.
pub(crate) trait Right: Copy {
    /// A power of two that divides the number of vectors.
    const MULTIPLE: usize = 1;

    /// The inner dimension, and vectors of a row.
    fn shape(self) -> [usize; 2];
    /// `V` vectors of a row, the first of them vector `at`.
    ///
    /// # Safety
    /// They are inside of [`shape`](Self::shape). It is not checked here, since
    /// that would take as long as the products.
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V];
}

/// Rows of floats.
#[derive(Clone, Copy)]
pub(super) struct Wide<'a> {
    /// `[inner, vectors]`
    pub(super) data: &'a [Line],
    /// Vectors of a row.
    pub(super) vectors: usize,
}

impl Right for Wide<'_> {
    #[inline(always)]
    fn shape(self) -> [usize; 2] {
        [self.data.len() / self.vectors, self.vectors]
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const V: usize>(self, s: S, row: usize, at: usize) -> [S::F; V] {
        let mut out = [s.splat_f(0.0); V];
        for v in 0..V {
            // SAFETY: inside of the shape.
            out[v] = s.load_f(unsafe { &self.data.get_unchecked(row * self.vectors + at + v).0 });
        }
        out
    }
}

/// Widens some vectors of some rows; `out`: `[inner][vectors]`.
#[inline(always)]
pub(super) fn widen<S: Simd, B: Right>(
    s: S,
    b: B,
    rows: Range<usize>,
    vectors: Range<usize>,
    out: &mut [Line],
) {
    let [inner, width] = b.shape();
    assert!(rows.end <= inner && vectors.end <= width);
    for row in rows {
        let out = &mut out[row * width..][..width];
        for at in vectors.clone() {
            // SAFETY: inside of the shape.
            let [v] = unsafe { b.row::<S, 1>(s, row, at) };
            s.store_f(v, &mut out[at].0);
        }
    }
}

/// `C`: where the sums are.
pub(super) struct Sums<'a> {
    /// `[rows, stride]`
    pub(super) data: &'a mut [Line],
    /// Vectors from one row to the next.
    pub(super) stride: usize,
    /// Vector of a row where the sums begin.
    pub(super) at: usize,
    /// What is there is added to; else it is overwritten.
    pub(super) add: bool,
}

/// Rows of a tile, at most.
const ROWS: usize = 6;
/// Rows that are worth a tile of their own, so that `B` is read once.
pub(super) const FEW: usize = 8;

/// `C (+)= A B` for a [few](FEW) rows and a part of the inner dimension. Every
/// size of tile is code of its own for every way of storing, so there are four.
#[inline(always)]
pub(super) fn multiply_few<S: Simd, B: Right>(
    s: S,
    a: Left<'_>,
    b: B,
    c: &mut Sums<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    match rows.len() {
        1 => strips::<S, B, 1>(s, a, b, c, rows, inner),
        2 => strips::<S, B, 2>(s, a, b, c, rows, inner),
        3 | 4 => strips::<S, B, 4>(s, a, b, c, rows, inner),
        _ => strips::<S, B, FEW>(s, a, b, c, rows, inner),
    }
}

/// `C (+)= A B` for some rows and a part of the inner dimension.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    s: S,
    a: Left<'_>,
    b: Wide<'_>,
    c: &mut Sums<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    let tiles = rows.len().div_ceil(ROWS);
    for tile in 0..tiles {
        // Even tiles: seven rows are four and three.
        let first = rows.start + rows.len() * tile / tiles;
        let rows = first..rows.start + rows.len() * (tile + 1) / tiles;
        let inner = inner.clone();
        match rows.len() {
            1 => strips::<S, _, 1>(s, a, b, c, rows, inner),
            2 => strips::<S, _, 2>(s, a, b, c, rows, inner),
            3 => strips::<S, _, 3>(s, a, b, c, rows, inner),
            4 => strips::<S, _, 4>(s, a, b, c, rows, inner),
            5 => strips::<S, _, 5>(s, a, b, c, rows, inner),
            _ => strips::<S, _, ROWS>(s, a, b, c, rows, inner),
        }
    }
}

/// At most `Q` rows: as many vectors at a time as fit the registers, the rest one by one.
#[inline(always)]
fn strips<S: Simd, B: Right, const Q: usize>(
    s: S,
    a: Left<'_>,
    b: B,
    c: &mut Sums<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    let ([_, vectors], mut at) = (b.shape(), 0);
    if S::REGISTERS >= 32 && Q <= ROWS {
        while vectors - at >= 4 {
            tile::<S, B, Q, 4>(s, a, b, c, rows.clone(), inner.clone(), at);
            at += 4;
        }
    }
    if S::REGISTERS >= 32 && Q > ROWS {
        while vectors - at >= 2 {
            tile::<S, B, Q, 2>(s, a, b, c, rows.clone(), inner.clone(), at);
            at += 2;
        }
    }
    // No code for what cannot be left.
    if S::REGISTERS >= 32 && B::MULTIPLE >= if Q <= ROWS { 4 } else { 2 } {
        return;
    }
    while at < vectors {
        tile::<S, B, Q, 1>(s, a, b, c, rows.clone(), inner.clone(), at);
        at += 1;
    }
}

/// At most `Q` rows by `V` vectors; the last row stands in for those that lack.
#[inline(always)]
fn tile<S: Simd, B: Right, const Q: usize, const V: usize>(
    s: S,
    a: Left<'_>,
    b: B,
    c: &mut Sums<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
    at: usize,
) {
    let place = |q: usize| (rows.start + q).min(rows.end - 1);
    let mut left: [&[f32]; Q] = [&[]; Q];
    for q in 0..Q {
        left[q] = &a.data[place(q) * a.stride..][inner.clone()];
    }
    let mut sums = [[s.splat_f(0.0); V]; Q];
    if c.add {
        for q in 0..Q {
            let from = &c.data[place(q) * c.stride + c.at + at..][..V];
            for v in 0..V {
                sums[q][v] = s.load_f(&from[v].0);
            }
        }
    }
    let [rows_of_b, vectors] = b.shape();
    assert!(inner.end <= rows_of_b && at + V <= vectors);
    for j in 0..inner.len() {
        // SAFETY: inside of the shape.
        let right = unsafe { b.row::<S, V>(s, inner.start + j, at) };
        for q in 0..Q {
            let left = s.splat_f(left[q][j]);
            for v in 0..V {
                sums[q][v] = s.fma(left, right[v], sums[q][v]);
            }
        }
    }
    for q in 0..rows.len() {
        let to = &mut c.data[(rows.start + q) * c.stride + c.at + at..][..V];
        for v in 0..V {
            s.store_f(sums[q][v], &mut to[v].0);
        }
    }
}
