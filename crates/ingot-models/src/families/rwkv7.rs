//! RWKV-7 ("Goose").
//!
//! ```text
//! x = ln0(embed(token))
//! for each block:
//!     xr, xw, xk, xv, xa, xg = token_shift(ln1(x))
//!     r, k, v = R xr, K xk, V xv
//!     w = w0 + tanh(xw w1) w2          decay, raw
//!     a = sigmoid(a0 + xa a1 a2)       in-context learning rate
//!     g = sigmoid(xg g1) g2            output gate
//!     v = v of block 0 in block 0, else v + (v_first - v) * sigmoid(v0 + xv v1 v2)
//!     y = group_norm(wkv7(...))
//!     x = x + O ((y + bonus) * g)
//!     xk = token_shift(ln2(x))
//!     x = x + V relu(K xk)^2
//! logits = head(ln_out(x))
//! ```

use crate::loader::Loader;
use crate::source::{Source, key};
use crate::{Error, Family, Info, Model, Result};
use ingot_plan::ops::{Activation, Bonus, Wkv7};
use ingot_plan::{Buf, Precision, StateDecl};
use std::sync::Arc;

/// Epsilon of the group norm over heads; no file says it.
const GROUP_NORM_EPS: f32 = 64e-5;

struct Rwkv7 {
    hidden: usize,
    ffn: usize,
    heads: usize,
    head_size: usize,
    eps: f32,
}

/// Checks the weights and builds the plan.
pub(super) fn build(source: &Source, precision: Precision) -> Result<Model> {
    let hidden = source.size(key::HIDDEN)?;
    let head_size = source.size(key::WKV_HEAD_SIZE)?;
    if !hidden.is_multiple_of(head_size) {
        return Err(Error::inconsistent(format!("heads of {head_size} do not divide a width of {hidden}")));
    }
    let layers = source.size(key::LAYERS)?;
    let eps = source.float_or_absent(key::LAYER_NORM_EPS)?.unwrap_or(1e-5);
    let model = Rwkv7 { hidden, ffn: source.size(key::FFN)?, heads: hidden / head_size, head_size, eps };

    let vocab = source.tensor("token_embd.weight")?.map_or(0, |t| t.rows());
    let mut l = Loader::new(source, precision);
    let embedding = l.tensor("token_embd.weight", &[vocab, hidden])?;
    let norm = l.affine("token_embd_norm", hidden)?;
    let x = l.plan.embed(embedding);
    let mut x = l.plan.layer_norm(x, norm, eps);
    let mut v_first = None;
    for i in 0..layers {
        x = model.time_mix(&mut l, i, x, &mut v_first)?;
        x = model.channel_mix(&mut l, i, x)?;
        l.plan.name(x, format!("block {i}"));
    }
    let norm = l.affine("output_norm", hidden)?;
    let head = l.tensor("output.weight", &[vocab, hidden])?;
    let x = l.plan.select(x);
    let x = l.plan.layer_norm(x, norm, eps);
    let logits = l.plan.linear(x, head);

    let info = Info {
        family: Family::Rwkv7,
        name: source.name(),
        vocab,
        hidden,
        layers,
        context: None,
        parameters: source.parameters(),
    };
    Ok(Model { info, plan: Arc::new(l.plan.finish(logits)), weights: l.weights })
}

impl Rwkv7 {
    fn time_mix(&self, l: &mut Loader, i: usize, x: Buf, v_first: &mut Option<Buf>) -> Result<Buf> {
        let (c, heads) = (self.hidden, self.heads);
        let name = |part: &str| format!("blk.{i}.time_mix_{part}.weight");
        // The order of states is the order in which a saved state holds them.
        let shift = l.plan.state(StateDecl::Recurrent { len: c });
        let state = l.plan.state(StateDecl::Recurrent { len: c * self.head_size });

        let norm = l.affine(&format!("blk.{i}.attn_norm"), c)?;
        let h = l.plan.layer_norm(x, norm, self.eps);
        let mix = l.values(&name("lerp_fused"), 6 * c)?;
        let [xr, xw, xk, xv, xa, xg] = l.plan.token_shift(h, mix, shift);

        let [receptance, key, value, output] =
            ["receptance", "key", "value", "output"].map(|part| l.tensor(&name(part), &[c, c]));
        let r = l.plan.linear(xr, receptance?);
        let k = l.plan.linear(xk, key?);
        let v = l.plan.linear(xv, value?);
        let w = self.low_rank(l, i, "w", xw, Activation::Tanh, Activation::Identity)?;
        let a = self.low_rank(l, i, "a", xa, Activation::Identity, Activation::Sigmoid)?;
        let v = match *v_first {
            None => *v_first.insert(v),
            Some(first) => {
                let by = self.low_rank(l, i, "v", xv, Activation::Identity, Activation::Sigmoid)?;
                l.plan.blend(v, first, by)
            }
        };
        let g = self.low_rank(l, i, "g", xg, Activation::Sigmoid, Activation::Identity)?;

        let (k_k, k_a) = (l.values(&name("k_k"), c)?, l.values(&name("k_a"), c)?);
        let [decay, removal, k] = l.plan.rwkv_keys([w, k, a], [k_k, k_a], heads);
        let y = l.plan.wkv7(|out| Wkv7 { r, decay, key: k, v, removal, a, heads, state, out }, r);
        let norm = l.affine(&format!("blk.{i}.time_mix_ln"), c)?;
        let y = l.plan.group_norm(y, norm, heads, GROUP_NORM_EPS);
        let r_k = l.values(&name("r_k"), c)?;
        let y = l.plan.bonus(|out| Bonus { y, r, k, v, g, r_k, heads, out }, y);
        let y = l.plan.linear(y, output?);
        Ok(l.plan.add(x, y))
    }

    fn channel_mix(&self, l: &mut Loader, i: usize, x: Buf) -> Result<Buf> {
        let c = self.hidden;
        let shift = l.plan.state(StateDecl::Recurrent { len: c });
        let norm = l.affine(&format!("blk.{i}.attn_norm_2"), c)?;
        let h = l.plan.layer_norm(x, norm, self.eps);
        let mix = l.values(&format!("blk.{i}.channel_mix_lerp_k.weight"), c)?;
        let [xk] = l.plan.token_shift(h, mix, shift);
        let key = l.tensor(&format!("blk.{i}.channel_mix_key.weight"), &[self.ffn, c])?;
        let value = l.tensor(&format!("blk.{i}.channel_mix_value.weight"), &[c, self.ffn])?;
        let k = l.plan.linear(xk, (key, Activation::SquaredRelu));
        let y = l.plan.linear(k, value);
        Ok(l.plan.add(x, y))
    }

    /// `outer(bias + inner(x L1) L2)` with the branch's matrices; the gate has
    /// no bias. The rank is whatever the file has.
    fn low_rank(
        &self,
        l: &mut Loader,
        i: usize,
        branch: &str,
        x: Buf,
        inner: Activation,
        outer: Activation,
    ) -> Result<Buf> {
        let name = |part: u8| format!("blk.{i}.time_mix_{branch}{part}.weight");
        let rank = l.rows(&name(1))?;
        let down = l.tensor(&name(1), &[rank, self.hidden])?;
        let up = l.tensor(&name(2), &[self.hidden, rank])?;
        let h = l.plan.linear(x, (down, inner));
        if branch == "g" {
            return Ok(l.plan.linear(h, (up, outer)));
        }
        let bias = l.values(&name(0), self.hidden)?;
        Ok(l.plan.linear(h, (up, bias, outer)))
    }
}
