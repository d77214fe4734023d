//! A group of weights times a group of activations.

use crate::blocks::{Group, Kind};
use crate::q8::Q8;
use crate::simd::Simd;

/// What the sum of products of `half` of a group (or of all of it) begins with,
/// so that the weights' offset is taken out.
#[inline(always)]
pub(super) fn beginning<S: Simd, K: Kind>(s: S, offset: i32, x: &Q8, half: usize) -> S::V {
    let offset = if K::SIGNED { S::SIGNED_OFFSET } else { offset };
    if !(K::CENTERED || K::SIGNED && S::SIGNED_OFFSET != 0) {
        return s.splat(0);
    }
    let sum = if K::HALVES { x.half_sums[half] } else { x.half_sums[0] + x.half_sums[1] };
    s.splat(-offset * sum)
}

/// `sum` gains the dot products of `half` of a group (or of all of it), scaled.
#[inline(always)]
pub(super) fn scale_and_add<S: Simd, K: Kind>(
    s: S,
    (scale, min): (S::F, S::F),
    x: &Q8,
    half: usize,
    dot: S::V,
    sum: S::F,
) -> S::F {
    let sum = s.fma(s.to_f(dot), s.mul(scale, s.splat_f(x.scale)), sum);
    if !K::MIN {
        return sum;
    }
    let total = if K::HALVES { x.scale * x.half_sums[half] as f32 } else { x.total };
    s.fnma(min, s.splat_f(total), sum)
}

/// One word of weights times one of activations.
#[inline(always)]
pub(super) fn dot<S: Simd, K: Kind>(s: S, acc: S::V, w: S::V, x: i32) -> S::V {
    if K::SIGNED { s.dot_signed(acc, w, x) } else { s.dot(acc, w, x) }
}

/// `sum` gains what a group of weights gives with a group of activations.
#[inline(always)]
pub(super) fn accumulate<S: Simd, K: Kind>(s: S, w: &Group<S>, offset: i32, x: &Q8, mut sum: S::F) -> S::F {
    // Two short chains rather than a long one; the sums are exact.
    let mut dots = [beginning::<S, K>(s, offset, x, 0), s.splat(0)];
    if K::HALVES {
        dots[1] = beginning::<S, K>(s, offset, x, 1);
    }
    for i in 0..4 {
        for half in 0..2 {
            dots[half] = dot::<S, K>(s, dots[half], w.q[4 * half + i], x.q[4 * half + i]);
        }
    }
    if !K::HALVES {
        dots[0] = s.add_i32(dots[0], dots[1]);
    }
    for half in 0..if K::HALVES { 2 } else { 1 } {
        sum = scale_and_add::<S, K>(s, (w.scale[half], w.min[half]), x, half, dots[half], sum);
    }
    sum
}

/// As [`accumulate`], for two tokens and interleaved weights.
#[inline(always)]
pub(super) fn accumulate_pair<S: Simd, K: Kind>(
    s: S,
    w: &Group<S>,
    offset: i32,
    x: [&Q8; 2],
    mut sums: [S::F; 2],
) -> [S::F; 2] {
    let mut dots = [[s.splat(0); 2]; 2];
    for half in 0..2 {
        let q = [w.q[4 * half], w.q[4 * half + 1], w.q[4 * half + 2], w.q[4 * half + 3]];
        let words = [&x[0].q.as_chunks().0[half], &x[1].q.as_chunks().0[half]];
        let place = if K::HALVES { half } else { 0 };
        dots[place] = s.dot_pair(dots[place], q, words, K::SIGNED);
    }
    for half in 0..if K::HALVES { 2 } else { 1 } {
        let split = s.split_pair(dots[half]);
        for t in 0..2 {
            let dot = s.add_i32(split[t], beginning::<S, K>(s, offset, x[t], half));
            sums[t] = scale_and_add::<S, K>(s, (w.scale[half], w.min[half]), x[t], half, dot, sums[t]);
        }
    }
    sums
}
