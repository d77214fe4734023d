//! What a cast file is, for people and for scripts.

use crate::term::{DIM, HEADING, printable};
use crate::units;
use ingot_cast::file::CastFile;
use serde_json::{Value, json};
use std::io::{self, Write};

/// All that the index says, and what follows from it.
pub fn json(file: &CastFile, verified: bool) -> Value {
    let index = file.index();
    let mut json = json!({
        "name": index.contents.name,
        "description": index.contents.description,
        "created": index.contents.created,
        "model": index.contents.model,
        "defaults": index.contents.defaults,
        "ingot": index.ingot,
        "system": index.format.to_string(),
        "machine": index.machine.to_string(),
        "bytes": { "file": file.len(), "runtime": index.runtime_bytes, "model": index.model_bytes },
        "sha256": index.model_sha256,
    });
    if verified {
        json["verified"] = true.into();
    }
    json
}

/// The same in lines.
pub fn print(file: &CastFile, verified: bool, out: &mut impl Write) -> io::Result<()> {
    let index = file.index();
    let contents = &index.contents;
    let model = &contents.model;
    writeln!(out, "{HEADING}{}{HEADING:#}", printable(&contents.name))?;
    if let Some(description) = &contents.description {
        writeln!(out, "  {}", printable(description))?;
    }
    let mut line = |key: &str, value: &str| writeln!(out, "  {DIM}{key:13}{DIM:#}  {}", printable(value));
    line("model", model.name.as_deref().unwrap_or("without a name"))?;
    line("family", &format!("{}, {} parameters", model.family, units::count(model.parameters)))?;
    line("type", &model.quantization)?;
    line("license", model.license.as_deref().unwrap_or("the model says none"))?;
    line("made of", &model.source)?;
    for change in &model.changes {
        line("", change)?;
    }
    line("made on", &format!("{}, by ingot {}", units::date(contents.created), index.ingot))?;
    line("runs on", &format!("{} {}", index.format, index.machine))?;
    line(
        "size",
        &format!(
            "{}: program {}, model {}",
            units::bytes(file.len() as u64),
            units::bytes(index.runtime_bytes),
            units::bytes(index.model_bytes)
        ),
    )?;
    line("model SHA-256", &index.model_sha256)?;
    for (option, values) in &contents.defaults {
        line("begins with", &format!("{} {}", option.replace('_', "-"), values.join(", ")))?;
    }
    if verified {
        line("verified", "all checksums are right")?;
    }
    Ok(())
}
