//! What a step takes: bytes by op, launches on a GPU, and the least time that the bytes
//! of a token need on this computer.

use super::{contexts, heading};
use crate::bandwidth::{self, CACHED};
use crate::bare::{Bare, Source};
use crate::cli::InspectArgs;
use crate::device::Device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::table::Table;
use crate::term::{Progress, printable};
use crate::units;
use ingot::{ExecutorKind, ModelFile, Options};
use ingot_format::DType;
use ingot_gpu::launches::{Shape, Target};
use ingot_gpu::lower::{Path, lower};
use ingot_models::Model;
use ingot_plan::{Cost, Load, Plan};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What there is to say about steps of a plan.
pub struct Steps {
    /// By name of op: how many there are, and what they take of a token after the first
    /// of the contexts.
    ops: Vec<(&'static str, usize, Cost)>,
    /// Contexts, and what a token after each takes.
    tokens: Vec<(usize, Cost)>,
    /// Launches of a written token and of a prompt, by kernel.
    launches: Result<[Launches; 2], String>,
    floor: Option<Floor>,
}

/// How often each kernel is launched.
type Launches = BTreeMap<&'static str, usize>;

/// What a computer's memory can do.
struct Floor {
    /// Where it was measured.
    device: String,
    /// Bytes a second.
    speed: f64,
}

/// Rows of the prompt whose launches are counted.
const PROMPT: usize = 512;

/// A GPU's cores, where there is no GPU to ask: how some launches are split depends on it.
const CORES: usize = 64;

impl Steps {
    /// Looks at a plan, and measures the memory if that was asked for or takes no time.
    ///
    /// # Errors
    /// If the named device cannot be used.
    pub fn new(model: &Model, file: &ModelFile, place: &Place, args: &InspectArgs) -> Result<Self> {
        let plan = &model.plan;
        let contexts = contexts(model.info.context, &args.ctx);
        let token = |past: usize| plan.cost(&Load::token(past, DType::F16));
        let mut ops: Vec<(&str, usize, Cost)> = Vec::new();
        for op in plan.ops() {
            let cost = op.cost(plan, &Load::token(contexts[0], DType::F16));
            match ops.iter_mut().find(|(name, ..)| *name == op.name()) {
                Some((_, count, all)) => {
                    *count += 1;
                    *all += cost;
                }
                None => ops.push((op.name(), 1, cost)),
            }
        }
        ops.sort_by_key(|(_, _, cost)| std::cmp::Reverse(cost.bytes()));
        Ok(Self {
            ops,
            tokens: contexts.iter().map(|&past| (past, token(past))).collect(),
            launches: launches(plan),
            floor: floor(model, file, place, args.floor)?,
        })
    }

    /// The least time of a token.
    fn seconds(&self, cost: &Cost) -> Option<f64> {
        self.floor.as_ref().map(|floor| cost.bytes() as f64 / floor.speed)
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        heading(out, &format!("\nBytes of a token after {} others", self.tokens[0].0))?;
        let mut table = Table::new(&["op", "ops", "weights", "state"], 1);
        let bytes = |n: usize| if n > 0 { units::bytes(n as u64) } else { String::new() };
        let row = |name: &str, count: usize, cost: &Cost| {
            [name.to_string(), count.to_string(), bytes(cost.weights), bytes(cost.state)]
        };
        self.ops.iter().for_each(|(name, count, cost)| table.row(row(name, *count, cost)));
        table.row(row("together", self.ops.iter().map(|(_, n, _)| n).sum(), &self.tokens[0].1));
        table.print_columns(out)?;

        heading(out, "\nLaunches on a GPU")?;
        match &self.launches {
            Ok([token, prompt]) => {
                let mut table = Table::new(&["kernel", "a token", &format!("a prompt of {PROMPT}")], 1);
                let kernels = token.keys().chain(prompt.keys()).collect::<std::collections::BTreeSet<_>>();
                let count = |of: &Launches, name| of.get(name).map_or(String::new(), usize::to_string);
                for name in kernels {
                    table.row([name.to_string(), count(token, name), count(prompt, name)]);
                }
                let all = |of: &Launches| of.values().sum::<usize>().to_string();
                table.row(["together".into(), all(token), all(prompt)]);
                table.print_columns(out)?;
            }
            Err(e) => writeln!(out, "  none: {}", printable(e))?,
        }

        match &self.floor {
            None => heading(out, "\nA token")?,
            Some(Floor { device, speed }) => heading(
                out,
                &format!("\nA token at least, by the memory of {device}: {}/s", units::bytes(*speed as u64)),
            )?,
        }
        let mut table = Table::new(&["after", "weights", "state", "time", "tok/s"], 0);
        for (past, cost) in &self.tokens {
            let seconds = self.seconds(cost);
            table.row([
                past.to_string(),
                bytes(cost.weights),
                bytes(cost.state),
                seconds.map_or("not measured".into(), |s| format!("{:.2} ms", 1e3 * s)),
                seconds.map_or(String::new(), |s| format!("{:.1}", 1.0 / s)),
            ]);
        }
        table.print_columns(out)
    }

