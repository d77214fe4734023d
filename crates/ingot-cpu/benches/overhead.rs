//! What everything but the work costs: parallel regions of the pool, and the
//! ops between matrix products.
//!
//! `cargo bench -p ingot-cpu --bench overhead -- [pool|barrier|ops] [threads]`
//!
//! With `barrier`, a region of the pool is compared with a barrier at which all threads spin:
//! nothing that begins and ends with all threads can be faster, and it collapses
//! where there are more threads than processors. `best` is the fastest of five
//! hundred and shows the cost without other programs, `median` is with them.

use ingot_cpu::{CpuExecutor, CpuOptions, Pool};
use ingot_format::{DType, Tensor};
use ingot_plan::ops::{Gate, Pairing, Rotary};
use ingot_plan::{Buf, Executor, Plan, PlanBuilder, Precision, Step};
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// How long each row of the table is measured.
const TIME: Duration = Duration::from_millis(200);
/// Pieces of work for each thread in a region.
const PIECES: usize = 8;

/// The fastest of five hundred and the median of a call's times, in microseconds.
fn measure(mut call: impl FnMut()) -> (f64, f64) {
    let begin = Instant::now();
    let mut times = Vec::new();
    call();
    while begin.elapsed() < TIME || times.len() < 3 {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 500], times[times.len() / 2])
}

/// A chain of dependent operations.
fn work(steps: usize) {
    let x = (0..steps).fold(black_box(1.0f32), |x, _| x * 0.5 + 1.0);
    black_box(x);
}

/// All threads meet twice a region and spin meanwhile.
struct Barrier {
    threads: usize,
    region: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
}

impl Barrier {
    fn run<R>(threads: usize, steps: usize, body: impl FnOnce(&dyn Fn()) -> R) -> R {
        let barrier = Barrier {
            threads,
            region: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| barrier.worker(steps));
            }
            let region = || {
                barrier.region.fetch_add(1, Release);
                work(steps);
                while barrier.done.load(Acquire) < barrier.threads - 1 {
                    spin_loop();
                }
                barrier.done.store(0, Relaxed);
            };
            let result = body(&region);
            barrier.stop.store(true, Relaxed);
            barrier.region.fetch_add(1, Release);
            result
        })
    }

    fn worker(&self, steps: usize) {
        for last in 0.. {
            while self.region.load(Acquire) == last {
                spin_loop();
            }
            if self.stop.load(Relaxed) {
                return;
            }
            work(steps);
            self.done.fetch_add(1, Release);
        }
    }
}

/// Threads that only use up time, until this is dropped.
struct BusyNeighbours(Arc<AtomicBool>);

impl BusyNeighbours {
    fn new(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..count {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    work(1000);
                }
            });
        }
        Self(stop)
    }
}

impl Drop for BusyNeighbours {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn pool_rows(title: &str, threads: usize, steps_per_us: f64, with_barrier: bool) {
    println!("{title}, {threads} threads: us a region");
    println!("  work us    pool best  median");
    let pool = Pool::new(threads);
    for us in [0.0, 1.0, 2.0, 5.0, 20.0] {
        let steps = (us * steps_per_us) as usize;
        let each = steps / PIECES;
        let (best, median) = measure(|| pool.for_each_chunk(threads * PIECES, 1, |_| work(each)));
        print!("  {us:7.0} {best:12.2} {median:7.2}");
        if with_barrier {
            let (least, median) = Barrier::run(threads, steps, |region| measure(region));
            print!("    {least:13.2} {median:7.2}");
        }
        println!();
    }
}

fn pool(threads: usize, with_barrier: bool) {
    let steps = 100_000;
    let (us, _) = measure(|| work(steps));
    let steps_per_us = steps as f64 / us;
    pool_rows("as many threads as asked for", threads, steps_per_us, with_barrier);
    pool_rows("twice as many", 2 * threads, steps_per_us, false);
    let _busy = BusyNeighbours::new(threads);
    pool_rows("busy neighbours", threads, steps_per_us, false);
}

/// Times a chain of one kind of op after another.
struct Ops {
    plan: PlanBuilder,
    weights: Vec<Tensor>,
}

/// Copies of the op in a plan.
const COPIES: usize = 64;
const C: usize = 896;
const F: usize = 4864;
const SIZE: usize = 64;

impl Ops {
    fn new() -> Self {
        Self { plan: PlanBuilder::new(Precision::Q8), weights: Vec::new() }
    }

    fn weight(&mut self, dtype: DType, shape: &[usize]) -> ingot_plan::WeightId {
        let cols = *shape.last().expect("a shape");
        let values: Vec<f32> = (0..cols).map(|i| ((i * 37) as f32).sin()).collect();
        let mut bytes = vec![0; dtype.row_bytes(cols).expect("whole blocks")];
        dtype.quantize(&values, &mut bytes);
        let rows = shape.iter().product::<usize>() / cols;
        let tensor = Tensor::new("w", dtype, shape.to_vec(), bytes.repeat(rows).into()).expect("equal rows");
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }

