//! The families: which there are and which file builds which.

mod decoder;
mod llama;
mod qwen;
mod rwkv7;

use crate::source::Source;
use crate::{Model, Result};
use ingot_plan::Precision;

/// A model architecture that ingot runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3 and everything built like it.
    Llama,
    /// Mistral: Llama with an optional sliding window.
    Mistral,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: norms on queries and keys.
    Qwen3,
    /// Qwen 3 with a mixture of experts.
    Qwen3Moe,
    /// RWKV-7: recurrent, of constant size per sequence.
    Rwkv7,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 6] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Qwen3Moe, Self::Rwkv7];

    /// (name, GGUF architecture, class in config.json). GGUF files of Mistral
    /// models call themselves llama.
    const fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Llama => ("Llama", "llama", "LlamaForCausalLM"),
            Self::Mistral => ("Mistral", "mistral", "MistralForCausalLM"),
            Self::Qwen2 => ("Qwen2", "qwen2", "Qwen2ForCausalLM"),
            Self::Qwen3 => ("Qwen3", "qwen3", "Qwen3ForCausalLM"),
            Self::Qwen3Moe => ("Qwen3-MoE", "qwen3moe", "Qwen3MoeForCausalLM"),
            Self::Rwkv7 => ("RWKV-7", "rwkv7", "RWKV7ForCausalLM"),
        }
    }

    /// The family's usual name.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The architecture that GGUF files of the family name.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Mistral => Self::Llama.row().1,
            other => other.row().1,
        }
    }

    pub(crate) fn from_gguf(arch: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.row().1 == arch)
    }

    pub(crate) fn from_huggingface(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.row().2 == class)
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Builds the plan of whatever family the source is.
pub(crate) fn build(source: &Source, precision: Precision) -> Result<Model> {
    let family = source.family()?;
    match family {
        Family::Llama | Family::Mistral => llama::build(source, family, precision),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => qwen::build(source, family, precision),
        Family::Rwkv7 => rwkv7::build(source, precision),
    }
}
