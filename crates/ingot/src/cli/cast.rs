//! What `ingot cast` takes.

use super::RunArgs;
use clap::builder::Resettable;
use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Id, ValueHint};
use ingot_cast::file::Defaults;
use ingot_convert::Mix;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ingot cast model.gguf -o fable
  ingot cast hf:ORG/REPO:Q4_K_M -o fable --system \"You are a storyteller.\" --temp 0.9
  ingot cast path/to/huggingface-folder --quantize q4_k_m --lora path/to/adapter -o fable
  ingot cast model.gguf -o fable --runtime ingot-for-another-system
  ingot cast model.gguf -o fable --check
  ingot cast --check fable
  ingot cast model.gguf --project my-model
  ingot cast model.gguf --kernels my-kernels

  ./fable \"Once upon a time\"       ./fable chat      ./fable serve --open
  ./fable about --verify           ./fable extract -o model.gguf

The file is this program with the model behind it, which is used where it lies: nothing is
installed or unpacked. It runs on computers of the same system and processor as this program,
or as --runtime, from any folder, and needs nothing beside it (but a GPU's driver, if there
is a GPU). The model's checksums are verified whenever it starts.

A GGUF file is put in byte for byte; a split one, a folder or what --quantize and --lora make
is packed first, beside the new file. Of a cast file its model is taken.

Options for running it are kept as what the new program begins with; its user can choose
others. The system prompt is for its prompts and chats, not for what is asked of its server.

A project is a Cargo package with one step of the model and its sizes as data, the weights in a
file of their own, and the sources of everything else: Rust is all it takes to build it. Kernels
are those that the model needs, in Metal and CUDA, with a manifest that says how a step is
launched, for programs that have everything else. Of the options above both take only --ctx.";

/// What makes sense for an executable file only.
const OF_FILES: [&str; 7] = ["output", "check", "name", "description", "quantize", "lora", "runtime"];

/// Make a program of a model: one executable file, or the sources of one.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CastArgs {
    /// Model file, folder or name, or hf:ORG/REPO[:QUANT] [default: the small model in the
    /// program]; with --check and without -o, the cast file to check
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: Option<PathBuf>,
    /// The file to make
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present_any = ["check", "project", "kernels"])]
    pub output: Option<PathBuf>,
    /// Run the file and compare it with `ingot run`: its tokens, when the first one comes, its speed
    #[arg(long)]
    pub check: bool,
    /// What it calls itself [default: the name of the file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A line about it, for its --help
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Give most tensors this type first, as `ingot quantize` does
    #[arg(long, value_name = "TYPE", value_parser = super::quantize::mix)]
    pub quantize: Option<Mix>,
    /// Merge a LoRA adapter first (PEFT folder or GGUF), by default with a factor of 1 (repeatable)
    #[arg(long, value_name = "ADAPTER[:FACTOR]")]
    pub lora: Vec<String>,
    /// The ingot to use instead of this one, for another system (Linux or macOS)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub runtime: Option<PathBuf>,
    /// Write a Cargo project into this folder instead, which gives it its name
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = OF_FILES)]
    pub project: Option<PathBuf>,
    /// Write the model's kernels and a manifest of its launches into this folder instead
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        conflicts_with = "project",
        conflicts_with_all = OF_FILES
    )]
    pub kernels: Option<PathBuf>,
    /// Replace the project or the kernels that are there
    #[arg(long, conflicts_with_all = OF_FILES)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What the program begins with.
    #[command(flatten)]
    pub stored: Stored,
}

impl CastArgs {
    /// The context that sources are made for, which know no other stored option.
    pub fn context_alone(&self) -> Result<Option<usize>, String> {
        if let Some(other) = self.stored.defaults.keys().find(|id| *id != "ctx") {
            return Err(format!("--project and --kernels take no --{}", other.replace('_', "-")));
        }
        let ctx = self.stored.defaults.get("ctx").and_then(|values| values.first());
        ctx.map(|tokens| tokens.parse().map_err(|_| format!("--ctx {tokens} is not a number"))).transpose()
    }
}

/// The options of `ingot run` that a program can be cast with: those that say how the model is
/// to be used, whoever uses it on whichever computer.
const STORED: [&str; 18] = [
    "system",
    "max_tokens",
    "stop",
    "temp",
    "top_k",
    "top_p",
    "min_p",
    "typical",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "penalty_last_n",
    "logit_bias",
    "mirostat",
    "seed",
    "device",
    "ctx",
    "cache",
];

/// Short for a temperature of 0.
const GREEDY: &str = "greedy";

/// The options that a program begins with, as they were typed.
pub struct Stored {
    /// By the name of the argument.
    pub defaults: Defaults,
}

