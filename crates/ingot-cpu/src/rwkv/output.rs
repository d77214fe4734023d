//! The end of a time mix: the current token's own value and the gate.

use super::{load_at, store_at};
use crate::simd::{Kernel, LANES, Simd};

/// What a head's output is made of for one token, each `[N]`.
#[derive(Clone, Copy)]
pub(crate) struct Gated<'a> {
    /// Receptance.
    pub(crate) r: &'a [f32],
    /// Replacement key.
    pub(crate) key: &'a [f32],
    /// Value.
    pub(crate) v: &'a [f32],
    /// Output gate.
    pub(crate) g: &'a [f32],
    /// Weight of the bonus.
    pub(crate) r_k: &'a [f32],
}

impl Gated<'_> {
    /// `y = (y + (sum r key r_k) v) * g`
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, y: &mut [f32]) {
        let mut sum = s.splat_f(0.0);
        for i in (0..y.len()).step_by(LANES) {
            let both = s.mul(load_at(s, self.r, i), load_at(s, self.key, i));
            sum = s.fma(both, load_at(s, self.r_k, i), sum);
        }
        let own = s.splat_f(s.sum(sum));
        for i in (0..y.len()).step_by(LANES) {
            let y_i = s.fma(own, load_at(s, self.v, i), load_at(s, y, i));
            store_at(s, s.mul(y_i, load_at(s, self.g, i)), y, i);
        }
    }
}

/// One row, `[H * N]` in heads of `size`.
pub(crate) struct Row<'a> {
    pub(crate) y: &'a [f32],
    pub(crate) gated: Gated<'a>,
    pub(crate) size: usize,
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gated { r, key, v, g, r_k } = self.gated;
        self.out.copy_from_slice(self.y);
        for (h, out) in self.out.chunks_exact_mut(self.size).enumerate() {
            let head = h * self.size..(h + 1) * self.size;
            let gated = Gated {
                r: &r[head.clone()],
                key: &key[head.clone()],
                v: &v[head.clone()],
                g: &g[head.clone()],
                r_k: &r_k[head],
            };
            gated.apply(s, out);
        }
    }
}
