//! `out = x / sqrt(mean(x^2) + eps) * weight`, over groups of the row.
//!
//! The group is as long as the weight: the whole row for a block's norm, one
//! head for the query and key norms of Qwen3.

use super::{Operation, Uses, same_shape};
use crate::reference::{Machine, dot};
use crate::{Buf, Plan, WeightId};

/// Root-mean-square norm.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// `[T, G * N]`
    pub x: Buf,
    /// `[N]`, shared by the G groups
    pub weight: WeightId,
    /// Added to the mean square.
    pub eps: f32,
    /// `[T, G * N]`
    pub out: Buf,
}

impl Operation for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.x], writes: vec![self.out], weights: vec![self.weight], state: None }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        let (width, group) = (plan.buffer(self.x).width, &plan.weight(self.weight).shape);
        assert!(group.len() == 1 && width.is_multiple_of(group[0]), "rms_norm: {width} in groups {group:?}");
    }

    fn reference(&self, m: &mut Machine) {
        let weight = m.values(self.weight);
        let mut out = m.buffer(self.x).to_vec();
        for group in out.chunks_exact_mut(weight.len()) {
            let mean_square = dot(group, group) / group.len() as f32;
            let scale = 1.0 / (mean_square + self.eps).sqrt();
            for (x, w) in group.iter_mut().zip(&weight) {
                *x *= scale * w;
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("eps {:e}", self.eps)
    }
}
