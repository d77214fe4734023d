//! Time of what RWKV-7 does beside its large products: microseconds per layer
//! for one token, nanoseconds per layer and token for a prompt.
//!
//! `cargo bench -p ingot-cpu --bench rwkv -- [threads] [width] [kind]`; `INGOT_CPU`
//! chooses the instruction set. Plans hold one kind of op, or one chain, once
//! per layer. Between two runs the caches are filled with something else, as
//! the weights of a real step do. Best of several runs, to keep other programs
//! out of the figures.

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::{DType, Tensor};
use ingot_plan::ops::{Activation, Bonus, Wkv7};
use ingot_plan::{Buf, Executor, PlanBuilder, Precision, StateDecl, Step, WeightId};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Few, so that a run is over before other programs get a turn.
const LAYERS: usize = 4;
const SIZE: usize = 64;
const TOKENS: [usize; 3] = [1, 16, 512];
/// Rows of the tables that inputs come from.
const ROWS: usize = 16;
/// More bytes than caches hold.
const CACHES: usize = 64 << 20;

/// A plan under construction with made-up weights.
struct Model {
    plan: PlanBuilder,
    weights: Vec<Tensor>,
    /// C
    width: usize,
}

impl Model {
    /// A weight of values around `middle`.
    fn weight(&mut self, dtype: DType, shape: &[usize], middle: f32, spread: f32) -> WeightId {
        let (n, seed) = (shape.iter().product::<usize>(), self.weights.len());
        let values: Vec<f32> =
            (0..n).map(|i| middle + spread * ((i * 37 + seed * 11) as f32).sin()).collect();
        let mut bytes = vec![0; n / dtype.block_len() * dtype.block_bytes()];
        dtype.quantize(&values, &mut bytes);
        let tensor =
            Tensor::new(format!("w{seed}"), dtype, shape.to_vec(), bytes.into()).expect("whole blocks");
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }

    fn vector(&mut self, middle: f32, spread: f32) -> WeightId {
        self.weight(DType::F32, &[self.width], middle, spread)
    }

    /// Rows chosen by the step's tokens: `[T, C]`
    fn input(&mut self, middle: f32, spread: f32) -> Buf {
        let table = self.weight(DType::F32, &[ROWS, self.width], middle, spread);
        self.plan.embed(table)
    }

    /// A layer norm and its token shift with N mixes.
    fn shift<const N: usize>(&mut self, x: Buf) -> [Buf; N] {
        let affine = (self.vector(1.0, 0.2), self.vector(0.0, 0.2));
        let h = self.plan.layer_norm(x, affine, 1e-5);
        let mix = self.weight(DType::F32, &[N, self.width], 0.5, 0.3);
        let state = self.plan.state(StateDecl::Recurrent { len: self.width });
        self.plan.token_shift(h, mix, state)
    }

    fn keys(&mut self, inputs: [Buf; 3]) -> [Buf; 3] {
        let weights = [self.vector(0.8, 0.1), self.vector(1.0, 0.1)];
        self.plan.rwkv_keys(inputs, weights, self.width / SIZE)
    }

    fn wkv7(&mut self, [r, decay, key, v, removal, a]: [Buf; 6]) -> Buf {
        let (heads, state) =
            (self.width / SIZE, self.plan.state(StateDecl::Recurrent { len: self.width * SIZE }));
        self.plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r)
    }

    fn bonus(&mut self, [y, r, k, v, g]: [Buf; 5]) -> Buf {
        let (heads, r_k) = (self.width / SIZE, self.vector(0.0, 0.1));
        self.plan.bonus(|out| Bonus { y, r, k, v, g, r_k, heads, out }, y)
    }

    /// From the projections to the gated output of a time mix.
    fn mix(&mut self, [r, w, k, v, a, g]: [Buf; 6], [first, by]: [Buf; 2]) -> Buf {
        let v = self.plan.blend(v, first, by);
        let [decay, removal, key] = self.keys([w, k, a]);
        let y = self.wkv7([r, decay, key, v, removal, a]);
        let affine = (self.vector(1.0, 0.2), self.vector(0.0, 0.2));
        let y = self.plan.group_norm(y, affine, self.width / SIZE, 64e-5);
        self.bonus([y, r, key, v, g])
    }

    /// One branch of low rank.
    fn low_rank(&mut self, x: Buf, rank: usize, dtype: DType, inner: Activation) -> Buf {
        let down = self.weight(dtype, &[rank, self.width], 0.0, 0.05);
        let up = self.weight(dtype, &[self.width, rank], 0.0, 0.2);
        let bias = self.vector(0.0, 0.2);
        let h = self.plan.linear(x, (down, inner));
        self.plan.linear(h, (up, bias, Activation::Sigmoid))
    }
}

