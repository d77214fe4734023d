//! What was measured, for people and for programs.

use super::compare::Comparison;
use super::plots;
use super::point::{Drawn, Point, What};
use crate::cli::Format;
use crate::failure::{Failure, Result};
use crate::plot::Page;
use crate::spread::Spread;
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
use std::path::Path;
use std::time::Duration;

/// Everything that was measured, and on what.
pub struct Report {
    pub name: String,
    /// What somebody called this run, and said about it.
    pub label: Option<String>,
    pub comment: Option<String>,
    pub seed: u32,
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
    /// On the processor.
    pub memory: Option<Resident>,
    pub points: Vec<Point>,
    pub submitted: Vec<(&'static str, Point)>,
    /// The other program.
    pub peer: Option<String>,
    pub comparison: Option<Comparison>,
}

/// Memory that the model takes on the processor, in bytes.
pub struct Resident {
    /// All weights, once.
    pub weights: u64,
    /// Keys, values and states of all sequences, and a copy of a state.
    pub cache: u64,
    /// Scratch memory of the largest step.
    pub buffers: u64,
    /// Most that this process has had resident, the program itself included.
    pub peak: Option<u64>,
}

impl Resident {
    /// What it should come to.
    fn stated(&self) -> u64 {
        self.weights + self.cache + self.buffers
    }
}

/// Bytes of state of a written token.
fn state_bytes(writing: &Point) -> usize {
    writing.cost.map_or(0, |cost| cost.state / writing.sequences())
}

impl Report {
    fn first(&self, is: impl Fn(&Point) -> bool) -> Option<&Point> {
        self.points.iter().find(|point| is(point))
    }

    fn reading(&self) -> Option<&Point> {
        self.first(|point| point.place().reads)
    }

    /// Writing a single sequence.
    fn writing(&self) -> Option<&Point> {
        self.first(|point| !point.place().reads && point.sequences() == 1)
    }

    /// Writing several.
    fn batch(&self) -> Option<&Point> {
        self.first(|point| point.sequences() > 1)
    }

    fn with_threads(&self) -> bool {
        self.points.iter().any(|point| point.threads != self.points[0].threads)
    }

    /// What it was measured on: model and device.
    pub fn about(&self) -> [String; 2] {
        [self.name.clone(), self.executor.to_string()]
    }

    fn model(&self) -> String {
        let (family, parameters) = (self.info.family.name(), units::count(self.info.parameters as u64));
        format!("{family}, {parameters} parameters, {} of weights", units::bytes(self.weights))
    }

    fn settings(&self) -> String {
        let activations = match self.precision {
            Precision::Q8 => ", activations in 8 bits for quantized weights",
            Precision::F32 => "",
        };
        let threads = self.points.first().and_then(|point| point.threads).filter(|_| !self.with_threads());
        let threads = threads.map_or(String::new(), |n| format!(", {}", units::plural(n, "thread")));
        format!("{}{threads}, cache in {}{activations}", self.device(), self.cache)
    }

    /// Prints it.
    pub fn print(&self, out: &mut impl Write, format: Format) -> io::Result<()> {
        if format == Format::Json {
            return writeln!(out, "{:#}", self.json());
        }
        writeln!(out, "{HEADING}{}{HEADING:#}", printable(&self.name))?;
        writeln!(out, "{}", self.model())?;
        writeln!(out, "{}", self.settings())?;
        for said in [&self.label, &self.comment].into_iter().flatten() {
            writeln!(out, "{}", printable(said))?;
        }
        writeln!(out, "opened in {}", units::time(self.load))?;
        for (heading, table) in self.tables() {
            writeln!(out)?;
            if !heading.is_empty() {
                writeln!(out, "{HEADING}{}{HEADING:#}\n", printable(&heading))?;
            }
            match format {
                Format::Table => table.print_columns(out)?,
                Format::Markdown | Format::Json => table.print(out)?,
            }
        }
        Ok(())
    }

    /// All tables, with headings where they have none in their first row.
    fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = vec![self.speeds()];
        tables.extend(self.writing().map(|writing| self.token(writing)));
        tables.extend(self.memory.as_ref().map(memory_table));
        tables.extend((!self.submitted.is_empty()).then(|| submitted_table(&self.submitted)));
        let mut all: Vec<_> = tables.into_iter().map(|table| (String::new(), table)).collect();
        all.extend(self.comparison.as_ref().map(Comparison::table));
        all
    }

