//! Gemma 2 and 3: what their files do not say.

use super::pattern::Pattern;
use super::shape::Shape;
use crate::source::{Source, key};
use crate::{Family, Result, rotary};
use ingot_plan::ops::Gate;
use std::sync::Arc;

pub(super) fn complete(shape: &mut Shape, source: &Source, family: Family) -> Result<()> {
    shape.embedding_scale = (shape.hidden as f32).sqrt();
    shape.gate = Gate::Gelu;
    // The period of layers that see everything, and the layers of the largest model.
    let (period, largest) = if family == Family::Gemma2 { (2, 46) } else { (6, 62) };
    shape.layers.windowed.get_or_insert(Pattern::AllButEvery(period));
    let gguf = matches!(source, Source::Gguf { .. });
    // The largest one's scores are scaled as if its heads divided the width.
    if gguf && shape.layers.count == largest && source.positive(key::ATTENTION_SCALE)?.is_none() {
        shape.attention_scale = (shape.heads as f32 / shape.hidden as f32).sqrt();
    }
    // The files of the first converters lack these.
    if gguf && family == Family::Gemma2 {
        shape.score_cap.get_or_insert(50.0);
        shape.logit_cap.get_or_insert(30.0);
    }
    if family == Family::Gemma3 && shape.layers.local_rotary.is_none() {
        let (pairing, pairs) = (shape.layers.rotary.pairing, shape.layers.rotary.frequencies.len());
        shape.layers.local_rotary = Some(Arc::new(rotary::plain(pairing, 10_000.0, pairs)));
    }
    Ok(())
}
