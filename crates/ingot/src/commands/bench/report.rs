//! What was measured, for people and for programs.

use super::bandwidth::Bandwidth;
use super::measure::{Drawn, Reading, Turn, Writing};
use super::profile::Kernel;
use super::{Profile, Resident, Submitted};
use crate::table::Table;
use crate::term::{HEADING, printable};
use crate::units;
use ingot::{ExecutorKind, Info};
use ingot_cpu::Isa;
use ingot_format::DType;
use ingot_gpu::Counts;
use ingot_gpu::device::Info as Gpu;
use ingot_plan::Precision;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Everything that was measured, and on what.
pub struct Report {
    pub name: String,
    pub info: Info,
    /// Bytes of all weights.
    pub weights: u64,
    /// Bytes of weights that a written token reads.
    pub weight_bytes: usize,
    pub executor: ExecutorKind,
    pub cache: DType,
    pub precision: Precision,
    pub gpu: Option<Gpu>,
    pub load: Duration,
    pub depth: usize,
    /// Bytes of cache and recurrent state that a written token reads and writes.
    pub state_bytes: usize,
    /// Bytes that a copy within the GPU's memory reads and writes in a second.
    pub copy_bandwidth: Option<f64>,
    /// Writing in turns with reading the processor's memory; none on others, nor
    /// for what its caches hold.
    pub turns: Vec<Turn>,
    /// On the processor.
    pub memory: Option<Resident>,
    pub reading: Option<Reading>,
    pub writing: Option<Writing>,
    /// Writing several sequences at the same time.
    pub batch: Option<Writing>,
    pub submitted: Vec<Submitted>,
    pub profiles: Vec<Profile>,
}

/// Tokens per second.
struct Rates {
    min: f64,
    median: f64,
    max: f64,
}

impl Rates {
    fn new(tokens: usize, times: &[Duration]) -> Self {
        Self::of(times.iter().map(|&t| units::rate(tokens, t)))
    }

    /// At least one.
    fn of(rates: impl Iterator<Item = f64>) -> Self {
        let mut rates: Vec<f64> = rates.collect();
        rates.sort_by(f64::total_cmp);
        let n = rates.len();
        Self { min: rates[0], median: (rates[(n - 1) / 2] + rates[n / 2]) / 2.0, max: rates[n - 1] }
    }

    fn json(&self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }
}

impl Reading {
    fn rates(&self) -> Rates {
        Rates::new(self.tokens, &self.times)
    }
}

impl Writing {
    fn rates(&self) -> Rates {
        Rates::new(self.tokens * self.sequences, &self.times)
    }
}

impl Report {
    /// Prints it as Markdown.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let info = &self.info;
        let (family, parameters) = (info.family.name(), units::count(info.parameters as u64));
        writeln!(out, "{HEADING}{}{HEADING:#}", printable(&self.name))?;
        writeln!(out, "{family}, {parameters} parameters, {} of weights", units::bytes(self.weights))?;
        let activations = match self.precision {
            Precision::Q8 => ", activations in 8 bits for quantized weights",
            Precision::F32 => "",
        };
        writeln!(out, "{}, cache in {}{activations}", self.device(), self.cache)?;
        writeln!(out, "opened in {}\n", units::time(self.load))?;

