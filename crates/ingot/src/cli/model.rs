//! Which model, and how it is run.

use crate::device::Device;
use clap::{Args, ValueEnum, ValueHint};
use ingot::{CacheType, ExecutorKind, Options};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The model of a command whose words are text.
#[derive(Args)]
pub struct ModelOption {
    /// Model file, folder or name, or hf:ORG/REPO[:QUANT] [default: the small model in the program]
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: Option<PathBuf>,
}

/// The model of a command without other words.
#[derive(Args)]
pub struct ModelArgument {
    /// Model file, folder or name, or hf:ORG/REPO[:QUANT] [default: the small model in the program]
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    word: Option<PathBuf>,
    /// The same, for those used to it
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::AnyPath, conflicts_with = "word")]
    model: Option<PathBuf>,
}

impl ModelArgument {
    /// What was named, if anything.
    pub fn path(&self) -> Option<&Path> {
        self.word.as_deref().or(self.model.as_deref())
    }
}

/// Where and how a model is run.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct EngineArgs {
    /// What computes: auto, metal, cuda or cuda:N, or cpu; for tests also sim, a GPU simulated
    /// strictly, and reference, a naive computation (both very slow)
    #[arg(
        long,
        visible_alias = "executor",
        value_name = "DEVICE",
        env = "INGOT_DEVICE",
        hide_env_values = true,
        default_value = "auto"
    )]
    pub device: Device,
    /// How it is run there.
    #[command(flatten)]
    pub settings: Settings,
}

/// How a model is run, wherever that is.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct Settings {
    /// Threads to use [default: as many as there are processors]
    // One number, but for commands that make a list of it.
    #[arg(short, long, value_name = "N", action = clap::ArgAction::Set)]
    threads: Vec<NonZeroUsize>,
    /// Most tokens of prompt and text together [default: what the model was trained for]
    #[arg(short, long, value_name = "TOKENS")]
    ctx: Option<NonZeroUsize>,
    /// How keys and values are kept
    #[arg(long, value_enum, default_value_t = Cache::F16)]
    cache: Cache,
    /// Keep activations in f32 instead of rounding them to 8 or 16 bits (slower)
    #[arg(long)]
    exact: bool,
    /// Add a LoRA adapter (PEFT folder or GGUF), by default with a factor of 1 (repeatable).
    /// The weights that it changes are computed anew and kept in memory, in the type they have;
    /// quantized ones are quantized once more, which costs a little precision
    #[arg(long, value_name = "ADAPTER[:FACTOR]")]
    lora: Vec<String>,
}

impl Settings {
    /// Numbers of threads that were named: one at most, but for commands that take a list.
    pub fn threads(&self) -> &[NonZeroUsize] {
        &self.threads
    }

    /// Adapters to be added to the weights, as they were named.
    pub fn lora(&self) -> &[String] {
        &self.lora
    }

    /// The engine's options for them on a device.
    pub fn options(&self, executor: ExecutorKind) -> Options {
        Options {
            executor,
            threads: self.threads.first().map(|n| n.get()),
            context: self.ctx.map(NonZeroUsize::get),
            cache: match self.cache {
                Cache::F16 => CacheType::F16,
                Cache::F32 => CacheType::F32,
                Cache::Q8_0 => CacheType::Q8_0,
            },
            exact: self.exact,
        }
    }

    /// How far a buffer may be from the reference's: relative root mean square.
    pub fn accuracy(&self) -> f64 {
        if self.exact && self.cache == Cache::F32 { 1e-4 } else { 8e-2 }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Cache {
    F16,
    F32,
    #[value(name = "q8_0")]
    Q8_0,
}
