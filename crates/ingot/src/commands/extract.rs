//! `extract`: the model of a program that was cast, as a file of its own.

use crate::cli::ExtractArgs;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::own;
use crate::term::{Progress, printable};
use crate::units;
use ingot_cast::file::{CastFile, Error};
use ingot_format::NewFile;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub fn run(args: &ExtractArgs) -> Result {
    let own = own::own().ok_or_else(|| Failure::new("this program was not cast"))?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => default_output(&own.file().index().contents.name)?,
    };
    let interrupt = Interrupt::install()?;
    let catching = interrupt.catch();
    let progress = Progress::new("extracting", 0);
    extract(own.file(), &output, &mut |done, all| {
        progress.set_bytes(done, all);
        !catching.pressed()
    })?;
    drop(progress);
    let index = own.file().index();
    match args.json {
        true => writeln!(
            io::stdout(),
            "{:#}",
            json!({ "output": output, "bytes": index.model_bytes, "sha256": index.model_sha256 })
        )?,
        false => writeln!(
            io::stdout(),
            "{}: {}",
            printable(&output.display().to_string()),
            units::bytes(index.model_bytes)
        )?,
    }
    Ok(())
}

/// Writes the model of a cast file into a file, which appears when the model has turned out to
/// be what it was.
pub fn extract(file: &CastFile, output: &Path, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(output, file.path()) {
        return Err(Failure::usage(format!("{} is the program itself", output.display()))
            .hint("--output has to be another file"));
    }
    let cannot = |source: io::Error| Error::Io { path: output.into(), source };
    let mut out = NewFile::create(output).map_err(cannot)?;
    file.copy_model(&mut out, watch).map_err(|e| match e {
        Error::Io { source, .. } => cannot(source),
        other => other,
    })?;
    Ok(out.finish().map_err(cannot)?)
}

/// A file in the working directory that is not there yet.
fn default_output(name: &str) -> Result<PathBuf> {
    let name = Path::new(name).file_name().unwrap_or("model".as_ref());
    let mut name = name.to_os_string();
    name.push(".gguf");
    let output = PathBuf::from(name);
    match output.exists() {
        true => Err(Failure::usage(format!("{} is there already", output.display()))
            .hint("--output names the file to make; it may be this one")),
        false => Ok(output),
    }
}
