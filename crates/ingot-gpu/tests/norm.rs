//! Norms, elementwise ops and the selection of rows against plain loops in f64.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random, assert_near, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::Launch;
use ingot_gpu::launches::{Shape, elementwise, norm, select};
use ingot_gpu::sim::SimDevice;
use ingot_plan::ops::Gate;
use ingot_plan::{Buf, Op, Plan, PlanBuilder, Precision, Step, WeightId};

/// A plan of one op behind some embeddings, all of one width.
struct OneOp {
    plan: Plan,
    inputs: Vec<Buf>,
    weights: Vec<WeightId>,
}

impl OneOp {
    fn new(
        width: usize,
        inputs: usize,
        weights: &[usize],
        op: impl FnOnce(&mut PlanBuilder, &[Buf], &[WeightId]) -> Buf,
    ) -> Self {
        let mut b = PlanBuilder::new(Precision::F32);
        let mut weight = |shape: Vec<usize>| {
            let bytes = Bytes::from(vec![0; 4 * shape.iter().product::<usize>()]);
            b.weight(&Tensor::new("weight", DType::F32, shape, bytes).unwrap())
        };
        let table = weight(vec![1, width]);
        let weights: Vec<WeightId> = weights.iter().map(|&n| weight(vec![n])).collect();
        let inputs: Vec<Buf> = (0..inputs).map(|_| b.embed(table)).collect();
        let out = op(&mut b, &inputs, &weights);
        let logits = b.select(out);
        Self { plan: b.finish(logits), inputs, weights }
    }

    fn launch(&self, shape: Shape) -> (Launch, Buf) {
        let op = &self.plan.ops()[self.inputs.len()];
        let launch = match op {
            Op::RmsNorm(op) => norm::rms_norm(&self.plan, shape, op, None),
            Op::LayerNorm(op) => norm::layer_norm(&self.plan, shape, op),
            Op::Add(op) => elementwise::add(&self.plan, shape, op),
            Op::Blend(op) => elementwise::blend(&self.plan, shape, op),
            Op::Glu(op) => elementwise::glu(&self.plan, shape, op),
            other => panic!("{}", other.name()),
        };
        (launch, op.uses().writes[0])
    }

    /// The op on these values.
    fn run(&self, step: &Step, inputs: &[&[f32]], weights: &[&[f32]]) -> Vec<f32> {
        let shape =
            Shape { rows: step.rows(), outputs: step.outputs.len(), sequences: 1, context: step.rows() };
        let (launch, out) = self.launch(shape);
        let mut bench = Bench::new(SimDevice::new().unwrap());
        bench.step(step);
        self.inputs.iter().zip(inputs).for_each(|(&buf, values)| bench.put(buf, values));
        self.weights.iter().zip(weights).for_each(|(&id, values)| bench.put(id, values));
        bench.room(out, self.plan.buffer(out).width * step.rows());
        bench.run(&[launch]);
        bench.get(out)
    }
}

fn rows(n: usize) -> Step {
    sequences(&[(0, n)])
}

#[test]
fn rms_norm_of_any_size_of_number() {
    for (group, groups, t) in [(64, 5, 3), (1, 7, 2), (33, 3, 5), (512, 1, 3), (513, 2, 1), (4100, 1, 2)] {
        for magnitude in [1.0f32, 1e17, 1e-22, 1e-3] {
            let eps = 1e-6f32;
            let op = OneOp::new(group * groups, 1, &[group], |b, x, w| b.rms_norm(x[0], w[0], eps));
            let mut random = Random(group as u64);
            let x: Vec<f32> =
                random.values(group * groups * t, 0.3, 1.0).iter().map(|x| x * magnitude).collect();
            let weight = random.values(group, 1.0, 0.5);
            let got = op.run(&rows(t), &[&x], &[&weight]);
            let expected = x.chunks_exact(group).flat_map(|x| {
                let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / group as f64;
                let scale = 1.0 / (mean + f64::from(eps)).sqrt();
                x.iter()
                    .zip(&weight)
                    .map(move |(&x, &w)| f64::from(x) * scale * f64::from(w))
                    .collect::<Vec<_>>()
            });
            assert_near(&format!("{group} {magnitude:e}"), &got, &expected.collect::<Vec<_>>(), 1e-6);
        }
    }
}

