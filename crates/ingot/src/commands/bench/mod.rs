//! `ingot bench`: how fast a model is read and written here, and how near that is
//! to what the memory can do.

mod bandwidth;
mod measure;
mod profile;
mod report;

use crate::bare::{Bare, Source};
use crate::cli::BenchArgs;
use crate::device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::stats;
use bandwidth::Buffers;
use ingot::{DeviceKind, ExecutorKind, buffer_bytes};
use ingot_engine::Machine;
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
    let start = Instant::now();
    let file = place.model_file()?;
    let source = Source { place: &place, file: &file };
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

/// Memory that the model takes on the processor, in bytes.
struct Resident {
    /// All weights, once.
    weights: u64,
    /// Keys, values and states of all sequences, and a copy of a state.
    cache: u64,
    /// Scratch memory of the largest step.
    buffers: u64,
    /// Most that this process has had resident, the program itself included.
    peak: Option<u64>,
}

impl Resident {
    /// What it should come to.
    fn stated(&self) -> u64 {
        self.weights + self.cache + self.buffers
    }
}

/// Models of no more bytes may live in the processor's caches, and what the memory
/// can do says nothing about them.
const CACHED: u64 = 64 << 20;

/// How fast one way of submitting is.
struct Submitted {
    name: &'static str,
    writing: Writing,
}

fn measure(args: &BenchArgs, bare: Bare, name: String, load: Duration) -> Result<Report> {
    let rounds = args.rounds.get();
    let [prompt, tokens, depth] = [args.prompt, args.tokens, args.depth].map(|n| n as usize);
    let sequences = usize::from(args.batch.get());
    let longest = depth + prompt.max(tokens).max(1);
    let mut bench = Bench::new(bare, depth, longest - depth, sequences)?;
    let reading = (prompt > 0).then(|| bench.read(prompt, rounds)).transpose()?;
    let writing = (tokens > 0).then(|| bench.write(tokens, rounds)).transpose()?;
    let batch = (tokens > 0 && sequences > 1).then(|| bench.write_batch(tokens, rounds)).transpose()?;
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
    let rows = prompt.max(depth).min(bench.chunk()).max(sequences);
    let bare = bench.bare();
    let (mut gpu, mut copy_bandwidth) = (None, None);
    if let Some(device) = bare.machine.gpu() {
        gpu = Some(device.info().clone());
        // The simulator's memory is as slow as its checks; that would say nothing.
        if bare.executor != ExecutorKind::Gpu(DeviceKind::Sim) {
            copy_bandwidth = Some(device.copy_bandwidth().map_err(ingot::Error::from)?);
        }
    }
    let threads = match &bare.machine {
        Machine::Cpu(cpu) => Some(cpu.threads()),
        Machine::Gpu(_) | Machine::Reference(_) => None,
    };
    let memory = threads.map(|_| Resident {
        weights: bare.memory.weights,
        cache: bare.memory.sequence(longest) * sequences as u64
            + if bare.plan.slot_len() > 0 { bare.memory.slot_bytes } else { 0 },
        buffers: buffer_bytes(&bare.plan, rows, sequences),
        peak: stats::peak_memory(),
    });
    // Last, because its buffers are resident as well.
    let large = tokens > 0 && bare.memory.weights > CACHED;
    let turns = match threads.filter(|_| large).and_then(Buffers::new) {
        Some(buffers) => bench.turns(tokens, &buffers)?,
        None => Vec::new(),
    };
    let bare = bench.bare();
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
        turns,
        memory,
        reading,
        writing,
        batch,
        submitted,
        profiles,
    })
}

type Profile = (String, Vec<Kernel>);
