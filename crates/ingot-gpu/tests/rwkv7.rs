//! The kernels of RWKV-7 against plain loops in f64, launch by launch.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random, assert_near, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::What;
use ingot_gpu::launches::rwkv7_chunk::{self, rwkv7_chunk};
use ingot_gpu::launches::rwkv7_mix::{Mix, rwkv7_mix};
use ingot_gpu::launches::{Shape, bonus, rwkv_keys, wkv7};
use ingot_gpu::sim::SimDevice;
use ingot_plan::ops::{Blend, Bonus, LayerNorm, RwkvKeys, Wkv7};
use ingot_plan::{Buf, Op, Plan, PlanBuilder, Precision, StateDecl, StateId, Step, WeightId};

const EPS: f32 = 64e-5;

/// A time mix between its projections, as a plan.
struct Block {
    plan: Plan,
    heads: usize,
    head: usize,
    /// r, w, k, v, a, g, v_first, by
    inputs: [Buf; 8],
    /// k_k, k_a, r_k, weight, bias
    weights: [WeightId; 5],
    state: StateId,
    values: Vec<Vec<f32>>,
}

impl Block {
    fn new(heads: usize, head: usize) -> Self {
        let c = heads * head;
        let tensor = |name: &str, shape: Vec<usize>| {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            Tensor::new(name, DType::F32, shape, Bytes::from(bytes)).unwrap()
        };
        let mut b = PlanBuilder::new(Precision::F32);
        let table = b.weight(&tensor("table", vec![1, c]));
        let weights = ["k_k", "k_a", "r_k", "weight", "bias"].map(|name| b.weight(&tensor(name, vec![c])));
        let [k_k, k_a, r_k, weight, bias] = weights;
        let state = b.state(StateDecl::Recurrent { len: c * head });
        let inputs = [(); 8].map(|()| b.embed(table));
        let [r, w, k, v, a, g, v_first, by] = inputs;
        let v = b.blend(v, v_first, by);
        let [decay, removal, key] = b.rwkv_keys([w, k, a], [k_k, k_a], heads);
        let y = b.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
        let y = b.group_norm(y, (weight, bias), heads, EPS);
        let y = b.bonus(|out| Bonus { y, r, k: key, v, g, r_k, heads, out }, y);
        let y = b.select(y);
        let mut random = Random(7);
        let values = [(0.85, 0.2), (1.0, 0.2), (0.0, 0.1), (1.0, 0.3), (0.0, 0.1)];
        let values = values.map(|(middle, spread)| random.values(c, middle, spread)).to_vec();
        Self { plan: b.finish(y), heads, head, inputs, weights, state, values }
    }

    fn width(&self) -> usize {
        self.heads * self.head
    }

    fn bench(&self, slots: usize) -> Bench<SimDevice> {
        let mut bench = Bench::new(SimDevice::new().unwrap());
        self.weights.iter().zip(&self.values).for_each(|(&w, values)| bench.put(w, values));
        bench.put(self.state, &Random(3).values(slots * self.width() * self.head, 0.0, 0.3));
        bench
    }

