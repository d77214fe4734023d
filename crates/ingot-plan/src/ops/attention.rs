//! Causal attention over the cache: for a query at position p and its head's
//! key/value head, over positions j with `p - window < j <= p`:
//!
//! `out = sum_j softmax_j(cap(q . k_j * scale)) v_j`
//!
//! where `cap(s) = c tanh(s / c)` if there is a cap c, else `s`.

use super::{Operation, Uses, same_shape, soft_cap};
use crate::reference::{Machine, dot, sum};
use crate::{Buf, PAGE, Plan, StateDecl, StateId};

/// Grouped-query attention; runs after the step's keys and values are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `[T, H * N]`
    pub q: Buf,
    /// The layer's cache, rows of `KV * N`.
    pub cache: StateId,
    /// Number of query heads, H.
    pub heads: usize,
    /// Number of key/value heads, KV; divides H.
    pub kv_heads: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// What scores are softly kept below, see [`soft_cap`].
    pub cap: Option<f32>,
    /// How many positions are seen, the current one included; all if absent.
    pub window: Option<usize>,
    /// `[T, H * N]`
    pub out: Buf,
}

impl Attention {
    /// First position that a query at `position` sees.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }
}

impl Operation for Attention {
    const NAME: &'static str = "attention";

    fn uses(&self) -> Uses {
        Uses { reads: vec![self.q], writes: vec![self.out], state: Some(self.cache), ..Uses::default() }
    }

    fn check(&self, plan: &Plan) {
        same_shape(Self::NAME, plan, &[self.q, self.out]);
        let (width, cache) = (plan.buffer(self.q).width, plan.states()[self.cache.index()]);
        assert!(
            width.is_multiple_of(self.heads)
                && self.heads.is_multiple_of(self.kv_heads)
                && cache == StateDecl::Kv { width: width / self.heads * self.kv_heads }
                && self.window != Some(0)
                && self.cap.is_none_or(|c| c > 0.0),
            "attention: {} heads in {width}, {} kv heads, {cache:?}, window {:?}, cap {:?}",
            self.heads,
            self.kv_heads,
            self.window,
            self.cap
        );
    }

    fn reference(&self, m: &mut Machine) {
        let width = m.plan().buffer(self.q).width;
        let n = width / self.heads;
        let kv_width = n * self.kv_heads;
        let base = m.plan().state_offset(self.cache);
        let q = m.buffer(self.q).to_vec();
        let mut out = vec![0.0; q.len()];
        for s in m.step().sequences.clone() {
            for (i, t) in s.rows.clone().enumerate() {
                let position = s.past + i;
                for h in 0..self.heads {
                    let kv_head = h / (self.heads / self.kv_heads);
                    let at = |j: usize| base + j % PAGE * kv_width + kv_head * n;
                    let seen = self.first_seen(position)..=position;
                    let q = &q[t * width + h * n..][..n];
                    let scores: Vec<f32> = seen
                        .clone()
                        .map(|j| {
                            let k = &m.page(s.pages[j / PAGE])[at(j)..][..n];
                            soft_cap(dot(q, k) * self.scale, self.cap)
                        })
                        .collect();
                    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let exps: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
                    let total = sum(exps.iter().copied());
                    let out = &mut out[t * width + h * n..][..n];
                    for (j, e) in seen.zip(&exps) {
                        let v = &m.page(s.pages[j / PAGE])[at(j) + PAGE * kv_width..][..n];
                        for (o, v) in out.iter_mut().zip(v) {
                            *o += e / total * v;
                        }
                    }
                }
            }
        }
        m.set(self.out, out);
    }

    fn parameters(&self) -> String {
        let window = self.window.map_or(String::new(), |w| format!(", window {w}"));
        let cap = self.cap.map_or(String::new(), |c| format!(", cap {c}"));
        format!("heads {}/{}, scale {}{cap}{window}", self.heads, self.kv_heads, self.scale)
    }
}
