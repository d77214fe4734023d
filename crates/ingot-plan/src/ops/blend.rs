//! `out = from + (to - from) * by`, the value residual of RWKV-7.

use super::{Operation, Uses, same_shape};
use crate::reference::Machine;
use crate::{Buf, Plan};

/// Elementwise interpolation between two buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend {
    /// Where `by` is 0: `[T, C]`
    pub from: Buf,
    /// Where `by` is 1: `[T, C]`
    pub to: Buf,
    /// `[T, C]`
    pub by: Buf,
    /// `[T, C]`
    pub out: Buf,
}

impl Operation for Blend {
    const NAME: &'static str = "blend";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.from, self.to, self.by], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.from, self.to, self.by, self.out]);
    }

    fn reference(&self, m: &mut Machine) {
        let (from, to, by) = (m.buffer(self.from), m.buffer(self.to), m.buffer(self.by));
        let out = (0..from.len()).map(|i| from[i] + (to[i] - from[i]) * by[i]).collect();
        m.set(self.out, out);
    }
}
