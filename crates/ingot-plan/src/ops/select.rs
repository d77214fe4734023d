//! `out[o] = x[output[o]]`: only the rows whose logits are wanted go on.

use super::{Operation, Uses};
use crate::reference::Machine;
use crate::{Buf, Plan, Rows};

/// Gathers the step's output rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// `[T, C]`
    pub x: Buf,
    /// `[O, C]`
    pub out: Buf,
}

impl Operation for Select {
    const NAME: &'static str = "select";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.x], writes: vec![self.out], ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        let (x, out) = (plan.buffer(self.x), plan.buffer(self.out));
        assert!(
            x.width == out.width && x.rows == Rows::Tokens && out.rows == Rows::Outputs,
            "select: x {x:?}, out {out:?}"
        );
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.x).width;
        let rows = m.step().outputs.iter().map(|&o| o as usize * width);
        let x = m.buffer(self.x);
        let out = rows.flat_map(|at| x[at..at + width].iter().copied()).collect();
        m.set(self.out, out);
    }
}
