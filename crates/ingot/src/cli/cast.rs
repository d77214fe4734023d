//! `cast`.

use clap::{Args, ValueHint};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Make a program of a model.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot cast model.gguf --project my-model
  cd my-model && cargo run --release -- \"Once upon a time\"
  ingot cast model.gguf --kernels my-kernels

A project has one step of the model and its sizes as data, the weights in a file of their own,
and the sources of everything else: Rust is all it takes to build it. The program checks the
weights when it starts.

Kernels are those that the model needs, in Metal and CUDA, with a manifest that says how a step
is launched, for programs that have everything else.

What was made before is replaced with --force.")]
pub struct CastArgs {
    /// Model file or name
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Write a Cargo project into this folder, which gives it its name
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "kernels")]
    pub project: Option<PathBuf>,
    /// Write the model's kernels and a manifest of its launches into this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "project")]
    pub kernels: Option<PathBuf>,
    /// Replace what was made before
    #[arg(long)]
    pub force: bool,
    /// Most tokens of prompt and text together [default: what the model was trained for]
    #[arg(short, long, value_name = "TOKENS")]
    pub ctx: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
