//! The decoder-only transformer that Llama made the standard.
//!
//! ```text
//! x = embed(token)
//! for each block:
//!     h = rms_norm(x)
//!     x = x + output(attention(rope(q(h)), rope(k(h)), v(h)))
//!     h = rms_norm(x)
//!     x = x + down(silu(gate(h)) * up(h))
//! logits = output(rms_norm(x))
//! ```
//!
//! What families vary is decided by what is in the file: biases, further norms, experts and
//! tensors that are several in one by the presence of their tensors, the rest by [`Shape`].

use super::shape::Shape;
use crate::loader::Loader;
use crate::source::{Source, key};
use crate::{Error, Family, Info, Model, Result};
use ingot_plan::{Buf, ExpertWeights, PlanBuilder, Precision, Projection, WeightId};
use std::ops::Range;
use std::sync::Arc;

/// The weights of one block.
struct Block {
    attn_norm: WeightId,
    qkv: [Projection; 3],
    /// Norms of queries and keys within each head.
    head_norms: Option<[WeightId; 2]>,
    attn_output: Projection,
    /// A norm of what attention adds.
    post_attn_norm: Option<WeightId>,
    ffn_norm: WeightId,
    ffn: FeedForward,
    /// A norm of what the feed-forward layer adds.
    post_ffn_norm: Option<WeightId>,
}

enum FeedForward {
    Dense { gate: Projection, up: Projection, down: Projection },
    Experts { router: WeightId, weights: ExpertWeights },
}

/// Checks the weights and builds the plan.
pub(super) fn build(family: Family, s: &Shape, source: &Source, precision: Precision) -> Result<Model> {
    let vocab = source.tensor("token_embd.weight")?.map_or(0, |t| t.rows());
    let mut loader = Loader::new(source, precision);
    let embedding = loader.tensor("token_embd.weight", &[vocab, s.hidden])?;

    let mut x = loader.plan.scaled_embed(embedding, s.embedding_scale);
    for i in 0..s.layers.count {
        let block = BlockLoader { shape: s, source, loader: &mut loader, i }.block()?;
        x = forward(s, &mut loader.plan, x, i, block);
        loader.plan.name(x, format!("block {i}"));
    }
    let norm = loader.tensor("output_norm.weight", &[s.hidden])?;
    let head = loader.optional("output.weight", &[vocab, s.hidden])?.unwrap_or(embedding);
    let x = loader.plan.select(x);
    let x = loader.plan.rms_norm(x, norm, s.eps);
    let mut logits = loader.plan.linear(x, head);
    if let Some(cap) = s.logit_cap {
        logits = loader.plan.softcap(logits, cap);
    }

    let info = Info {
        family,
        name: source.name(),
        vocab,
        hidden: s.hidden,
        layers: s.layers.count,
        context: s.context,
        parameters: source.parameters(),
    };
    Ok(Model { info, plan: Arc::new(loader.plan.finish(logits)), weights: loader.weights })
}

/// Block `i`.
fn forward(s: &Shape, p: &mut PlanBuilder, x: Buf, i: usize, w: Block) -> Buf {
    let h = p.rms_norm(x, w.attn_norm, s.eps);
    let [mut q, mut k, v] = p.linears(h, w.qkv);
    if let Some([q_norm, k_norm]) = w.head_norms {
        q = p.rms_norm(q, q_norm, s.eps);
        k = p.rms_norm(k, k_norm, s.eps);
    }
    if let Some(rotary) = s.layers.rotary(i) {
        q = p.rope(q, s.heads, rotary);
        k = p.rope(k, s.kv_heads, rotary);
    }
    let (heads, window) = ([s.heads, s.kv_heads], s.layers.window(i));
    let attention = p.capped_attention([q, k, v], heads, s.attention_scale, s.score_cap, window);
    let mut attention = p.linear(attention, w.attn_output);
    if let Some(norm) = w.post_attn_norm {
        attention = p.rms_norm(attention, norm, s.eps);
    }
    let x = p.add(x, attention);

    let h = p.rms_norm(x, w.ffn_norm, s.eps);
    let mut h = match w.ffn {
        FeedForward::Dense { gate, up, down } => {
            let [gate, up] = p.linears(h, [gate, up]);
            let h = p.glu(gate, up, s.gate);
            p.linear(h, down)
        }
        FeedForward::Experts { router, weights } => {
            let router = p.linear(h, router);
            p.experts(h, router, weights)
        }
    };
    if let Some(norm) = w.post_ffn_norm {
        h = p.rms_norm(h, norm, s.eps);
    }
    p.add(x, h)
}

/// Fetches the weights of block `i`.
struct BlockLoader<'l, 's> {
    shape: &'l Shape,
    source: &'l Source<'s>,
    loader: &'l mut Loader<'s>,
    i: usize,
}

