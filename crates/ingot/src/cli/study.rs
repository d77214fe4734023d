//! The commands that measure and compare executors.

use super::{EngineArgs, ModelArgument, Settings};
use crate::device::Device;
use clap::Args;
use std::num::{NonZeroU16, NonZeroUsize};

/// Measure how fast a model is read and written.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot bench
  ingot bench model.gguf --device cpu --threads 4
  ingot bench model.gguf --prompt 0 --tokens 256 --depth 8192
  ingot bench model.gguf --batch 8
  ingot bench model.gguf --submit --profile
  ingot bench model.gguf --json > today.json

Reading and writing both begin after --depth tokens of context. Tokens come from
a fixed seed, writing goes on with the likeliest token. A GPU draws it by itself,
eight steps in one go. One round is run before those that count. What the memory
can do is measured in the same run: on a GPU with copies, on the processor by
reading half a gigabyte with as many threads, in huge pages and in small ones
(unless the model is so small that it may live in caches).")]
pub struct BenchArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Tokens to read; 0 for none
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub prompt: u32,
    /// Tokens to write; 0 for none
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    pub tokens: u32,
    /// How often
    #[arg(short, long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,
    /// Tokens of context that are there before
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: u32,
    /// Also write so many sequences at the same time
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch: NonZeroU16,
    /// Compare ways of handing work to the GPU: a launch at a time, a layer, a step, several steps
    #[arg(long)]
    pub submit: bool,
    /// Show the time of each of the GPU's kernels
    #[arg(long)]
    pub profile: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where and how the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Compare what two executors compute, buffer by buffer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot diff model.gguf
  ingot diff model.gguf --a reference --b sim --exact --cache f32
  ingot diff model.gguf --a cpu --b cuda --text \"Once upon a time\" --past 3
  ingot diff model.gguf --b cuda --launch 7 --json

One step is run on both. Buffers that both can show are compared in the order of
the plan, up to the first one where the root mean square of the differences is
more than --limit times that of the values; then the exit code is 1. Of the
processor the logits can be seen, and what is between the layers.")]
pub struct DiffArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// The executor that is believed
    #[arg(long, value_name = "DEVICE", default_value = "reference")]
    pub a: Device,
    /// The executor that is looked at: metal, cuda, cuda:N, cpu, sim, reference or auto
    #[arg(long, value_name = "DEVICE", env = "INGOT_DEVICE", hide_env_values = true, default_value = "auto")]
    pub b: Device,
    /// The step's token ids, or @FILE [default: eight from a fixed seed]
    #[arg(long, value_name = "IDS", conflicts_with = "text")]
    pub tokens: Option<String>,
    /// The step's text
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// So many of the tokens are read before the step that is compared
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub past: usize,
    /// Stop after so many of the GPU's launches
    #[arg(long, value_name = "K")]
    pub launch: Option<usize>,
    /// Largest relative root mean square [default: 0.0001 with --exact --cache f32, else 0.08]
    #[arg(long, value_name = "X")]
    pub limit: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How the model is run.
    #[command(flatten)]
    pub settings: Settings,
}
