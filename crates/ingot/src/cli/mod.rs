//! The command line: what can be typed, in one place for parsing, `--help`,
//! completions and man pages.

mod cast;
mod hub;
mod judge;
mod model;
mod program;
mod quantize;
mod run;
mod sampling;
mod serve;
mod study;
mod tools;

pub use cast::{CastArgs, as_typed, check_defaults};
pub use hub::{ListArgs, PullArgs, RmArgs};
pub use judge::{PerplexityArgs, TuneArgs, ValidateArgs};
pub use model::{EngineArgs, ModelArgument, ModelOption, Settings};
pub use program::{AboutArgs, Action, ExtractArgs, Program};
pub use quantize::{ConvertArgs, Making, QuantizeArgs};
pub use run::{ChatArgs, Output, RunArgs};
pub use sampling::SamplingArgs;
pub use serve::{LogFormat, ServeArgs};
pub use study::{BenchArgs, DiffArgs, Format, ProfileArgs};
pub use tools::{CompletionsArgs, DoctorArgs, InspectArgs, LogitsArgs, ManArgs, TokenizeArgs};

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  ingot run \"Once upon a time\"               a story by the model in the program
  ingot run -m model.gguf \"Why is the sky blue?\"
  ingot run -m hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M \"Hello\"
  ingot chat model.gguf
  ingot serve model.gguf
  ingot inspect model.gguf
  ingot bench model.gguf

MODEL is a GGUF file (of a split one the first part), a safetensors file, a
Hugging Face folder, the name of a file in a folder called models, or a model
of the Hugging Face hub: hf:ORG/REPO, hf:ORG/REPO:QUANT, hf:ORG/REPO/FILE.gguf.";

/// Run language models on this computer
#[derive(Parser)]
#[command(
    name = "ingot",
    version,
    max_term_width = 100,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Answer or continue a prompt
    Run(Box<RunArgs>),
    /// Talk with a model
    Chat(Box<ChatArgs>),
    /// Serve a model to many: OpenAI's API, and a chat page
    Serve(Box<ServeArgs>),
    /// Bring a model from the Hugging Face hub
    Pull(PullArgs),
    /// List the models that are on this computer
    List(ListArgs),
    /// Remove models that were pulled
    Rm(RmArgs),
    /// Show what is in a model file and what running it takes
    Inspect(InspectArgs),
    /// Show how a text is cut into tokens
    Tokenize(TokenizeArgs),
    /// Write the logits of a list of tokens to a file
    Logits(LogitsArgs),
    /// Make a smaller GGUF file of a model
    Quantize(QuantizeArgs),
    /// Make a GGUF file of a Hugging Face folder
    Convert(ConvertArgs),
    /// Make a program of a model: one executable file, or the sources of one
    Cast(Box<CastArgs>),
    /// Measure how fast a model is read and written
    Bench(Box<BenchArgs>),
    /// Show where the time of a step goes: op by op, layer by layer
    Profile(ProfileArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Check what this computer makes of a model, layer by layer
    Validate(ValidateArgs),
    /// Find the fastest sizes of a GPU's launches for a model
    Tune(TuneArgs),
    /// Compare what two executors compute, buffer by buffer
    Diff(DiffArgs),
    /// Look at this computer and say what ingot makes of it
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one per command
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("ingot {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn every_command_speaks_json() {
        // What these print is in a form of its own.
        let others = ["completions", "man"];
        for command in Cli::command().get_subcommands() {
            let has = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
            assert_eq!(has, !others.contains(&command.get_name()), "{}", command.get_name());
        }
    }

    #[test]
    fn whatever_runs_a_model_takes_adapters() {
        for command in Cli::command().get_subcommands() {
            let takes = |name| command.get_arguments().any(|arg| arg.get_long() == Some(name));
            // Those that make files have no cache.
            assert!(!takes("cache") || takes("lora"), "{}", command.get_name());
        }
    }
}
