//! `out_p = act_p(x W_p^T + bias_p)` for one or more weights that share an input.
//!
//! Queries, keys and values, or gate and up, are parts of one op: the input is
//! read (and rounded) once, and a device needs one launch for all of them.

use super::{Operation, Uses, vector};
use crate::reference::{Machine, dot};
use crate::{Buf, Plan, Precision, WeightId};

/// Matrix products of one input with several weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[T, C]` (or `[O, C]`)
    pub x: Buf,
    /// How the input is seen by quantized weights.
    pub inputs: Precision,
    /// The products.
    pub parts: Vec<Part>,
}

/// One product of a [`Linear`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `[R, C]`
    pub weight: WeightId,
    /// `[R]`
    pub bias: Option<WeightId>,
    /// Applied to the sum.
    pub activation: Activation,
    /// `[T, R]`
    pub out: Buf,
}

/// A function applied to each value of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `tanh(x)`
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `max(x, 0)^2`
    SquaredRelu,
}

impl Activation {
    /// The function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::SquaredRelu => x.max(0.0) * x.max(0.0),
        }
    }
}

impl Operation for Linear {
    const NAME: &'static str = "linear";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.x],
            writes: self.parts.iter().map(|p| p.out).collect(),
            weights: self.parts.iter().flat_map(|p| [Some(p.weight), p.bias]).flatten().collect(),
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        let x = plan.buffer(self.x);
        for part in &self.parts {
            let (w, out) = (plan.weight(part.weight), plan.buffer(part.out));
            assert!(
                w.shape == [out.width, x.width] && out.rows == x.rows,
                "linear: x [{:?}, {}], {} {:?}, out [{:?}, {}]",
                x.rows,
                x.width,
                w.name,
                w.shape,
                out.rows,
                out.width
            );
            if let Some(bias) = part.bias {
                vector(Self::NAME, plan, bias, out.width);
            }
        }
    }

    fn reference(&self, m: &mut Machine) {
        let cols = m.plan().buffer(self.x).width;
        for part in &self.parts {
            let weight = m.plan().weight(part.weight);
            let (rows, quantized) = (weight.shape[0], weight.dtype.block_len() > 1);
            let mut x = m.buffer(self.x).to_vec();
            if self.inputs == Precision::Q8 && quantized {
                x.chunks_exact_mut(cols).for_each(round_to_q8);
            }
            let bias = part.bias.map_or(vec![0.0; rows], |b| m.values(b));
            let mut out = vec![0.0; x.len() / cols * rows];
            for r in 0..rows {
                let row = m.row(part.weight, r);
                for (t, x) in x.chunks_exact(cols).enumerate() {
                    out[t * rows + r] = part.activation.apply(dot(&row, x) + bias[r]);
                }
            }
            m.set(part.out, out);
        }
    }

    fn parameters(&self) -> String {
        let acts: Vec<_> =
            self.parts.iter().map(|p| p.activation).filter(|a| *a != Activation::Identity).collect();
        let acts = if acts.is_empty() { String::new() } else { format!(" {acts:?}") };
        format!("inputs {:?}{acts}", self.inputs)
    }
}

/// Rounds a row to 8 bits in blocks of 32: `q = round(x * 127 / max|x|)`, half to
/// even, and back. A row's last block may be shorter.
pub fn round_to_q8(row: &mut [f32]) {
    for block in row.chunks_mut(32) {
        let max = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // Values so small that the inverse overflows are as good as zero.
        let inverse = 127.0 / max;
        let (scale, inverse) = if inverse.is_finite() { (max / 127.0, inverse) } else { (0.0, 0.0) };
        for x in block {
            *x = (*x * inverse).round_ties_even() * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_rounding() {
        let mut row = vec![127.0, -63.6, 0.5, 1.5, -0.49];
        round_to_q8(&mut row);
        assert_eq!(row, [127.0, -64.0, 0.0, 2.0, 0.0]); // halves go to even
        let mut zeros = vec![0.0; 40];
        round_to_q8(&mut zeros);
        assert_eq!(zeros, [0.0; 40]);
        let mut tiny = vec![1e-38; 3];
        round_to_q8(&mut tiny);
        assert_eq!(tiny, [0.0; 3]);
        let mut two_blocks = vec![1.0; 32];
        two_blocks.push(1000.0); // does not disturb the block before it
        round_to_q8(&mut two_blocks);
        assert!(two_blocks[..32].iter().all(|x| (x - 1.0).abs() < 1e-6));
    }

    #[test]
    fn activations() {
        assert_eq!(Activation::SquaredRelu.apply(-3.0), 0.0);
        assert_eq!(Activation::SquaredRelu.apply(3.0), 9.0);
        assert_eq!(Activation::Sigmoid.apply(0.0), 0.5);
        assert_eq!(Activation::Tanh.apply(0.0), 0.0);
        assert_eq!(Activation::Identity.apply(-2.5), -2.5);
    }
}
