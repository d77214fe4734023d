//! Adapters that `--lora` names, for a file that is made and for a model that is run.

use crate::cli::Settings;
use crate::failure::{Failure, Result};
use crate::term::{DIM, Progress};
use crate::units;
use ingot::{Adapter, Merge, ModelFile, available_memory};
use ingot_convert::Merged;
use std::num::NonZeroUsize;
use std::path::Path;

/// Opens them one after the other and gives each with its factor to `merge`, and says
/// what it was.
pub fn each(
    words: &[String],
    mut merge: impl FnMut(&Adapter, f32) -> ingot_convert::Result<Merged>,
) -> Result {
    for word in words {
        let (path, factor) = parse(word)?;
        let merged = merge(&Adapter::open(Path::new(path))?, factor)?;
        crate::say!(
            "{DIM}{path}: rank {}, {}, factor {factor}{DIM:#}",
            merged.rank,
            units::plural(merged.weights, "weight")
        );
    }
    Ok(())
}

/// The file with the adapters of these settings in its weights.
pub fn merged(mut file: ModelFile, settings: &Settings) -> Result<ModelFile> {
    if settings.lora().is_empty() {
        return Ok(file);
    }
    let mut merge = Merge::new(&file)?;
    each(settings.lora(), |adapter, factor| merge.add(adapter, factor))?;
    let (needed, available) = (merge.bytes() as u64, available_memory());
    if needed > available {
        return Err(Failure::new(format!(
            "the weights that --lora changes take {}, the machine has {} left",
            units::bytes(needed),
            units::bytes(available)
        ))
        .hint("`ingot convert --lora` or `ingot quantize --lora` makes a file, which needs no such memory"));
    }
    let threads = settings.threads().first().map_or_else(available_threads, |n| n.get());
    let progress = Progress::new("adding adapters", 0);
    merge.apply(&mut file, threads, &mut |step| {
        progress.set_bytes(step.done as u64, step.total as u64);
        true
    })?;
    Ok(file)
}

/// As many threads as there are processors.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The path and the factor of `ADAPTER[:FACTOR]`.
fn parse(word: &str) -> Result<(&str, f32)> {
    match word.rsplit_once(':') {
        // The path itself may have a colon.
        Some((path, factor)) if !Path::new(word).exists() => {
            let number: Option<f32> = factor.parse().ok().filter(|f: &f32| f.is_finite());
            let wrong = || Failure::usage(format!("--lora {word}: '{factor}' is not a factor"));
            Ok((path, number.ok_or_else(wrong)?))
        }
        _ => Ok((word, 1.0)),
    }
}