/// The arguments of `ingot run` with these names.
fn arguments(names: &[&str]) -> impl Iterator<Item = Arg> {
    let run = RunArgs::augment_args(Command::new("run"));
    let chosen: Vec<Arg> =
        run.get_arguments().filter(|arg| names.contains(&arg.get_id().as_str())).cloned().collect();
    chosen.into_iter()
}

impl Args for Stored {
    fn augment_args(command: Command) -> Command {
        // What they exclude of each other in `run` is not all here.
        let free = |arg: Arg| arg.conflicts_with(Resettable::Reset);
        let greedy = arguments(&[GREEDY]).map(move |arg| free(arg).conflicts_with_all(["temp", "mirostat"]));
        command.args(arguments(&STORED).map(free)).args(greedy)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Stored {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut defaults = Defaults::new();
        for id in STORED.into_iter().filter(|id| typed(id)) {
            let values = matches.get_raw(id).into_iter().flatten();
            let values =
                values.map(|value| value.to_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
            let values =
                values.ok_or_else(|| Error::raw(ErrorKind::InvalidUtf8, "an option is not UTF-8\n"))?;
            defaults.insert(id.into(), values);
        }
        if matches.get_flag(GREEDY) {
            defaults.insert("temp".into(), vec!["0".into()]);
        }
        Ok(Self { defaults })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The options as they would be typed, but for those that are left out.
pub fn as_typed(defaults: &Defaults, left_out: &[&str]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (id, values) in defaults.iter().filter(|(id, _)| !left_out.contains(&id.as_str())) {
        let known = arguments(&STORED).find(|arg| arg.get_id() == id.as_str());
        let long =
            known.as_ref().and_then(Arg::get_long).ok_or_else(|| format!("there is no option {id:?}"))?;
        words.extend(values.iter().map(|value| format!("--{long}={value}")));
    }
    Ok(words)
}

/// Looks whether these are options that can be stored, with values that they can have.
pub fn check_defaults(defaults: &Defaults) -> Result<(), String> {
    let words = as_typed(defaults, &[])?;
    let command = RunArgs::augment_args(Command::new("run").no_binary_name(true));
    let matches = command.try_get_matches_from(words).map_err(first_line)?;
    let args = RunArgs::from_arg_matches(&matches).map_err(first_line)?;
    ingot::Sampler::new(args.sampling.options()).map(|_| ()).map_err(|e| e.to_string())
}

fn first_line(e: Error) -> String {
    let text = e.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").into()
}

/// Makes stored options the defaults of a command that has them.
pub fn with_defaults(mut command: Command, defaults: &'static Defaults, left_out: &[&str]) -> Command {
    for (id, values) in defaults.iter().filter(|(id, _)| !left_out.contains(&id.as_str())) {
        let has_it = command.get_arguments().any(|arg: &Arg| arg.get_id() == id.as_str());
        if has_it {
            command = command
                .mut_arg(Id::from(id.as_str()), |arg| arg.default_values(values.iter().map(String::as_str)));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(of: &[(&str, &[&str])]) -> Defaults {
        of.iter()
            .map(|(id, values)| (id.to_string(), values.iter().map(|v| v.to_string()).collect()))
            .collect()
    }

    #[test]
    fn every_stored_option_is_one_of_run() {
        assert_eq!(arguments(&STORED).count(), STORED.len());
        assert!(arguments(&STORED).all(|arg| arg.get_long().is_some()));
    }

    #[test]
    fn only_what_was_typed_is_kept() {
        let command = CastArgs::augment_args(Command::new("cast").no_binary_name(true));
        let words =
            ["-o", "x", "--temp", "0.5", "--stop", "a", "--stop", "-b", "-c", "512", "--system", "Be brief."];
        let args = CastArgs::from_arg_matches(&command.clone().get_matches_from(words)).unwrap();
        let expected: &[(&str, &[&str])] =
            &[("ctx", &["512"]), ("stop", &["a", "-b"]), ("system", &["Be brief."]), ("temp", &["0.5"])];
        assert_eq!(args.stored.defaults, defaults(expected));
        let args = CastArgs::from_arg_matches(&command.get_matches_from(["-o", "x", "--greedy"])).unwrap();
        assert_eq!(args.stored.defaults, defaults(&[("temp", &["0"])]));
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(
            check_defaults(&defaults(&[("temp", &["0.5"]), ("device", &["cpu"]), ("stop", &["a", "-b"])])),
            Ok(())
        );
        for (id, value) in
            [("temp", "hot"), ("temp", "-1"), ("model", "x"), ("raw", "true"), ("cache", "f64"), ("ctx", "0")]
        {
            assert!(check_defaults(&defaults(&[(id, &[value])])).is_err(), "{id} {value}");
        }
    }
}
