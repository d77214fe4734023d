//! `ingot profile`: where the time of a step goes.

mod measure;
mod picture;
mod piece;
mod report;
mod trace;

use super::bench::Bench;
use crate::bandwidth::{self, CACHED};
use crate::bare::{Bare, Source};
use crate::cli::ProfileArgs;
use crate::device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::output::write_file;
use crate::plot::Kind;
use crate::term::Progress;
use ingot::{DeviceKind, ExecutorKind};
use ingot_engine::Machine;
use report::Report;
use std::io::{self, Write};

pub fn run(args: &ProfileArgs) -> Result {
    args.picture.iter().try_for_each(|path| Kind::of(path).map(|_| ()))?;
    let place = Place::find(args.model.path())?;
    let file = place.model_file(&args.engine.settings)?;
    let source = Source { place: &place, file: &file };
    let bare = device::open(&args.engine, |options| Bare::open(&source, options))?;
    if bare.executor == ExecutorKind::Reference {
        return Err(
            Failure::usage("the reference has no pieces to time").hint("--device cpu has, and so have GPUs")
        );
    }
    let report = measure(args, bare, place.name())?;
    if let Some(path) = &args.trace {
        write_file(path, &trace::json(&report).to_string())?;
    }
    args.picture.iter().try_for_each(|path| picture::write_all(&report, path))?;
    match args.json {
        true => Ok(writeln!(io::stdout(), "{:#}", report.json())?),
        false => Ok(report.print(&mut anstream::stdout().lock(), args.all)?),
    }
}

fn measure(args: &ProfileArgs, bare: Bare, name: String) -> Result<Report> {
    let (prompt, depth) = (args.prompt as usize, args.depth as usize);
    let rows = prompt.min(bare.executor.chunk());
    let mut bench = Bench::new(bare, depth + rows.max(1), 1, 0)?;
    let progress = Progress::new("timing steps", 0);
    bench.begin(depth)?;
    let mut phases = Vec::new();
    if rows > 0 {
        phases.push(measure::phase(&mut bench, rows, depth, args.rounds.get())?);
    }
    phases.push(measure::phase(&mut bench, 1, depth, args.rounds.get())?);
    let limit = limit(bench.bare())?;
    drop(progress);
    let bare = bench.bare();
    let threads = match &bare.machine {
        Machine::Cpu(cpu) => Some(cpu.threads()),
        Machine::Gpu(_) | Machine::Reference(_) => None,
    };
    let gpu = bare.machine.gpu().map(|gpu| gpu.info().name.clone());
    Ok(Report { name, executor: bare.executor, gpu, threads, limit, phases })
}

/// Bytes a second that the memory has: nothing is faster than its bytes divided by that.
/// `None` where it says nothing: for the simulator, and for what caches hold.
fn limit(bare: &mut Bare) -> Result<Option<f64>> {
    let weights = bare.memory.weights;
    match &mut bare.machine {
        Machine::Gpu(_) if bare.executor == ExecutorKind::Gpu(DeviceKind::Sim) => Ok(None),
        Machine::Gpu(gpu) => Ok(Some(gpu.copy_bandwidth().map_err(ingot::Error::from)?)),
        Machine::Cpu(cpu) if weights > CACHED => Ok(bandwidth::limit(cpu.threads())),
        Machine::Cpu(_) | Machine::Reference(_) => Ok(None),
    }
}
