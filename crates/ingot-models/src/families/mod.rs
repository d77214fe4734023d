//! The families: which there are, and what their files leave unsaid.

mod decoder;
mod gemma;
mod pattern;
mod rwkv7;
mod shape;

use crate::source::Source;
use crate::{Model, Result};
use ingot_plan::Precision;
use ingot_plan::ops::Pairing;
use pattern::Pattern;
use shape::Shape;

/// A model architecture that ingot runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3 and everything built like it.
    Llama,
    /// Mistral: Llama with an optional sliding window.
    Mistral,
    /// SmolLM 3: Llama without rotation in every fourth layer.
    SmolLm3,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: norms on queries and keys.
    Qwen3,
    /// Qwen 3 with a mixture of experts.
    Qwen3Moe,
    /// Gemma 2: a window in every other layer, norms after both halves of a block, capped scores.
    Gemma2,
    /// Gemma 3: a window in five of six layers, norms on queries and keys.
    Gemma3,
    /// Phi-3 and 4: queries, keys and values in one tensor, and gate and up; rotations for short and
    /// long contexts.
    Phi3,
    /// RWKV-7: recurrent, of constant size per sequence.
    Rwkv7,
}

/// What a family is called, and where.
struct Row {
    name: &'static str,
    /// Its GGUF architecture.
    arch: &'static str,
    /// Its classes in config.json.
    classes: &'static [&'static str],
    /// GGUF stores its query and key rows permuted, so that rotary pairs are adjacent.
    permuted: bool,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 10] = [
        Self::Llama,
        Self::Mistral,
        Self::SmolLm3,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Rwkv7,
    ];

    /// GGUF files of Mistral models call themselves llama.
    const fn row(self) -> Row {
        const fn row(
            name: &'static str,
            arch: &'static str,
            classes: &'static [&'static str],
            permuted: bool,
        ) -> Row {
            Row { name, arch, classes, permuted }
        }
        match self {
            Self::Llama => row("Llama", "llama", &["LlamaForCausalLM"], true),
            Self::Mistral => row("Mistral", "mistral", &["MistralForCausalLM"], true),
            Self::SmolLm3 => row("SmolLM3", "smollm3", &["SmolLM3ForCausalLM"], true),
            Self::Qwen2 => row("Qwen2", "qwen2", &["Qwen2ForCausalLM"], false),
            Self::Qwen3 => row("Qwen3", "qwen3", &["Qwen3ForCausalLM"], false),
            Self::Qwen3Moe => row("Qwen3-MoE", "qwen3moe", &["Qwen3MoeForCausalLM"], false),
            Self::Gemma2 => row("Gemma 2", "gemma2", &["Gemma2ForCausalLM"], false),
            Self::Gemma3 => {
                row("Gemma 3", "gemma3", &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"], false)
            }
            Self::Phi3 => row("Phi-3", "phi3", &["Phi3ForCausalLM"], false),
            Self::Rwkv7 => row("RWKV-7", "rwkv7", &["RWKV7ForCausalLM"], false),
        }
    }

    /// The family's usual name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The architecture that GGUF files of the family name.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Mistral => Self::Llama.row().arch,
            other => other.row().arch,
        }
    }

    /// Whether GGUF files of this architecture store the rows of queries and keys so
    /// that rotary pairs are neighbours.
    pub fn stores_pairs(architecture: &str) -> bool {
        Self::from_gguf(architecture).is_some_and(|family| family.row().permuted)
    }

    pub(crate) fn from_gguf(arch: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.row().arch == arch)
    }

    pub(crate) fn from_huggingface(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.row().classes.contains(&class))
    }

    /// Whether safetensors hold the weights of norms less one.
    pub(crate) const fn norms_less_one(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Builds the plan of whatever family the source is, for a context of `asked` tokens or the longest
/// it was trained for.
pub(crate) fn build(source: &Source, precision: Precision, asked: Option<usize>) -> Result<Model> {
    let family = source.family()?;
    if family == Family::Rwkv7 {
        return rwkv7::build(source, precision);
    }
    let adjacent = family.row().permuted && matches!(source, Source::Gguf { .. });
    let pairing = if adjacent { Pairing::Adjacent } else { Pairing::Halves };
    let mut shape = Shape::read(source, pairing, asked)?;
    match family {
        Family::Gemma2 | Family::Gemma3 => gemma::complete(&mut shape, source, family)?,
        Family::SmolLm3 => {
            shape.layers.turned.get_or_insert(Pattern::AllButEvery(4));
        }
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => {}
        Family::Phi3 | Family::Rwkv7 => {}
    }
    decoder::build(family, &shape, source, precision)
}
