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
//! What families vary is decided by what is in the file: biases, head norms and
//! experts by the presence of their tensors, the rest by [`Shape`].

use crate::loader::Loader;
use crate::source::{Source, key};
use crate::{Error, Family, Info, Model, Result, rotary};
use ingot_plan::ops::{Gate, Pairing, Rotary};
use ingot_plan::{Buf, ExpertWeights, PlanBuilder, Precision, Projection, WeightId};
use std::sync::Arc;

/// A decoder model of some family.
pub(super) struct Decoder {
    pub(super) family: Family,
    pub(super) shape: Shape,
}

/// Sizes and constants.
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    pub(super) context: Option<usize>,
    pub(super) eps: f32,
    pub(super) rotary: Arc<Rotary>,
    /// Positions that attention sees, if not all.
    pub(super) window: Option<usize>,
    /// Experts in place of the dense feed-forward layer.
    pub(super) experts: Option<ExpertShape>,
}

/// Sizes of a mixture of experts.
#[derive(Clone, Copy)]
pub(super) struct ExpertShape {
    pub(super) count: usize,
    pub(super) chosen: usize,
    pub(super) ffn: usize,
}

/// The weights of one block.
struct Block {
    attn_norm: WeightId,
    qkv: [Projection; 3],
    /// Norms of queries and keys within each head.
    head_norms: Option<[WeightId; 2]>,
    attn_output: Projection,
    ffn_norm: WeightId,
    ffn: FeedForward,
}

enum FeedForward {
    Dense { gate: Projection, up: Projection, down: Projection },
    Experts { router: WeightId, weights: ExpertWeights },
}

impl Shape {
    /// Reads what all decoder families have in common.
    pub(super) fn read(source: &Source, pairing: Pairing) -> Result<Self> {
        let hidden = source.size(key::HIDDEN)?;
        let heads = source.size(key::HEADS)?;
        let kv_heads = source.size_or_absent(key::KV_HEADS)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::inconsistent(format!(
                "{heads} heads are not a multiple of {kv_heads} kv heads"
            )));
        }
        let head_size = match source.size_or_absent(key::HEAD_SIZE)? {
            Some(size) => size,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(Error::inconsistent(format!("{heads} heads do not divide a width of {hidden}")));
            }
        };
        if source.size_or_absent(key::VALUE_SIZE)?.is_some_and(|v| v != head_size) {
            return Err(Error::unsupported("keys and values of different sizes"));
        }
        Ok(Self {
            hidden,
            layers: source.size(key::LAYERS)?,
            ffn: source.size(key::FFN)?,
            heads,
            kv_heads,
            head_size,
            context: source.size_or_absent(key::CONTEXT)?,
            eps: source.float(key::RMS_EPS)?,
            rotary: Arc::new(rotary::read(source, pairing, head_size)?),
            window: None,
            experts: None,
        })
    }
}

impl Decoder {
    /// Checks the weights and builds the plan.
    pub(super) fn build(&self, source: &Source, precision: Precision) -> Result<Model> {
        let s = &self.shape;
        let vocab = source.tensor("token_embd.weight")?.map_or(0, |t| t.rows());
        let mut loader = Loader::new(source, precision);
        let embedding = loader.tensor("token_embd.weight", &[vocab, s.hidden])?;

        let mut x = loader.plan.embed(embedding);
        for i in 0..s.layers {
            let block = self.block(&mut loader, i)?;
            x = self.forward(&mut loader.plan, x, &block);
            loader.plan.name(x, format!("block {i}"));
        }
        let norm = loader.tensor("output_norm.weight", &[s.hidden])?;
        let head = loader.optional("output.weight", &[vocab, s.hidden])?.unwrap_or(embedding);
        let x = loader.plan.select(x);
        let x = loader.plan.rms_norm(x, norm, s.eps);
        let logits = loader.plan.linear(x, head);

        let info = Info {
            family: self.family,
            name: source.name(),
            vocab,
            hidden: s.hidden,
            layers: s.layers,
            context: s.context,
            parameters: source.parameters(),
        };
        Ok(Model { info, plan: Arc::new(loader.plan.finish(logits)), weights: loader.weights })
    }

    fn forward(&self, p: &mut PlanBuilder, x: Buf, w: &Block) -> Buf {
        let s = &self.shape;
        let h = p.rms_norm(x, w.attn_norm, s.eps);
        let [mut q, mut k, v] = p.linears(h, w.qkv);
        if let Some([q_norm, k_norm]) = w.head_norms {
            q = p.rms_norm(q, q_norm, s.eps);
            k = p.rms_norm(k, k_norm, s.eps);
        }
        let q = p.rope(q, s.heads, &s.rotary);
        let k = p.rope(k, s.kv_heads, &s.rotary);
        let scale = 1.0 / (s.head_size as f32).sqrt();
        let attention = p.attention([q, k, v], [s.heads, s.kv_heads], scale, s.window);
        let attention = p.linear(attention, w.attn_output);
        let x = p.add(x, attention);

        let h = p.rms_norm(x, w.ffn_norm, s.eps);
        let h = match w.ffn {
            FeedForward::Dense { gate, up, down } => {
                let [gate, up] = p.linears(h, [gate, up]);
                let h = p.glu(gate, up, Gate::Silu);
                p.linear(h, down)
            }
            FeedForward::Experts { router, weights } => {
                let router = p.linear(h, router);
                p.experts(h, router, weights)
            }
        };
        p.add(x, h)
    }

    fn block(&self, loader: &mut Loader, i: usize) -> Result<Block> {
        let s = &self.shape;
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let mut projection = |part: &str, rows: usize, cols: usize| -> Result<Projection> {
            let weight = loader.tensor(&name(part), &[rows, cols])?;
            Ok((weight, loader.optional(&format!("blk.{i}.{part}.bias"), &[rows])?).into())
        };
        let (q_rows, kv_rows) = (s.heads * s.head_size, s.kv_heads * s.head_size);
        let qkv = [
            projection("attn_q", q_rows, s.hidden)?,
            projection("attn_k", kv_rows, s.hidden)?,
            projection("attn_v", kv_rows, s.hidden)?,
        ];
        let attn_output = projection("attn_output", s.hidden, q_rows)?;
        let ffn = match s.experts {
            None => FeedForward::Dense {
                gate: projection("ffn_gate", s.ffn, s.hidden)?,
                up: projection("ffn_up", s.ffn, s.hidden)?,
                down: projection("ffn_down", s.hidden, s.ffn)?,
            },
            Some(ExpertShape { count, chosen, ffn }) => FeedForward::Experts {
                router: loader.tensor(&name("ffn_gate_inp"), &[count, s.hidden])?,
                weights: ExpertWeights {
                    gate: loader.tensor(&name("ffn_gate_exps"), &[count, ffn, s.hidden])?,
                    up: loader.tensor(&name("ffn_up_exps"), &[count, ffn, s.hidden])?,
                    down: loader.tensor(&name("ffn_down_exps"), &[count, s.hidden, ffn])?,
                    chosen,
                },
            },
        };
        let q_norm = loader.optional(&name("attn_q_norm"), &[s.head_size])?;
        let k_norm = loader.optional(&name("attn_k_norm"), &[s.head_size])?;
        Ok(Block {
            attn_norm: loader.tensor(&name("attn_norm"), &[s.hidden])?,
            qkv,
            head_norms: q_norm.zip(k_norm).map(|(q, k)| [q, k]),
            attn_output,
            ffn_norm: loader.tensor(&name("ffn_norm"), &[s.hidden])?,
            ffn,
        })
    }
}
