//! What the recurrence is fed with, from the raw projections of one head.

use super::{load_at, store_at};
use crate::simd::{Kernel, LANES, Simd};
use crate::vector::{exp, sigmoid};
use ingot_plan::ops::RwkvKeys;

/// One head's projections of one token and its weights, each `[N]`.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// Raw decay.
    pub(crate) w: &'a [f32],
    /// Raw key.
    pub(crate) k: &'a [f32],
    /// In-context learning rate.
    pub(crate) a: &'a [f32],
    /// Weight of the removal key.
    pub(crate) k_k: &'a [f32],
    /// How much the learning rate weakens the replacement key.
    pub(crate) k_a: &'a [f32],
}

/// What becomes of them, each `[N]` or with room for whole vectors, which are
/// then zero after N but for the decay.
pub(crate) struct Keys<'a> {
    /// `exp(-exp(-1/2) * sigmoid(w))`
    pub(crate) decay: &'a mut [f32],
    /// `k * k_k`, of unit length
    pub(crate) removal: &'a mut [f32],
    /// `k * (1 + (a - 1) * k_a)`
    pub(crate) key: &'a mut [f32],
}

impl Raw<'_> {
    /// Computes all three.
    #[inline(always)]
    pub(crate) fn keys<S: Simd>(&self, s: S, out: Keys) {
        let (rate, one) = (s.splat_f(-0.606_530_66), s.splat_f(1.0)); // -exp(-1/2)
        let mut squares = s.splat_f(0.0);
        for i in (0..self.k.len()).step_by(LANES) {
            let (w, k, a) = (load_at(s, self.w, i), load_at(s, self.k, i), load_at(s, self.a, i));
            store_at(s, exp(s, s.mul(rate, sigmoid(s, w))), out.decay, i);
            let removal = s.mul(k, load_at(s, self.k_k, i));
            squares = s.fma(removal, removal, squares);
            store_at(s, removal, out.removal, i);
            let kept = s.fma(s.sub(a, one), load_at(s, self.k_a, i), one);
            store_at(s, s.mul(k, kept), out.key, i);
        }
        let norm = s.splat_f(s.sum(squares).sqrt().max(RwkvKeys::MIN_NORM));
        for i in (0..self.k.len()).step_by(LANES) {
            let v = s.div(load_at(s, out.removal, i), norm);
            store_at(s, v, out.removal, i);
        }
    }
}

/// The keys of one row, `[H * N]` in heads of `size`.
pub(crate) struct Row<'a> {
    pub(crate) raw: Raw<'a>,
    pub(crate) out: Keys<'a>,
    pub(crate) size: usize,
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { raw, out, size } = self;
        for at in (0..raw.k.len()).step_by(size) {
            let head = at..at + size;
            let raw = Raw {
                w: &raw.w[head.clone()],
                k: &raw.k[head.clone()],
                a: &raw.a[head.clone()],
                k_k: &raw.k_k[head.clone()],
                k_a: &raw.k_a[head.clone()],
            };
            let out = Keys {
                decay: &mut out.decay[head.clone()],
                removal: &mut out.removal[head.clone()],
                key: &mut out.key[head],
            };
            raw.keys(s, out);
        }
    }
}
