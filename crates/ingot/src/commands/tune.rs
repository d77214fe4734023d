//! `ingot tune`: which sizes of matrix-vector launches are fastest on this GPU.
//!
//! Every candidate is tried for all launches of a decode step at once. Then each kind of
//! launch gets what was fastest for it, if whole steps are faster as well.

use crate::bare::{self, Bare, Source};
use crate::cli::TuneArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::table::Table;
use crate::term::{DIM, HEADING, Progress};
use ingot::{Error, ExecutorKind};
use ingot_format::NewFile;
use ingot_gpu::{Choice, Described, Gpu, Tuning, TuningKey};
use ingot_plan::ops::Stack;
use ingot_plan::{ExecError, Op, Plan, Step};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How often a candidate's launches are timed; the median counts.
const ROUNDS: usize = 7;
/// Steps of a turn when whole steps are compared, and turns.
const STEPS: usize = 32;
const TURNS: usize = 9;
/// A candidate has to be faster by this factor, or it may be chance.
const WORTH: f64 = 0.99;

pub fn run(args: &TuneArgs) -> Result {
    let executor = args.engine.device.executor();
    if !matches!(executor, ExecutorKind::Gpu(_)) {
        return Err(Failure::new(format!(
            "there is nothing to tune on {executor}: kernels there have no such sizes"
        ))
        .hint("--device names a GPU; ingot doctor shows which there are"));
    }
    if args.reset {
        return reset(executor, args.json);
    }
    let place = Place::find(args.model.path())?;
    let file = place.model_file(&args.engine.settings)?;
    let options = args.engine.settings.options(executor);
    let mut bare = Bare::open(&Source { place: &place, file: &file }, &options)?;
    bare.reserve(args.depth + 1, 1)?;
    let step = bare.step(&bare::tokens(0..1, bare.plan.vocab()), args.depth);
    let plan = bare.plan.clone();
    let gpu = bare.machine.gpu().expect("a GPU was asked for");

    let found = search(gpu, &plan, &step).map_err(Error::from)?;
    let mut tuning = Tuning::default();
    for kind in found.iter().filter(|kind| kind.is_better()) {
        tuning.set(kind.key, kind.best.0);
    }
    let speedup = match tuning == Tuning::default() {
        true => None,
        false => Some(compare(gpu, &step, &tuning).map_err(Error::from)?),
    };
    // What does not show in whole steps is not worth a table.
    let is_worth = speedup.is_some_and(|ratio| ratio * WORTH > 1.0);
    let name = gpu.info().name.clone();
    let stored = match &args.output {
        _ if args.dry_run || !is_worth => None,
        Some(path) if path == Path::new("-") => {
            write!(io::stdout(), "{tuning}")?;
            return Ok(());
        }
        Some(path) => Some((path.clone(), tuning)),
        // Nobody else's computer is as slow as the simulator.
        None if gpu.info().kind == "sim" => None,
        None => Some((stored_at(&name)?, joined(Tuning::stored(&name), &found))),
    };
    if let Some((path, tuning)) = &stored {
        store(path, tuning)?;
    }
    let stored = stored.map(|(path, _)| path);
    let report = Report { device: name, found, speedup, stored };
    match args.json {
        true => writeln!(io::stdout(), "{:#}", report.json())?,
        false => report.print(&mut anstream::stdout().lock())?,
    }
    Ok(())
}

fn reset(executor: ExecutorKind, json: bool) -> Result {
    let ExecutorKind::Gpu(device) = executor else { return Ok(()) };
    let info = ingot_gpu::probe(device).map_err(|source| Error::Gpu { device, source })?;
    let path = stored_at(&info.name)?;
    let was_there = match std::fs::remove_file(&path) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(Failure::new(format!("{}: {e}", path.display()))),
    };
    match json {
        true => writeln!(io::stdout(), "{}", json!({ "device": info.name, "removed": was_there }))?,
        false if was_there => crate::say!("removed {}", path.display()),
        false => crate::say!("nothing was stored for {}", info.name),
    }
    Ok(())
}

