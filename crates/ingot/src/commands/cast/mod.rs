//! `ingot cast`: one executable file that is a model, or the sources of a program that is one.

mod check;
pub mod details;
mod kernels;
mod project;
mod source;

use crate::cli::{CastArgs, check_defaults};
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::term::{Progress, printable};
use crate::units;
use ingot_cast::file::{self, Casting, Contents, Runtime};
use serde_json::json;
use source::Source;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub fn run(args: &CastArgs) -> Result {
    match (&args.project, &args.kernels) {
        (Some(folder), _) => project::run(args, folder),
        (None, Some(folder)) => kernels::run(args, folder),
        (None, None) => file(args),
    }
}

fn file(args: &CastArgs) -> Result {
    let Some(output) = &args.output else {
        let path = args.model.as_deref().ok_or_else(|| {
            Failure::usage("--check needs the file to check").hint("for example `ingot cast --check fable`")
        })?;
        return check::check(path, args.json, &Interrupt::install()?);
    };
    let begun = Instant::now();
    check_defaults(&args.stored.defaults).map_err(Failure::usage)?;
    let name = name(args, output)?;
    let runtime = match &args.runtime {
        Some(path) => Runtime::open(path)?,
        None => Runtime::own()?,
    };
    refuse_programs(output, &runtime, args.model.as_deref())?;
    let interrupt = Interrupt::install()?;
    let source = source::open(args, output, &interrupt)?;
    if args.stored.defaults.contains_key("system") {
        require_template(&source)?;
    }
    if runtime.was_cast {
        crate::say!("using the program of {} without its model", runtime.path.display());
    }
    let contents = Contents {
        name,
        description: args.description.clone(),
        created: now(),
        model: source.about,
        defaults: args.stored.defaults.clone(),
    };
    let casting = Casting { runtime: &runtime, model: &source.bytes, contents };
    let sizes = {
        let catching = interrupt.catch();
        let progress = Progress::new("casting", 0);
        file::write(&casting, output, &mut |done, all| {
            progress.set_bytes(done, all);
            !catching.pressed()
        })?
    };
    if args.check {
        return check::check(output, args.json, &interrupt);
    }
    let (system, machine) = (runtime.format.to_string(), runtime.machine.to_string());
    if args.json {
        let made = json!({
            "output": output, "name": casting.contents.name, "system": system, "machine": machine,
            "ingot": runtime.version, "seconds": begun.elapsed().as_secs_f64(),
            "bytes": { "file": sizes.file, "runtime": sizes.runtime, "model": sizes.model },
        });
        return Ok(writeln!(io::stdout(), "{made:#}")?);
    }
    writeln!(
        io::stdout(),
        "{}: {}, of that {} program and {} model, for {system} {machine}; in {}",
        printable(&output.display().to_string()),
        units::bytes(sizes.file),
        units::bytes(sizes.runtime),
        units::bytes(sizes.model),
        units::time(begun.elapsed())
    )?;
    Ok(())
}

/// What the program is to call itself.
fn name(args: &CastArgs, output: &Path) -> Result<String> {
    const LONGEST: usize = 100;
    let name = match &args.name {
        Some(name) => name.trim().to_string(),
        None => output.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    match name.is_empty() || name.chars().count() > LONGEST || name.contains(bad) {
        true => Err(Failure::usage(format!(
            "'{}' cannot be a program's name",
            printable(&units::shortened(&name))
        ))
        .hint(format!(
            "--name takes up to {LONGEST} characters, none of them a slash or a control character"
        ))),
        false => Ok(name),
    }
}

/// A program that is being read is not to be replaced, and neither is the one that runs.
fn refuse_programs(output: &Path, runtime: &Runtime, model: Option<&Path>) -> Result {
    let same = |a: &Path| matches!((a.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let own = std::env::current_exe();
    match same(&runtime.path) || own.is_ok_and(|own| same(&own)) || model.is_some_and(same) {
        true => Err(Failure::usage(format!("{} is what is read", output.display()))
            .hint("--output has to be another file")),
        false => Ok(()),
    }
}

/// A system prompt has no place in a model without a chat template.
fn require_template(source: &Source) -> Result {
    let file =
        ingot::ModelFile::Gguf(ingot_format::Gguf::from_bytes(source.bytes.clone()).map_err(Failure::new)?);
    let tokenizer = ingot::Tokenizer::open(&file).map_err(Failure::new)?;
    match tokenizer.chat_template() {
        Some(_) => Ok(()),
        None => Err(Failure::usage("--system needs a model with a chat template, which this one lacks")),
    }
}

/// Seconds since 1970; those of SOURCE_DATE_EPOCH, for files that are to be the same every time.
fn now() -> u64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    fixed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()))
}

impl From<file::Error> for Failure {
    fn from(e: file::Error) -> Self {
        match (&e, e.hint()) {
            (file::Error::Stopped, _) => Self::Interrupted,
            (_, Some(hint)) => Self::new(&e).hint(hint),
            (_, None) => Self::new(&e),
        }
    }
}

impl From<ingot_cast::Error> for Failure {
    fn from(e: ingot_cast::Error) -> Self {
        use ingot_cast::Error;
        let failure = Self::new(&e);
        match e {
            Error::Stopped => Self::Interrupted,
            Error::Engine(e) => e.into(),
            Error::NotGguf => failure.hint("`ingot convert MODEL -o model.gguf` makes one"),
            Error::Exists { ours: true, .. } => failure.hint("--force replaces it"),
            Error::Exists { ours: false, .. } => {
                failure.hint("name a folder that is not there yet, or empty")
            }
            Error::Model(_) => failure.hint("`ingot inspect MODEL` shows what can be read of it"),
            _ => failure,
        }
    }
}
