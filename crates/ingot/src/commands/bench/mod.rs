//! `ingot bench`: how fast a model is read and written here, and how near that is
//! to what the memory can do.

mod measure;
mod profile;
mod report;

use crate::bare::{Bare, Source};
use crate::cli::BenchArgs;
use crate::device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use ingot::{DeviceKind, ExecutorKind};
use measure::{Bench, Writing};
use profile::Kernel;
use report::Report;
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub fn run(args: &BenchArgs) -> Result {
    if args.prompt == 0 && args.tokens == 0 {
        return Err(Failure::usage("there is nothing to measure: --prompt and --tokens are both 0"));
    }
    let place = Place::find(args.model.path())?;
    let file = place.model_file()?;
    let source = Source { place: &place, file: &file };
    let start = Instant::now();
    let bare = device::open(&args.engine, |options| Bare::open(&source, options))?;
    let load = start.elapsed();
    if (args.submit || args.profile) && !matches!(bare.executor, ExecutorKind::Gpu(_)) {
        return Err(Failure::usage("--submit and --profile look at a GPU, and the processor computes")
            .hint("--device names a GPU, `ingot doctor` shows what there is"));
    }
    let report = measure(args, bare, place.name(), load)?;
    match args.json {
        true => Ok(writeln!(io::stdout(), "{:#}", report.json())?),
        false => Ok(report.print(&mut anstream::stdout().lock())?),
    }
}

/// How fast one way of submitting is.
struct Submitted {
    name: &'static str,
    writing: Writing,
}

fn measure(args: &BenchArgs, bare: Bare, name: String, load: Duration) -> Result<Report> {
    let rounds = args.rounds.get();
    let [prompt, tokens, depth] = [args.prompt, args.tokens, args.depth].map(|n| n as usize);
    let mut bench = Bench::new(bare, depth, prompt.max(tokens).max(1))?;
    let reading = (prompt > 0).then(|| bench.read(prompt, rounds)).transpose()?;
    let writing = (tokens > 0).then(|| bench.write(tokens, rounds)).transpose()?;
    let submitted = if args.submit { bench.submissions(tokens.max(1), rounds)? } else { Vec::new() };
    let mut profiles = Vec::new();
    if args.profile {
        if prompt > 0 {
            let rows = prompt.min(bench.chunk());
            profiles.push((format!("a step that reads {rows}"), bench.profile(rows)?));
        }
        if tokens > 0 {
            profiles.push(("a step that writes 1".into(), bench.profile(1)?));
        }
    }
    let state_bytes = bench.state_bytes(tokens);
    let bare = bench.bare();
    let (mut gpu, mut copy_bandwidth) = (None, None);
    if let Some(device) = bare.machine.gpu() {
        gpu = Some(device.info().clone());
        // The simulator's memory is as slow as its checks; that would say nothing.
        if bare.executor != ExecutorKind::Gpu(DeviceKind::Sim) {
            copy_bandwidth = Some(device.copy_bandwidth().map_err(ingot::Error::from)?);
        }
    }
    Ok(Report {
        name,
        info: bare.info.clone(),
        weights: bare.memory.weights,
        weight_bytes: bare.plan.bytes_per_token(),
        executor: bare.executor,
        cache: bare.machine.executor().cache_type(),
        precision: bare.precision,
        gpu,
        load,
        depth,
        state_bytes,
        copy_bandwidth,
        reading,
        writing,
        submitted,
        profiles,
    })
}

type Profile = (String, Vec<Kernel>);
