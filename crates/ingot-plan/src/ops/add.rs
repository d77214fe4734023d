//! `out = a + b`, the residual connection.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, Plan};

/// Elementwise sum of two buffers of the same shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// `[T, C]`
    pub a: Buf,
    /// `[T, C]`
    pub b: Buf,
    /// `[T, C]`
    pub out: Buf,
}

impl Operation for Add {
    const NAME: &'static str = "add";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.a, self.b], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.a, self.b, self.out]);
    }

    fn reference(&self, m: &mut Machine) {
        let out = m.buffer(self.a).iter().zip(m.buffer(self.b)).map(|(a, b)| a + b).collect();
        m.set(self.out, out);
    }
}
