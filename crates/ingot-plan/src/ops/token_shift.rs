//! RWKV's token shift: `out_i = x + (previous - x) * mix_i` for several mixes.
//!
//! `previous` is the row before in the same sequence, or the stored row for a
//! sequence's first; its last row is stored for the next step.

use super::{Operation, Uses};
use crate::reference::Machine;
use crate::{Buf, Plan, StateDecl, StateId, WeightId};

/// Blends each row with the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenShift {
    /// `[T, C]`
    pub x: Buf,
    /// One row per output: `[n, C]`, any shape with that many values.
    pub mix: WeightId,
    /// The last row seen: `[C]`
    pub state: StateId,
    /// n outputs, each `[T, C]`
    pub outs: Vec<Buf>,
}

impl Operation for TokenShift {
    const NAME: &'static str = "token_shift";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.x],
            writes: self.outs.clone(),
            weights: vec![self.mix],
            state: Some(self.state),
        }
    }

    fn check(&self, plan: &Plan) {
        let width = plan.buffer(self.x).width;
        super::vector(Self::NAME, plan, self.mix, width * self.outs.len());
        for &out in &self.outs {
            super::same_shape(Self::NAME, plan, &[self.x, out]);
        }
        let state = plan.states()[self.state.index()];
        assert!(state == StateDecl::Recurrent { len: width }, "token_shift: row of {width}, {state:?}");
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.x).width;
        let at = m.plan().state_offset(self.state);
        let mix = m.values(self.mix);
        let x = m.buffer(self.x).to_vec();
        let mut outs = vec![vec![0.0; x.len()]; self.outs.len()];
        for s in m.step().sequences.clone() {
            let stored = &mut m.slot(s.slot)[at..at + width];
            for t in s.rows {
                let row = &x[t * width..][..width];
                for (out, mix) in outs.iter_mut().zip(mix.chunks_exact(width)) {
                    for c in 0..width {
                        out[t * width + c] = row[c] + (stored[c] - row[c]) * mix[c];
                    }
                }
                stored.copy_from_slice(row);
            }
        }
        for (&buf, out) in self.outs.iter().zip(outs) {
            m.set(buf, out);
        }
    }
}
