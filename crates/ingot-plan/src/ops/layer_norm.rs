//! `out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, over the row.

use super::group_norm::normalize;
use super::{Operation, Uses, same_shape, vector};
use crate::reference::Machine;
use crate::{Buf, Plan, WeightId};

/// Layer norm with bias.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `[T, C]`
    pub x: Buf,
    /// `[C]`
    pub weight: WeightId,
    /// `[C]`
    pub bias: WeightId,
    /// Added to the variance.
    pub eps: f32,
    /// `[T, C]`
    pub out: Buf,
}

impl Operation for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.x],
            writes: vec![self.out],
            weights: vec![self.weight, self.bias],
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        let width = plan.buffer(self.x).width;
        vector(Self::NAME, plan, self.weight, width);
        vector(Self::NAME, plan, self.bias, width);
    }

    fn reference(&self, m: &mut Machine) {
        let (weight, bias) = (m.values(self.weight), m.values(self.bias));
        let out = normalize(m.buffer(self.x), &weight, &bias, 1, self.eps);
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("eps {:e}", self.eps)
    }
}
