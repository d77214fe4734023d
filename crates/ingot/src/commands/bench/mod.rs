//! `ingot bench`: how fast a model is read and written here, and how near that is
//! to what the memory can do.

mod compare;
mod measure;
mod peer;
mod plots;
mod point;
mod report;

pub use measure::Bench;
pub use report::short_name;

use crate::bandwidth::{Buffers, CACHED};
use crate::bare::{Bare, Source};
use crate::cli::{BenchArgs, EngineArgs};
use crate::device;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::output::write_file;
use crate::plot::Kind;
use crate::stats;
use compare::{Comparison, Saved};
use ingot::{DeviceKind, ExecutorKind, buffer_bytes};
use measure::Rounds;
use peer::{Peer, Work};
use point::Point;
use report::{Report, Resident};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

pub fn run(args: &BenchArgs) -> Result {
    let todo = Todo::new(args)?;
    // What was asked for is looked at before the minutes that measuring takes.
    args.plot.iter().try_for_each(|path| Kind::of(path).map(|_| ()))?;
    let saved = args.compare.as_deref().map(Saved::read).transpose()?;
    let place = Place::find(args.model.path())?;
    let measured = measure(args, &todo, &place);
    announce(args, "");
    let mut report = measured?;
    if let Some(saved) = &saved {
        let with_threads = todo.threads.len() > 1;
        report.comparison = Some(Comparison::new(saved, report.about(), &report.points, with_threads)?);
    }
    if let Some(path) = &args.save {
        write_file(path, &format!("{:#}\n", report.json()))?;
    }
    args.plot.iter().try_for_each(|path| report.plot(path))?;
    match args.output.as_path() {
        path if path == Path::new("none") => Ok(()),
        path if path == Path::new("-") => Ok(report.print(&mut anstream::stdout().lock(), args.format())?),
        path => {
            let mut text = anstream::StripStream::new(Vec::new());
            report.print(&mut text, args.format())?;
            write_file(path, &String::from_utf8_lossy(&text.into_inner()))
        }
    }
}

/// What is measured: every one of each with every one of the others.
struct Todo {
    /// Numbers of threads; as many as usual if there are none.
    threads: Vec<Option<usize>>,
    depths: Vec<usize>,
    prompts: Vec<usize>,
    tokens: Vec<usize>,
    /// Sequences that are written at the same time, one first.
    batches: Vec<usize>,
}

impl Todo {
    fn new(args: &BenchArgs) -> Result<Self> {
        let list = |values: &[u32]| {
            let mut list: Vec<usize> = Vec::new();
            for &n in values {
                if !list.contains(&(n as usize)) {
                    list.push(n as usize);
                }
            }
            list
        };
        let wanted = |values: &[u32]| list(values).into_iter().filter(|&n| n > 0).collect::<Vec<_>>();
        let (prompts, tokens) = (wanted(&args.prompt), wanted(&args.tokens));
        if prompts.is_empty() && tokens.is_empty() {
            return Err(Failure::usage("there is nothing to measure: --prompt and --tokens are both 0"));
        }
        let batches: Vec<u32> = std::iter::once(1).chain(args.batch.iter().map(|n| n.get().into())).collect();
        let threads = args.engine.settings.threads();
        let threads = match threads.is_empty() {
            true => vec![None],
            false => threads.iter().map(|n| Some(n.get())).collect(),
        };
        Ok(Self { threads, depths: list(&args.depth), prompts, tokens, batches: list(&batches) })
    }

    /// Positions of the longest sequence.
    fn longest(&self) -> usize {
        let more = self.prompts.iter().chain(&self.tokens).max().copied().unwrap_or(1);
        self.depths.iter().max().copied().unwrap_or(0) + more
    }

    /// Most sequences.
    fn sequences(&self) -> usize {
        let most = self.batches.iter().max().copied().unwrap_or(1);
        if self.tokens.is_empty() { 1 } else { most }
    }

    /// How many points write.
    fn writes(&self) -> usize {
        self.threads.len() * self.depths.len() * self.tokens.len() * self.batches.len()
    }
}

