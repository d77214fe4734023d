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

/// `B`: rows of vectors.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    /// `[inner, vectors]`
    pub(super) data: &'a [Line],
    /// Vectors of a row.
    pub(super) vectors: usize,
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

/// `C (+)= A B` for some rows and a part of the inner dimension.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    s: S,
    a: Left<'_>,
    b: Right<'_>,
    c: &mut Sums<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    let tiles = rows.len().div_ceil(ROWS);
    for tile in 0..tiles {
        // Even tiles: seven rows are four and three.
        let first = rows.start + rows.len() * tile / tiles;
        let count = rows.start + rows.len() * (tile + 1) / tiles - first;
        let inner = inner.clone();
        match count {
            1 => strips::<S, 1>(s, a, b, c, first, inner),
            2 => strips::<S, 2>(s, a, b, c, first, inner),
            3 => strips::<S, 3>(s, a, b, c, first, inner),
            4 => strips::<S, 4>(s, a, b, c, first, inner),
            5 => strips::<S, 5>(s, a, b, c, first, inner),
            _ => strips::<S, ROWS>(s, a, b, c, first, inner),
        }
    }
}

#[inline(always)]
fn strips<S: Simd, const Q: usize>(
    s: S,
    a: Left<'_>,
    b: Right<'_>,
    c: &mut Sums<'_>,
    first: usize,
    inner: Range<usize>,
) {
    let mut at = 0;
    while at < b.vectors {
        let left = b.vectors - at;
        if S::REGISTERS >= 32 && left >= 4 {
            tile::<S, Q, 4>(s, a, b, c, first, inner.clone(), at);
            at += 4;
        } else if S::REGISTERS >= 32 && left >= 2 {
            tile::<S, Q, 2>(s, a, b, c, first, inner.clone(), at);
            at += 2;
        } else {
            tile::<S, Q, 1>(s, a, b, c, first, inner.clone(), at);
            at += 1;
        }
    }
}

/// `Q` rows by `V` vectors.
#[inline(always)]
fn tile<S: Simd, const Q: usize, const V: usize>(
    s: S,
    a: Left<'_>,
    b: Right<'_>,
    c: &mut Sums<'_>,
    first: usize,
    inner: Range<usize>,
    at: usize,
) {
    let mut rows: [&[f32]; Q] = [&[]; Q];
    for q in 0..Q {
        rows[q] = &a.data[(first + q) * a.stride..][inner.clone()];
    }
    let mut sums = [[s.splat_f(0.0); V]; Q];
    if c.add {
        for q in 0..Q {
            let from = &c.data[(first + q) * c.stride + c.at + at..][..V];
            for v in 0..V {
                sums[q][v] = s.load_f(&from[v].0);
            }
        }
    }
    let b = &b.data[inner.start * b.vectors..inner.end * b.vectors].chunks_exact(b.vectors);
    for (j, row) in b.clone().enumerate() {
        let row: &[Line; V] = row[at..].first_chunk().expect("V vectors");
        let mut right = [s.splat_f(0.0); V];
        for v in 0..V {
            right[v] = s.load_f(&row[v].0);
        }
        for q in 0..Q {
            let left = s.splat_f(rows[q][j]);
            for v in 0..V {
                sums[q][v] = s.fma(left, right[v], sums[q][v]);
            }
        }
    }
    for q in 0..Q {
        let to = &mut c.data[(first + q) * c.stride + c.at + at..][..V];
        for v in 0..V {
            s.store_f(sums[q][v], &mut to[v].0);
        }
    }
}
