//! One file per command.

mod bench;
mod cast;
mod chat;
mod compare;
mod diff;
mod doctor;
mod inspect;
mod list;
mod logits;
mod perplexity;
mod profile;
mod pull;
mod quantize;
mod rm;
mod run;
mod serve;
mod shell;
mod tokenize;
mod tune;
mod validate;

use crate::cli::Command;
use crate::failure::{Failure, Result};
use std::io::{self, IsTerminal, Read};

/// Does what the command line says.
pub fn run(command: Command) -> Result {
    match command {
        Command::Run(args) => run::run(*args),
        Command::Chat(args) => chat::run(*args),
        Command::Serve(args) => serve::run(*args),
        Command::Pull(args) => pull::run(&args),
        Command::List(args) => list::run(&args),
        Command::Rm(args) => rm::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Quantize(args) => quantize::quantize(&args),
        Command::Convert(args) => quantize::convert(&args),
        Command::Cast(args) => cast::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}

/// What was piped into the program; `None` if standard input is a terminal.
fn piped_input() -> Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Warns of a context that the model was not trained for.
fn check_context(model: &ingot::Model) {
    use crate::term::WARNING;
    if let Some(trained) = model.info().context
        && model.context() > trained
    {
        let context = model.context();
        crate::say!(
            "{WARNING}warning:{WARNING:#} a context of {context} tokens: the model was trained for {trained}"
        );
    }
}

/// The ids in a text: numbers separated by commas or white space, or a JSON array.
fn parse_ids(text: &str) -> Result<Vec<u32>> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let numbers = bare.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    numbers
        .map(|word| {
            let message = || format!("'{}' is not a token id", crate::units::shortened(word));
            word.parse().map_err(|_| Failure::new(message()))
        })
        .collect()
}

/// The ids on the command line, or in the file it names.
fn ids_or_file(text: &str) -> Result<Vec<u32>> {
    let ids = match text.strip_prefix('@') {
        None => parse_ids(text)?,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{path}: {e}")))?;
            parse_ids(&text)?
        }
    };
    match ids.is_empty() {
        true => Err(Failure::usage("--tokens names no tokens")
            .hint("for example --tokens 1,2,3 or --tokens @ids.txt")),
        false => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for text in ["1,2,3", " 1 2\n3 ", "[1, 2, 3]\n", "1,\t2,,3"] {
            assert_eq!(parse_ids(text).unwrap(), [1, 2, 3], "{text:?}");
        }
        assert!(parse_ids("").unwrap().is_empty());
        for text in ["1,x", "-1", "4294967296", "1.5"] {
            assert!(parse_ids(text).is_err(), "{text:?}");
        }
    }
}
