//! RWKV-7's recurrence, per head with state S `[N value channels, N key channels]`:
//!
//! `S = S diag(decay) + (S (-removal)) (removal * a)^T + v k^T`, with the old S
//! on the right, then `out = S r`.

use super::{Operation, Uses, same_shape};
use crate::reference::{Machine, dot};
use crate::{Buf, Plan, StateDecl, StateId};

/// The generalised delta rule, one row after the other within a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Wkv7 {
    /// Receptance: `[T, H * N]`
    pub r: Buf,
    /// In 0..1: `[T, H * N]`
    pub decay: Buf,
    /// Replacement key: `[T, H * N]`
    pub key: Buf,
    /// `[T, H * N]`
    pub v: Buf,
    /// Removal key, of unit length per head: `[T, H * N]`
    pub removal: Buf,
    /// In-context learning rate: `[T, H * N]`
    pub a: Buf,
    /// Number of heads, H.
    pub heads: usize,
    /// `[H, N, N]`, value channel by key channel
    pub state: StateId,
    /// `[T, H * N]`
    pub out: Buf,
}

impl Operation for Wkv7 {
    const NAME: &'static str = "wkv7";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.r, self.decay, self.key, self.v, self.removal, self.a],
            writes: vec![self.out],
            weights: vec![],
            state: Some(self.state),
        }
    }

    fn check(&self, plan: &Plan) {
        let bufs = [self.r, self.decay, self.key, self.v, self.removal, self.a, self.out];
        same_shape(Self::NAME, plan, &bufs);
        let (width, state) = (plan.buffer(self.r).width, plan.states()[self.state.index()]);
        assert!(
            width.is_multiple_of(self.heads)
                && state == StateDecl::Recurrent { len: width * (width / self.heads) },
            "wkv7: {} heads in {width}, {state:?}",
            self.heads
        );
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.r).width;
        let n = width / self.heads;
        let at = m.plan().state_offset(self.state);
        let [r, decay, key, v, removal, a] =
            [self.r, self.decay, self.key, self.v, self.removal, self.a].map(|b| m.buffer(b).to_vec());
        let mut out = vec![0.0; r.len()];
        for seq in m.step().sequences.clone() {
            let state = &mut m.slot(seq.slot)[at..at + width * n];
            for t in seq.rows {
                for (h, s) in state.chunks_exact_mut(n * n).enumerate() {
                    let at = t * width + h * n;
                    for (i, s) in s.chunks_exact_mut(n).enumerate() {
                        let removed = -dot(s, &removal[at..at + n]);
                        for (j, s) in s.iter_mut().enumerate() {
                            let c = at + j;
                            *s = *s * decay[c] + removed * removal[c] * a[c] + v[at + i] * key[c];
                        }
                        out[at + i] = dot(s, &r[at..at + n]);
                    }
                }
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        format!("heads {}", self.heads)
    }
}
