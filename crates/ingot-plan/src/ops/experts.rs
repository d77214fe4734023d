//! Mixture of experts: for each row, softmax over all router logits, the k
//! largest renormalised to weights g_e, then
//!
//! `out = sum_e g_e * down_e (silu(gate_e x) * up_e x)`

use super::{Gate, Operation, Uses, same_shape};
use crate::reference::{Machine, dot};
use crate::{Buf, Plan, Precision, WeightId};

/// A feed-forward layer of which each row uses only some experts.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// `[T, C]`
    pub x: Buf,
    /// Router logits: `[T, E]`
    pub router: Buf,
    /// `[E, F, C]`
    pub gate: WeightId,
    /// `[E, F, C]`
    pub up: WeightId,
    /// `[E, C, F]`
    pub down: WeightId,
    /// Number of experts, E.
    pub experts: usize,
    /// Experts used by a row, k.
    pub chosen: usize,
    /// How quantized weights see their inputs.
    pub inputs: Precision,
    /// `[T, C]`
    pub out: Buf,
}

/// The `k` experts with the largest logits (ties: the lower index) and their
/// weights, which are positive and sum to 1.
pub fn choose(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(k);
    let max = logits[order[0]];
    let exps: Vec<f32> = order.iter().map(|&e| (logits[e] - max).exp()).collect();
    let total: f32 = exps.iter().sum();
    order.into_iter().zip(exps).map(|(e, x)| (e, x / total)).collect()
}

impl Operation for Experts {
    const NAME: &'static str = "experts";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.x, self.router],
            writes: vec![self.out],
            weights: vec![self.gate, self.up, self.down],
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        let (c, e) = (plan.buffer(self.x).width, self.experts);
        let up = &plan.weight(self.up).shape;
        assert!(
            up.len() == 3
                && *up == [e, up[1], c]
                && plan.weight(self.gate).shape == *up
                && plan.weight(self.down).shape == [e, c, up[1]]
                && plan.buffer(self.router).width == e
                && (1..=e).contains(&self.chosen),
            "experts: {} of {e} over {c}, up {up:?}, gate {:?}, down {:?}",
            self.chosen,
            plan.weight(self.gate).shape,
            plan.weight(self.down).shape
        );
    }

    fn reference(&self, m: &mut Machine) {
        let c = m.plan().buffer(self.x).width;
        let f = m.plan().weight(self.up).shape[1];
        let (x, router) = (m.buffer(self.x).to_vec(), m.buffer(self.router).to_vec());
        let mut out = vec![0.0; x.len()];
        for (t, x) in x.chunks_exact(c).enumerate() {
            for (e, g) in choose(&router[t * self.experts..][..self.experts], self.chosen) {
                let gate = self.product(m, self.gate, e * f, f, x);
                let up = self.product(m, self.up, e * f, f, x);
                let h: Vec<f32> = gate.iter().zip(&up).map(|(&g, u)| Gate::Silu.apply(g) * u).collect();
                let down = self.product(m, self.down, e * c, c, &h);
                for (o, d) in out[t * c..][..c].iter_mut().zip(down) {
                    *o += g * d;
                }
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("{} of {}, inputs {:?}", self.chosen, self.experts, self.inputs)
    }
}

impl Experts {
    /// Rows `first..first + rows` of a stored tensor times `x`.
    fn product(&self, m: &Machine, id: WeightId, first: usize, rows: usize, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        if self.inputs == Precision::Q8 && m.plan().weight(id).dtype.block_len() > 1 {
            super::round_to_q8(&mut x);
        }
        (first..first + rows).map(|r| dot(&m.row(id, r), &x)).collect()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn choice_is_renormalised_and_stable() {
        let third = (1.0f32 / 3.0, 2.0f32 / 3.0);
        let picked = super::choose(&[0.0, 2.0f32.ln(), -5.0, 0.0], 2);
        assert_eq!([picked[0].0, picked[1].0], [1, 0]); // of the two zeros the first
        assert!((picked[0].1 - third.1).abs() < 1e-6 && (picked[1].1 - third.0).abs() < 1e-6);
    }
}
