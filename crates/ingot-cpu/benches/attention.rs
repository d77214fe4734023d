//! Speed of attention alone: a plan of nothing but layers of it, over contexts
//! of several lengths, as prompts and as single tokens.
//!
//! `cargo bench -p ingot-cpu --bench attention -- [threads] [f16|f32|q8_0] [rounds=N] [head=N]`
//!
//! `head` picks the shapes with heads of that size. Of every case the best of the rounds is shown: microseconds of one layer,
//! GFLOP/s of the two products (four operations for each query, seen position and
//! channel), and for single tokens GB/s of keys and values.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::{DType, Tensor};
use ingot_plan::{Buf, Executor, PAGE, PlanBuilder, Precision, Step, WeightId};
use std::sync::Arc;

/// Rows of the tables that queries, keys and values are taken from.
const TOKENS: usize = 64;

struct Shape {
    heads: usize,
    kv_heads: usize,
    size: usize,
    /// So many that the keys and values of 4096 positions do not fit a cache.
    layers: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { heads: 14, kv_heads: 2, size: 64, layers: 24 },
    Shape { heads: 32, kv_heads: 8, size: 64, layers: 8 },
    Shape { heads: 32, kv_heads: 8, size: 128, layers: 4 },
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
    let (rounds, head) = (number("rounds=").unwrap_or(5), number("head="));
    let cache_type = match arguments.iter().map(String::as_str).find(|a| ["f16", "f32", "q8_0"].contains(a)) {
        Some("f32") => DType::F32,
        Some("q8_0") => DType::Q8_0,
        _ => DType::F16,
    };
    let options = CpuOptions { threads, cache_type, ..CpuOptions::default() };
    for shape in SHAPES.iter().filter(|shape| head.is_none_or(|n| n == shape.size)) {
        for (layers, steps) in [(1, &PROMPTS[..]), (shape.layers, &TOKENS_ALONE)] {
            measure(shape, layers, steps, &options, rounds);
        }
    }
}

fn measure(shape: &Shape, layers: usize, steps: &[(usize, usize)], options: &CpuOptions, rounds: usize) {
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
    for &(rows, past) in steps {
        let step = Step::single(&tokens[..rows], past, 0, &pages[..(past + rows).div_ceil(PAGE)]);
        let mut best = f64::INFINITY;
        for _ in 0..4 * rounds {
            let start = now(cpu.threads());
            cpu.run(&step, &mut out).expect("a valid step");
            best = best.min((now(cpu.threads()) - start) / layers as f64);
        }
        let seen: usize = (past + 1..=past + rows).sum();
        let flops = 4.0 * (seen * shape.heads * shape.size) as f64;
        let values = 2 * (past + rows) * shape.kv_heads * shape.size;
        let bytes = options.cache_type.row_bytes(values).expect("whole blocks") as f64;
        println!(
            "{:>2}/{} of {:<3} {:<4} {rows:>3} after {past:<5} {:>9.1} us {:>6.0} GFLOP/s {:>5.1} GB/s",
            shape.heads,
            shape.kv_heads,
            shape.size,
            options.cache_type,
            1e6 * best,
            flops / best / 1e9,
            bytes / best / 1e9
        );
    }
}
