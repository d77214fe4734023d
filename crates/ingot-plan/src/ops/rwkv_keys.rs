//! What RWKV-7's recurrence is fed with, per channel:
//!
//! * `decay = exp(-exp(-1/2) * sigmoid(w))`
//! * `removal = l2_normalise_per_head(k * k_k)`
//! * `key = k * (1 + (a - 1) * k_a)`

use super::{Operation, Uses, same_shape, vector};
use crate::reference::{Machine, dot};
use crate::{Buf, Plan, WeightId};

/// Decay, removal key and replacement key from the raw projections.
#[derive(Clone, Debug, PartialEq)]
pub struct RwkvKeys {
    /// Raw decay: `[T, H * N]`
    pub w: Buf,
    /// Raw key: `[T, H * N]`
    pub k: Buf,
    /// In-context learning rate, in 0..1: `[T, H * N]`
    pub a: Buf,
    /// `[H * N]`
    pub k_k: WeightId,
    /// `[H * N]`
    pub k_a: WeightId,
    /// Number of heads, H.
    pub heads: usize,
    /// `[T, H * N]`
    pub decay: Buf,
    /// `[T, H * N]`
    pub removal: Buf,
    /// `[T, H * N]`
    pub key: Buf,
}

impl RwkvKeys {
    /// Smallest norm a removal key is divided by.
    pub const MIN_NORM: f32 = 1e-12;

    /// The decay of a raw value.
    pub fn decay_of(w: f32) -> f32 {
        const RATE: f32 = 0.606_530_66; // exp(-1/2)
        (-RATE / (1.0 + (-w).exp())).exp()
    }
}

impl Operation for RwkvKeys {
    const NAME: &'static str = "rwkv_keys";

    fn uses(&self) -> Uses {
        Uses {
            reads: vec![self.w, self.k, self.a],
            writes: vec![self.decay, self.removal, self.key],
            weights: vec![self.k_k, self.k_a],
            state: None,
        }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.w, self.k, self.a, self.decay, self.removal, self.key]);
        let width = plan.buffer(self.k).width;
        assert!(width.is_multiple_of(self.heads), "rwkv_keys: {} heads in {width}", self.heads);
        vector(Self::NAME, plan, self.k_k, width);
        vector(Self::NAME, plan, self.k_a, width);
    }

    fn reference(&self, m: &mut Machine) {
        let (k_k, k_a) = (m.values(self.k_k), m.values(self.k_a));
        let (w, k, a) = (m.buffer(self.w), m.buffer(self.k), m.buffer(self.a));
        let width = k_k.len();
        let decay = w.iter().map(|&w| Self::decay_of(w)).collect();
        let mut removal: Vec<f32> = (0..k.len()).map(|i| k[i] * k_k[i % width]).collect();
        for head in removal.chunks_exact_mut(width / self.heads) {
            let norm = dot(head, head).sqrt().max(Self::MIN_NORM);
            head.iter_mut().for_each(|x| *x /= norm);
        }
        let key = (0..k.len()).map(|i| k[i] * (1.0 + (a[i] - 1.0) * k_a[i % width])).collect();
        m.set(self.decay, decay);
        m.set(self.removal, removal);
        m.set(self.key, key);
    }

    fn parameters(&self) -> String {
        format!("heads {}", self.heads)
    }
}
