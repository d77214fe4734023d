//! Speed of single ops and of chains that run as one, on any executor: the cases of the
//! conformance table at the sizes of models, for one token and for a prompt.
//!
//! `cargo bench -p ingot-golden --bench ops -- [FILTER...] [threads=N] [rounds=N]` runs the
//! cases whose names contain every filter, on the processor or on the device that
//! `INGOT_BENCH_DEVICE` names. Shown is the median time of what the case is about, without
//! the rows it is given; its bytes a second - weights, state, and the rows that go in and
//! come out, each once - and operations a second of products. Between two runs the
//! processor's caches are filled with something else, as the rest of a model does.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::DType;
use ingot_golden::cases::Case;
use ingot_gpu::{DeviceKind, Gpu, GpuOptions};
use ingot_plan::{Cost, Executor, Load, Op, PAGE, Plan, Step};
use std::hint::black_box;

/// Rows of a step and positions before.
const STEPS: [(usize, usize); 3] = [(1, 0), (1, 4095), (512, 0)];
/// Tokens that cases have rows for.
const TOKENS: usize = 16;
/// More bytes than caches hold.
const CACHES: usize = 64 << 20;

/// What runs a case.
enum Machine {
    Cpu(Box<CpuExecutor>),
    Gpu(Box<dyn Gpu>),
}

impl Machine {
    fn open(case: &Case, threads: Option<usize>) -> Self {
        let (plan, weights) = case.model();
        match std::env::var("INGOT_BENCH_DEVICE").as_deref() {
            Err(_) | Ok("cpu") => {
                let options = CpuOptions { threads, ..CpuOptions::default() };
                Self::Cpu(Box::new(CpuExecutor::new(plan, weights, &options).expect("a case that runs")))
            }
            Ok(name) => {
                let kind: DeviceKind = name.parse().unwrap_or_else(|e| panic!("{e}"));
                let gpu = ingot_gpu::open(kind, plan, weights, &GpuOptions::default(), &mut |_, _| ());
                Self::Gpu(gpu.unwrap_or_else(|e| panic!("{}: {e}", case.name)))
            }
        }
    }

    fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Self::Cpu(cpu) => cpu.as_mut(),
            Self::Gpu(gpu) => gpu.as_mut(),
        }
    }

    /// Ops and seconds of each piece of a step.
    fn time(&mut self, step: &Step) -> Vec<(Vec<usize>, f64)> {
        match self {
            Self::Cpu(cpu) => {
                let spans = cpu.run_timed(step, &mut Vec::new()).expect("a valid step");
                cpu.pieces().into_iter().zip(spans.into_iter().map(|span| span.end - span.start)).collect()
            }
            Self::Gpu(gpu) => {
                let launches = gpu.describe(step).expect("a valid step");
                let seconds = gpu.time(step).expect("a valid step");
                launches.into_iter().map(|launch| launch.ops).zip(seconds).collect()
            }
        }
    }
}

/// Only brings rows or takes them away.
fn is_frame(op: &Op) -> bool {
    matches!(op, Op::Embed(_) | Op::Select(_))
}

/// Bytes of the rows that go in and come out.
fn rows_bytes(plan: &Plan, rows: usize) -> usize {
    let frame = plan.ops().iter().filter(|op| is_frame(op)).map(Op::uses);
    let bufs = frame.flat_map(|uses| if uses.reads.is_empty() { uses.writes } else { uses.reads });
    bufs.map(|buf| 4 * rows * plan.buffer(buf).width).sum()
}

fn measure(case: &Case, threads: Option<usize>, rounds: usize, caches: &mut [u64]) {
    let mut machine = Machine::open(case, threads);
    let plan = machine.executor().plan().clone();
    let pages: Vec<u32> = (0..(4096 / PAGE) as u32).collect();
    machine.executor().reserve(pages.len(), 1).expect("memory for the longest context");
    let has_pages = plan.page_len() > 0;
    for (rows, past) in STEPS.into_iter().filter(|(_, past)| *past == 0 || has_pages) {
        let tokens: Vec<u32> = (0..rows).map(|t| (t % TOKENS) as u32).collect();
        let step = Step::single(&tokens, past, 0, &pages);
        let mut seconds = Vec::new();
        for _ in 0..=rounds {
            machine.executor().clear_slot(0).expect("a slot");
            caches.iter_mut().for_each(|x| *x = x.wrapping_add(1));
            black_box(&caches);
            let pieces = machine.time(&step);
            let about = |ops: &[usize]| ops.iter().any(|&op| !is_frame(&plan.ops()[op]));
            seconds.push(pieces.iter().filter(|(ops, _)| about(ops)).map(|(_, s)| s).sum::<f64>());
        }
        seconds.remove(0); // makes room
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let load = Load { sequences: 1, rows, past, cache: DType::F16 };
        let ops = plan.ops().iter().filter(|op| !is_frame(op));
        let cost: Cost = ops.map(|op| op.cost(&plan, &load)).sum();
        let bytes = cost.bytes() + rows_bytes(&plan, rows);
        println!(
            "{:52} {rows:3} after {past:<4} {:>9.1} us {:>7.1} GB/s {:>8.1} GFLOP/s",
            case.name,
            1e6 * median,
            bytes as f64 / median / 1e9,
            cost.operations as f64 / median / 1e9
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let number = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)?.parse::<usize>().ok());
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.contains('=')).collect();
    let (threads, rounds) = (number("threads="), number("rounds=").unwrap_or(15).max(1));
    let mut caches = vec![0; CACHES / size_of::<u64>()];
    let mut cases = Case::speed();
    cases.retain(|case| filters.iter().all(|f| case.name.contains(f.as_str())));
    if cases.is_empty() {
        eprintln!(
            "no case has {filters:?} in its name: rows/, shapes/, linear/, attention/, rwkv/, experts/"
        );
    }
    for case in &cases {
        measure(case, threads, rounds, &mut caches);
    }
}
