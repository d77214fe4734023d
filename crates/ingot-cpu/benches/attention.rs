//! Speed of attention alone: a plan of nothing but layers of it, over contexts
//! of several lengths, as prompts and as single tokens.
//!
//! `cargo bench -p ingot-cpu --bench attention -- [threads] [f16|f32|q8_0] [rounds=N]
//! [heads=N] [head=N] [prompts|tokens]`
//!
//! `heads` and `head` pick the shapes with so many heads, and heads of that size.
//! Of prompts the best of the rounds is shown: microseconds of one layer and GFLOP/s
//! of the two products (four operations for each query, seen position and channel).
//! Single tokens go through as many layers as a model has, so that keys and values
//! come from memory, and in turn with them as many bytes are only read by as many
//! threads: shown are the median and the best, GB/s of keys and values at the
//! median, GB/s of reading, and the median quotient of neighbors.

use ingot_cpu::{CpuExecutor, CpuOptions, Reader};
use ingot_format::{DType, Tensor};
use ingot_plan::{Buf, Executor, PAGE, PlanBuilder, Precision, Step, WeightId};
use std::sync::Arc;
use std::time::Instant;

/// Rows of the tables that queries, keys and values are taken from.
const TOKENS: usize = 64;

struct Shape {
    heads: usize,
    kv_heads: usize,
    size: usize,
    /// As in a model: keys and values of 4096 positions do not fit a cache.
    layers: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { heads: 14, kv_heads: 2, size: 64, layers: 24 },
    Shape { heads: 32, kv_heads: 8, size: 64, layers: 16 },
    Shape { heads: 32, kv_heads: 8, size: 128, layers: 8 },
];

/// Tokens of a step and positions before them. Prompts run a single layer: short
/// runs, some of which nothing else on the machine disturbs.
const PROMPTS: [(usize, usize); 5] = [(8, 4088), (128, 0), (128, 384), (128, 3968), (512, 0)];
const TOKENS_ALONE: [(usize, usize); 3] = [(1, 511), (1, 4095), (1, 16383)];

/// A table that tokens choose rows of: `[T, width]`.
fn input(plan: &mut PlanBuilder, weights: &mut Vec<Tensor>, width: usize) -> Buf {
    let seed = weights.len() + 1;
    let values = (0..TOKENS * width).map(|i| ((i * i % 8191 * seed) as f32).sin());
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let tensor = Tensor::new(format!("w{seed}"), DType::F32, vec![TOKENS, width], bytes.into());
    let tensor = tensor.expect("as many bytes as values");
    let table: WeightId = plan.weight(&tensor);
    weights.push(tensor);
    plan.embed(table)
}

fn executor(shape: &Shape, layers: usize, options: &CpuOptions) -> CpuExecutor {
    let (mut plan, mut weights) = (PlanBuilder::new(Precision::F32), Vec::new());
    let mut x = input(&mut plan, &mut weights, shape.heads * shape.size);
    let [k, v] = [(); 2].map(|()| input(&mut plan, &mut weights, shape.kv_heads * shape.size));
    for _ in 0..layers {
        let scale = 1.0 / (shape.size as f32).sqrt();
        x = plan.attention([x, k, v], [shape.heads, shape.kv_heads], scale, None);
    }
    let out = plan.select(x);
    let plan = Arc::new(plan.finish(out));
    CpuExecutor::new(plan, weights, options).expect("possible options")
}

/// Seconds since some time; of a single thread only those it ran, since others
/// may want the processor too.
fn now(threads: usize) -> f64 {
    let clock = if threads == 1 { libc::CLOCK_PROCESS_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time to where it may.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok());
    let number = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)?.parse::<usize>().ok());
    let (rounds, heads, head) = (number("rounds=").unwrap_or(5), number("heads="), number("head="));
    let only = |what: &str| arguments.iter().any(|a| a == what);
    let cache_type = match arguments.iter().map(String::as_str).find(|a| ["f16", "f32", "q8_0"].contains(a)) {
        Some("f32") => DType::F32,
        Some("q8_0") => DType::Q8_0,
        _ => DType::F16,
    };
    let options = CpuOptions { threads, cache_type, ..CpuOptions::default() };
    let wanted =
        |shape: &&Shape| heads.is_none_or(|n| n == shape.heads) && head.is_none_or(|n| n == shape.size);
    for shape in SHAPES.iter().filter(wanted) {
        if !only("tokens") {
            prompts(shape, &options, rounds);
        }
        if !only("prompts") {
            tokens_alone(shape, &options, rounds);
        }
    }
}

