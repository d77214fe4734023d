//! Mixture of experts: for each row, softmax over all router logits, the k
//! largest, renormalised or not, as weights g_e, then
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
    /// Of `[F, C]` each.
    pub gate: Stack,
    /// Of `[F, C]` each.
    pub up: Stack,
    /// Of `[C, F]` each.
    pub down: Stack,
    /// Number of experts, E.
    pub experts: usize,
    /// Experts used by a row, k.
    pub chosen: usize,
    /// Whether the weights of a row's experts are brought to a sum of 1.
    pub renormalise: bool,
    /// How quantized weights see their inputs.
    pub inputs: Precision,
    /// `[T, C]`
    pub out: Buf,
}

/// Equally large matrices `[R, C]`, one for each expert: a tensor `[E, R, C]`, or E tensors, which
/// may lie anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack(Vec<WeightId>);

impl From<WeightId> for Stack {
    fn from(stacked: WeightId) -> Self {
        Self(vec![stacked])
    }
}

impl Stack {
    /// Of a tensor for each expert, in their order.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(each: Vec<WeightId>) -> Self {
        assert!(!each.is_empty(), "a stack of no tensors");
        Self(each)
    }

    /// Its tensors.
    pub fn ids(&self) -> &[WeightId] {
        &self.0
    }

    /// The tensor that has the matrix of expert `e`, and which of the tensor's it is.
    pub fn matrix(&self, e: usize) -> (WeightId, usize) {
        match self.0[..] {
            [all] => (all, e),
            _ => (self.0[e], 0),
        }
    }

    /// `[R, C]` of a matrix, if all are there for so many experts and are alike.
    fn shape(&self, plan: &Plan, experts: usize) -> Option<[usize; 2]> {
        let first = plan.weight(self.0[0]);
        let [.., rows, cols] = first.shape[..] else { return None };
        let stored: usize = first.shape[..first.shape.len() - 2].iter().product();
        let alike = self.0.iter().all(|id| {
            let each = plan.weight(*id);
            (each.dtype, &each.shape) == (first.dtype, &first.shape)
        });
        (alike && stored * self.0.len() == experts).then_some([rows, cols])
    }
}

/// The `k` experts with the largest logits (ties: the lower index) and their
/// weights, which are positive; renormalised, they sum to 1.
pub fn choose(logits: &[f32], k: usize, renormalise: bool) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let max = logits[order[0]];
    let exp = |e: &usize| (logits[*e] - max).exp();
    let total: f32 = order[..if renormalise { k } else { order.len() }].iter().map(exp).sum();
    order.truncate(k);
    order.into_iter().map(|e| (e, exp(&e) / total)).collect()
}

impl Operation for Experts {
    const NAME: &'static str = "experts";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.x, self.router],
            writes: vec![self.out],
            weights: [&self.gate, &self.up, &self.down].into_iter().flat_map(Stack::ids).copied().collect(),
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        let (c, e) = (plan.buffer(self.x).width, self.experts);
        let [gate, up, down] = [&self.gate, &self.up, &self.down].map(|stack| stack.shape(plan, e));
        assert!(
            up.is_some_and(|[f, width]| width == c && gate == up && down == Some([c, f]))
                && plan.buffer(self.router).width == e
                && (1..=e).contains(&self.chosen),
            "experts: {} of {e} over {c}, up {up:?}, gate {gate:?}, down {down:?}",
            self.chosen,
        );
    }

    fn reference(&self, m: &mut Machine) {
        let c = m.plan().buffer(self.x).width;
        let (x, router) = (m.buffer(self.x).to_vec(), m.buffer(self.router).to_vec());
        let mut out = vec![0.0; x.len()];
        for (t, x) in x.chunks_exact(c).enumerate() {
            for (e, g) in choose(&router[t * self.experts..][..self.experts], self.chosen, self.renormalise) {
                let gate = self.product(m, &self.gate, e, x);
                let up = self.product(m, &self.up, e, x);
                let h: Vec<f32> = gate.iter().zip(&up).map(|(&g, u)| Gate::Silu.apply(g) * u).collect();
                let down = self.product(m, &self.down, e, &h);
                for (o, d) in out[t * c..][..c].iter_mut().zip(down) {
                    *o += g * d;
                }
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        let weights = if self.renormalise { "" } else { ", weights as they are" };
        format!("{} of {}{weights}, inputs {:?}", self.chosen, self.experts, self.inputs)
    }
}

impl Experts {
    /// The matrix of expert `e` times `x`.
    fn product(&self, m: &Machine, stack: &Stack, e: usize, x: &[f32]) -> Vec<f32> {
        let (id, nth) = stack.matrix(e);
        let [.., rows, _] = m.plan().weight(id).shape[..] else {
            unreachable!("checked when it was planned")
        };
        let first = nth * rows;
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
    fn weights_of_all_or_of_the_chosen() {
        let logits = [0.0, 2.0f32.ln(), 0.0];
        let weights = |renormalise| super::choose(&logits, 2, renormalise).into_iter().map(|(_, g)| g);
        assert!(weights(false).zip([0.5, 0.25]).all(|(g, e)| (g - e).abs() < 1e-6));
        assert!(weights(true).zip([2.0 / 3.0, 1.0 / 3.0]).all(|(g, e)| (g - e).abs() < 1e-6));
    }

    #[test]
    fn choice_is_renormalised_and_stable() {
        let third = (1.0f32 / 3.0, 2.0f32 / 3.0);
        let picked = super::choose(&[0.0, 2.0f32.ln(), -5.0, 0.0], 2, true);
        assert_eq!([picked[0].0, picked[1].0], [1, 0]); // of the two zeros the first
        assert!((picked[0].1 - third.1).abs() < 1e-6 && (picked[1].1 - third.0).abs() < 1e-6);
    }
}
