//! Mixture of experts and the embedding, against unpacked weights in f64.

mod bench;

use bench::{Bench, Random, assert_near, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::Tuning;
use ingot_gpu::launch::What;
use ingot_gpu::launches::embed::embed;
use ingot_gpu::launches::experts::{experts, experts_scratch};
use ingot_gpu::launches::{Norm, Shape, Target};
use ingot_gpu::sim::SimDevice;
use ingot_plan::ops::{Experts, Gate, choose, round_to_q8};
use ingot_plan::{ExpertWeights, Op, PlanBuilder, Precision};

const RESIDUAL: What = What::Scratch(7);
const OUT: What = What::Scratch(8);

/// A stored tensor and its values.
struct Stored {
    tensor: Tensor,
    values: Vec<f32>,
}

fn stored(random: &mut Random, name: &str, dtype: DType, shape: Vec<usize>) -> Stored {
    let len: usize = shape.iter().product();
    let mut bytes = vec![0; dtype.row_bytes(len).unwrap()];
    dtype.quantize(&random.values(len, 0.0, 0.2), &mut bytes);
    let mut values = vec![0.0; len];
    dtype.dequantize(&bytes, &mut values);
    Stored { tensor: Tensor::new(name, dtype, shape, Bytes::from(bytes)).unwrap(), values }
}

struct Case {
    types: [DType; 3],
    experts: usize,
    chosen: usize,
    cols: usize,
    hidden: usize,
    inputs: Precision,
    residual: bool,
    renormalise: bool,
    /// Weights are arranged in eights.
    eights: bool,
}

impl Case {
    fn check(&self, rows: usize) {
        let &Self { experts: e, chosen, cols, hidden, inputs, .. } = self;
        let mut random = Random(3);
        let [gate, up] =
            [0, 1].map(|i| stored(&mut random, "gate or up", self.types[i], vec![e, hidden, cols]));
        let down = stored(&mut random, "down", self.types[2], vec![e, cols, hidden]);
        let table = stored(&mut random, "table", DType::F32, vec![2, cols]);
        let to_router = stored(&mut random, "router", DType::F32, vec![e, cols]);
        let mut b = PlanBuilder::new(inputs);
        let table = b.weight(&table.tensor);
        let x = b.embed(table);
        let ids = [&gate, &up, &down].map(|w| b.weight(&w.tensor));
        let to_router = b.weight(&to_router.tensor);
        let router = b.linear(x, to_router);
        let weights = ExpertWeights {
            gate: ids[0].into(),
            up: ids[1].into(),
            down: ids[2].into(),
            chosen,
            renormalise: self.renormalise,
        };
        let out = b.experts(x, router, weights);
        let last = b.select(out);
        let plan = b.finish(last);
        let op =
            plan.ops().iter().find_map(|op| if let Op::Experts(op) = op { Some(op) } else { None }).unwrap();

        let mut bench = Bench::new(SimDevice::new().unwrap());
        for (id, w) in ids.iter().zip([&gate, &up, &down]) {
            bench.matrix((*id).into(), &w.tensor, self.eights);
        }
        let xs = random.values(rows * cols, 0.0, 1.0);
        let mut logits = random.values(rows * e, 0.0, 2.0);
        logits[e - 1] = logits[0]; // a tie
        let residual = random.values(rows * cols, 0.0, 1.0);
        bench.put(op.x, &xs);
        bench.put(op.router, &logits);
        bench.put(RESIDUAL, &residual);
        bench.room(OUT, rows * cols);
        bench.step(&sequences(&[(0, rows)]));
        for (n, bytes) in experts_scratch(&plan, op, rows).into_iter().enumerate() {
            bench.room(What::Scratch(n as u32), bytes / 4);
        }
        let target = Target {
            cores: 2,
            cache: DType::F16,
            exact: false,
            eights: self.eights,
            wide: false,
            tuning: Tuning::default(),
        };
        bench
            .run(&experts(&plan, &target, op, self.residual.then_some(RESIDUAL), OUT, rows, [0, 1]).unwrap());

        let mut expected = Vec::new();
        for t in 0..rows {
            let mut sum: Vec<f64> = residual[t * cols..][..cols].iter().map(|&x| f64::from(x)).collect();
            if !self.residual {
                sum.fill(0.0);
            }
            for (i, weight) in choose(&logits[t * e..][..e], chosen, self.renormalise) {
                let x = &xs[t * cols..][..cols];
                let [g, u] = [&gate, &up].map(|w| self.product(op, w, i * hidden, hidden, x));
                let h: Vec<f32> = g.iter().zip(&u).map(|(&g, u)| Gate::Silu.apply(g) * u).collect();
                let d = self.product(op, &down, i * cols, cols, &h);
                sum.iter_mut().zip(d).for_each(|(s, d)| *s += f64::from(weight) * f64::from(d));
            }
            expected.extend(sum);
        }
        // An intermediate value may be rounded to the next of 255 steps.
        let limit = if inputs == Precision::Q8 { 1e-3 } else { 5e-6 };
        assert_near(&format!("{:?} {inputs:?}", self.types), &bench.get(OUT), &expected, limit);
    }

    fn product(&self, op: &Experts, w: &Stored, first: usize, rows: usize, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        if op.inputs == Precision::Q8 && w.tensor.dtype().block_len() > 1 {
            round_to_q8(&mut x);
        }
        let row = |r: usize| w.values[r * x.len()..][..x.len()].iter().zip(&x);
        (first..first + rows)
            .map(|r| row(r).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() as f32)
            .collect()
    }
}

#[test]
fn experts_of_some_types() {
    for types in
        [[DType::Q4_K, DType::Q4_K, DType::Q6_K], [DType::F16; 3], [DType::Q8_0, DType::Q4_K, DType::Q5_0]]
    {
        for inputs in [Precision::F32, Precision::Q8] {
            let residual = inputs == Precision::Q8;
            let renormalise = !residual;
            let (cols, hidden) = (256, 256);
            for eights in [false, true] {
                Case { types, experts: 5, chosen: 2, cols, hidden, inputs, residual, renormalise, eights }
                    .check(3);
            }
        }
    }
}

#[test]
fn many_small_experts() {
    let types = [DType::Q8_0; 3];
    let (inputs, residual, renormalise) = (Precision::Q8, true, true);
    for eights in [false, true] {
        let (cols, hidden) = (96, 160);
        Case { types, experts: 70, chosen: 8, cols, hidden, inputs, residual, renormalise, eights }.check(4);
    }
}

#[test]
fn hidden_values_in_pieces() {
    // 3 x 9216 columns are more than threadgroup memory holds.
    let types = [DType::Q4_0; 3];
    let (inputs, residual, renormalise) = (Precision::Q8, true, true);
    let (cols, hidden, eights) = (64, 9216, false);
    Case { types, experts: 3, chosen: 3, cols, hidden, inputs, residual, renormalise, eights }.check(1);
}

#[test]
fn embeddings() {
    for dtype in DType::ALL {
        for (normed, eights) in [(false, false), (true, false), (false, true)] {
            let cols = if dtype.block_len() > 1 { 2 * dtype.block_len() } else { 37 };
            let mut random = Random(5);
            let table = stored(&mut random, "table", dtype, vec![9, cols]);
            let [weight, bias] =
                ["weight", "bias"].map(|name| stored(&mut random, name, DType::F32, vec![cols]));
            let mut b = PlanBuilder::new(Precision::F32);
            let id = b.weight(&table.tensor);
            let [weight_id, bias_id] = [&weight, &bias].map(|w| b.weight(&w.tensor));
            let factor = if normed { 1.0 } else { 2.5 };
            let out = b.scaled_embed(id, factor);
            let last = b.select(out);
            let plan = b.finish(last);

            let mut bench = Bench::new(SimDevice::new().unwrap());
            for (id, w) in [(id, &table), (weight_id, &weight), (bias_id, &bias)] {
                bench.matrix(id.into(), &w.tensor, eights);
            }
            let mut step = sequences(&[(0, 2), (1, 1)]);
            step.tokens = vec![8, 0, 3];
            bench.step(&step);
            bench.room(out, 3 * cols);
            let shape = Shape { rows: 3, outputs: 0, sequences: 2, context: 0 };
            let norm = normed.then_some(Norm::Layer { weight: weight_id, bias: bias_id, eps: 1e-5 });
            let Op::Embed(op) = &plan.ops()[0] else { panic!("{plan}") };
            let target = Target {
                cores: 2,
                cache: DType::F16,
                exact: false,
                eights,
                wide: false,
                tuning: Tuning::default(),
            };
            bench.run(&[embed(&plan, &target, &shape, op, norm, out).unwrap()]);

            let mut expected: Vec<f64> = Vec::new();
            for &token in &step.tokens {
                let row = table.values[token as usize * cols..][..cols].iter().map(|&x| f64::from(x));
                let mean = if normed { row.clone().sum::<f64>() / cols as f64 } else { 0.0 };
                let var = row.clone().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
                let scale = 1.0 / (var + 1e-5).sqrt();
                let affine = |(i, x): (usize, f64)| {
                    (x - mean) * scale * f64::from(weight.values[i]) + f64::from(bias.values[i])
                };
                // In f32, as the kernel multiplies.
                let scaled = |x: f64| f64::from(x as f32 * factor);
                expected
                    .extend(row.enumerate().map(|(i, x)| if normed { affine((i, x)) } else { scaled(x) }));
            }
            if normed {
                assert_near(&format!("{dtype}"), &bench.get(out), &expected, 2e-6);
            } else {
                let got: Vec<f64> = bench.get(out).iter().map(|&x| f64::from(x)).collect();
                assert_eq!(got, expected, "{dtype}");
            }
        }
    }
}