/// How long writing and reading memory in turns may take, for all points and for one.
const TURNS: Duration = Duration::from_secs(10);
const A_TURN: Duration = Duration::from_secs(2);

fn measure(args: &BenchArgs, todo: &Todo, place: &Place) -> Result<Report> {
    let file = place.model_file(&args.engine.settings)?;
    let source = Source { place, file: &file };
    let mut report: Option<Report> = None;
    for &threads in &todo.threads {
        let start = Instant::now();
        let bare = open(&args.engine, &source, threads)?;
        let load = start.elapsed();
        if args.submit && !matches!(bare.executor, ExecutorKind::Gpu(_)) {
            return Err(Failure::usage("--submit looks at a GPU, and the processor computes")
                .hint("--device names a GPU, `ingot doctor` shows what there is"));
        }
        let bench = Bench::new(bare, todo.longest(), todo.sequences(), args.seed)?;
        let mut run = Run { args, todo, bench, peer: None, points: Vec::new(), buffers: None, copy: None };
        run.prepare(place)?;
        let memory = run.points()?;
        let submitted = match args.submit {
            true => run.bench.submissions(todo.tokens.first().copied().unwrap_or(1), args.rounds.get())?,
            false => Vec::new(),
        };
        let peer = run.peer.as_ref().map(|peer| peer.name.clone());
        let (points, bare) = (run.points, run.bench.bare());
        let report = report.get_or_insert_with(|| Report {
            name: place.name(),
            label: args.label.clone(),
            comment: args.comment.clone(),
            seed: args.seed,
            info: bare.info.clone(),
            weights: bare.memory.weights,
            weight_bytes: bare.plan.bytes_per_token(),
            executor: bare.executor,
            cache: bare.machine.executor().cache_type(),
            precision: bare.precision,
            gpu: bare.machine.gpu().map(|gpu| gpu.info().clone()),
            load,
            memory,
            points: Vec::new(),
            submitted,
            peer,
            comparison: None,
        });
        report.points.extend(points);
    }
    Ok(report.expect("a number of threads"))
}

fn open(engine: &EngineArgs, source: &Source, threads: Option<usize>) -> Result<Bare> {
    Ok(device::open(engine, |options| {
        let mut options = options.clone();
        options.threads = threads;
        Bare::open(source, &options)
    })?)
}

/// Says on a terminal what is measured now, in one line that the next one replaces.
fn announce(args: &BenchArgs, what: &str) {
    if io::stderr().is_terminal() && args.output != Path::new("none") {
        let _ = write!(io::stderr(), "\r\x1b[2K{what}"); // there is nobody to tell
    }
}

/// The points of one number of threads.
struct Run<'a> {
    args: &'a BenchArgs,
    todo: &'a Todo,
    bench: Bench,
    peer: Option<Peer>,
    points: Vec<Point>,
    /// Memory to read, once it was needed.
    buffers: Option<Buffers>,
    /// What a copy within the GPU's memory has.
    copy: Option<f64>,
}