/// Every page of the longest context, filled.
fn filled(
    shape: &Shape,
    layers: usize,
    steps: &[(usize, usize)],
    options: &CpuOptions,
) -> (CpuExecutor, Vec<u32>) {
    let mut cpu = executor(shape, layers, options);
    let tokens: Vec<u32> = (0..TOKENS as u32).cycle().take(512).collect();
    let longest = steps.iter().map(|(rows, past)| rows + past).max().expect("steps");
    let pages: Vec<u32> = (0..longest.div_ceil(PAGE) as u32).collect();
    cpu.reserve(pages.len(), 1).expect("memory for the longest context");
    let mut out = Vec::new();
    // Keys and values in all pages; short contexts are enough for writing them.
    for pages in pages.chunks(512 / PAGE) {
        cpu.run(&Step::single(&tokens[..pages.len() * PAGE], 0, 0, pages), &mut out).expect("a valid step");
    }
    (cpu, pages)
}

/// Operations and bytes of a layer.
fn cost(shape: &Shape, (rows, past): (usize, usize), options: &CpuOptions) -> [f64; 2] {
    let seen: usize = (past + 1..=past + rows).sum();
    let values = 2 * (past + rows) * shape.kv_heads * shape.size;
    let bytes = options.cache_type.row_bytes(values).expect("whole blocks");
    [4.0 * (seen * shape.heads * shape.size) as f64, bytes as f64]
}

fn name(shape: &Shape, (rows, past): (usize, usize), options: &CpuOptions) -> String {
    let Shape { heads, kv_heads, size, .. } = shape;
    format!("{heads:>2}/{kv_heads} of {size:<3} {:<4} {rows:>3} after {past:<5}", options.cache_type)
}

fn prompts(shape: &Shape, options: &CpuOptions, rounds: usize) {
    let (mut cpu, pages) = filled(shape, 1, &PROMPTS, options);
    let tokens: Vec<u32> = (0..TOKENS as u32).cycle().take(512).collect();
    let mut out = Vec::new();
    for (rows, past) in PROMPTS {
        let step = Step::single(&tokens[..rows], past, 0, &pages[..(past + rows).div_ceil(PAGE)]);
        let mut best = f64::INFINITY;
        for _ in 0..4 * rounds {
            let start = now(cpu.threads());
            cpu.run(&step, &mut out).expect("a valid step");
            best = best.min(now(cpu.threads()) - start);
        }
        let [flops, _] = cost(shape, (rows, past), options);
        let name = name(shape, (rows, past), options);
        println!("{name} {:>9.1} us {:>6.0} GFLOP/s", 1e6 * best, flops / best / 1e9);
    }
}

fn tokens_alone(shape: &Shape, options: &CpuOptions, rounds: usize) {
    let (mut cpu, pages) = filled(shape, shape.layers, &TOKENS_ALONE, options);
    let (mut out, layers) = (Vec::new(), shape.layers as f64);
    for (rows, past) in TOKENS_ALONE {
        let step = Step::single(&[0], past, 0, &pages[..(past + rows).div_ceil(PAGE)]);
        let [_, bytes] = cost(shape, (rows, past), options);
        let reader = Reader::new(cpu.threads(), (layers * bytes) as usize, cfg!(target_os = "linux"))
            .expect("as much memory again");
        let (mut attention, mut reading) = (Vec::new(), Vec::new());
        for _ in 0..8 * rounds {
            let start = Instant::now();
            cpu.run(&step, &mut out).expect("a valid step");
            attention.push(start.elapsed().as_secs_f64() / layers);
            reading.push(bytes / reader.rate());
        }
        let mut quotients: Vec<f64> = reading.iter().zip(&attention).map(|(r, a)| r / a).collect();
        let [a, r, q] = [&mut attention, &mut reading, &mut quotients].map(|x| {
            x.sort_by(f64::total_cmp);
            x[x.len() / 2]
        });
        let name = name(shape, (rows, past), options);
        println!(
            "{name} {:>9.1} us, best {:>9.1} us {:>5.1} GB/s, reading {:>5.1} GB/s, {q:.2} of it",
            1e6 * a,
            1e6 * attention[0],
            bytes / a / 1e9,
            bytes / r / 1e9
        );
    }
}
