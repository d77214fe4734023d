//! Sizes and constants of a decoder model, as files say them.

use super::pattern::Pattern;
use crate::rotary::{self, Head};
use crate::source::{Source, key};
use crate::{Error, Result};
use ingot_plan::ops::{Gate, Pairing, Rotary};
use std::sync::Arc;

/// Values of a head, at most.
const LARGEST_HEAD: usize = 1 << 14;

/// What [`super::decoder`] builds a model from besides its tensors. A family changes what its files
/// leave unsaid.
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    pub(super) context: Option<usize>,
    pub(super) eps: f32,
    /// Factor on embeddings.
    pub(super) embedding_scale: f32,
    /// The function of the feed-forward layers' gates.
    pub(super) gate: Gate,
    /// Factor on attention's scores.
    pub(super) attention_scale: f32,
    /// What attention's scores are softly kept below.
    pub(super) score_cap: Option<f32>,
    /// What logits are softly kept below.
    pub(super) logit_cap: Option<f32>,
    pub(super) layers: Layers,
}

/// What can differ from layer to layer.
pub(super) struct Layers {
    pub(super) count: usize,
    /// Positions that attention sees in layers with a window.
    pub(super) window: Option<usize>,
    /// Which layers have the window; all unless something is said.
    pub(super) windowed: Option<Pattern>,
    pub(super) rotary: Arc<Rotary>,
    /// The rotary embedding of layers with a window, if it is another.
    pub(super) local_rotary: Option<Arc<Rotary>>,
    /// Which layers turn queries and keys; all unless something is said.
    pub(super) turned: Option<Pattern>,
}

impl Layers {
    fn read(source: &Source, head: Head) -> Result<Self> {
        let count = source.size(key::LAYERS)?;
        let pattern = |key, word| Pattern::read(source, key, word, count);
        let windowed = match pattern(key::LAYER_TYPES, "sliding_attention")? {
            None => pattern(key::WINDOW_PERIOD, "")?,
            listed => listed,
        };
        let turned = match pattern(key::ROPE_LAYERS, "")? {
            None => pattern(key::ROPE_PERIOD, "")?,
            listed => listed,
        };
        // Qwen 2 names a window that most models do not use, and the first layer that would.
        let used = source.flag(key::USE_WINDOW)?;
        let first = match used {
            Some(true) => source.size_or_absent(key::FIRST_WINDOWED)?.map(Pattern::From),
            _ => None,
        };
        Ok(Self {
            count,
            window: if used == Some(false) { None } else { source.size_or_absent(key::WINDOW)? },
            windowed: windowed.or(first),
            rotary: Arc::new(rotary::read(source, head)?),
            local_rotary: rotary::read_local(source, head)?.map(Arc::new),
            turned,
        })
    }

    /// The window of layer `i`.
    pub(super) fn window(&self, i: usize) -> Option<usize> {
        self.window.filter(|_| self.windowed.as_ref().is_none_or(|p| p.holds(i)))
    }

    /// The rotary embedding of layer `i`.
    pub(super) fn rotary(&self, i: usize) -> Option<&Arc<Rotary>> {
        let local = self.local_rotary.as_ref().filter(|_| self.window(i).is_some());
        let turned = self.turned.as_ref().is_none_or(|p| p.holds(i));
        turned.then(|| local.unwrap_or(&self.rotary))
    }
}

impl Shape {
    /// Reads what the file says. `asked` is how long a context the model is to be run with, if it is
    /// known.
    pub(super) fn read(source: &Source, pairing: Pairing, asked: Option<usize>) -> Result<Self> {
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
        // Tables are made for them before any tensor of theirs is looked at.
        if head_size > LARGEST_HEAD {
            return Err(Error::unsupported(format!("heads of {head_size} values; at most {LARGEST_HEAD}")));
        }
        if source.size_or_absent(key::VALUE_SIZE)?.is_some_and(|v| v != head_size) {
            return Err(Error::unsupported("keys and values of different sizes"));
        }
        let context = source.size_or_absent(key::CONTEXT)?;
        let query_scale = source.positive(key::QUERY_SCALAR)?.map(|s| 1.0 / s.sqrt());
        let attention_scale = source.positive(key::ATTENTION_SCALE)?.or(query_scale);
        let head = Head { pairing, size: head_size, context: asked.or(context) };
        Ok(Self {
            hidden,
            ffn: source.size(key::FFN)?,
            heads,
            kv_heads,
            head_size,
            context,
            eps: source.float(key::RMS_EPS)?,
            embedding_scale: 1.0,
            gate: Gate::Silu,
            attention_scale: attention_scale.unwrap_or(1.0 / (head_size as f32).sqrt()),
            score_cap: source.positive(key::SCORE_CAP)?,
            logit_cap: source.positive(key::LOGIT_CAP)?,
            layers: Layers::read(source, head)?,
        })
    }
}