        let mut table = Table::new(&["tokens per second", "min", "median", "max"], 1);
        let depth = if self.depth > 0 { format!(" after {}", self.depth) } else { String::new() };
        let mut row = |what: String, rates: Rates| {
            let numbers = [rates.min, rates.median, rates.max].map(|rate| format!("{rate:.1}"));
            table.row(std::iter::once(what).chain(numbers));
        };
        if let Some(reading) = &self.reading {
            row(format!("read {}{depth}", reading.tokens), reading.rates());
        }
        if let Some(writing) = &self.writing {
            row(format!("write {}{depth}", writing.tokens), writing.rates());
        }
        if let Some(batch) = &self.batch {
            row(format!("write {} of each of {}{depth}", batch.tokens, batch.sequences), batch.rates());
        }
        table.print(out)?;
        if let Some(writing) = &self.writing {
            self.print_token(out, writing)?;
        }
        if let Some(memory) = &self.memory {
            print_memory(out, memory)?;
        }
        if !self.submitted.is_empty() {
            self.print_submitted(out)?;
        }
        self.profiles.iter().try_for_each(|(what, kernels)| print_profile(out, what, kernels))
    }

    /// What writing one token takes.
    fn print_token(&self, out: &mut impl Write, writing: &Writing) -> io::Result<()> {
        let mut table = Table::new(&["a written token", ""], 1);
        let mut row = |what: &str, value: String| table.row([what.to_string(), value]);
        row("weights read", units::bytes(self.weight_bytes as u64));
        row("state read and written", units::bytes(self.state_bytes as u64));
        let rate = self.bytes_per_second(writing);
        row("of memory", format!("{}/s", units::bytes(rate as u64)));
        if let Some(copy) = self.copy_bandwidth {
            row("a copy has", format!("{}/s", units::bytes(copy as u64)));
            row("share", format!("{:.1} %", 100.0 * rate / copy));
        }
        if let Some(read) = self.bandwidth() {
            if let Some(huge) = read.huge_pages {
                row("reading huge pages has", format!("{}/s", units::bytes(huge as u64)));
            }
            row("reading small pages has", format!("{}/s", units::bytes(read.small_pages as u64)));
            let share = self.share().median;
            row("share of the better, in turns", format!("{:.1} %", 100.0 * share));
        }
        if let Some(batch) = &self.batch {
            let gain = batch.rates().median / writing.rates().median;
            row(&format!("{} sequences at a time", batch.sequences), format!("{gain:.2} times as many"));
        }
        if let Some(counts) = writing.counts {
            let [launches, submissions, waits] = per_token(counts, writing.tokens).map(shown);
            row("launches", launches);
            row("submissions", submissions);
            row("waits", waits);
        }
        let drawn = match writing.drawn {
            Drawn::Host => "by the host".into(),
            Drawn::Device(steps) => format!("by the GPU, in windows of {steps}"),
        };
        row("drawn", drawn);
        writeln!(out)?;
        table.print(out)
    }

    fn print_submitted(&self, out: &mut impl Write) -> io::Result<()> {
        let header = ["submitted by", "tok/s", "submissions a token", "waits a token", "launches a token"];
        let mut table = Table::new(&header, 1);
        for Submitted { name, writing } in &self.submitted {
            let [launches, submissions, waits] =
                per_token(writing.counts.unwrap_or_default(), writing.tokens).map(shown);
            let name = match writing.drawn {
                Drawn::Host => format!("{name}, the host draws"),
                Drawn::Device(steps) => format!("{name} of {steps}"),
            };
            let rate = format!("{:.1}", writing.rates().median);
            table.row([name, rate, submissions, waits, launches]);
        }
        writeln!(out)?;
        table.print(out)
    }

    /// Bytes that writing reads and writes in a second.
    fn bytes_per_second(&self, writing: &Writing) -> f64 {
        (self.weight_bytes + self.state_bytes) as f64 * writing.rates().median
    }

    /// What reading had in most of the turns.
    fn bandwidth(&self) -> Option<Bandwidth> {
        let median = |rate: fn(&Turn) -> f64| Rates::of(self.turns.iter().map(rate)).median;
        let first = self.turns.first()?;
        let huge_pages = first.read.huge_pages.map(|_| median(|turn| turn.read.huge_pages.unwrap_or(0.0)));
        Some(Bandwidth { small_pages: median(|turn| turn.read.small_pages), huge_pages })
    }

    /// Shares of the memory's speed that writing had in the turns.
    fn share(&self) -> Rates {
        let bytes = (self.weight_bytes + self.state_bytes) as f64;
        Rates::of(self.turns.iter().map(|turn| bytes * turn.rate / turn.read.best()))
    }

    fn device(&self) -> String {
        match (&self.gpu, self.executor) {
            (Some(gpu), kind) => format!("{kind}: {}, driver {}", gpu.name, gpu.driver),
            (None, ExecutorKind::Cpu) => {
                format!("cpu: {}", Isa::from_env().map_or("unknown".into(), |isa| isa.to_string()))
            }
            (None, kind) => kind.to_string(),
        }
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let gpu = self.gpu.as_ref().map(|gpu| {
            json!({ "name": gpu.name, "driver": gpu.driver, "cores": gpu.cores, "memory_bytes": gpu.memory })
        });
        let profile = |(what, kernels): &Profile| {
            let kernels: Vec<Value> = kernels.iter().map(kernel_json).collect();
            json!({ "step": what, "kernels": kernels })
        };
        let submitted = |s: &Submitted| json!({ "by": s.name, "decode": writing_json(&s.writing) });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": {
                "name": self.name,
                "family": self.info.family.name(),
                "parameters": self.info.parameters,
                "weight_bytes": self.weights,
            },
            "device": self.executor.to_string(),
            "gpu": gpu,
            "cache": self.cache.name(),
            "precision": format!("{:?}", self.precision),
            "depth": self.depth,
            "load_s": self.load.as_secs_f64(),
            "prefill": self.reading.as_ref().map(reading_json),
            "decode": self.writing.as_ref().map(writing_json),
            "batch": self.batch.as_ref().map(writing_json),
            "memory": self.memory.as_ref().map(memory_json),
            "bandwidth": self.bandwidth().map(|read| read.json()),
            "share": self.bandwidth().map(|_| self.share().json()),
            "token": {
                "weight_bytes": self.weight_bytes,
                "state_bytes": self.state_bytes,
                "bytes_per_s": self.writing.as_ref().map(|w| self.bytes_per_second(w)),
                "copy_bytes_per_s": self.copy_bandwidth,
            },
            "submissions": self.submitted.iter().map(submitted).collect::<Vec<_>>(),
            "profiles": self.profiles.iter().map(profile).collect::<Vec<_>>(),
        })
    }
}

