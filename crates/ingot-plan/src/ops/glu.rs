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
}

impl Gate {
    /// The function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
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