    fn op<'a, T>(&'a self, pick: impl Fn(&'a Op) -> Option<&'a T>) -> &'a T {
        self.plan.ops().iter().find_map(pick).unwrap()
    }
    fn blend(&self) -> &Blend {
        self.op(|op| if let Op::Blend(op) = op { Some(op) } else { None })
    }
    fn keys(&self) -> &RwkvKeys {
        self.op(|op| if let Op::RwkvKeys(op) = op { Some(op) } else { None })
    }
    fn wkv(&self) -> &Wkv7 {
        self.op(|op| if let Op::Wkv7(op) = op { Some(op) } else { None })
    }
    fn norm(&self) -> &LayerNorm {
        self.op(|op| if let Op::LayerNorm(op) = op { Some(op) } else { None })
    }
    fn bonus(&self) -> &Bonus {
        self.op(|op| if let Op::Bonus(op) = op { Some(op) } else { None })
    }

    fn mix(&self) -> Mix<'_> {
        Mix {
            blend: Some(self.blend()),
            keys: self.keys(),
            wkv: self.wkv(),
            norm: self.norm(),
            bonus: self.bonus(),
        }
    }

    /// Inputs of `rows` rows as a model has them.
    fn rows(&self, rows: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut random = Random(seed);
        let like =
            [(0.0, 1.0), (-1.0, 2.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.3), (0.0, 1.0), (0.0, 1.0), (0.5, 0.3)];
        like.iter().map(|&(middle, spread)| random.values(rows * self.width(), middle, spread)).collect()
    }

    fn put(&self, bench: &mut Bench<SimDevice>, rows: &[Vec<f32>]) {
        self.inputs.iter().zip(rows).for_each(|(&b, values)| bench.put(b, values));
        for op in self.plan.ops().iter().filter(|op| !matches!(op, Op::Embed(_) | Op::Select(_))) {
            for b in op.uses().writes {
                bench.room(b, rows[0].len());
            }
        }
    }

    /// The whole block for some rows: (blended v, output); the slots' states go on.
    fn expected(
        &self,
        step: &Step,
        rows: &[Vec<f32>],
        state: &mut [f64],
        blend: bool,
    ) -> (Vec<f64>, Vec<f64>) {
        let (c, n) = (self.width(), self.head);
        let rows: Vec<Vec<f64>> = rows.iter().map(|x| wide(x)).collect();
        let weights: Vec<Vec<f64>> = self.values.iter().map(|x| wide(x)).collect();
        let [r, w, k, v, a, g, v_first, by] = &rows[..] else { unreachable!() };
        let [k_k, k_a, r_k, weight, bias] = &weights[..] else { unreachable!() };
        let mut out = vec![0.0; r.len()];
        let mut blended = v.clone();
        if blend {
            blended.iter_mut().enumerate().for_each(|(i, v)| *v += (v_first[i] - *v) * by[i]);
        }
        for s in &step.sequences {
            for (t, h) in s.rows.clone().flat_map(|t| (0..self.heads).map(move |h| (t, h))) {
                let (at, of) = (t * c + h * n, h * n);
                let raw: Vec<f64> = (0..n).map(|j| k[at + j] * k_k[of + j]).collect();
                let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
                let key: Vec<f64> =
                    (0..n).map(|j| k[at + j] * (1.0 + (a[at + j] - 1.0) * k_a[of + j])).collect();
                let mut y = vec![0.0; n];
                for (i, y) in y.iter_mut().enumerate() {
                    let row = &mut state[((s.slot as usize * self.heads + h) * n + i) * n..][..n];
                    let removed: f64 = (0..n).map(|j| row[j] * raw[j] / length).sum();
                    for j in 0..n {
                        let decay = (-(-0.5f64).exp() / (1.0 + (-w[at + j]).exp())).exp();
                        row[j] =
                            row[j] * decay - removed * raw[j] / length * a[at + j] + blended[at + i] * key[j];
                        *y += row[j] * r[at + j];
                    }
                }
                let mean = y.iter().sum::<f64>() / n as f64;
                let var = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
                let own: f64 = (0..n).map(|j| r[at + j] * key[j] * r_k[of + j]).sum();
                for i in 0..n {
                    let y = (y[i] - mean) / (var + f64::from(EPS)).sqrt() * weight[of + i] + bias[of + i];
                    out[at + i] = (y + own * blended[at + i]) * g[at + i];
                }
            }
        }
        (blended, out)
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn shape(step: &Step) -> Shape {
    Shape { rows: step.rows(), outputs: 0, sequences: step.sequences.len(), context: 0 }
}

/// Runs the time mix row after row, or in chunks.
fn run(block: &Block, bench: &mut Bench<SimDevice>, step: &Step, mix: &Mix, chunks: bool) {
    let (plan, shape) = (&block.plan, shape(step));
    if chunks {
        let scratch = rwkv7_chunk::scratch_bytes(plan, &shape, mix);
        scratch.iter().zip(0..).for_each(|(bytes, i)| bench.room(What::Scratch(i), bytes / 4));
        bench.run(&rwkv7_chunk(plan, &shape, mix, [0, 1, 2]));
    } else {
        bench.run(&[rwkv7_mix(plan, &shape, mix)]);
    }
}

/// Heads of every size; several sequences; the state goes on from launch to launch.
#[test]
fn mix_is_the_block() {
    for (heads, head, blend) in [
        (3, 8, true),
        (2, 24, false),
        (2, 32, true),
        (2, 64, true),
        (1, 96, false),
        (1, 128, true),
        (1, 256, false),
    ] {
        check(heads, head, blend, false);
    }
}

/// The same in chunks of rows.
#[test]
fn chunks_are_the_block() {
    for (heads, head, blend) in [(3, 8, true), (2, 24, false), (5, 32, true), (2, 64, true)] {
        check(heads, head, blend, true);
    }
}

fn check(heads: usize, head: usize, blend: bool, chunks: bool) {
    let block = Block::new(heads, head);
    let mut bench = block.bench(4);
    let mut state = wide(&bench.get(block.state));
    let mut past = [0; 4];
    for (i, lengths) in
        [&[(2, 5), (0, 1), (3, 18)][..], &[(0, 1), (1, 1)], &[(3, 43)]].into_iter().enumerate()
    {
        let mut step = sequences(lengths);
        for s in &mut step.sequences {
            s.past = past[s.slot as usize];
            past[s.slot as usize] += s.rows.len();
        }
        let rows = block.rows(step.rows(), 100 * i as u64 + head as u64);
        block.put(&mut bench, &rows);
        bench.step(&step);
        let (_, out) = block.expected(&step, &rows, &mut state, blend);
        let mut wkv = block.wkv().clone();
        if !blend {
            wkv.v = block.inputs[3];
        }
        let mix = Mix { blend: blend.then(|| block.blend()), wkv: &wkv, ..block.mix() };
        run(&block, &mut bench, &step, &mix, chunks);
        let name = format!("{heads} heads of {head}, step {i}");
        assert_near(&name, &bench.get(block.bonus().out), &out, 2e-5);
        assert_near(&format!("{name}: state"), &bench.get(block.state), &state, 2e-6);
    }
}

/// However a prompt is cut, bits are the same.
#[test]
fn mix_does_not_see_cuts() {
    cuts(false, &[1, 7, 64]);
}

/// In chunks, if it is cut at positions that are multiples of a chunk's rows.
#[test]
fn chunks_do_not_see_cuts() {
    cuts(true, &[16, 48, 64]);
}

fn cuts(chunks: bool, lengths: &[usize]) {
    const ROWS: usize = 70;
    let block = Block::new(2, 64);
    let rows = block.rows(ROWS, 5);
    let in_parts = |length: usize| {
        let mut bench = block.bench(2);
        let mut out = Vec::new();
        for begin in (0..ROWS).step_by(length) {
            let end = ROWS.min(begin + length);
            let part = |x: &Vec<f32>| x[begin * block.width()..end * block.width()].to_vec();
            let mut step = sequences(&[(1, end - begin)]);
            step.sequences[0].past = begin;
            block.put(&mut bench, &rows.iter().map(part).collect::<Vec<_>>());
            bench.step(&step);
            run(&block, &mut bench, &step, &block.mix(), chunks);
            out.extend(bench.get(block.bonus().out));
        }
        out.extend(bench.get(block.state));
        out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let whole = in_parts(ROWS);
    for &length in lengths {
        assert!(in_parts(length) == whole, "parts of {length}");
    }
}

/// Launches of the plain ops make the same block.
#[test]
fn plain_ops_are_the_block() {
    for (heads, head) in [(2, 8), (3, 40), (2, 64), (1, 128)] {
        let block = Block::new(heads, head);
        let mut bench = block.bench(3);
        let mut state = wide(&bench.get(block.state));
        let step = sequences(&[(1, 11), (2, 1)]);
        let rows = block.rows(step.rows(), 9);
        block.put(&mut bench, &rows);
        bench.step(&step);
        let (v, out) = block.expected(&step, &rows, &mut state, true);
        let v: Vec<f32> = v.iter().map(|&x| x as f32).collect();
        bench.put(block.blend().out, &v);
        let (plan, shape) = (&block.plan, shape(&step));
        let keys = rwkv_keys::rwkv_keys(plan, block.keys(), shape.rows);
        bench.run(&[keys, wkv7::wkv7(plan, &shape, block.wkv())]);
        assert_near("state", &bench.get(block.state), &state, 2e-6);
        // The norm has a kernel of its own.
        let y = wide(&bench.get(block.wkv().out));
        let normed = y.chunks(head).enumerate().flat_map(|(g, y)| {
            let mean = y.iter().sum::<f64>() / head as f64;
            let var = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / head as f64;
            let at = g % heads * head;
            let value = |i: usize| (y[i] - mean) / (var + f64::from(EPS)).sqrt();
            let (weight, bias) = (&block.values[3], &block.values[4]);
            (0..head).map(|i| value(i) as f32 * weight[at + i] + bias[at + i]).collect::<Vec<_>>()
        });
        let normed: Vec<f32> = normed.collect();
        bench.put(block.norm().out, &normed);
        bench.run(&[bonus::bonus(plan, block.bonus(), shape.rows)]);
        assert_near(&format!("{heads} heads of {head}"), &bench.get(block.bonus().out), &out, 2e-5);
    }
}

/// Inputs at the ends of their ranges give what the formulas give.
#[test]
fn extreme_inputs() {
    extremes(false);
}

/// In chunks too; and where all decays are the strongest.
#[test]
fn extreme_inputs_in_chunks() {
    extremes(true);
}

fn extremes(chunks: bool) {
    const ROWS: usize = 38;
    let block = Block::new(2, 64);
    let mut bench = block.bench(1);
    let c = block.width();
    let step = sequences(&[(0, ROWS)]);
    let mut rows = block.rows(ROWS, 11);
    rows[1][6 * c..].fill(1e6);
    for (t, w) in [1e6, -1e6, 100.0, -100.0, f32::MAX, f32::MIN].into_iter().enumerate() {
        rows[1][t * c..][..c].fill(w);
    }
    rows[2][..c].fill(0.0); // no key: nothing is removed
    rows[2][c..2 * c].fill(1e-30); // shorter than what lengths are divided by
    rows[2][2 * c..3 * c].iter_mut().for_each(|k| *k *= 1e10);
    rows[3][3 * c..4 * c].fill(0.0);
    block.put(&mut bench, &rows);
    bench.step(&step);
    let mut state = wide(&bench.get(block.state));
    let (_, out) = block.expected(&step, &rows, &mut state, true);
    run(&block, &mut bench, &step, &block.mix(), chunks);
    let got = bench.get(block.bonus().out);
    for t in 0..ROWS {
        assert_near(&format!("row {t}"), &got[t * c..][..c], &out[t * c..][..c], 2e-5);
    }
}
