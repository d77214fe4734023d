//! `out = f(gate) * up`, the gated linear unit of transformer blocks.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, Plan};

/// Elementwise gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Glu {
    /// `[T, F]`
    pub gate: Buf,
    /// `[T, F]`
    pub up: Buf,
    /// The function of the gate.
    pub f: Gate,
    /// `[T, F]`
    pub out: Buf,
}

/// The function applied to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + exp(-x))`
    Silu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, the usual approximation of GELU
    Gelu,
}

/// `(1 + tanh(u)) / 2` is `1 / (1 + exp(-2 u))`, which needs no tanh: twice the square root of 2 / pi.
pub const GELU_SLOPE: f32 = 1.595_769_1;
/// The factor of the cube in [`Gate::Gelu`].
pub const GELU_CUBE: f32 = 0.044715;

impl Gate {
    /// The function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Gelu => x / (1.0 + (-GELU_SLOPE * (x + GELU_CUBE * x * x * x)).exp()),
        }
    }
}

impl Operation for Glu {
    const NAME: &'static str = "glu";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.gate, self.up], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.gate, self.up, self.out]);
    }

    fn reference(&self, m: &mut Machine) {
        let (gate, up) = (m.buffer(self.gate), m.buffer(self.up));
        let out = gate.iter().zip(up).map(|(&g, u)| self.f.apply(g) * u).collect();
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("{:?}", self.f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_what_its_formula_says() {
        for x in (-400..=400).map(|i| i as f32 * 0.025).chain([-1e20, -1e4, 1e4, 1e20]) {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (f64::from(x) + 0.044715 * f64::from(x).powi(3));
            let expected = 0.5 * f64::from(x) * (1.0 + u.tanh());
            let got = f64::from(Gate::Gelu.apply(x));
            assert!((got - expected).abs() <= 1e-6 * f64::from(x).abs(), "{x}: {got}, expected {expected}");
        }
    }
}
