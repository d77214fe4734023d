//! The arguments of a program made of one model.

use ingot_engine::{ExecutorKind, Options, Request, SamplerOptions};
use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// What to answer or to continue.
    pub prompt: String,
    /// Continue the prompt as it is, without a template.
    pub raw: bool,
    /// Most tokens to write.
    pub max_tokens: Option<usize>,
    /// Always take the likeliest token.
    pub greedy: bool,
    /// Repeats what had this seed.
    pub seed: Option<u64>,
    /// What computes.
    pub device: ExecutorKind,
    /// Threads of the processor.
    pub threads: Option<usize>,
    /// The file with the weights.
    pub weights: Option<PathBuf>,
    /// Print times.
    pub stats: bool,
}

const HELP: &str = "\
Usage: PROGRAM [OPTIONS] PROMPT...

Options:
  -n, --max-tokens N  Most tokens to write [default: until the model ends]
      --greedy        Always take the likeliest token
  -s, --seed N        Repeats what had this seed [default: random]
      --raw           Continue the prompt as it is, without the chat template
      --device D      cpu, cuda, cuda:N, metal or sim [default: cpu]
  -t, --threads N     Threads to use [default: as many as there are processors]
      --weights FILE  The file with the weights [default: weights.gguf, where it is found]
      --stats         Print times on standard error
  -h, --help          Print help

Example:
  PROGRAM -n 100 \"Once upon a time\"
";

/// Runs a program: exit code 0 if all went well or the reader of the text has left, 2 if the
/// command line is wrong, else 1. What is wrong is said in one line.
pub fn program(run: impl FnOnce(&Arguments) -> Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            let program = std::env::args().next().unwrap_or_default();
            print!("{}", HELP.replace("PROGRAM", &program));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("error: {wrong}\nhint: --help lists the options");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    /// Arguments without the program's name; `None` if help is wanted.
    fn parse(words: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut arguments = Self::default();
        let mut prompt: Vec<String> = Vec::new();
        let text = |word: OsString| word.into_string().map_err(|w| format!("{} is not text", w.display()));
        let mut words = words;
        while let Some(word) = words.next() {
            let word = text(word)?;
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "-h" | "--help" => return Ok(None),
                "-n" | "--max-tokens" => arguments.max_tokens = Some(number(&word, &text(value()?)?)?),
                "-s" | "--seed" => arguments.seed = Some(number(&word, &text(value()?)?)?),
                "-t" | "--threads" => match number(&word, &text(value()?)?)? {
                    0 => return Err(format!("{word} takes a number from 1 on")),
                    threads => arguments.threads = Some(threads),
                },
                "--greedy" => arguments.greedy = true,
                "--raw" => arguments.raw = true,
                "--stats" => arguments.stats = true,
                "--device" => arguments.device = device(&text(value()?)?)?,
                "--weights" => arguments.weights = Some(value()?.into()),
                "--" => {
                    for word in words.by_ref() {
                        prompt.push(text(word)?);
                    }
                }
                option if option.starts_with('-') && option != "-" => {
                    return Err(format!("there is no option {option}"));
                }
                _ => prompt.push(word),
            }
        }
        if prompt.is_empty() {
            return Err("there is no prompt".into());
        }
        arguments.prompt = prompt.join(" ");
        Ok(Some(arguments))
    }

    /// How the model is to be run.
    pub fn options(&self) -> Options {
        Options { executor: self.device, threads: self.threads, ..Options::default() }
    }

    /// How tokens are chosen, where `usual` is what suits the model.
    pub fn sampling(&self, usual: SamplerOptions) -> SamplerOptions {
        let random = || RandomState::new().build_hasher().finish() >> 32;
        let temperature = if self.greedy { 0.0 } else { usual.temperature };
        SamplerOptions { temperature, seed: self.seed.unwrap_or_else(random), ..usual }
    }

    /// When the text ends.
    pub fn request(&self) -> Request {
        Request { max_tokens: self.max_tokens, ..Request::default() }
    }

    /// The file with the weights: the one that was named, or `weights.gguf` where the program
    /// was started, beside the program, or in the `project` that it was built in.
    pub fn weights(&self, project: &str) -> PathBuf {
        const NAME: &str = "weights.gguf";
        let beside = std::env::current_exe().ok().map(|program| program.with_file_name(NAME));
        let found = || [Some(NAME.into()), beside].into_iter().flatten().find(|path: &PathBuf| path.exists());
        self.weights.clone().or_else(found).unwrap_or_else(|| PathBuf::from(project).join(NAME))
    }
}

fn number<N: FromStr>(option: &str, word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("{option} takes a number, not '{word}'"))
}

fn device(word: &str) -> Result<ExecutorKind, String> {
    match word {
        "cpu" => Ok(ExecutorKind::Cpu),
        gpu => gpu.parse().map(ExecutorKind::Gpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Option<Arguments>, String> {
        Arguments::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn options_and_words() {
        let all = parse(&["Once", "-n", "5", "--seed", "7", "--raw", "--greedy", "upon", "--", "-a", "time"]);
        let all = all.unwrap().unwrap();
        assert_eq!((all.prompt.as_str(), all.max_tokens, all.seed), ("Once upon -a time", Some(5), Some(7)));
        assert!(all.raw && all.greedy && !all.stats);
        assert_eq!(all.sampling(SamplerOptions::default()).temperature, 0.0);
        assert_eq!(parse(&["-h"]), Ok(None));
        let device = |word| parse(&["x", "--device", word]).map(|a| a.unwrap().device.to_string());
        assert_eq!(device("cuda:1"), Ok("cuda:1".into()));
        assert!(device("gpu").is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, named) in [
            (&[][..], "no prompt"),
            (&["x", "-n"], "-n needs a value"),
            (&["x", "-n", "-1"], "'-1'"),
            (&["x", "--threads", "0"], "from 1"),
            (&["x", "--fast"], "no option --fast"),
        ] {
            let wrong = parse(words).unwrap_err();
            assert!(wrong.contains(named), "{wrong}");
        }
    }
}