#[test]
fn layer_norm_of_groups_and_of_small_differences() {
    for (group, groups, t) in [(64, 4, 3), (100, 1, 2), (768, 1, 2), (1025, 2, 1)] {
        for (middle, spread, limit) in
            [(0.0, 1.0, 1e-6), (1e5, 1.0, 1e-2), (-3.0, 1e-4, 1e-2), (1e15, 1e17, 1e-6)]
        {
            let (c, eps) = (group * groups, 1e-9f32);
            let op = OneOp::new(c, 1, &[c, c], |b, x, w| match groups {
                1 => b.layer_norm(x[0], (w[0], w[1]), eps),
                _ => b.group_norm(x[0], (w[0], w[1]), groups, eps),
            });
            let mut random = Random(group as u64);
            let x = random.values(c * t, middle, spread);
            let (weight, bias) = (random.values(c, 1.0, 0.5), random.values(c, 0.0, 0.5));
            let got = op.run(&rows(t), &[&x], &[&weight, &bias]);
            let mut expected = Vec::new();
            for (g, x) in x.chunks_exact(group).enumerate() {
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / group as f64;
                let var = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / group as f64;
                let at = g % groups * group;
                expected.extend(x.iter().enumerate().map(|(i, &x)| {
                    (f64::from(x) - mean) / (var + f64::from(eps)).sqrt() * f64::from(weight[at + i])
                        + f64::from(bias[at + i])
                }));
            }
            // The mean as an f32, as the op has it, is that far off where the spread is small beside it.
            assert_near(&format!("{group} {middle} {spread}"), &got, &expected, limit);
        }
    }
}

#[test]
fn value_by_value() {
    for (width, t) in [(64, 3), (1028, 2), (1027, 3), (2, 1)] {
        let mut random = Random(width as u64);
        let mut input = || {
            let mut values = random.values(width * t, 0.0, 4.0);
            values[0] = -200.0;
            values[1] = 95.5;
            values
        };
        let [a, b, c] = [input(), input(), input()];
        let of = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
            (0..a.len()).map(|i| f(a[i].into(), b[i].into(), c[i].into())).collect()
        };
        let step = rows(t);
        let op = OneOp::new(width, 2, &[], |p, x, _| p.add(x[0], x[1]));
        assert_near("add", &op.run(&step, &[&a, &b], &[]), &of(&|a, b, _| a + b), 1e-7);
        let op = OneOp::new(width, 3, &[], |p, x, _| p.blend(x[0], x[1], x[2]));
        let got = op.run(&step, &[&a, &b, &c], &[]);
        assert_near("blend", &got, &of(&|a, b, c| a + (b - a) * c), 1e-6);
        let op = OneOp::new(width, 2, &[], |p, x, _| p.glu(x[0], x[1], Gate::Silu));
        let got = op.run(&step, &[&a, &b], &[]);
        assert_near("glu", &got, &of(&|a, b, _| a / (1.0 + (-a).exp()) * b), 1e-6);
    }
}

#[test]
fn rows_are_selected_and_outputs_added() {
    for width in [7, 1500] {
        let x = Random(2).values(width * 6, 0.0, 1.0);
        let step = Step { outputs: vec![0, 3, 5], ..rows(6) };
        let wanted: Vec<f32> = [0, 3, 5].iter().flat_map(|o| x[o * width..][..width].to_vec()).collect();
        // Only the selection is launched, then a sum whose rows are outputs.
        let mut b = PlanBuilder::new(Precision::F32);
        let table =
            Tensor::new("table", DType::F32, vec![1, width], Bytes::from(vec![0; 4 * width])).unwrap();
        let table = b.weight(&table);
        let all = b.embed(table);
        let chosen = b.select(all);
        let sum = b.add(chosen, chosen);
        let plan = b.finish(sum);
        let [_, Op::Select(chosen), Op::Add(sum)] = plan.ops() else { panic!("{plan}") };
        let shape = Shape { rows: 6, outputs: 3, sequences: 1, context: 6 };
        let mut bench = Bench::new(SimDevice::new().unwrap());
        bench.step(&step);
        bench.put(all, &x);
        bench.room(chosen.out, wanted.len());
        bench.room(sum.out, wanted.len());
        bench.run(&[select::select(&plan, shape, chosen), elementwise::add(&plan, shape, sum)]);
        assert_eq!(bench.get(chosen.out), wanted);
        assert_eq!(bench.get(sum.out), wanted.iter().map(|x| x + x).collect::<Vec<_>>());
    }
}
