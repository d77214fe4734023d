//! Layer norm within each of G groups of the row, with per-channel weight and
//! bias: `out = (x - mean_g) / sqrt(var_g + eps) * weight + bias`.

use super::{Operation, Uses, same_shape, vector};
use crate::reference::{Machine, sum};
use crate::{Buf, Plan, WeightId};

/// Group norm; RWKV-7 uses it over heads.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
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

impl Operation for GroupNorm {
    const NAME: &'static str = "group_norm";

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
        assert!(width.is_multiple_of(self.groups), "group_norm: {} groups in {width}", self.groups);
        vector(Self::NAME, plan, self.weight, width);
        vector(Self::NAME, plan, self.bias, width);
    }

    fn reference(&self, m: &mut Machine) {
        let (weight, bias) = (m.values(self.weight), m.values(self.bias));
        let out = normalize(m.buffer(self.x), &weight, &bias, self.groups, self.eps);
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("groups {}, eps {:e}", self.groups, self.eps)
    }
}

/// Normalises `x` `[T, G * N]` to zero mean and unit variance in each group.
pub(super) fn normalize(x: &[f32], weight: &[f32], bias: &[f32], groups: usize, eps: f32) -> Vec<f32> {
    let n = weight.len() / groups;
    let mut out = Vec::with_capacity(x.len());
    for (g, group) in x.chunks_exact(n).enumerate() {
        let mean = sum(group.iter().copied()) / n as f32;
        let var = sum(group.iter().map(|x| (x - mean) * (x - mean))) / n as f32;
        let scale = 1.0 / (var + eps).sqrt();
        let at = g % groups * n;
        out.extend((0..n).map(|i| (group[i] - mean) * scale * weight[at + i] + bias[at + i]));
    }
    out
}
