//! Llama and Mistral. GGUF stores their query and key rows permuted, so that
//! rotary pairs are adjacent; Hugging Face stores them in halves.

use super::decoder::{Decoder, Shape};
use crate::source::{Source, key};
use crate::{Family, Model, Result};
use ingot_plan::Precision;
use ingot_plan::ops::Pairing;

pub(super) fn build(source: &Source, family: Family, precision: Precision) -> Result<Model> {
    let pairing = match source {
        Source::Gguf { .. } => Pairing::Adjacent,
        Source::HuggingFace { .. } | Source::Rwkv(_) => Pairing::Halves,
    };
    let mut shape = Shape::read(source, pairing)?;
    shape.window = source.size_or_absent(key::WINDOW)?;
    Decoder { family, shape }.build(source, precision)
}
