//! Softmax page by page.
//!
//! A query's state is a line of numbers and the weighted sum of values,
//! `[vectors(N)]`. The numbers: while pages are added, sixteen partial sums of the
//! weights, with the largest score beside the state; afterwards the largest score
//! and the sum of the weights. Weights are relative to that score.

use super::lines::Line;
use super::storage::STRIPS;
use crate::simd::{LANES, Simd};
use crate::vector::{exp, soft_cap};
use std::ops::Range;

/// The state of a query that has seen nothing.
#[inline(always)]
pub(super) fn clear(state: &mut [Line]) {
    state.fill(Line::ZERO);
    state[0].0[0] = f32::NEG_INFINITY;
}

/// Keeps a page's scores softly below a cap.
#[inline(always)]
pub(super) fn cap<S: Simd>(s: S, scores: &mut [Line; STRIPS], cap: f32) {
    for line in scores {
        s.store_f(soft_cap(s, s.load_f(&line.0), cap), &mut line.0);
    }
}

/// Turns a page's scores into weights, of which those of `part` count, relative
/// to the largest score so far, `largest`, and what has been summed so far likewise.
#[inline(always)]
pub(super) fn weigh<S: Simd>(
    s: S,
    scores: &mut [Line; STRIPS],
    part: Range<usize>,
    largest: &mut f32,
    state: &mut [Line],
) {
    if part.len() < STRIPS * LANES {
        let scores = super::lines::values_mut::<f32>(scores);
        scores[..part.start].fill(f32::NEG_INFINITY);
        scores[part.end..].fill(f32::NEG_INFINITY);
    }
    let mut x = [s.splat_f(0.0); STRIPS];
    for i in 0..STRIPS {
        x[i] = s.load_f(&scores[i].0);
    }
    let mut max = x[0];
    for i in 1..STRIPS {
        max = s.max(max, x[i]);
    }
    let max = s.largest(max).max(*largest);
    if max > *largest {
        // What there is has become less by this; nothing at first.
        let shrink = s.splat_f((*largest - max).exp());
        for line in state.iter_mut() {
            s.store_f(s.mul(s.load_f(&line.0), shrink), &mut line.0);
        }
        *largest = max;
    }
    for i in 0..STRIPS {
        s.store_f(exp(s, s.sub(x[i], s.splat_f(max))), &mut scores[i].0);
    }
    if part.len() < STRIPS * LANES {
        // The exponential never is zero.
        let scores = super::lines::values_mut::<f32>(scores);
        scores[..part.start].fill(0.0);
        scores[part.end..].fill(0.0);
    }
    let mut total = s.load_f(&state[0].0);
    for i in 0..STRIPS {
        total = s.add(total, s.load_f(&scores[i].0));
    }
    s.store_f(total, &mut state[0].0);
}

/// Ends the pages of a chunk.
#[inline(always)]
pub(super) fn close<S: Simd>(s: S, state: &mut [Line], largest: f32) {
    let total = s.sum(s.load_f(&state[0].0));
    (state[0].0[0], state[0].0[1]) = (largest, total);
}

/// Adds the state of the next chunk.
#[inline(always)]
pub(super) fn merge<S: Simd>(s: S, state: &mut [Line], next: &[Line]) {
    let (largest, total) = (state[0].0[0], state[0].0[1]);
    let (next_largest, next_total) = (next[0].0[0], next[0].0[1]);
    if next_largest == f32::NEG_INFINITY {
        return; // nothing was seen
    }
    let max = largest.max(next_largest);
    let (shrink, shrink_next) = ((largest - max).exp(), (next_largest - max).exp());
    (state[0].0[0], state[0].0[1]) = (max, total * shrink + next_total * shrink_next);
    let (shrink, shrink_next) = (s.splat_f(shrink), s.splat_f(shrink_next));
    for (sum, next) in state[1..].iter_mut().zip(&next[1..]) {
        let next = s.mul(s.load_f(&next.0), shrink_next);
        s.store_f(s.fma(s.load_f(&sum.0), shrink, next), &mut sum.0);
    }
}
