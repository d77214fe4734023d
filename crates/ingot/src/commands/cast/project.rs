//! `ingot cast --project`: a Cargo project that is one model.

use crate::cli::CastArgs;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::Place;
use crate::term::{Progress, printable};
use crate::units;
use ingot_cast::project::{self, Choices, Made};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

pub fn run(args: &CastArgs, folder: &Path) -> Result {
    let context = args.context_alone().map_err(Failure::usage)?;
    let place = Place::find(args.model.as_deref())?;
    let file = place.read()?;
    let interrupt = Interrupt::install()?;
    let catching = interrupt.catch();
    let progress = Progress::new("casting", 0);
    let name = place.name();
    let choices = Choices { name: &name, context, force: args.force };
    let made = project::make(&file, folder, choices, &mut |done, total| {
        progress.set_bytes(done, total);
        !catching.pressed()
    })?;
    drop(progress);
    if args.json {
        return Ok(writeln!(io::stdout(), "{:#}", json(folder, &made))?);
    }
    let shown = folder.display().to_string();
    let (shown, size) = (printable(&shown), units::bytes(made.weights.bytes));
    let mut out = anstream::stdout().lock();
    writeln!(out, "{shown}: package {}, {} lines, {size} of weights", made.package, made.lines)?;
    Ok(writeln!(out, "cd {shown} && cargo run --release -- \"Once upon a time\"")?)
}

fn json(folder: &Path, made: &Made) -> serde_json::Value {
    json!({
        "folder": folder,
        "package": made.package,
        "lines": made.lines,
        "weights": { "bytes": made.weights.bytes, "crc32": format!("{:08x}", made.weights.crc32) },
        "vendored_files": made.vendored,
    })
}
