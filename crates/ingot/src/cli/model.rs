//! Which model, and how it is run.

use clap::{Args, ValueEnum, ValueHint};
use ingot::{CacheType, ExecutorKind, Options};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The model of a command whose words are text.
#[derive(Args)]
pub struct ModelOption {
    /// Model file, folder or name [default: the small model in the program]
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: Option<PathBuf>,
}

/// The model of a command without other words.
#[derive(Args)]
pub struct ModelArgument {
    /// Model file, folder or name [default: the small model in the program]
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

/// How a model is run.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub struct EngineArgs {
    /// Threads to use [default: as many as there are processors]
    #[arg(short, long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Most tokens of prompt and text together [default: what the model was trained for]
    #[arg(short, long, value_name = "TOKENS")]
    ctx: Option<NonZeroUsize>,
    /// How keys and values are kept
    #[arg(long, value_enum, default_value_t = Cache::F16)]
    cache: Cache,
    /// Keep activations in f32 instead of rounding them to 8 bits (slower)
    #[arg(long)]
    exact: bool,
    /// What computes: SIMD kernels, or the naive reference (very slow)
    #[arg(long, value_enum, default_value_t = Executor::Cpu)]
    executor: Executor,
}

impl EngineArgs {
    /// The engine's options for them.
    pub fn options(&self) -> Options {
        Options {
            executor: match self.executor {
                Executor::Cpu => ExecutorKind::Cpu,
                Executor::Reference => ExecutorKind::Reference,
            },
            threads: self.threads.map(NonZeroUsize::get),
            context: self.ctx.map(NonZeroUsize::get),
            cache: match self.cache {
                Cache::F16 => CacheType::F16,
                Cache::F32 => CacheType::F32,
            },
            exact: self.exact,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Cache {
    F16,
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Executor {
    Cpu,
    Reference,
}
