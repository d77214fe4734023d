//! Speed of a whole model of the shape of Qwen2.5-0.5B with made-up weights:
//! tokens a second of a prompt of 512 and of decoding after it.
//!
//! `cargo bench -p ingot-cpu --bench model -- [threads] [type]`

use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::{DType, Tensor};
use ingot_plan::ops::{Gate, Pairing, Rotary};
use ingot_plan::{Executor, PlanBuilder, Precision, Projection, Step, WeightId};
use std::sync::Arc;
use std::time::Instant;

const LAYERS: usize = 24;
const C: usize = 896;
const F: usize = 4864;
const HEADS: usize = 14;
const KV_HEADS: usize = 2;
const SIZE: usize = 64;
const VOCAB: usize = 151_936;
const PROMPT: usize = 512;
const DECODED: usize = 32;

struct Model {
    plan: PlanBuilder,
    weights: Vec<Tensor>,
}

impl Model {
    fn weight(&mut self, dtype: DType, shape: &[usize]) -> WeightId {
        let cols = *shape.last().expect("a shape");
        let row: Vec<f32> = (0..cols).map(|i| 0.05 * ((i * 37 + self.weights.len()) as f32).sin()).collect();
        let mut bytes = vec![0; dtype.row_bytes(cols).expect("whole blocks")];
        dtype.quantize(&row, &mut bytes);
        let rows = shape.iter().product::<usize>() / cols;
        let name = format!("w{}", self.weights.len());
        let tensor = Tensor::new(name, dtype, shape.to_vec(), bytes.repeat(rows).into()).expect("equal rows");
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok());
    let dtype =
        DType::ALL.into_iter().find(|t| arguments.iter().any(|a| a == t.name())).unwrap_or(DType::Q8_0);

    let mut m = Model { plan: PlanBuilder::new(Precision::Q8), weights: Vec::new() };
    let frequencies = (0..SIZE / 2).map(|j| 1e6f32.powf(-2.0 * j as f32 / SIZE as f32)).collect();
    let rotary = Arc::new(Rotary { pairing: Pairing::Halves, frequencies, scale: 1.0 });
    let table = m.weight(dtype, &[VOCAB, C]);
    let mut x = m.plan.embed(table);
    for _ in 0..LAYERS {
        let norm = m.weight(DType::F32, &[C]);
        let h = m.plan.rms_norm(x, norm, 1e-6);
        let qkv = [HEADS, KV_HEADS, KV_HEADS].map(|heads| {
            let weight = m.weight(dtype, &[heads * SIZE, C]);
            Projection::from((weight, Some(m.weight(DType::F32, &[heads * SIZE]))))
        });
        let [q, k, v] = m.plan.linears(h, qkv);
        let (q, k) = (m.plan.rope(q, HEADS, &rotary), m.plan.rope(k, KV_HEADS, &rotary));
        let a = m.plan.attention([q, k, v], [HEADS, KV_HEADS], 0.125, None);
        let wo = m.weight(dtype, &[C, HEADS * SIZE]);
        let o = m.plan.linear(a, wo);
        x = m.plan.add(x, o);
        let norm = m.weight(DType::F32, &[C]);
        let h = m.plan.rms_norm(x, norm, 1e-6);
        let wide = [m.weight(dtype, &[F, C]), m.weight(dtype, &[F, C])];
        let [gate, up] = m.plan.linears(h, wide.map(Projection::from));
        let h = m.plan.glu(gate, up, Gate::Silu);
        let down = m.weight(dtype, &[C, F]);
        let h = m.plan.linear(h, down);
        x = m.plan.add(x, h);
    }
    let x = m.plan.select(x);
    let logits = m.plan.linear(x, table);
    let plan = Arc::new(m.plan.finish(logits));
    let bytes = plan.bytes_per_token() as f64;
    let options = CpuOptions { threads, ..CpuOptions::default() };
    let mut cpu = CpuExecutor::new(plan, m.weights, &options).expect("default options");
    let pages: Vec<u32> = (0..16).collect();
    cpu.reserve(pages.len(), 1).expect("memory for a thousand positions");
    let mut out = Vec::new();
    let prompt: Vec<u32> = (0..PROMPT as u32).collect();
    let mut seconds = |tokens: &[u32], past| {
        let start = Instant::now();
        cpu.run(&Step::single(tokens, past, 0, &pages), &mut out).expect("a valid step");
        start.elapsed().as_secs_f64()
    };
    for _ in 0..3 {
        let prefill = seconds(&prompt, 0);
        let mut decode: Vec<f64> = (0..DECODED).map(|i| seconds(&[1], PROMPT + i)).collect();
        decode.sort_by(f64::total_cmp);
        let median = decode[DECODED / 2];
        println!(
            "{dtype}: prefill {:.0} tok/s, decode {:.1} tok/s median, {:.1} best, {:.1} GB/s",
            PROMPT as f64 / prefill,
            1.0 / median,
            1.0 / decode[0],
            bytes / median / 1e9
        );
    }
}
