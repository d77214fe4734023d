//! The commands that look into things.

use super::{EngineArgs, ModelArgument, ModelOption};
use crate::device::Device;
use clap::{ArgGroup, Args, ValueHint};
use clap_complete::Shell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Show what is in a model file and what running it takes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot inspect model.gguf
  ingot inspect model.gguf --tensors
  ingot inspect model.gguf --ctx 8192 --ctx 32768
  ingot inspect model.gguf --plan
  ingot inspect model.gguf --plan --floor=cuda
  ingot inspect model.gguf --json | jq .metadata")]
pub struct InspectArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// List every tensor instead of one line for the same tensor of all layers
    #[arg(long)]
    pub tensors: bool,
    /// Show the memory of a session of so many tokens (repeatable)
    #[arg(short, long, value_name = "TOKENS")]
    pub ctx: Vec<NonZeroUsize>,
    /// Print the plan: the operations of one step, the bytes and launches they take, and the
    /// least time of a token by the speed of this computer's memory
    #[arg(long)]
    pub plan: bool,
    /// Measure the memory of this device for that: auto, metal, cuda, cuda:N or cpu [default:
    /// cpu, for models that caches do not hold]
    #[arg(
        long,
        value_name = "DEVICE",
        requires = "plan",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto"
    )]
    pub floor: Option<Device>,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// Show how a text is cut into tokens.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot tokenize \"Hello world\"
  ingot tokenize -m model.gguf --ids --bos < text.txt
  ingot tokenize -m model.gguf --decode 15043,3186")]
pub struct TokenizeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelOption,
    /// The text; several words are joined with spaces
    #[arg(value_name = "TEXT")]
    pub words: Vec<String>,
    /// Print only the ids, separated by commas
    #[arg(long, conflicts_with = "json")]
    pub ids: bool,
    /// Names of special tokens in the text stand for these tokens
    #[arg(long)]
    pub special: bool,
    /// Begin with the beginning-of-text token if the model asks for it
    #[arg(long)]
    pub bos: bool,
    /// Print the text of these tokens instead
    #[arg(long, value_name = "IDS", conflicts_with_all = ["words", "special", "bos"])]
    pub decode: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Write the logits of a list of tokens to a file.
#[derive(Args)]
#[command(
    group = ArgGroup::new("result").required(true).multiple(true).args(["output", "greedy", "state"]),
    after_help = "\
Examples:
  ingot logits model.gguf --tokens 1,15043,3186 -o logits.f32
  ingot logits model.gguf --tokens @ids.txt --device reference -o -
  ingot logits model.gguf --tokens @ids.txt --greedy 16

Logits are little-endian f32, a row of the size of the vocabulary for each
token. @FILE holds ids separated by commas or spaces, or a JSON array."
)]
pub struct LogitsArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Token ids to read, or @FILE
    #[arg(long, value_name = "IDS", required = true)]
    pub tokens: String,
    /// Where the logits go; - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Print the ids of so many likeliest next tokens as a JSON array
    #[arg(long, value_name = "N")]
    pub greedy: Option<usize>,
    /// Where the recurrent state after the tokens goes; - for standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub state: Option<PathBuf>,
    /// Read so many tokens at a time
    #[arg(long, value_name = "N", default_value = "512")]
    pub chunk: NonZeroUsize,
    /// Print JSON: an object with the likeliest tokens (greedy), the size of a row (vocab) and
    /// what was written
    #[arg(long)]
    pub json: bool,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Look at this computer and say what ingot makes of it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot doctor
  INGOT_CPU=scalar ingot doctor")]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Print a completion script for a shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot completions bash > ~/.local/share/bash-completion/completions/ingot
  ingot completions zsh > ~/.zfunc/_ingot
  ingot completions fish > ~/.config/fish/completions/ingot.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Print the manual page, or write one per command.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot man | man -l -
  ingot man -o ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Folder for the pages of all commands
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,
}