    fn finish(self, logits: Buf) -> (Arc<Plan>, Vec<Tensor>) {
        (Arc::new(self.plan.finish(logits)), self.weights)
    }
}

/// Microseconds of a step of `tokens` tokens.
fn step_time((plan, weights): (Arc<Plan>, Vec<Tensor>), tokens: usize, threads: usize) -> f64 {
    let options = CpuOptions { threads: Some(threads), ..CpuOptions::default() };
    let mut cpu = CpuExecutor::new(plan, weights, &options).expect("default options");
    let pages: Vec<u32> = (0..tokens as u32).collect();
    cpu.reserve(pages.len(), 1).expect("little memory");
    let step = Step::single(&vec![0; tokens], 0, 0, &pages);
    let mut out = Vec::new();
    measure(|| cpu.run(&step, &mut out).expect("a valid step")).0
}

/// Prints the time of one op in a chain of its copies, which run as one group as far
/// as they work row by row: the op itself, without a parallel region. `build` adds it to a plan, given two buffers
/// `[T, width]`, and returns its output of the same shape.
fn op_row(name: &str, width: usize, threads: usize, build: impl Fn(&mut Ops, Buf, Buf) -> Buf) {
    let time = |tokens, copies| {
        let mut ops = Ops::new();
        let table = ops.weight(DType::F32, &[2, width]);
        let first = ops.plan.embed(table);
        let mut x = ops.plan.embed(table);
        for _ in 0..copies {
            x = build(&mut ops, x, first);
        }
        let x = ops.plan.select(x);
        let head = ops.weight(DType::F32, &[2, width]);
        let logits = ops.plan.linear(x, head);
        step_time(ops.finish(logits), tokens, threads)
    };
    let each = |tokens| (time(tokens, COPIES) - time(tokens, 0)) / COPIES as f64;
    println!("  {name:28} {:9.3} {:12.1}", each(1), each(256));
}

fn ops(threads: usize) {
    println!("ops, {threads} threads: us each       1 token   256 tokens");
    op_row("add 896", C, threads, |o, x, first| o.plan.add(x, first));
    op_row("rms_norm 896", C, threads, |o, x, _| {
        let w = o.weight(DType::F32, &[C]);
        o.plan.rms_norm(x, w, 1e-6)
    });
    op_row("add, rms_norm 896", C, threads, |o, x, first| {
        let w = o.weight(DType::F32, &[C]);
        let x = o.plan.add(x, first);
        o.plan.rms_norm(x, w, 1e-6)
    });
    op_row("layer_norm 896", C, threads, |o, x, _| {
        let affine = (o.weight(DType::F32, &[C]), o.weight(DType::F32, &[C]));
        o.plan.layer_norm(x, affine, 1e-6)
    });
    op_row("glu 4864", F, threads, |o, x, first| o.plan.glu(x, first, Gate::Silu));
    for (name, pairing) in [("rope 14 halves", Pairing::Halves), ("rope 14 adjacent", Pairing::Adjacent)] {
        let frequencies = (0..SIZE / 2).map(|j| 1e6f32.powf(-2.0 * j as f32 / SIZE as f32)).collect();
        let rotary = Arc::new(Rotary { pairing, frequencies, scale: 1.0 });
        op_row(name, C, threads, |o, x, _| o.plan.rope(x, C / SIZE, &rotary));
    }
    for dtype in [DType::F32, DType::Q8_0] {
        let name = format!("rms_norm, linear 32x896 {dtype}");
        op_row(&name, C, threads, |o, x, first| {
            let norm = o.weight(DType::F32, &[C]);
            let w = o.weight(dtype, &[32, C]);
            let h = o.plan.rms_norm(x, norm, 1e-6);
            o.plan.linear(h, w);
            o.plan.add(h, first)
        });
    }
    let logits = |vocab| {
        let mut ops = Ops::new();
        let table = ops.weight(DType::F32, &[2, 32]);
        let x = ops.plan.embed(table);
        let x = ops.plan.select(x);
        let head = ops.weight(DType::Q8_0, &[vocab, 32]);
        let logits = ops.plan.linear(x, head);
        step_time(ops.finish(logits), 1, threads)
    };
    println!("  {:28} {:9.3}", "head 151936x32 and logits", logits(151_936));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or_else(Pool::default_threads);
    let wanted = |name: &str| arguments.iter().all(|a| a.parse::<usize>().is_ok() || a == name);
    let with_barrier = arguments.iter().any(|a| a == "barrier");
    if with_barrier || wanted("pool") {
        pool(threads, with_barrier);
    }
    if wanted("ops") {
        ops(threads);
    }
}