impl BlockLoader<'_, '_> {
    fn block(&mut self) -> Result<Block> {
        let s = self.shape;
        Ok(Block {
            attn_norm: self.norm("attn_norm", s.hidden)?,
            qkv: self.qkv()?,
            head_norms: self.head_norms()?,
            attn_output: self.projection("attn_output", s.hidden, s.heads * s.head_size)?,
            post_attn_norm: self.optional_norm("post_attention_norm", s.hidden)?,
            ffn_norm: self.norm("ffn_norm", s.hidden)?,
            ffn: self.feed_forward()?,
            post_ffn_norm: self.optional_norm("post_ffw_norm", s.hidden)?,
        })
    }

    /// Queries, keys and values, which may follow each other in one tensor.
    fn qkv(&mut self) -> Result<[Projection; 3]> {
        let s = self.shape;
        let (q, kv) = (s.heads * s.head_size, s.kv_heads * s.head_size);
        if self.has("attn_qkv")? {
            let all = q + 2 * kv;
            let mut part = |rows| self.part("attn_qkv", all, rows, s.hidden);
            return Ok([part(0..q)?, part(q..q + kv)?, part(q + kv..all)?]);
        }
        Ok([
            self.projection("attn_q", q, s.hidden)?,
            self.projection("attn_k", kv, s.hidden)?,
            self.projection("attn_v", kv, s.hidden)?,
        ])
    }

    fn head_norms(&mut self) -> Result<Option<[WeightId; 2]>> {
        let q = self.optional_norm("attn_q_norm", self.shape.head_size)?;
        let k = self.optional_norm("attn_k_norm", self.shape.head_size)?;
        Ok(q.zip(k).map(|(q, k)| [q, k]))
    }

    fn feed_forward(&mut self) -> Result<FeedForward> {
        if self.has("ffn_gate_inp")? {
            return self.experts();
        }
        let s = self.shape;
        let [gate, up] = self.gate_and_up()?;
        Ok(FeedForward::Dense { gate, up, down: self.projection("ffn_down", s.hidden, s.ffn)? })
    }

    /// Gate and up, which may follow each other in one tensor; GGUF then calls it up.
    fn gate_and_up(&mut self) -> Result<[Projection; 2]> {
        let Shape { ffn, hidden, .. } = *self.shape;
        for both in ["ffn_gate_up", "ffn_up"] {
            if !self.has("ffn_gate")? && self.has(both)? {
                let mut part = |rows| self.part(both, 2 * ffn, rows, hidden);
                return Ok([part(0..ffn)?, part(ffn..2 * ffn)?]);
            }
        }
        Ok([self.projection("ffn_gate", ffn, hidden)?, self.projection("ffn_up", ffn, hidden)?])
    }

    fn experts(&mut self) -> Result<FeedForward> {
        let (i, hidden) = (self.i, self.shape.hidden);
        let [count, chosen] = [key::EXPERTS, key::EXPERTS_USED].map(|k| self.source.size(k));
        let (count, chosen) = (count?, chosen?);
        if chosen > count {
            return Err(Error::inconsistent(format!("{chosen} experts used of {count}")));
        }
        let ffn = self.source.size_or_absent(key::EXPERT_FFN)?.unwrap_or(self.shape.ffn);
        // What transformers assumes where config.json is silent; GGUF says it if it is not so.
        let silent = matches!(self.source, Source::Gguf { .. });
        let renormalise = self.source.flag(key::NORM_EXPERTS)?.unwrap_or(silent);
        let router = self.loader.tensor(&self.name("ffn_gate_inp", "weight"), &[count, hidden])?;
        let mut stack = |part, rows, cols| self.loader.experts(&format!("blk.{i}.{part}"), count, rows, cols);
        let (gate, up) = (stack("ffn_gate", ffn, hidden)?, stack("ffn_up", ffn, hidden)?);
        let down = stack("ffn_down", hidden, ffn)?;
        let weights = ExpertWeights { gate, up, down, chosen, renormalise };
        Ok(FeedForward::Experts { router, weights })
    }

    /// A matrix with its bias, if it has one.
    fn projection(&mut self, part: &str, rows: usize, cols: usize) -> Result<Projection> {
        self.part(part, rows, 0..rows, cols)
    }

    /// Some rows of a matrix of `all` with their bias, if it has one.
    fn part(&mut self, part: &str, all: usize, rows: Range<usize>, cols: usize) -> Result<Projection> {
        let (weight, bias) = (self.name(part, "weight"), self.name(part, "bias"));
        let matrix = self.loader.rows_of(&weight, all, rows.clone(), &[cols])?;
        let matrix = matrix.ok_or_else(|| self.loader.missing(&weight))?;
        Ok((matrix, self.loader.rows_of(&bias, all, rows, &[])?).into())
    }

    fn norm(&mut self, part: &str, len: usize) -> Result<WeightId> {
        self.loader.tensor(&self.name(part, "weight"), &[len])
    }

    fn optional_norm(&mut self, part: &str, len: usize) -> Result<Option<WeightId>> {
        self.loader.optional(&self.name(part, "weight"), &[len])
    }

    fn has(&self, part: &str) -> Result<bool> {
        self.loader.has(&self.name(part, "weight"))
    }

    fn name(&self, part: &str, kind: &str) -> String {
        format!("blk.{}.{part}.{kind}", self.i)
    }
}