    /// A row for every point.
    fn speeds(&self) -> Table {
        let shares = self.points.iter().any(|point| point.share().is_some());
        let with_threads = self.with_threads();
        let mut header = vec!["tokens per second", "min", "median", "max"];
        header.extend(shares.then_some("of memory's"));
        let ratio = self.peer.is_some();
        if let Some(peer) = &self.peer {
            header.extend([peer.as_str(), "ingot / peer"]);
        }
        let mut table = Table::new(&header, 1);
        let mut row = |what: String, rates: Spread, share: Option<Spread>, peer: Option<Spread>| {
            let mut cells = vec![what];
            cells.extend([rates.min, rates.median, rates.max].map(|rate| format!("{rate:.1}")));
            let percent = share.map_or(String::new(), |s| format!("{:.1} %", 100.0 * s.median));
            cells.extend(shares.then_some(percent));
            if ratio {
                cells.push(
                    peer.map_or(String::new(), |p| format!("{:.1} ({:.1} to {:.1})", p.median, p.min, p.max)),
                );
                cells.push(peer.map_or(String::new(), |p| format!("{:.2}", rates.median / p.median)));
            }
            table.row(cells);
        };
        for point in &self.points {
            row(point.place().name(with_threads), point.rates(), point.share(), point.peer_rates());
        }
        for (what, rates, peer) in self.totals() {
            row(what, rates, None, peer);
        }
        table
    }

    /// Reading a prompt and then writing, together: of each place with both.
    fn totals(&self) -> Vec<(String, Spread, Option<Spread>)> {
        let with_threads = self.with_threads();
        let total = |read: &Point| {
            let place = read.place();
            let goes_on = |p: &&Point| {
                let other = p.place();
                !other.reads
                    && other.sequences == 1
                    && (other.depth, other.threads) == (place.depth, place.threads)
            };
            let write = self.points.iter().find(goes_on)?;
            let sum = |a: &[Duration], b: &[Duration]| -> Vec<Duration> {
                a.iter().zip(b).map(|(&a, &b)| a + b).collect()
            };
            let tokens = read.tokens + write.tokens;
            let rates = Spread::rates(tokens, &sum(&read.times, &write.times));
            let peer = sum(&read.peer, &write.peer);
            let peer = (!peer.is_empty()).then(|| Spread::rates(tokens, &peer));
            let name = place.name(with_threads).replacen("read ", "", 1);
            Some((format!("both, read and write {} + {name}", write.tokens), rates, peer))
        };
        let reads = self.points.iter().filter(|point| point.place().reads);
        reads.filter_map(total).collect()
    }

