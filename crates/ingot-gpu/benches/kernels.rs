//! Speed of single kernels: bytes of weights and operations a second.
//!
//! `cargo bench -p ingot-gpu --bench kernels -- [FILTER...]` runs the cases whose
//! names contain every filter, on the device that `INGOT_BENCH_DEVICE` names.
//! A case is a list of launches that each work on weights of their own, more than
//! caches hold. Shown is the median of several runs, per launch, and the share that
//! its bytes a second are of those that a copy reads and writes. Arguments like
//! `rows=4` change the sizes of `linear_vec`'s launches: rows, ahead, resident, split.

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/bench/mod.rs"]
mod bench;

use bench::{Bench, Random};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::DeviceKind;
use ingot_gpu::device::{Device, DeviceError};
use ingot_gpu::launch::{Launch, Operand, What};
use ingot_gpu::launches::linear_tile::{Part, linear_tile};
use ingot_gpu::launches::linear_vec::{self, Linear, Sizes, linear_vec_with};
use ingot_gpu::launches::pack::{Input, Layout, pack};
use ingot_gpu::launches::{Norm, Shape, Target};
use ingot_gpu::sim::SimDevice;
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{PlanBuilder, Precision, Sequence, Step, WeightId};
use std::time::Instant;

/// Bytes that no cache holds.
const BYTES: usize = 256 << 20;
const RUNS: usize = 7;

/// What is measured.
struct Case {
    name: String,
    /// Of weights, read by one launch.
    bytes: f64,
    /// Additions and multiplications of one launch.
    operations: f64,
    kind: Kind,
}

/// How its memory and its launches are made.
enum Kind {
    /// A product of many rows.
    LinearTile { dtype: DType, rows: usize, cols: usize, tokens: usize },
    /// A product of one row with a matrix, or the two of a gated unit.
    LinearVec { dtype: DType, rows: usize, cols: usize, gated: bool },
}

/// All cases.
fn cases() -> Vec<Case> {
    // Projections of models of 1 and of 8 billion parameters.
    let shapes = [
        (2048, 2048),
        (3072, 2048),
        (16384, 2048),
        (2048, 8192),
        (4096, 4096),
        (6144, 4096),
        (28672, 4096),
        (4096, 14336),
    ];
    let mut cases = Vec::new();
    for dtype in [DType::F16, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
        for (rows, cols) in shapes {
            for tokens in [64, 512] {
                cases.push(Case {
                    name: format!("linear_tile {dtype} {rows}x{cols} {tokens}"),
                    bytes: (rows * dtype.row_bytes(cols).expect("whole blocks")) as f64,
                    operations: 2.0 * (rows * cols * tokens) as f64,
                    kind: Kind::LinearTile { dtype, rows, cols, tokens },
                });
            }
        }
        // As they are launched for a token: together, gated, and the head.
        let gated = [(8192, 2048), (14336, 4096)].map(|(rows, cols)| (rows, cols, true));
        let others = [
            (1024, 1024),
            (2048, 2048),
            (3072, 2048),
            (2048, 8192),
            (4096, 4096),
            (4096, 14336),
            (128256, 2048),
            (128256, 4096),
        ];
        for (rows, cols, gated) in others.map(|(rows, cols)| (rows, cols, false)).into_iter().chain(gated) {
            let matrices = if gated { 2 } else { 1 };
            cases.push(Case {
                name: format!("linear_vec {dtype} {rows}x{cols}{}", if gated { " gated" } else { "" }),
                bytes: (matrices * rows * dtype.row_bytes(cols).expect("whole blocks")) as f64,
                operations: 2.0 * (matrices * rows * cols) as f64,
                kind: Kind::LinearVec { dtype, rows, cols, gated },
            });
        }
    }
    cases
}

/// What arguments say about sizes.
fn change(sizes: &mut Sizes) {
    for argument in std::env::args() {
        let Some((name, value)) = argument.split_once('=') else { continue };
        *match name {
            "rows" => &mut sizes.rows,
            "ahead" => &mut sizes.ahead,
            "resident" => &mut sizes.resident,
            "split" => &mut sizes.split,
            "simdgroups" => &mut sizes.simdgroups,
            _ => panic!("there is no size {name}"),
        } = value.parse().unwrap_or_else(|e| panic!("{argument}: {e}"));
    }
}

