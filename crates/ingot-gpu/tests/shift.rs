//! Token shift against plain loops in f64, launch by launch.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random, assert_near, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::What;
use ingot_gpu::launches::shift::{shift, shift_commit};
use ingot_gpu::launches::{Norm, Shape};
use ingot_gpu::sim::SimDevice;
use ingot_plan::ops::TokenShift;
use ingot_plan::{Buf, Op, Plan, PlanBuilder, Precision, StateDecl, StateId, Step};

const EPS: f32 = 1e-5;
const NEXT: u32 = 0;

/// A token shift as a plan, and its weights.
struct Case {
    plan: Plan,
    width: usize,
    mixes: usize,
    norm: Option<Norm>,
    x: Buf,
    mix: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new<const N: usize>(width: usize, norm: bool) -> Self {
        let tensor = |name: &str, rows: usize| {
            let bytes = Bytes::from(vec![0; 4 * rows * width]);
            Tensor::new(name, DType::F32, vec![rows, width], bytes).unwrap()
        };
        let mut b = PlanBuilder::new(Precision::F32);
        let [mix, weight, bias] =
            [("mix", N), ("weight", 1), ("bias", 1)].map(|(n, rows)| b.weight(&tensor(n, rows)));
        let state = b.state(StateDecl::Recurrent { len: width });
        let x = b.embed(weight);
        let outs: [Buf; N] = b.token_shift(x, mix, state);
        let last = b.select(outs[0]);
        let mut random = Random(1);
        Self {
            plan: b.finish(last),
            width,
            mixes: N,
            norm: norm.then_some(Norm::Layer { weight, bias, eps: EPS }),
            x,
            mix: random.values(N * width, 0.5, 0.5),
            weight: random.values(width, 1.0, 0.3),
            bias: random.values(width, 0.0, 0.3),
        }
    }

    fn op(&self) -> &TokenShift {
        let found =
            self.plan.ops().iter().find_map(|op| if let Op::TokenShift(op) = op { Some(op) } else { None });
        found.unwrap()
    }

    fn bench(&self, slots: usize) -> Bench<SimDevice> {
        let mut bench = Bench::new(SimDevice::new().unwrap());
        bench.put(self.op().mix, &self.mix);
        if let Some(Norm::Layer { weight, bias, .. }) = self.norm {
            bench.put(weight, &self.weight);
            bench.put(bias, &self.bias);
        }
        bench.put(self.op().state, &Random(2).values(slots * self.width, 0.0, 1.0));
        bench
    }

    /// Runs a step; all outputs, one after the other.
    fn run(&self, bench: &mut Bench<SimDevice>, step: &Step, x: &[f32], direct: bool) -> Vec<f32> {
        bench.put(self.x, x);
        self.op().outs.iter().for_each(|&out| bench.room(out, x.len()));
        bench.step(step);
        let shape = shape(step);
        let next = (!direct).then_some((NEXT, 0));
        let mut launches = vec![shift(&self.plan, &shape, self.x.into(), self.norm, self.op(), next)];
        if !direct {
            bench.room(What::Scratch(NEXT), shape.sequences * self.width);
            launches.extend(shift_commit(&shape, &[(self.op().state, self.width)], NEXT));
        }
        bench.run(&launches);
        self.op().outs.iter().flat_map(|&out| bench.get(out)).collect()
    }

    fn expected(&self, step: &Step, x: &[f32], state: &mut [f64]) -> Vec<f64> {
        let c = self.width;
        let mut outs = vec![0.0; self.mixes * x.len()];
        for s in &step.sequences {
            let stored = &mut state[s.slot as usize * c..][..c];
            for t in s.rows.clone() {
                let mut h: Vec<f64> = x[t * c..][..c].iter().map(|&x| f64::from(x)).collect();
                if self.norm.is_some() {
                    let mean = h.iter().sum::<f64>() / c as f64;
                    let var = h.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / c as f64;
                    let scale = 1.0 / (var + f64::from(EPS)).sqrt();
                    for (i, h) in h.iter_mut().enumerate() {
                        *h = (*h - mean) * scale * f64::from(self.weight[i]) + f64::from(self.bias[i]);
                    }
                }
                for (m, i) in (0..self.mixes).flat_map(|m| (0..c).map(move |i| (m, i))) {
                    let mix = f64::from(self.mix[m * c + i]);
                    outs[m * x.len() + t * c + i] = h[i] + (stored[i] - h[i]) * mix;
                }
                stored.copy_from_slice(&h);
            }
        }
        outs
    }
}

