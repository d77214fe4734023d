//! `out = cap * tanh(x / cap)`: logits that are softly kept between -cap and cap.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, Plan};

/// Soft-capping of every value of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Softcap {
    /// `[O, C]` (or `[T, C]`)
    pub x: Buf,
    /// The bound, positive.
    pub cap: f32,
    /// `[O, C]`
    pub out: Buf,
}

/// `cap * tanh(x / cap)`, or `x` without a cap.
pub fn soft_cap(x: f32, cap: Option<f32>) -> f32 {
    cap.map_or(x, |cap| cap * (x / cap).tanh())
}

impl Operation for Softcap {
    const NAME: &'static str = "softcap";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.x], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.x, self.out]);
        assert!(self.cap > 0.0, "softcap: {}", self.cap);
    }

    fn reference(&self, m: &mut Machine) {
        let out = m.buffer(self.x).iter().map(|&x| soft_cap(x, Some(self.cap))).collect();
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("cap {}", self.cap)
    }
}
