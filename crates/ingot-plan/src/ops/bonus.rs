//! The end of RWKV-7's time mix, per head of size N:
//!
//! `out = (y + (sum_n r_n k_n r_k_n) v) * g`

use super::{Operation, Uses, same_shape, vector};
use crate::reference::{Machine, sum};
use crate::{Buf, Plan, WeightId};

/// Adds the current token's own value, weighted by how receptive the head is to
/// its own key, then gates.
#[derive(Clone, Debug, PartialEq)]
pub struct Bonus {
    /// Group-normalised output of the recurrence: `[T, H * N]`
    pub y: Buf,
    /// Receptance: `[T, H * N]`
    pub r: Buf,
    /// Key as it went into the recurrence: `[T, H * N]`
    pub k: Buf,
    /// Value: `[T, H * N]`
    pub v: Buf,
    /// Output gate: `[T, H * N]`
    pub g: Buf,
    /// Per-channel weight of the bonus: `[H * N]`
    pub r_k: WeightId,
    /// Number of heads, H.
    pub heads: usize,
    /// `[T, H * N]`
    pub out: Buf,
}

impl Operation for Bonus {
    const NAME: &'static str = "bonus";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.y, self.r, self.k, self.v, self.g],
            writes: vec![self.out],
            weights: vec![self.r_k],
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.y, self.r, self.k, self.v, self.g, self.out]);
        let width = plan.buffer(self.y).width;
        assert!(width.is_multiple_of(self.heads), "bonus: {} heads in {width}", self.heads);
        vector(Self::NAME, plan, self.r_k, width);
    }

    fn reference(&self, m: &mut Machine) {
        let r_k = m.values(self.r_k);
        let [y, r, k, v, g] = [self.y, self.r, self.k, self.v, self.g].map(|b| m.buffer(b));
        let (width, n) = (r_k.len(), r_k.len() / self.heads);
        let mut out = vec![0.0; y.len()];
        for head in (0..y.len()).step_by(n) {
            let at = head % width;
            let own = sum((0..n).map(|i| r[head + i] * k[head + i] * r_k[at + i]));
            for i in head..head + n {
                out[i] = (y[i] + own * v[i]) * g[i];
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("heads {}", self.heads)
    }
}