impl Run<'_> {
    /// Opens the other program and measures what does not depend on the point.
    fn prepare(&mut self, place: &Place) -> Result {
        let threads = self.threads();
        let bare = self.bench.bare();
        if let Some(device) = bare.machine.gpu() {
            // The simulator's memory is as slow as its checks; that would say nothing.
            if bare.executor != ExecutorKind::Gpu(DeviceKind::Sim) {
                self.copy = Some(device.copy_bandwidth().map_err(ingot::Error::from)?);
            }
        }
        if self.args.peer.is_some() {
            let gpu = matches!(bare.executor, ExecutorKind::Gpu(_));
            let cache = bare.machine.executor().cache_type();
            let threads = threads.unwrap_or_else(ingot_cpu::Pool::default_threads);
            let setup = peer::Setup { threads, context: self.todo.longest(), cache, gpu };
            self.peer = Some(Peer::open(&self.args.python, place, &setup)?);
        }
        Ok(())
    }

    /// Threads of the processor, if that computes.
    fn threads(&mut self) -> Option<usize> {
        match &self.bench.bare().machine {
            ingot_engine::Machine::Cpu(cpu) => Some(cpu.threads()),
            ingot_engine::Machine::Gpu(_) | ingot_engine::Machine::Reference(_) => None,
        }
    }

    /// Measures all of them; the memory of the first depth.
    fn points(&mut self) -> Result<Option<Resident>> {
        let todo = self.todo;
        let mut memory = None;
        for (i, &depth) in todo.depths.iter().enumerate() {
            announce(self.args, &format!("reading a context of {depth}"));
            self.bench.begin(depth)?;
            if let Some(peer) = &mut self.peer {
                peer.run(Work::Begin(depth))?;
            }
            let first = self.points.len();
            for &prompt in &todo.prompts {
                announce(self.args, &format!("reading {prompt} after {depth}"));
                let (point, times) =
                    self.rounds(Some(Work::Read(prompt)), |bench, rounds| bench.read(prompt, rounds))?;
                self.points.push(Point { peer: times, copy: None, ..point });
            }
            for &tokens in &todo.tokens {
                for &batch in &todo.batches {
                    announce(self.args, &format!("writing {tokens} of each of {batch} after {depth}"));
                    // The other program has one sequence.
                    let work = (batch == 1).then_some(Work::Write(tokens));
                    let (point, times) =
                        self.rounds(work, |bench, rounds| bench.write(tokens, batch, rounds))?;
                    self.points.push(Point { peer: times, copy: self.copy, ..point });
                }
            }
            if i == 0 {
                memory = self.resident();
            }
            // Last, because its buffers are resident as well.
            self.turns(first)?;
        }
        Ok(memory)
    }

    /// Measures something, in alternation with the other program if that can do it too:
    /// that one's times.
    fn rounds(
        &mut self,
        work: Option<Work>,
        measure: impl FnOnce(&mut Bench, &mut Rounds) -> Result<Point>,
    ) -> Result<(Point, Vec<Duration>)> {
        let Self { bench, peer, args, .. } = self;
        let mut times = Vec::new();
        let mut after = || {
            if let (Some(peer), Some(work)) = (peer.as_mut(), work) {
                times.push(peer.run(work)?);
            }
            Ok(())
        };
        let point = measure(bench, &mut Rounds { count: args.rounds.get(), after: &mut after })?;
        // The first does not count.
        Ok((point, times.into_iter().skip(1).collect()))
    }

    /// Memory that is in use, on the processor.
    fn resident(&mut self) -> Option<Resident> {
        self.threads()?;
        let (sequences, longest) = (self.todo.sequences(), self.todo.longest());
        let chunk = self.bench.chunk();
        let read = self.todo.prompts.iter().chain(&self.todo.depths).max().copied().unwrap_or(0);
        let bare = self.bench.bare();
        Some(Resident {
            weights: bare.memory.weights,
            cache: bare.memory.sequence(longest) * sequences as u64
                + if bare.plan.slot_len() > 0 { bare.memory.slot_bytes } else { 0 },
            buffers: buffer_bytes(&bare.plan, read.min(chunk).max(sequences), sequences),
            peak: stats::peak_memory(),
        })
    }

    /// Holds the points since `first` that write against reading memory.
    fn turns(&mut self, first: usize) -> Result {
        let Some(threads) = self.threads() else { return Ok(()) };
        if self.bench.bare().memory.weights <= CACHED {
            return Ok(());
        }
        let time = A_TURN.max(TURNS / self.todo.writes().max(1) as u32);
        for point in self.points[first..].iter_mut().filter(|point| !point.place().reads) {
            if self.buffers.is_none() {
                self.buffers = Buffers::new(threads);
            }
            let Some(buffers) = &self.buffers else { return Ok(()) };
            announce(self.args, "reading memory");
            point.turns = self.bench.turns((point.tokens, point.sequences()), buffers, time)?;
        }
        Ok(())
    }
}
