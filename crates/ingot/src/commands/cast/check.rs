//! `ingot cast --check`: a cast file held against `ingot run` on the model that is in it.

use super::source::Temporary;
use crate::cli::as_typed;
use crate::commands::extract::extract;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::table::Table;
use crate::term::{Progress, printable};
use crate::units;
use ingot_cast::file::CastFile;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What both have to continue, and how far.
const PROMPT: &str = "Once upon a time there was";
const TOKENS: &str = "48";
/// Enough for some text, even if a letter takes several.
const FEW_TOKENS: &str = "4";
/// How often times are taken, the two in alternation; the fastest counts, as everything else that
/// the computer does makes them slower.
const ROUNDS: usize = 5;

/// Runs the file, and the model in it with this program, and compares.
pub fn check(path: &Path, as_json: bool, interrupt: &Interrupt) -> Result {
    let cast = CastFile::open(path)?.ok_or_else(|| {
        Failure::new(format!("{} is an ingot without a model", path.display()))
            .hint("`ingot cast MODEL -o FILE` makes one")
    })?;
    let catching = interrupt.catch();
    let progress = Progress::new("verifying", 0);
    let mut watch = |done, all| {
        progress.set_bytes(done, all);
        !catching.pressed()
    };
    cast.verify(&mut watch)?;
    if !cast.runs_here() {
        let index = cast.index();
        return Err(Failure::new(format!(
            "{}: its checksums are right, but it is for {} {} and does not run here",
            path.display(),
            index.format,
            index.machine
        )));
    }
    progress.set_message("extracting the model");
    let model = Temporary::beside(path);
    extract(&cast, &model.0, &mut watch)?;

    progress.set_message("running");
    let both = [Side::cast(&cast)?, Side::ingot(&cast, &model.0)?];
    // Ctrl-C ends what runs as well, which is no failure of it.
    let interrupted = |failure| if catching.pressed() { Failure::Interrupted } else { failure };
    let tokens = both[0].tokens().and_then(|ours| Ok([ours, both[1].tokens()?])).map_err(interrupted)?;
    let mut first = [Duration::MAX; 2];
    let mut speed = [0.0f64; 2];
    for _ in 0..ROUNDS {
        for (i, side) in both.iter().enumerate() {
            first[i] = first[i].min(side.first_token().map_err(interrupted)?);
            speed[i] = speed[i].max(side.speed().map_err(interrupted)?);
        }
    }
    drop(progress);
    let report = Report { cast: &cast, tokens, first, speed };
    match as_json {
        true => writeln!(io::stdout(), "{:#}", report.json())?,
        false => report.print(&mut anstream::stdout().lock())?,
    }
    match report.same() {
        true => Ok(()),
        false => Err(Failure::new("the cast program does not write what `ingot run` writes")
            .hint("is this the ingot that the file was made with?")),
    }
}

/// One of the two programs, with the options that make them do the same.
struct Side {
    program: std::path::PathBuf,
    options: Vec<String>,
}

impl Side {
    /// The cast file, which has its options in it.
    fn cast(cast: &CastFile) -> Result<Self> {
        let program = cast.path().canonicalize()?;
        Ok(Self { program, options: Vec::new() })
    }

    /// This program, with the cast file's options.
    fn ingot(cast: &CastFile, model: &Path) -> Result<Self> {
        let mut options = vec!["run".into(), "--model".into(), model.display().to_string()];
        // Those that `common` says, and what raw text has no use for.
        let left_out = ["system", "temp", "max_tokens"];
        options.extend(as_typed(&cast.index().contents.defaults, &left_out).map_err(Failure::new)?);
        Ok(Self { program: std::env::current_exe()?, options })
    }

    fn command(&self, output: &str, tokens: &str) -> Command {
        let mut command = Command::new(&self.program);
        let common =
            ["--raw", "--temp", "0", "--no-stats", "--ignore-eos", "-n", tokens, "--output", output, PROMPT];
        command.args(&self.options).args(common);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The JSON of a run.
    fn run(&self) -> Result<Value> {
        let output = self.command("json", TOKENS).output().map_err(|e| self.failed(&e.to_string()))?;
        match (output.status.success(), serde_json::from_slice(&output.stdout)) {
            (true, Ok(json)) => Ok(json),
            _ => Err(self.failed(&String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn tokens(&self) -> Result<Value> {
        Ok(self.run()?["tokens"].take())
    }

    /// Tokens in a second.
    fn speed(&self) -> Result<f64> {
        Ok(self.run()?["timings"]["decode_tokens_per_s"].as_f64().unwrap_or(0.0))
    }

    /// From the start of the program to the first text it writes.
    fn first_token(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut child = self.command("text", FEW_TOKENS).spawn().map_err(|e| self.failed(&e.to_string()))?;
        let mut out = child.stdout.take().expect("piped");
        let written = out.read(&mut [0; 64])?;
        let time = begun.elapsed();
        io::copy(&mut out, &mut io::sink())?;
        let ended = child.wait_with_output()?;
        match written > 0 && ended.status.success() {
            true => Ok(time),
            false => Err(self.failed(&String::from_utf8_lossy(&ended.stderr))),
        }
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::new(format!("{} did not run: {}", self.program.display(), why.trim()))
    }
}

/// What was found, first of the cast program, then of `ingot run`.
struct Report<'a> {
    cast: &'a CastFile,
    tokens: [Value; 2],
    first: [Duration; 2],
    speed: [f64; 2],
}

impl Report<'_> {
    fn same(&self) -> bool {
        self.tokens[0] == self.tokens[1] && self.count() > 0
    }

    fn count(&self) -> usize {
        self.tokens[0].as_array().map_or(0, Vec::len)
    }

    fn json(&self) -> Value {
        let index = self.cast.index();
        let side = |i: usize| json!({ "first_token_s": self.first[i].as_secs_f64(), "decode_tokens_per_s": self.speed[i] });
        json!({
            "file": self.cast.path(), "verified": true, "same_tokens": self.same(), "tokens": self.count(),
            "cast": side(0), "ingot": side(1), "rounds": ROUNDS,
            "bytes": {
                "file": self.cast.len(), "runtime": index.runtime_bytes, "model": index.model_bytes,
                "overhead": self.overhead(),
            },
        })
    }

    /// Bytes of the file that are neither program nor model.
    fn overhead(&self) -> u64 {
        let index = self.cast.index();
        self.cast.len() as u64 - index.runtime_bytes - index.model_bytes
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let index = self.cast.index();
        let path = self.cast.path().display().to_string();
        writeln!(
            out,
            "{}: {}, of that program {}, model {}, the rest {}",
            printable(&path),
            units::bytes(self.cast.len() as u64),
            units::bytes(index.runtime_bytes),
            units::bytes(index.model_bytes),
            units::bytes(self.overhead())
        )?;
        writeln!(out, "All checksums are right.")?;
        match self.same() {
            true => writeln!(out, "The same {} as `ingot run`.\n", units::plural(self.count(), "token"))?,
            false => writeln!(out, "Other tokens than `ingot run`.\n")?,
        }
        let mut table = Table::new(&["best of 5", "first token", "tok/s"], 1);
        for (i, name) in ["the file", "ingot run"].into_iter().enumerate() {
            table.row([name.into(), units::time(self.first[i]), format!("{:.1}", self.speed[i])]);
        }
        table.print(out)
    }
}
