//! `ingot logits`: what the model makes of a list of tokens, as numbers, for
//! comparing executors, files and other programs.

use super::parse_ids;
use crate::cli::LogitsArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use ingot::{Request, Sampler, SamplerOptions, Session};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub fn run(args: &LogitsArgs) -> Result {
    let place = Place::find(args.model.path())?;
    let ids = ids(&args.tokens)?;
    let model = place.open(&args.engine.options())?;
    let mut session = model.session()?;

    let mut file = args.output.as_deref().map(NewFile::create).transpose()?;
    for chunk in ids.chunks(args.chunk.get()) {
        match &mut file {
            Some(file) => file.write(&session.feed_all(chunk)?)?,
            None => session.feed(chunk)?,
        }
    }
    if let Some(file) = file {
        file.finish()?;
    }
    if let Some(path) = &args.state {
        write_state(&session, path)?;
    }
    if let Some(n) = args.greedy {
        let ids = greedy(&mut session, n)?;
        writeln!(io::stdout(), "{}", serde_json::Value::from(ids))?;
    }
    Ok(())
}

/// The ids on the command line, or in the file it names.
fn ids(text: &str) -> Result<Vec<u32>> {
    let ids = match text.strip_prefix('@') {
        None => parse_ids(text)?,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| Failure::new(format!("{path}: {e}")))?;
            parse_ids(&text)?
        }
    };
    match ids.is_empty() {
        true => Err(Failure::usage("--tokens names no tokens")
            .hint("for example --tokens 1,2,3 or --tokens @ids.txt")),
        false => Ok(ids),
    }
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
    let mut file = NewFile::create(path)?;
    file.bytes(&state)?;
    file.finish()
}

/// A file that appears under its name when it is complete; `-` is standard
/// output.
struct NewFile {
    out: Box<dyn Write>,
    /// Its temporary name and its own.
    names: Option<(PathBuf, PathBuf)>,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { out: Box::new(BufWriter::new(io::stdout().lock())), names: None });
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(|e| cannot_write(path, e))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), names: Some((temporary, path.to_path_buf())) })
    }

    fn write(&mut self, values: &[f32]) -> Result {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result {
        let written = self.out.write_all(bytes);
        written.map_err(|e| self.failed(e))
    }

    fn finish(mut self) -> Result {
        let flushed = self.out.flush();
        flushed.map_err(|e| self.failed(e))?;
        let Some((temporary, path)) = self.names.take() else { return Ok(()) };
        fs::rename(&temporary, &path).map_err(|e| cannot_write(&path, e))
    }

    fn failed(&self, e: io::Error) -> Failure {
        match &self.names {
            Some((_, path)) => cannot_write(path, e),
            None => e.into(),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.names {
            let _ = fs::remove_file(temporary); // what was to be reported has been
        }
    }
}

fn cannot_write(path: &Path, e: io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {e}", path.display()))
}
