//! `ingot cast --kernels`: the kernels of a model and how to launch them.

use crate::cli::CastArgs;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::Place;
use crate::term::{Progress, printable};
use ingot_cast::kernels;
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

pub fn run(args: &CastArgs, folder: &Path) -> Result {
    let context = args.context_alone().map_err(Failure::usage)?;
    let file = Place::find(args.model.as_deref())?.read()?;
    let interrupt = Interrupt::install()?;
    let catching = interrupt.catch();
    let progress = Progress::new("casting", 0);
    let made = kernels::make(&file, folder, context, args.force, &mut || !catching.pressed())?;
    drop(progress);
    if args.json {
        let json =
            json!({ "folder": folder, "metal": made.metal, "cuda": made.cuda, "launches": made.launches });
        return Ok(writeln!(io::stdout(), "{json:#}")?);
    }
    let shown = folder.display().to_string();
    let (shown, launches) = (printable(&shown), made.launches);
    let mut out = anstream::stdout().lock();
    writeln!(out, "{shown}: {} Metal and {} CUDA files", made.metal, made.cuda)?;
    Ok(writeln!(out, "{shown}/manifest.json says how a step is launched ({launches} launches to decode)")?)
}