fn stored_at(device: &str) -> Result<PathBuf> {
    Tuning::path(device).ok_or_else(|| {
        Failure::new("there is no folder for caches").hint("INGOT_CACHE names one, --output a file")
    })
}

fn store(path: &Path, tuning: &Tuning) -> Result {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = NewFile::create(path)?;
        write!(file, "{tuning}")?;
        file.finish()
    };
    write().map_err(|e: io::Error| Failure::new(format!("cannot write {}: {e}", path.display())))
}

/// A table for other models with what was found for this one.
fn joined(mut tuning: Tuning, found: &[Kind]) -> Tuning {
    for kind in found {
        match kind.is_better() {
            true => tuning.set(kind.key, kind.best.0),
            false => tuning.unset(kind.key),
        }
    }
    tuning
}

/// All launches that are chosen by one key.
struct Kind {
    key: TuningKey,
    launches: usize,
    /// Seconds with the usual sizes.
    usual: f64,
    best: (Choice, f64),
}

impl Kind {
    fn is_better(&self) -> bool {
        self.best.1 < WORTH * self.usual
    }
}

/// The candidates: rows, units ahead, threadgroups on a core.
fn candidates() -> Vec<Choice> {
    let mut all = Vec::new();
    for rows in [1, 2, 4, 8] {
        for ahead in [1, 2, 3, 4] {
            // More than that has no registers left.
            if rows * ahead <= 12 {
                all.extend([1, 2, 3].map(|resident| Choice { rows, ahead, resident }));
            }
        }
    }
    all
}

fn search(gpu: &mut dyn Gpu, plan: &Plan, step: &Step) -> Result<Vec<Kind>, ExecError> {
    gpu.tune(&Tuning::default());
    let launches = gpu.describe(step)?;
    let keys: Vec<Option<TuningKey>> = launches.iter().map(|launch| key(plan, launch)).collect();
    let usual = times(gpu, step)?;
    let mut kinds: Vec<Kind> = Vec::new();
    for (key, seconds) in keys.iter().zip(&usual).filter_map(|(key, s)| Some(((*key)?, *s))) {
        match kinds.iter_mut().find(|kind| kind.key == key) {
            Some(kind) => (kind.launches, kind.usual) = (kind.launches + 1, kind.usual + seconds),
            None => {
                let none = Choice { rows: 1, ahead: 1, resident: 1 };
                kinds.push(Kind { key, launches: 1, usual: seconds, best: (none, f64::INFINITY) });
            }
        }
    }
    let candidates = candidates();
    let progress = Progress::new("timing launches", candidates.len());
    for (i, choice) in candidates.into_iter().enumerate() {
        gpu.tune(&Tuning::uniform(choice));
        // Some need more registers or threadgroup memory than there is.
        if let Ok(seconds) = times(gpu, step) {
            for kind in &mut kinds {
                let all = keys.iter().zip(&seconds).filter(|(key, _)| **key == Some(kind.key));
                let total = all.map(|(_, seconds)| seconds).sum();
                if total < kind.best.1 {
                    kind.best = (choice, total);
                }
            }
        }
        progress.set(i + 1);
    }
    kinds.sort_by(|a, b| b.usual.total_cmp(&a.usual));
    Ok(kinds)
}

