//! Speed of matrix products by weight type: bytes of weights a second with one
//! token, operations a second with many.
//!
//! `cargo bench -p ingot-cpu --bench linear -- [threads] [type]`; `INGOT_CPU`
//! chooses the instruction set. Best of several runs, to keep other programs
//! out of the figures.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::{DType, Tensor};
use ingot_plan::{Executor, PlanBuilder, Precision, Projection, Step};
use std::sync::Arc;
use std::time::Instant;

const COLS: usize = 2048;
/// More than caches hold.
const DECODE_BYTES: usize = 128 << 20;
const PREFILL_ROWS: usize = 2048;
const PREFILL_TOKENS: usize = 512;

/// Products of a step, so that the rest of it matters little.
const PRODUCTS: usize = 8;

/// Seconds of the best run of a product with `rows` rows and `tokens` tokens.
fn seconds(dtype: DType, rows: usize, tokens: usize, threads: Option<usize>) -> f64 {
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
    let first = run();
    let runs = (0.5 / first).clamp(3.0, 50.0) as usize;
    (0..runs).map(|_| run()).fold(first, f64::min) / PRODUCTS as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok());
    let chosen = |t: &DType| arguments.iter().all(|a| a.parse::<usize>().is_ok() || a == t.name());
    println!("type     decode GB/s   prefill GOP/s ({PREFILL_TOKENS} tokens)");
    for dtype in DType::ALL.into_iter().filter(chosen) {
        let row_bytes = dtype.row_bytes(COLS).expect("whole blocks");
        let rows = DECODE_BYTES / row_bytes;
        let decode = (rows * row_bytes) as f64 / seconds(dtype, rows, 1, threads) / 1e9;
        let operations = 2.0 * (PREFILL_ROWS * COLS * PREFILL_TOKENS) as f64;
        let prefill = operations / seconds(dtype, PREFILL_ROWS, PREFILL_TOKENS, threads) / 1e9;
        println!("{dtype:8} {decode:11.2} {prefill:15.1}");
    }
}