impl Case {
    /// The launches that are measured; what they need is in the bench's memory afterwards.
    fn launches<D: Device>(&self, bench: &mut Bench<D>, cores: usize) -> Vec<Launch> {
        let copies = (BYTES as f64 / self.bytes).ceil().clamp(2.0, 64.0) as usize;
        match self.kind {
            Kind::LinearTile { dtype, rows, cols, tokens } => {
                let target = Target::of_cores(cores);
                let step = Step {
                    tokens: vec![0; tokens],
                    outputs: vec![0],
                    sequences: vec![Sequence { rows: 0..tokens, past: 0, slot: 0, pages: Vec::new() }],
                };
                bench.step(&step);
                let (source, packed, out) = (What::Scratch(0), What::Scratch(1), What::Scratch(2));
                bench.put(source, &Random(1).values(tokens * cols, 0.0, 1.0));
                bench.room(packed, Layout::of_tiles(&target).bytes(tokens, cols) / 4);
                bench.room(out, tokens * rows);
                let shape = Shape { rows: tokens, outputs: 1, sequences: 1, context: tokens };
                bench.run(&[pack(
                    &shape,
                    Layout::of_tiles(&target),
                    cols,
                    &Input::Rows(vec![source]),
                    None,
                    &[1],
                )]);
                let weights = matrix(dtype, rows, cols);
                let mut plan = PlanBuilder::new(Precision::F32);
                let table =
                    Tensor::new("table", DType::F32, vec![1, 1], Bytes::from(vec![0; 4])).expect("a value");
                let table = plan.weight(&table);
                let x = plan.embed(table);
                let ids: Vec<_> = (0..copies)
                    .map(|_| {
                        let id = plan.weight(&weights);
                        bench.bytes(id.into(), weights.data());
                        id
                    })
                    .collect();
                let logits = plan.select(x);
                let plan = plan.finish(logits);
                let launch = |&weight| {
                    let part = Part { x: packed, weight, bias: None, activation: Activation::Identity, out };
                    linear_tile(&plan, &target, &[part], None, tokens).expect("a type that has a kernel")
                };
                ids.iter().flat_map(launch).collect()
            }
            Kind::LinearVec { dtype, rows, cols, gated } => {
                let target = Target::of_cores(cores);
                let (x, out) = (What::Scratch(0), What::Scratch(1));
                bench.put(x, &Random(1).values(cols, 0.0, 1.0));
                bench.room(out, rows);
                bench.step(&Step::default());
                let mut plan = PlanBuilder::new(Precision::F32);
                let mut weight = |weights: &Tensor| {
                    let id = plan.weight(weights);
                    bench.bytes(id.into(), weights.data());
                    id
                };
                let ones = vec![1.0f32.to_le_bytes(); cols].concat();
                let ones = Tensor::new("norm", DType::F32, vec![cols], Bytes::from(ones)).expect("a vector");
                let norm = gated.then(|| Norm::Rms { weight: weight(&ones), eps: 1e-5 });
                let weights = matrix(dtype, rows, cols);
                let matrices = if gated { 2 } else { 1 };
                let ids: Vec<_> = (0..copies * matrices).map(|_| weight(&weights)).collect();
                let embedded = plan.embed(ids[0]);
                let logits = plan.select(embedded);
                let plan = plan.finish(logits);
                let part = |&weight: &WeightId| linear_vec::Part {
                    x: Operand::read(x),
                    weight,
                    bias: None,
                    activation: Activation::Identity,
                    out,
                };
                let launch = |ids: &[WeightId]| {
                    let parts: Vec<_> = ids.iter().map(part).collect();
                    let linear = Linear {
                        parts: &parts,
                        norm,
                        glu: gated.then_some(Gate::Silu),
                        residual: None,
                        select: false,
                        skip_zeros: false,
                        inputs: Precision::Q8,
                        rows: 1,
                    };
                    linear_vec_with(&plan, &target, &linear, &change).expect("a type that has a kernel")
                };
                ids.chunks(matrices).map(launch).collect()
            }
        }
    }

    fn measure<D: Device>(&self, device: D) {
        let cores = device.info().cores as usize;
        let copy = copied(&device).unwrap_or_else(|e| panic!("{e}"));
        let mut bench = Bench::new(device);
        let launches = self.launches(&mut bench, cores);
        let mut seconds: Vec<f64> =
            bench.seconds(&launches, RUNS).into_iter().map(|s| s.unwrap_or(f64::NAN)).collect();
        seconds.sort_by(f64::total_cmp);
        let each = seconds[RUNS / 2] / launches.len() as f64;
        let (us, gb, tera) = (each * 1e6, self.bytes / each / 1e9, self.operations / each / 1e12);
        let share = 100.0 * self.bytes / each / copy;
        println!("{:36} {us:9.1} us {gb:8.0} GB/s {share:5.1} % {tera:7.1} TFLOP/s", self.name);
    }
}

/// Bytes a second that a copy reads and writes.
fn copied<D: Device>(device: &D) -> Result<f64, DeviceError> {
    let bytes = (device.info().memory as usize / 8).clamp(1 << 20, 1 << 30) & !0xfffff;
    let (from, to) = (device.alloc(bytes)?, device.alloc(bytes)?);
    device.clear(&from, 0, bytes)?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        device.copy((&from, 0), (&to, 0), bytes)?;
        device.read(&to, 0, &mut [0; 4])?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(2.0 * bytes as f64 / seconds[RUNS / 2])
}

/// Random weights: some rows again and again.
fn matrix(dtype: DType, rows: usize, cols: usize) -> Tensor {
    const DISTINCT: usize = 32;
    let values = Random(2).values(DISTINCT * cols, 0.0, 0.05);
    let mut some = vec![0; DISTINCT * dtype.row_bytes(cols).expect("whole blocks")];
    dtype.quantize(&values, &mut some);
    let bytes = some.repeat(rows / DISTINCT);
    Tensor::new("matrix", dtype, vec![rows, cols], Bytes::from(bytes)).expect("a multiple of that many rows")
}

fn main() {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with('-') && !a.contains('=')).collect();
    let named = std::env::var("INGOT_BENCH_DEVICE");
    let kind: DeviceKind = named.as_deref().unwrap_or(DEFAULT).parse().unwrap_or_else(|e| panic!("{e}"));
    for case in cases().iter().filter(|case| filters.iter().all(|f| case.name.contains(f.as_str()))) {
        match kind {
            DeviceKind::Sim => case.measure(SimDevice::new().unwrap_or_else(|e| panic!("{e}"))),
            #[cfg(target_os = "macos")]
            DeviceKind::Metal => {
                case.measure(ingot_gpu::metal::Metal::open().unwrap_or_else(|e| panic!("{e}")))
            }
            #[cfg(not(target_os = "macos"))]
            DeviceKind::Cuda(n) => {
                case.measure(ingot_gpu::cuda::CudaDevice::open(n).unwrap_or_else(|e| panic!("{e}")))
            }
            other => panic!("{other} is not there on this system"),
        }
    }
}

#[cfg(target_os = "macos")]
const DEFAULT: &str = "metal";
#[cfg(not(target_os = "macos"))]
const DEFAULT: &str = "cuda";
