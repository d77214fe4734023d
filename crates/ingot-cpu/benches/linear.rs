//! Speed of matrix products by weight type: bytes of weights a second with one
//! token, and the share of only reading as many that is, in turns (medians);
//! operations a second with many tokens, the best of several runs.
//!
//! `cargo bench -p ingot-cpu --bench linear -- [threads] [type]`; `INGOT_CPU`
//! chooses the instruction set.
//!
//! With `sparse`, time of products whose inputs are squares of a ReLU that leaves so
//! many percent of them, relative to inputs of which nothing is known, in alternation.

use ingot_cpu::{CpuExecutor, CpuOptions, Pool, Reader};
use ingot_format::{DType, Tensor};
use ingot_plan::ops::Activation;
use ingot_plan::{Executor, PlanBuilder, Precision, Projection, Step};
use std::sync::Arc;
use std::time::Instant;

const COLS: usize = 2048;
/// More than caches hold.
const DECODE_BYTES: usize = 128 << 20;
/// Whether memory is read from huge pages.
const HUGE: bool = cfg!(target_os = "linux");
const PREFILL_ROWS: usize = 2048;
const PREFILL_TOKENS: usize = 512;

/// Products of a step, so that the rest of it matters little.
const PRODUCTS: usize = 8;

/// Seconds that a product with `rows` rows and `tokens` tokens takes, in several runs;
/// `before` each of them something else is done.
fn seconds(
    dtype: DType,
    (rows, tokens): (usize, usize),
    threads: Option<usize>,
    mut before: impl FnMut(),
) -> Vec<f64> {
    let row: Vec<f32> = (0..COLS).map(|c| (c as f32 * 0.7).sin()).collect();
    let mut row_bytes = vec![0; dtype.row_bytes(COLS).expect("whole blocks")];
    dtype.quantize(&row, &mut row_bytes);
    let table: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = |name, dtype, rows, data: Vec<u8>| Tensor::new(name, dtype, vec![rows, COLS], data.into());
    let table = tensor("table", DType::F32, 1, table).expect("a row");
    let matrix = tensor("matrix", dtype, rows, row_bytes.repeat(rows)).expect("equal rows");

    let mut plan = PlanBuilder::new(Precision::Q8);
    let (table_id, matrix_id) = (plan.weight(&table), plan.weight(&matrix));
    let x = plan.embed(table_id);
    let ys = plan.linears(x, [matrix_id; PRODUCTS].map(Projection::from));
    let logits = plan.select(ys[0]);
    let plan = Arc::new(plan.finish(logits));
    let options = CpuOptions { threads, ..CpuOptions::default() };
    let mut cpu = CpuExecutor::new(plan, vec![table, matrix], &options).expect("default options");
    cpu.reserve(0, 1).expect("no memory needed");
    let step = Step::single(&vec![0; tokens], 0, 0, &[]);
    let mut out = Vec::new();
    let mut run = || {
        let start = Instant::now();
        cpu.run(&step, &mut out).expect("a valid step");
        start.elapsed().as_secs_f64()
    };
    let runs = (0.5 / run()).clamp(5.0, 50.0) as usize;
    let mut turn = || {
        before();
        run() / PRODUCTS as f64
    };
    (0..runs).map(|_| turn()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Percent of the inputs that are not zero, one for each token of the table.
const ACTIVE: [usize; 6] = [100, 70, 50, 30, 20, 10];
const HIDDEN: usize = 8192;

/// A model of one hidden layer, whose units' inputs are positive as often as [`ACTIVE`] says.
fn hidden_layer(dtype: DType, activation: Activation, threads: Option<usize>) -> CpuExecutor {
    let floats = |name, shape: [usize; 2], values: Vec<f32>| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor::new(name, DType::F32, shape.to_vec(), bytes.into()).expect("values for the shape")
    };
    let n = ACTIVE.len();
    let one_hot = (0..n * n).map(|i| f32::from(u8::from(i % n == i / n))).collect();
    let positive = |i: usize| (i / n).wrapping_mul(2_654_435_761) / 64 % 100 < ACTIVE[i % n];
    let keys = (0..HIDDEN * n).map(|i| if positive(i) { 1.0 } else { -1.0 }).collect();
    let mut weights = vec![floats("table", [n, n], one_hot), floats("key", [HIDDEN, n], keys)];
    let row: Vec<f32> = (0..HIDDEN).map(|c| (c as f32 * 0.7).sin()).collect();
    let mut row_bytes = vec![0; dtype.row_bytes(HIDDEN).expect("whole blocks")];
    dtype.quantize(&row, &mut row_bytes);
    for _ in 0..PRODUCTS {
        let bytes = row_bytes.repeat(COLS);
        let value = Tensor::new("value", dtype, vec![COLS, HIDDEN], bytes.into());
        weights.push(value.expect("equal rows"));
    }
    let mut plan = PlanBuilder::new(Precision::Q8);
    let ids: Vec<_> = weights.iter().map(|w| plan.weight(w)).collect();
    let x = plan.embed(ids[0]);
    let h = plan.linear(x, (ids[1], activation));
    let outs: Vec<_> = ids[2..].iter().map(|value| plan.linear(h, *value)).collect();
    let logits = plan.select(outs[0]);
    let plan = Arc::new(plan.finish(logits));
    let options = CpuOptions { threads, ..CpuOptions::default() };
    let mut cpu = CpuExecutor::new(plan, weights, &options).expect("default options");
    cpu.reserve(0, 1).expect("no memory needed");
    cpu
}

/// Prints for several numbers of tokens how long products take if zeros are known, by [`ACTIVE`].
fn sparse(dtype: DType, threads: Option<usize>) {
    let mut known = hidden_layer(dtype, Activation::SquaredRelu, threads);
    let mut unknown = hidden_layer(dtype, Activation::Identity, threads);
    let mut out = Vec::new();
    let mut run = |cpu: &mut CpuExecutor, step: &Step| {
        let start = Instant::now();
        cpu.run(step, &mut out).expect("a valid step");
        start.elapsed().as_secs_f64()
    };
    for tokens in [1, 2, 4, 8, 16, 64, 256] {
        print!("{dtype:6} {tokens:3} tokens:");
        for (token, percent) in ACTIVE.into_iter().enumerate() {
            let step = Step::single(&vec![token as u32; tokens], 0, 0, &[]);
            let (mut ratios, mut best) = (Vec::new(), f64::INFINITY);
            let started = Instant::now();
            while ratios.len() < 5 || started.elapsed().as_secs_f64() < 0.4 {
                let dense = run(&mut unknown, &step);
                ratios.push(run(&mut known, &step) / dense);
                best = best.min(dense);
            }
            ratios.sort_by(f64::total_cmp);
            if token == 0 {
                print!(" {:.2} ms,", 1e3 * best);
            }
            print!(" {percent} % {:.2}", ratios[ratios.len() / 2]);
        }
        println!();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok());
    let is_sparse = arguments.iter().any(|a| a == "sparse");
    let chosen =
        |t: &DType| arguments.iter().all(|a| a.parse::<usize>().is_ok() || a == "sparse" || a == t.name());
    if is_sparse {
        let types = [DType::Q8_0, DType::Q4_0, DType::Q4_K];
        return types.into_iter().filter(chosen).for_each(|dtype| sparse(dtype, threads));
    }
    println!("type     decode GB/s   of reading   prefill GOP/s ({PREFILL_TOKENS} tokens)");
    let reader = Reader::new(threads.unwrap_or_else(Pool::default_threads), DECODE_BYTES, HUGE);
    let reader = reader.expect("memory to read");
    for dtype in DType::ALL.into_iter().filter(chosen) {
        let row_bytes = dtype.row_bytes(COLS).expect("whole blocks");
        let rows = DECODE_BYTES / row_bytes;
        let mut reading = Vec::new();
        let times = seconds(dtype, (rows, 1), threads, || reading.push(reader.rate()));
        let rates: Vec<f64> = times.iter().map(|time| (rows * row_bytes) as f64 / time).collect();
        let share = median(rates.iter().zip(&reading).map(|(product, read)| product / read).collect());
        let times = seconds(dtype, (PREFILL_ROWS, PREFILL_TOKENS), threads, || {});
        let operations = 2.0 * (PREFILL_ROWS * COLS * PREFILL_TOKENS) as f64;
        let prefill = operations / times.into_iter().fold(f64::INFINITY, f64::min) / 1e9;
        println!("{dtype:8} {:11.2} {:10.1} % {prefill:15.1}", median(rates) / 1e9, 100.0 * share);
    }
}