/// Launches, submissions and waits.
fn per_token(counts: Counts, tokens: usize) -> [f64; 3] {
    [counts.launches, counts.submissions, counts.waits].map(|n| n as f64 / tokens.max(1) as f64)
}

/// A count a token: whole if it is.
fn shown(n: f64) -> String {
    if n.fract() == 0.0 { format!("{n}") } else { format!("{n:.2}") }
}

fn print_profile(out: &mut impl Write, what: &str, kernels: &[Kernel]) -> io::Result<()> {
    let total: f64 = kernels.iter().map(|k| k.seconds).sum();
    let mut table = Table::new(&[what, "launches", "us", "share", "weights", "read with"], 1);
    let mut row = |name: &str, launches: usize, seconds: f64, bytes: usize| {
        let share = format!("{:.1} %", 100.0 * seconds / total);
        let (weights, speed) = match bytes {
            0 => (String::new(), String::new()),
            _ => (units::bytes(bytes as u64), format!("{}/s", units::bytes((bytes as f64 / seconds) as u64))),
        };
        table.row([
            name.into(),
            launches.to_string(),
            format!("{:.1}", 1e6 * seconds),
            share,
            weights,
            speed,
        ]);
    };
    kernels.iter().for_each(|k| row(k.name, k.launches, k.seconds, k.weight_bytes));
    let sum = |f: fn(&Kernel) -> usize| kernels.iter().map(f).sum();
    row("all, one by one", sum(|k| k.launches), total, sum(|k| k.weight_bytes));
    writeln!(out)?;
    table.print(out)
}

/// What the model should take, part by part, and what the process took.
fn print_memory(out: &mut impl Write, memory: &Resident) -> io::Result<()> {
    let mut table = Table::new(&["memory", ""], 1);
    let mut row = |what: &str, bytes: u64| table.row([what.to_string(), units::bytes(bytes)]);
    row("weights", memory.weights);
    row("cache", memory.cache);
    row("buffers", memory.buffers);
    row("together", memory.stated());
    if let Some(peak) = memory.peak {
        row("resident at most, with the program", peak);
    }
    writeln!(out)?;
    table.print(out)
}

fn memory_json(memory: &Resident) -> Value {
    json!({
        "weight_bytes": memory.weights,
        "cache_bytes": memory.cache,
        "buffer_bytes": memory.buffers,
        "stated_bytes": memory.stated(),
        "peak_bytes": memory.peak,
    })
}

fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

fn counts_json(counts: Counts) -> Value {
    let Counts { steps, launches, submissions, waits } = counts;
    json!({ "steps": steps, "launches": launches, "submissions": submissions, "waits": waits })
}

fn reading_json(r: &Reading) -> Value {
    json!({
        "tokens": r.tokens,
        "steps": r.steps,
        "seconds": seconds(&r.times),
        "tokens_per_s": r.rates().json(),
        "counts": r.counts.map(counts_json),
    })
}

fn writing_json(w: &Writing) -> Value {
    let window = match w.drawn {
        Drawn::Host => None,
        Drawn::Device(steps) => Some(steps),
    };
    json!({
        "tokens": w.tokens,
        "sequences": w.sequences,
        "drawn_by": if window.is_some() { "device" } else { "host" },
        "window": window,
        "seconds": seconds(&w.times),
        "tokens_per_s": w.rates().json(),
        "counts": w.counts.map(counts_json),
    })
}

fn kernel_json(k: &Kernel) -> Value {
    json!({
        "kernel": k.name,
        "launches": k.launches,
        "seconds": k.seconds,
        "weight_bytes": k.weight_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_rounds() {
        let times: Vec<_> = [100, 50, 200, 400].map(Duration::from_millis).into();
        let rates = Rates::new(10, &times);
        assert_eq!((rates.min, rates.median, rates.max), (25.0, 75.0, 200.0));
        let one = Rates::new(10, &times[..1]);
        assert_eq!((one.min, one.median, one.max), (100.0, 100.0, 100.0));
    }

    #[test]
    fn counts_a_token() {
        let counts = Counts { steps: 4, launches: 84, submissions: 4, waits: 1 };
        assert_eq!(per_token(counts, 4).map(shown), ["21", "1", "0.25"]);
    }
}
