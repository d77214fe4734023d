//! `ingot logits`: what the model makes of a list of tokens, as numbers, for
//! comparing executors, files and other programs.

use super::ids_or_file;
use crate::cli::LogitsArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use ingot::{Request, Sampler, SamplerOptions, Session};
use ingot_format::NewFile;
use serde_json::{Value, json};
use std::io::{self, StdoutLock, Write};
use std::path::{Path, PathBuf};

pub fn run(args: &LogitsArgs) -> Result {
    let to_stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if args.json && (to_stdout(&args.output) || to_stdout(&args.state)) {
        return Err(Failure::usage("--json and numbers cannot both be on standard output")
            .hint("--output and --state name files"));
    }
    let place = Place::find(args.model.path())?;
    let ids = ids_or_file(&args.tokens)?;
    let model = place.open(&args.engine)?;
    let mut session = model.session()?;

    let mut file = args.output.as_deref().map(Output::create).transpose()?;
    for chunk in ids.chunks(args.chunk.get()) {
        match &mut file {
            Some(file) => {
                let logits = session.feed_all(chunk)?;
                let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
                file.write(&bytes)?;
            }
            None => session.feed(chunk)?,
        }
    }
    if let Some(file) = file {
        file.finish()?;
    }
    if let Some(path) = &args.state {
        write_state(&session, path)?;
    }
    let greedy = args.greedy.map(|n| greedy(&mut session, n)).transpose()?;
    if args.json {
        let object = json!({
            "model": place.name(), "tokens": ids.len(), "vocab": model.info().vocab,
            "greedy": greedy, "output": args.output, "state": args.state,
        });
        writeln!(io::stdout(), "{object}")?;
    } else if let Some(ids) = greedy {
        writeln!(io::stdout(), "{}", Value::from(ids))?;
    }
    Ok(())
}

fn greedy(session: &mut Session, n: usize) -> Result<Vec<u32>> {
    let mut sampler = Sampler::new(SamplerOptions::greedy())?;
    let request = Request { max_tokens: Some(n), ignore_end: true, ..Request::default() };
    let mut ids = Vec::new();
    for piece in session.generate(&mut sampler, &request)? {
        ids.extend(piece?.token);
    }
    Ok(ids)
}

fn write_state(session: &Session, path: &Path) -> Result {
    let state = session.recurrent_state()?.ok_or_else(|| {
        Failure::new("this model has no recurrent state").hint("--state is for families such as RWKV-7")
    })?;
    let mut file = Output::create(path)?;
    file.write(&state)?;
    file.finish()
}

/// Where numbers go: a file, which appears when it is complete, or for `-`
/// standard output.
enum Output {
    File(NewFile, PathBuf),
    Stdout(StdoutLock<'static>),
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout().lock()));
        }
        let file = NewFile::create(path).map_err(|e| cannot_write(path, e))?;
        Ok(Self::File(file, path.to_path_buf()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result {
        match self {
            Self::File(file, path) => file.write_all(bytes).map_err(|e| cannot_write(path, e)),
            Self::Stdout(out) => Ok(out.write_all(bytes)?),
        }
    }

    fn finish(self) -> Result {
        match self {
            Self::File(file, path) => file.finish().map_err(|e| cannot_write(&path, e)),
            Self::Stdout(mut out) => Ok(out.flush()?),
        }
    }
}

fn cannot_write(path: &Path, e: io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {e}", path.display()))
}