/// What is measured: a name and one layer of it, from `x` to the next layer's.
type Layer = (&'static str, fn(&mut Model, [Buf; 8]) -> Buf);

const KINDS: [Layer; 9] = [
    ("norm, shift to 6", |m, [x, ..]| m.shift::<6>(x)[5]),
    ("norm, shift to 1", |m, [x, ..]| m.shift::<1>(x)[0]),
    ("keys", |m, [x, w, _, _, a, ..]| m.keys([w, x, a])[1]),
    ("wkv7", |m, [x, by, k, v, a, ..]| m.wkv7([x, by, k, v, k, a])),
    ("group norm", |m, [x, ..]| {
        let affine = (m.vector(1.0, 0.2), m.vector(0.0, 0.2));
        m.plan.group_norm(x, affine, m.width / SIZE, 64e-5)
    }),
    ("bonus", |m, [x, w, k, v, a, ..]| m.bonus([x, w, k, v, a])),
    ("whole mix", |m, [x, w, k, v, a, g, first, by]| m.mix([x, w, k, v, a, g], [first, by])),
    ("rank 64 of F32, tanh", |m, [x, ..]| m.low_rank(x, 64, DType::F32, Activation::Tanh)),
    ("rank 64 of F16", |m, [x, ..]| m.low_rank(x, 64, DType::F16, Activation::Identity)),
];

/// Seconds of the best step of each of [`TOKENS`].
fn seconds(layer: &Layer, width: usize, threads: Option<usize>, caches: &mut [u64]) -> [f64; 3] {
    let mut m = Model { plan: PlanBuilder::new(Precision::Q8), weights: Vec::new(), width };
    let around =
        [(0.0, 1.0), (-1.0, 2.0), (0.0, 0.12), (0.0, 1.0), (0.5, 0.3), (0.0, 1.0), (0.0, 1.0), (0.5, 0.3)];
    let inputs = around.map(|(middle, spread)| m.input(middle, spread));
    let mut x = inputs[0];
    for _ in 0..LAYERS {
        let [_, rest @ ..] = inputs;
        let [b, c, d, e, f, g, h] = rest;
        x = (layer.1)(&mut m, [x, b, c, d, e, f, g, h]);
    }
    let logits = m.plan.select(x);
    let plan = Arc::new(m.plan.finish(logits));
    let options = CpuOptions { threads, ..CpuOptions::default() };
    let mut cpu = CpuExecutor::new(plan, m.weights, &options).expect("default options");
    cpu.reserve(0, 1).expect("memory for a state");
    let mut out = Vec::new();
    TOKENS.map(|tokens| {
        let ids: Vec<u32> = (0..tokens).map(|t| (t % ROWS) as u32).collect();
        let mut step = Step::single(&ids, 0, 0, &[]);
        step.outputs = vec![tokens as u32 - 1];
        let runs = if tokens > 16 { 20 } else { 100 };
        let mut run = || {
            cpu.clear_slot(0).expect("a slot");
            caches.iter_mut().for_each(|x| *x = x.wrapping_add(1));
            black_box(&caches);
            let start = Instant::now();
            cpu.run(&step, &mut out).expect("a valid step");
            start.elapsed().as_secs_f64()
        };
        run(); // makes room
        (0..runs).map(|_| run()).fold(f64::INFINITY, f64::min)
    })
}

fn main() {
    let arguments: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let threads = arguments.iter().copied().find(|&n| n < SIZE);
    let width = arguments.iter().copied().find(|&n| n >= SIZE);
    let kind = std::env::args().skip(1).find(|a| a.parse::<usize>().is_err() && !a.starts_with('-'));
    let mut caches = vec![0; CACHES / size_of::<u64>()];
    for width in [1024, 2048].into_iter().filter(|&w| width.is_none_or(|only| only == w)) {
        println!("{:24} 1 token [us]   16 [ns/token]   512 [ns/token]", format!("width {width}, per layer"));
        for layer in KINDS.iter().filter(|layer| kind.as_ref().is_none_or(|kind| layer.0.contains(kind))) {
            let per_token: Vec<f64> = seconds(layer, width, threads, &mut caches)
                .into_iter()
                .zip(TOKENS)
                .map(|(s, tokens)| s / (LAYERS * tokens) as f64 * 1e9)
                .collect();
            println!(
                "{:24} {:12.2} {:15.0} {:16.0}",
                layer.0,
                per_token[0] / 1e3,
                per_token[1],
                per_token[2]
            );
        }
    }
}
