//! Qwen 2, 2.5 and 3, dense and with experts. Biases, head norms and experts
//! are there when their tensors are.

use super::decoder::{Decoder, ExpertShape, Shape};
use crate::source::{Source, key};
use crate::{Error, Family, Model, Result};
use ingot_plan::Precision;
use ingot_plan::ops::Pairing;

pub(super) fn build(source: &Source, family: Family, precision: Precision) -> Result<Model> {
    let mut shape = Shape::read(source, Pairing::Halves)?;
    if family == Family::Qwen3Moe {
        if !matches!(source, Source::Gguf { .. }) {
            return Err(Error::unsupported("Qwen3-MoE is read from GGUF only; convert the folder first"));
        }
        let [count, chosen, ffn] = [key::EXPERTS, key::EXPERTS_USED, key::EXPERT_FFN].map(|k| source.size(k));
        let (count, chosen, ffn) = (count?, chosen?, ffn?);
        if chosen > count {
            return Err(Error::inconsistent(format!("{chosen} experts used of {count}")));
        }
        shape.experts = Some(ExpertShape { count, chosen, ffn });
    }
    Decoder { family, shape }.build(source, precision)
}
