//! Kernels of RWKV-7: what its recurrence is fed with, the recurrence itself,
//! what becomes of its results, and the token shift.
//!
//! All but the shift work on the channels of one head at a time, so that a
//! chain of them never leaves the first-level cache.

pub(crate) mod keys;
pub(crate) mod output;
pub(crate) mod recurrence;
pub(crate) mod shift;

use crate::simd::{LANES, Simd};
use crate::vector::{load_part, store_part};

/// Values `i..i + 16` of `x`, zeros after its end.
#[inline(always)]
fn load_at<S: Simd>(s: S, x: &[f32], i: usize) -> S::F {
    match x[i..].first_chunk() {
        Some(all) => s.load_f(all),
        None => load_part(s, &x[i..]),
    }
}

/// Values `i..i + 16` of `out`, as far as it goes.
#[inline(always)]
fn store_at<S: Simd>(s: S, v: S::F, out: &mut [f32], i: usize) {
    match out[i..].first_chunk_mut::<LANES>() {
        Some(all) => s.store_f(v, all),
        None => store_part(s, v, &mut out[i..]),
    }
}