    /// What writing one token takes.
    fn token(&self, writing: &Point) -> Table {
        let mut table = Table::new(&["a written token", ""], 1);
        let mut row = |what: &str, value: String| table.row([what.to_string(), value]);
        row("weights read", units::bytes(self.weight_bytes as u64));
        row("state read and written", units::bytes(state_bytes(writing) as u64));
        let speed = |rate: f64| format!("{}/s", units::bytes(rate as u64));
        row("of memory", speed(writing.bytes_per_second().unwrap_or(0.0)));
        if let Some(copy) = writing.copy {
            row("a copy has", speed(copy));
        }
        if let Some(read) = writing.bandwidth() {
            if let Some(huge) = read.huge_pages {
                row("reading huge pages has", speed(huge));
            }
            row("reading small pages has", speed(read.small_pages));
        }
        if let Some(share) = writing.share() {
            let of = if writing.copy.is_some() { "share" } else { "share of the better, in turns" };
            row(of, format!("{:.1} %", 100.0 * share.median));
        }
        if let Some(batch) = self.batch() {
            let gain = batch.rates().median / writing.rates().median;
            row(&format!("{} sequences at a time", batch.sequences()), format!("{gain:.2} times as many"));
        }
        if let Some(counts) = writing.counts {
            let [launches, submissions, waits] = per_token(counts, writing.tokens).map(shown);
            row("launches", launches);
            row("submissions", submissions);
            row("waits", waits);
        }
        row(
            "drawn",
            match writing.what {
                What::Write { drawn: Drawn::Device(steps), .. } => {
                    format!("by the GPU, in windows of {steps}")
                }
                _ => "by the host".into(),
            },
        );
        table
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

    /// Writes a picture of the points.
    ///
    /// # Errors
    /// If nothing has more than one point, or the file cannot be written.
    pub fn plot(&self, path: &Path) -> Result {
        let charts = plots::charts(&self.points, self.peer.as_deref());
        if charts.is_empty() {
            return Err(Failure::usage("--plot: there is one point of each, which makes no line")
                .hint("several depths, prompts, batches or threads do: --depth 0,512,2048 --batch 1,4,8"));
        }
        let title = self.label.clone().unwrap_or_else(|| short_name(&self.name));
        let about = format!("{} · {}", self.model(), self.settings());
        let comment = self.comment.as_ref().map_or(String::new(), |comment| format!(" · {comment}"));
        let page = Page { title: title.clone(), about: format!("{about}{comment}"), tables: self.tables() };
        let rounds = self.points[0].times.len();
        let said = format!(
            "{} · {}, medians and ranges of {rounds} rounds · ingot {}",
            self.model(),
            self.device(),
            env!("CARGO_PKG_VERSION")
        );
        plots::picture(&charts, &title, &said).write(path, &page)
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let gpu = self.gpu.as_ref().map(|gpu| {
            json!({ "name": gpu.name, "driver": gpu.driver, "cores": gpu.cores, "memory_bytes": gpu.memory })
        });
        let submitted = |(name, point): &(&str, Point)| json!({ "by": name, "decode": point.json() });
        let writing = self.writing();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "label": self.label,
            "comment": self.comment,
            "seed": self.seed,
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
            "load_s": self.load.as_secs_f64(),
            "points": self.points.iter().map(Point::json).collect::<Vec<_>>(),
            "peer": self.peer,
            // The first of each, for those who measure one thing.
            "depth": self.points.first().map(|point| point.depth),
            "prefill": self.reading().map(Point::json),
            "decode": writing.map(Point::json),
            "batch": self.batch().map(Point::json),
            "memory": self.memory.as_ref().map(memory_json),
            "bandwidth": writing.and_then(Point::bandwidth).map(|read| read.json()),
            "share": writing.and_then(Point::share).map(|share| share.json()),
            "token": {
                "weight_bytes": self.weight_bytes,
                "state_bytes": writing.map(state_bytes),
                "bytes_per_s": writing.and_then(Point::bytes_per_second),
                "copy_bytes_per_s": writing.and_then(|point| point.copy),
            },
            "submissions": self.submitted.iter().map(submitted).collect::<Vec<_>>(),
            "compared": self.comparison.as_ref().map(Comparison::json),
        })
    }
}

/// A model's name without the folders it is in.
pub fn short_name(name: &str) -> String {
    Path::new(name).file_name().map_or(name.into(), |file| file.to_string_lossy().into_owned())
}

/// Launches, submissions and waits.
fn per_token(counts: Counts, tokens: usize) -> [f64; 3] {
    [counts.launches, counts.submissions, counts.waits].map(|n| n as f64 / tokens.max(1) as f64)
}

/// A count a token: whole if it is.
fn shown(n: f64) -> String {
    if n.fract() == 0.0 { format!("{n}") } else { format!("{n:.2}") }
}

fn submitted_table(submitted: &[(&str, Point)]) -> Table {
    let header = ["submitted by", "tok/s", "submissions a token", "waits a token", "launches a token"];
    let mut table = Table::new(&header, 1);
    for (name, point) in submitted {
        let [launches, submissions, waits] =
            per_token(point.counts.unwrap_or_default(), point.tokens).map(shown);
        let name = match point.what {
            What::Write { drawn: Drawn::Device(steps), .. } => format!("{name} of {steps}"),
            _ => format!("{name}, the host draws"),
        };
        table.row([name, format!("{:.1}", point.rates().median), submissions, waits, launches]);
    }
    table
}

/// What the model should take, part by part, and what the process took.
fn memory_table(memory: &Resident) -> Table {
    let mut table = Table::new(&["memory", ""], 1);
    let mut row = |what: &str, bytes: u64| table.row([what.to_string(), units::bytes(bytes)]);
    row("weights", memory.weights);
    row("cache", memory.cache);
    row("buffers", memory.buffers);
    row("together", memory.stated());
    if let Some(peak) = memory.peak {
        row("resident at most, with the program", peak);
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_token() {
        let counts = Counts { steps: 4, launches: 84, submissions: 4, waits: 1 };
        assert_eq!(per_token(counts, 4).map(shown), ["21", "1", "0.25"]);
    }

    #[test]
    fn names_without_folders() {
        assert_eq!(short_name("/a/b/model.gguf"), "model.gguf");
        assert_eq!(short_name("tale-llama (in the program)"), "tale-llama (in the program)");
    }
}