/// What a launch is chosen by; none for other kernels, and for launches of several types,
/// which have the least of each.
fn key(plan: &Plan, launch: &Described) -> Option<TuningKey> {
    if !matches!(launch.kernel, "linear_vec" | "experts_up" | "experts_down") {
        return None;
    }
    let (mut dtypes, mut inputs) = (Vec::new(), None);
    let mut gated = launch.kernel == "experts_up";
    for &op in &launch.ops {
        match &plan.ops()[op] {
            Op::Linear(linear) => {
                dtypes.extend(linear.parts.iter().map(|part| plan.weight(part.weight).dtype));
                inputs = Some(linear.inputs);
            }
            Op::Experts(experts) => {
                let read = if gated { vec![&experts.gate, &experts.up] } else { vec![&experts.down] };
                dtypes.extend(read.into_iter().flat_map(Stack::ids).map(|w| plan.weight(*w).dtype));
                inputs = Some(experts.inputs);
            }
            Op::Glu(_) => gated = true,
            _ => {}
        }
    }
    let dtype = *dtypes.first()?;
    dtypes.iter().all(|other| *other == dtype).then_some(TuningKey { dtype, inputs: inputs?, gated })
}

/// Seconds of each of a step's launches, medians.
fn times(gpu: &mut dyn Gpu, step: &Step) -> Result<Vec<f64>, ExecError> {
    let rounds = (0..ROUNDS).map(|_| gpu.time(step)).collect::<Result<Vec<_>, _>>()?;
    let median = |i| {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[i]).collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    Ok((0..rounds[0].len()).map(median).collect())
}

/// How many times as fast whole steps are with a table, in alternation with the usual sizes.
fn compare(gpu: &mut dyn Gpu, step: &Step, tuning: &Tuning) -> Result<f64, ExecError> {
    let mut turn = |tuning: &Tuning| -> Result<f64, ExecError> {
        gpu.tune(tuning);
        let mut logits = Vec::new();
        gpu.run(step, &mut logits)?; // records
        let start = Instant::now();
        (0..STEPS).try_for_each(|_| gpu.run(step, &mut logits))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut ratios = (0..TURNS)
        .map(|_| Ok(turn(&Tuning::default())? / turn(tuning)?))
        .collect::<Result<Vec<f64>, ExecError>>()?;
    ratios.sort_by(f64::total_cmp);
    Ok(ratios[TURNS / 2])
}

struct Report {
    device: String,
    /// The longest first.
    found: Vec<Kind>,
    /// Of whole steps; none if nothing is faster.
    speedup: Option<f64>,
    stored: Option<PathBuf>,
}

impl Report {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{HEADING}{}{HEADING:#}", self.device)?;
        let header = ["weights", "launches", "usual, us", "best, us", "rows", "ahead", "resident"];
        let mut table = Table::new(&header, 1);
        for kind in &self.found {
            let sizes = match kind.is_better() {
                true => [kind.best.0.rows, kind.best.0.ahead, kind.best.0.resident].map(|n| n.to_string()),
                false => ["as usual", "", ""].map(String::from),
            };
            let times = [kind.usual, kind.best.1].map(|s| format!("{:.1}", 1e6 * s));
            table
                .row([kind.key.to_string(), kind.launches.to_string()].into_iter().chain(times).chain(sizes));
        }
        table.print(out)?;
        match self.speedup {
            None => writeln!(out, "{DIM}the usual sizes are the fastest{DIM:#}")?,
            Some(ratio) if self.stored.is_some() => {
                writeln!(out, "{DIM}whole steps: {ratio:.3} times as fast{DIM:#}")?
            }
            Some(ratio) => writeln!(out, "{DIM}whole steps: {ratio:.3} times as fast; not stored{DIM:#}")?,
        }
        if let Some(path) = &self.stored {
            writeln!(out, "{DIM}stored in {}{DIM:#}", path.display())?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let kind = |kind: &Kind| {
            let Choice { rows, ahead, resident } = kind.best.0;
            json!({
                "weights": kind.key.dtype.name(),
                "kind": kind.key.to_string(),
                "launches": kind.launches,
                "usual_s": kind.usual,
                "best_s": kind.best.1,
                "best": { "rows": rows, "ahead": ahead, "resident": resident },
                "chosen": kind.is_better(),
            })
        };
        json!({
            "device": self.device,
            "kinds": self.found.iter().map(kind).collect::<Vec<_>>(),
            "steps_times_as_fast": self.speedup,
            "stored": self.stored,
        })
    }
}
