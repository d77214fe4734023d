//! The commands that measure and compare executors.

use super::{EngineArgs, ModelArgument, Settings};
use crate::device::Device;
use clap::{Args, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

/// Measure how fast a model is read and written.
#[derive(Args)]
#[command(
    mut_arg("threads", |arg| arg.value_delimiter(',').value_name("N,...").help(
        "Threads to use, or several numbers of them [default: as many as there are processors]")),
    after_help = "\
Examples:
  ingot bench
  ingot bench model.gguf --device cpu --threads 4
  ingot bench model.gguf --prompt 0 --tokens 256 --depth 8192
  ingot bench model.gguf --prompt 128,512,2048 --depth 0,4096 --batch 1,4,8
  ingot bench model.gguf --depth 0,1024,4096 --plot speed.svg --plot speed.html
  ingot bench model.gguf --save before.json; ingot bench model.gguf --compare before.json
  ingot bench model.gguf --peer llama-cpp
  ingot bench model.gguf --submit
  ingot bench model.gguf --json > today.json

Options that take N,... measure every combination. Reading and writing both begin
after --depth tokens of context. Tokens come from a fixed seed, writing goes on with
the likeliest token. A GPU draws it by itself, eight steps in one go. One round is run
before those that count. What the memory can do is measured in the same run: on a GPU
with copies, on the processor by reading half a gigabyte with as many threads, in huge
pages and in small ones (unless the model is so small that it may live in caches).
`ingot profile` shows where the time goes.")]
pub struct BenchArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Tokens to read; 0 for none
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', default_value = "512")]
    pub prompt: Vec<u32>,
    /// Tokens to write; 0 for none
    #[arg(short = 'n', long, value_name = "N,...", value_delimiter = ',', default_value = "128")]
    pub tokens: Vec<u32>,
    /// How often
    #[arg(short, long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,
    /// Tokens of context that are there before
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0")]
    pub depth: Vec<u32>,
    /// Also write so many sequences at the same time
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    pub batch: Vec<NonZeroU16>,
    /// Which tokens: another number, another text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u32,
    /// Compare ways of handing work to the GPU: a launch at a time, a layer, a step, several steps
    #[arg(long)]
    pub submit: bool,
    /// Also measure another program on the same file, round by round in alternation
    #[arg(long, value_enum, value_name = "PROGRAM", conflicts_with = "lora")]
    pub peer: Option<Peer>,
    /// The Python that has the other program's package
    #[arg(long, value_name = "PATH", default_value = "python3", value_hint = ValueHint::ExecutablePath)]
    pub python: OsString,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Where the report goes: a file, - for standard output, none for nowhere
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Draw the speeds: a .svg file, or a .html page with the tables (repeatable)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub plot: Vec<PathBuf>,
    /// Also write the report as JSON into a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save: Option<PathBuf>,
    /// Compare with a report that was saved
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub compare: Option<PathBuf>,
    /// A name for this run, in reports and as the title of plots
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Something to remember with it
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Where and how the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl BenchArgs {
    /// How the report is printed.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for a terminal
    Table,
    /// Tables in Markdown
    Markdown,
    /// Everything, for programs
    Json,
}

/// Another program that runs models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// llama.cpp, through the Python package llama-cpp-python
    LlamaCpp,
}

/// Show where the time of a step goes: op by op, layer by layer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ingot profile
  ingot profile model.gguf --depth 4096
  ingot profile model.gguf --prompt 0 --picture decode.svg
  ingot profile model.gguf --picture step.html --trace step.json
  ingot profile model.gguf --device cuda --json

Two steps are looked at: one that reads --prompt tokens, and one that writes a token
after --depth tokens of context. On the processor the pieces of a step are timed as they
run, each from one point where all threads meet to the next. On a GPU launches are run
one by one and timed by the device; together they take longer than the step, in which
they follow each other without a pause. Of several runs the medians count; picture
and trace show the fastest. The trace is for https://ui.perfetto.dev and chrome://tracing.")]
pub struct ProfileArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Tokens of the step that reads, as many as one step has at most; 0 for none
    #[arg(short, long, value_name = "N", default_value_t = 128)]
    pub prompt: u32,
    /// Tokens of context before the steps
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: u32,
    /// How often
    #[arg(short, long, value_name = "N", default_value = "15")]
    pub rounds: NonZeroUsize,
    /// List every op of every layer
    #[arg(long)]
    pub all: bool,
    /// Write the fastest run as a trace
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub trace: Option<PathBuf>,
    /// Draw the steps: a .svg file, or a .html page with the tables (repeatable)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub picture: Vec<PathBuf>,
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