fn shape(step: &Step) -> Shape {
    Shape { rows: step.rows(), outputs: 0, sequences: step.sequences.len(), context: 0 }
}

fn compare(case: &Case) {
    let mut bench = case.bench(5);
    let mut state: Vec<f64> = bench.get(case.op().state).iter().map(|&x| f64::from(x)).collect();
    let steps =
        [(&[(3, 4), (0, 1), (4, 6)][..], false), (&[(4, 1), (3, 1), (1, 1)], true), (&[(4, 2)], false)];
    for (i, (of, direct)) in steps.into_iter().enumerate() {
        let step = sequences(of);
        let x = Random(20 + i as u64).values(step.rows() * case.width, 0.3, 1.0);
        let expected = case.expected(&step, &x, &mut state);
        let got = case.run(&mut bench, &step, &x, direct);
        let name = format!("{} mixes of {}, step {i}", case.mixes, case.width);
        assert_near(&name, &got, &expected, 2e-6);
        assert_near(&format!("{name}: state"), &bench.get(case.op().state), &state, 2e-6);
    }
}

#[test]
fn norm_and_mixes() {
    compare(&Case::new::<6>(128, true));
    compare(&Case::new::<1>(128, true));
    compare(&Case::new::<6>(2560, true));
}

#[test]
fn plain_op() {
    compare(&Case::new::<1>(64, false));
    compare(&Case::new::<6>(37, false));
    compare(&Case::new::<3>(1, true));
    compare(&Case::new::<2>(5001, true));
}

/// However a prompt is cut, and whichever way its rows go, bits are the same.
#[test]
fn cuts_do_not_matter() {
    const ROWS: usize = 70;
    let case = Case::new::<6>(192, true);
    let x = Random(4).values(ROWS * case.width, 0.0, 1.0);
    let run = |chunk: usize, direct: bool| {
        let mut bench = case.bench(2);
        let mut rows = vec![Vec::new(); case.mixes];
        for x in x.chunks(chunk * case.width) {
            let out = case.run(&mut bench, &sequences(&[(1, x.len() / case.width)]), x, direct);
            rows.iter_mut().zip(out.chunks(x.len())).for_each(|(all, out)| all.extend_from_slice(out));
        }
        rows.push(bench.get(case.op().state));
        rows.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let whole = run(ROWS, false);
    assert!(run(1, true) == whole, "row by row into the slot");
    for chunk in [1, 7, 64] {
        assert!(run(chunk, false) == whole, "chunks of {chunk}");
    }
}

/// Values much larger than their differences, and rows without any.
#[test]
fn norm_of_rows_far_from_zero() {
    let case = Case::new::<1>(256, true);
    let mut bench = case.bench(1);
    let mut state: Vec<f64> = bench.get(case.op().state).iter().map(|&x| f64::from(x)).collect();
    let mut x = Random(8).values(4 * case.width, 3e5, 1.0);
    x[256..512].fill(1e6);
    x[512..768].fill(1e-38);
    let step = sequences(&[(0, 4)]);
    let expected = case.expected(&step, &x, &mut state);
    let got = case.run(&mut bench, &step, &x, false);
    assert_near("rows far from zero", &got, &expected, 1e-5);
}

/// Many shifts of several widths are committed at once, each to its own slots.
#[test]
fn many_shifts_are_committed() {
    let widths: Vec<usize> = [vec![40; 19], vec![300; 2], vec![8]].concat();
    let mut b = PlanBuilder::new(Precision::F32);
    let states: Vec<(StateId, usize)> =
        widths.iter().map(|&w| (b.state(StateDecl::Recurrent { len: w }), w)).collect();
    let step = sequences(&[(2, 3), (0, 1)]);
    let mut bench = Bench::new(SimDevice::new().unwrap());
    states.iter().for_each(|&(state, width)| bench.put(state, &vec![-1.0; 3 * width]));
    let total: usize = widths.iter().sum();
    let next: Vec<f32> = (0..2 * total).map(|i| i as f32).collect();
    bench.put(What::Scratch(NEXT), &next);
    bench.step(&step);
    let launches = shift_commit(&shape(&step), &states, NEXT);
    assert_eq!(launches.len(), 4);
    bench.run(&launches);
    let mut rest = &next[..];
    for (state, width) in states {
        let (rows, tail) = rest.split_at(2 * width);
        let got = bench.get(state);
        assert_eq!(got[2 * width..], rows[..width], "the first sequence's slot");
        assert_eq!(got[..width], rows[width..], "the second sequence's slot");
        assert!(got[width..2 * width].iter().all(|&x| x == -1.0), "a slot of nobody");
        rest = tail;
    }
}
