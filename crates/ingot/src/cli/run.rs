//! `run` and `chat`.

use super::{EngineArgs, ModelArgument, ModelOption, SamplingArgs};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

const RUN_EXAMPLES: &str = "\
Examples:
  ingot run \"Once upon a time\"
  ingot run -m model.gguf --system \"Answer in one line.\" \"Why is the sky blue?\"
  ingot run -m model.gguf --raw -n 100 \"fn main() {\"
  ingot run -m model.gguf \"Summarize:\" < notes.txt
  ingot run --seed 7 --json Tom | jq .text
  ingot run -m model.gguf --lora path/to/adapter:0.5 \"Why is the sky blue?\"
  ingot run -- --help is a flag, and this is a prompt about it

A model with a chat template gets the prompt as the message of a user, others
and --raw continue it. What is piped in is the prompt, or its end.";

/// Answer or continue a prompt.
#[derive(Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelOption,
    /// The prompt; several words are joined with spaces
    #[arg(value_name = "PROMPT")]
    pub words: Vec<String>,
    /// The prompt, for those used to it
    #[arg(short, long, value_name = "TEXT", conflicts_with = "words", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Instructions that come before the prompt, for models with a chat template
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    pub raw: bool,
    /// When to stop.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What to print: text as it comes, one JSON object, or nothing but statistics
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Print statistics even if standard error is not a terminal
    #[arg(long, overrides_with = "no_stats")]
    pub stats: bool,
    /// Print no statistics
    #[arg(long, overrides_with = "stats")]
    pub no_stats: bool,
    /// Save the session afterwards
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save: Option<PathBuf>,
    /// Continue a saved session; a prompt is appended as it is
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "system")]
    pub load: Option<PathBuf>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl RunArgs {
    /// What to print.
    pub fn output(&self) -> Output {
        if self.json { Output::Json } else { self.output }
    }
}

/// When the text ends.
#[derive(Args)]
pub struct LimitArgs {
    /// Most tokens to write; -1 until the model ends or the context is full
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = -1,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-1..)
    )]
    max_tokens: i64,
    /// Stop when this text would come next (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Go on after the model's end of text
    #[arg(long)]
    ignore_eos: bool,
}

impl LimitArgs {
    /// The engine's form of them.
    pub fn request(&self) -> ingot::Request {
        ingot::Request {
            max_tokens: usize::try_from(self.max_tokens).ok(),
            stop: self.stop.clone(),
            ignore_end: self.ignore_eos,
            ..ingot::Request::default()
        }
    }
}

/// What `run` prints. (Help on each value would make all of `--help` twice as long.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
    None,
}

const CHAT_EXAMPLES: &str = "\
Examples:
  ingot chat
  ingot chat model.gguf --system \"You are a pirate.\"
  ingot chat model.gguf < questions.txt
  ingot chat model.gguf --json < questions.txt | jq -r .text

/help lists the commands of the conversation. Ctrl-C stops an answer, ctrl-D
leaves. With --json every answer is an object in a line, once it is complete:
model, text, tokens, finish_reason, seed, usage and timings, as of ingot run.";

/// Talk with a model.
#[derive(Args)]
#[command(after_help = CHAT_EXAMPLES)]
pub struct ChatArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgument,
    /// Instructions that come before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Go on with a saved conversation
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "system")]
    pub load: Option<PathBuf>,
    /// When an answer ends.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Print JSON: an object in a line for each answer
    #[arg(long)]
    pub json: bool,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}
