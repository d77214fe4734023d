//! `out = (x - mean_g) / sqrt(var_g + eps) * weight + bias`, with mean and
//! variance of each of G groups of the row: one group is a layer norm, several
//! are a group norm.

use super::{Operation, Uses, same_shape, vector};
use crate::reference::{Machine, sum};
use crate::{Buf, Plan, WeightId};

/// Layer norm over groups of the row; RWKV-7 has it over the row and over heads.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `[T, G * N]`
    pub x: Buf,
    /// `[G * N]`
    pub weight: WeightId,
    /// `[G * N]`
    pub bias: WeightId,
    /// Number of groups, G.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// `[T, G * N]`
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
        assert!(width.is_multiple_of(self.groups), "layer_norm: {} groups in {width}", self.groups);
        vector(Self::NAME, plan, self.weight, width);
        vector(Self::NAME, plan, self.bias, width);
    }

    fn reference(&self, m: &mut Machine) {
        let (weight, bias) = (m.values(self.weight), m.values(self.bias));
        let n = weight.len() / self.groups;
        let mut out = Vec::new();
        for (g, group) in m.buffer(self.x).chunks_exact(n).enumerate() {
            let mean = sum(group.iter().copied()) / n as f32;
            let var = sum(group.iter().map(|x| (x - mean) * (x - mean))) / n as f32;
            let scale = 1.0 / (var + self.eps).sqrt();
            let at = g % self.groups * n;
            out.extend((0..n).map(|i| (group[i] - mean) * scale * weight[at + i] + bias[at + i]));
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("groups {}, eps {:e}", self.groups, self.eps)
    }
}
