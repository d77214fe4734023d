//! The commands that say how good what a model computes is.

use super::{EngineArgs, ModelArgument};
use clap::{Args, ValueHint};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measure how well a model predicts a text.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot perplexity
  ingot perplexity model.gguf --text wiki.test.raw
  ingot perplexity model-q4_k_m.gguf --against model-f16.gguf --text wiki.test.raw
  ingot perplexity model.gguf --window 2048 --all --text - --json < text.txt
  ingot perplexity model.gguf --documents '\\n\\n\\n' --text stories.txt

The text is cut into windows that begin with no context, and the predictions of
each window's second half count, as in llama.cpp's llama-perplexity; with --all
every prediction counts, and the last window may be shorter. With --documents
the text is several, each read by itself between two of the tokens that begin a
text (or, for models without, end one). Perplexity is the
exponential of the mean loss; lower is better, and only figures of the same
vocabulary, text and window can be compared. With --against both models read
the text, and the divergence (Kullback-Leibler, in nats) says how far the
distributions of the first are from those of the second.")]
pub struct PerplexityArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// The text; - for standard input [default: held-out stories in the program]
    #[arg(long, visible_alias = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub text: Option<PathBuf>,
    /// Tokens of a window
    #[arg(short, long, value_name = "N", default_value = "512")]
    pub window: NonZeroUsize,
    /// Read at most so many windows
    #[arg(long, value_name = "N")]
    pub windows: Option<NonZeroUsize>,
    /// Count every prediction of a window, not only those of its second half
    #[arg(long)]
    pub all: bool,
    /// What separates documents, with \n and \t for new lines and tabs; implies --all
    #[arg(long, value_name = "SEPARATOR")]
    pub documents: Option<String>,
    /// The original that a quantized model is compared with; --lora does not change it
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where and how the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Check what this computer makes of a model, layer by layer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot validate model.gguf
  ingot validate model.gguf --device cuda
  ingot validate model.gguf --tokens 64 --json
  INGOT_CPU=avx2 ingot validate model.gguf --device cpu

A prompt and then one more token are read by the naive reference, and by the
processor and every GPU that ingot would use (or by --device alone). What every
layer hands on and the logits are compared: the figure is the root mean square of
the differences over that of the values. The exit code is 1 if one is above
--limit. The reference is slow: a second or so for a billion parameters and
token.")]
pub struct ValidateArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Tokens of the prompt
    #[arg(short = 'n', long, value_name = "N", default_value = "16")]
    pub tokens: NonZeroUsize,
    /// The prompt, in place of tokens from a fixed seed
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Largest relative root mean square [default: 0.0001 with --exact --cache f32, else 0.08]
    #[arg(long, value_name = "X")]
    pub limit: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where and how the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Find the fastest sizes of a GPU's launches for a model.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot tune model.gguf
  ingot tune model.gguf --device cuda:1
  ingot tune model.gguf --dry-run --json
  ingot tune --reset
  INGOT_TUNING=off ingot bench model.gguf

Matrix-vector launches of a decode step are timed with other numbers of rows,
loads in flight and threadgroups on a core, for each type of weights in the
model. What is faster, in whole steps too, is kept where this user's caches are,
for this GPU; every command uses it from then on. Results are the same with all
sizes. INGOT_TUNING=FILE uses another table, INGOT_TUNING=off none.")]
pub struct TuneArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Write the table to a file instead; - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "json")]
    pub output: Option<PathBuf>,
    /// Only show what is faster
    #[arg(long)]
    pub dry_run: bool,
    /// Forget what was found for this GPU
    #[arg(long, conflicts_with_all = ["output", "dry_run"])]
    pub reset: bool,
    /// Tokens of context
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub depth: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where and how the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}