    pub fn json(&self) -> Value {
        let cost = |cost: &Cost| {
            let Cost { weights, state, operations } = cost;
            json!({ "weight_bytes": weights, "state_bytes": state, "operations": operations })
        };
        let with = |mut value: Value, more: &[(&str, Value)]| {
            more.iter().for_each(|(key, more)| value[*key] = more.clone());
            value
        };
        let op = |(name, count, c): &(&str, usize, Cost)| {
            with(cost(c), &[("op", json!(name)), ("count", json!(count))])
        };
        let token = |(past, c): &(usize, Cost)| {
            with(cost(c), &[("context", json!(past)), ("seconds_at_least", json!(self.seconds(c)))])
        };
        let launches = |of: &Launches| {
            let kernels: Map<String, Value> =
                of.iter().map(|(name, n)| (name.to_string(), json!(n))).collect();
            json!({ "launches": of.values().sum::<usize>(), "kernels": kernels })
        };
        json!({
            "cache": DType::F16.name(),
            "ops": self.ops.iter().map(op).collect::<Vec<_>>(),
            "tokens": self.tokens.iter().map(token).collect::<Vec<_>>(),
            "gpu": match &self.launches {
                Ok([token, prompt]) => json!({ "token": launches(token), "prompt_of_512": launches(prompt) }),
                Err(e) => json!({ "error": e }),
            },
            "memory": self.floor.as_ref().map(|f| json!({ "device": f.device, "bytes_per_s": f.speed })),
        })
    }
}

/// What the plan becomes on the GPU that is here, or on one that might be.
fn launches(plan: &Plan) -> Result<[Launches; 2], String> {
    let found = ingot_gpu::devices().into_iter().find_map(|gpu| gpu.ok());
    let cores = found.map_or(CORES, |(_, info)| info.cores.max(1) as usize);
    let target = Target::of_cores(cores);
    let count = |rows: usize, path: Path| {
        let shape = Shape { rows, outputs: 1, sequences: 1, context: 2 * PROMPT };
        let lowered = lower(plan, &target, &shape, path, false).map_err(|e| e.to_string())?;
        let mut launches = Launches::new();
        lowered.launches.iter().for_each(|node| *launches.entry(node.launch.kernel.name).or_default() += 1);
        Ok::<_, String>(launches)
    };
    Ok([count(1, Path::Vector)?, count(PROMPT, Path::Tile)?])
}

/// Measures the memory of the named device; without a name that of the processor, if its
/// caches do not hold the model.
fn floor(model: &Model, file: &ModelFile, place: &Place, named: Option<Device>) -> Result<Option<Floor>> {
    let weights: u64 = model.plan.weights().iter().map(|w| w.bytes as u64).sum();
    let executor = match named {
        Some(device) => device.executor(),
        None if weights > CACHED => ExecutorKind::Cpu,
        None => return Ok(None),
    };
    let speed = match executor {
        ExecutorKind::Cpu => {
            let _progress = Progress::new("measuring the memory", 0);
            let threads = ingot_cpu::Pool::default_threads();
            match bandwidth::limit(threads) {
                Some(speed) => speed,
                None => return Ok(None),
            }
        }
        ExecutorKind::Gpu(_) => {
            let options = Options { executor, ..Options::default() };
            let mut bare = Bare::open(&Source { place, file }, &options)?;
            let gpu = bare.machine.gpu().expect("a GPU was opened");
            gpu.copy_bandwidth().map_err(ingot::Error::from)?
        }
        ExecutorKind::Reference => {
            return Err(Failure::usage("--floor: the reference's memory is the processor's")
                .hint("--floor=cpu measures that"));
        }
    };
    Ok(Some(Floor { device: executor.to_string(), speed }))
}
