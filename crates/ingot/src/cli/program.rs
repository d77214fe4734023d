//! The command line of a program that was cast. It is that of ingot, but the model is there.

use super::cast::with_defaults;
use super::{BenchArgs, ChatArgs, RunArgs, ServeArgs};
use crate::own::Own;
use crate::term::printable;
use crate::units;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// What can be typed.
#[derive(Parser)]
#[command(
    max_term_width = 100,
    propagate_version = true,
    args_conflicts_with_subcommands = true,
    subcommand_help_heading = "Commands (as the first word)"
)]
pub struct Program {
    /// What to do instead of answering a prompt.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The prompt.
    #[command(flatten)]
    pub run: Box<RunArgs>,
}

/// What the program can do beside answering a prompt.
#[derive(Subcommand)]
pub enum Action {
    /// Talk with the model
    Chat(Box<ChatArgs>),
    /// Serve the model to many: OpenAI's API, and a chat page
    Serve(Box<ServeArgs>),
    /// Measure how fast the model is read and written
    Bench(Box<BenchArgs>),
    /// Say what this program is
    About(AboutArgs),
    /// Write the model into a file of its own
    Extract(ExtractArgs),
}

/// Say what this program is.
#[derive(Args)]
pub struct AboutArgs {
    /// Verify all checksums, also the model's SHA-256
    #[arg(long)]
    pub verify: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Write the model into a file of its own.
#[derive(Args)]
pub struct ExtractArgs {
    /// The file to make [default: the program's name and .gguf, if there is no such file]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Program {
    /// Parses the command line of this program; ends it if there is something wrong with that.
    pub fn parse(own: &'static Own) -> Self {
        let matches = Self::command_of(own).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }

    /// All that can be typed.
    pub fn command_of(own: &'static Own) -> Command {
        let (contents, typed) = (&own.file().index().contents, own.typed());
        let defaults = &contents.defaults;
        let adapted =
            |command: Command, left_out: &[&str]| with_defaults(without_model(command), defaults, left_out);
        adapted(Self::command(), &[])
            .name(contents.name.as_str())
            .display_name(contents.name.as_str())
            .bin_name(typed)
            .version(concat!("(ingot ", env!("CARGO_PKG_VERSION"), ")"))
            .about(about(own))
            .after_help(format!(
                "\
Examples:
  {typed} \"Once upon a time\"
  {typed} \"Summarize:\" < notes.txt
  {typed} chat
  {typed} serve --open
  {typed} about --verify
  {typed} extract -o model.gguf
  {typed} -- chat                a prompt of one word that is also a command

A model with a chat template gets the prompt as the message of a user, others and --raw
continue it. What is piped in is the prompt, or its end."
            ))
            .mut_subcommand("chat", |chat| {
                adapted(chat, &[]).after_help(format!(
                    "\
Examples:
  {typed} chat
  {typed} chat --system \"You are a pirate.\"
  {typed} chat < questions.txt

/help lists the commands of the conversation. Ctrl-C stops an answer, ctrl-D leaves."
                ))
            })
            // There --max-tokens is the most that requests may ask for.
            .mut_subcommand("serve", |serve| {
                adapted(serve, &["max_tokens"]).after_help(format!(
                    "\
Examples:
  {typed} serve --open
  {typed} serve --port 9000 --parallel 16
  INGOT_API_KEY=secret {typed} serve --host 0.0.0.0

  curl localhost:8080/v1/chat/completions -d '{{\"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'

Programs made for OpenAI's API work with the base URL http://127.0.0.1:8080/v1 and any API
key. Ctrl-C lets answers that have begun end; a second one does not."
                ))
            })
            .mut_subcommand("bench", |bench| {
                adapted(bench, &[])
                    .after_help(format!("Examples:\n  {typed} bench\n  {typed} bench --device cpu --threads 4 --json"))
            })
            .mut_subcommand("about", |about| {
                about.after_help(format!("Examples:\n  {typed} about\n  {typed} about --verify --json"))
            })
            .mut_subcommand("extract", |extract| {
                extract.after_help(format!("Examples:\n  {typed} extract\n  {typed} extract -o model.gguf"))
            })
    }
}

/// The command without the arguments that name a model.
fn without_model(mut command: Command) -> Command {
    fn refuse(_: &str) -> Result<PathBuf, String> {
        Err("this program has its model in it".into())
    }
    for id in ["model", "word"] {
        if command.get_arguments().any(|arg| arg.get_id() == id) {
            command = command.mut_arg(id, |arg| arg.hide(true).value_parser(refuse));
        }
    }
    command
}

/// What the model is, in a few lines.
fn about(own: &Own) -> String {
    let contents = &own.file().index().contents;
    let model = &contents.model;
    let mut lines = Vec::new();
    lines.extend(contents.description.clone());
    lines.push(format!(
        "{}: {}, {} parameters, {}, {}",
        model.name.as_deref().unwrap_or(&model.source),
        model.family,
        units::count(model.parameters),
        model.quantization,
        units::bytes(own.file().index().model_bytes)
    ));
    lines.extend(model.license.as_ref().map(|license| format!("License of the model: {license}")));
    printable(&lines.join("\n")).into_owned()
}
