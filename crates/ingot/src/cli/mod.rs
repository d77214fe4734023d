//! The command line: what can be typed, in one place for parsing, `--help`,
//! completions and man pages.

mod model;
mod run;
mod sampling;
mod serve;
mod study;
mod tools;

pub use model::{EngineArgs, ModelArgument, ModelOption, Settings};
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
  ingot chat model.gguf
  ingot serve model.gguf
  ingot inspect model.gguf
  ingot bench model.gguf

MODEL is a GGUF file (of a split one the first part), a safetensors file, a
Hugging Face folder, or the name of a file in a folder called models.";

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
    /// Show what is in a model file and what running it takes
    Inspect(InspectArgs),
    /// Show how a text is cut into tokens
    Tokenize(TokenizeArgs),
    /// Write the logits of a list of tokens to a file
    Logits(LogitsArgs),
    /// Measure how fast a model is read and written
    Bench(Box<BenchArgs>),
    /// Show where the time of a step goes: op by op, layer by layer
    Profile(ProfileArgs),
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
}
