//! Tiled attention against plain loops in f64.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::Tuning;
use ingot_gpu::launches::attention_tile::attention_tile;
use ingot_gpu::launches::cache::page_bytes;
use ingot_gpu::launches::{Shape, Target};
use ingot_gpu::sim::{Options, SimDevice};
use ingot_plan::ops::Attention;
use ingot_plan::{Buf, Op, PAGE, Plan, PlanBuilder, Precision, Sequence, Step};

fn new_bench(seed: u64) -> Bench<SimDevice> {
    Bench::new(SimDevice::with(Options { seed, ..Options::default() }).unwrap())
}

/// A layer's attention over a cache that is full of values.
struct Layer {
    plan: Plan,
    n: usize,
    heads: [usize; 2],
    q: Buf,
    target: Target,
}

impl Layer {
    fn new(n: usize, heads: [usize; 2], window: Option<usize>, cache: DType, exact: bool) -> Self {
        Self::scored(n, heads, (1.0 / (n as f32).sqrt(), None), window, cache, exact)
    }

    /// With a scale and a cap of scores.
    fn scored(
        n: usize,
        heads: [usize; 2],
        (scale, cap): (f32, Option<f32>),
        window: Option<usize>,
        cache: DType,
        exact: bool,
    ) -> Self {
        let mut b = PlanBuilder::new(Precision::F32);
        let mut embed = |heads: usize| {
            let bytes = Bytes::from(vec![0; 4 * heads * n]);
            let table = b.weight(&Tensor::new("table", DType::F32, vec![1, heads * n], bytes).unwrap());
            b.embed(table)
        };
        let qkv = [heads[0], heads[1], heads[1]].map(&mut embed);
        let out = b.capped_attention(qkv, heads, scale, cap, window);
        let logits = b.select(out);
        let target = Target { cores: 4, cache, exact, eights: false, wide: false, tuning: Tuning::default() };
        Self { plan: b.finish(logits), n, heads, q: qkv[0], target }
    }

    fn op(&self) -> &Attention {
        let op =
            self.plan.ops().iter().find_map(|op| if let Op::Attention(op) = op { Some(op) } else { None });
        op.unwrap()
    }
    fn width(&self) -> usize {
        self.n * self.heads[1]
    }

    /// Queries and cache with this magnitude; queries depend on the position only.
    fn run(&self, step: &Step, q: &[f32], pages: &[u8]) -> Vec<f32> {
        let mut bench = new_bench(step.rows() as u64);
        bench.step(step);
        bench.put(self.q, q);
        bench.bytes(self.op().cache.into(), pages);
        bench.room(self.op().out, q.len());
        let context = step.sequences.iter().map(|s| s.past + s.rows.len()).max().unwrap();
        let shape = Shape { rows: step.rows(), outputs: 1, sequences: step.sequences.len(), context };
        bench.run(&[attention_tile(&self.plan, &shape, &self.target, self.op())]);
        bench.get(self.op().out)
    }

    /// Values of pages as they are after a round trip through the cache's type, and the bytes.
    fn pages(&self, count: usize, magnitude: f32) -> (Vec<f32>, Vec<u8>) {
        let mut values = Random(5).values(count * 2 * PAGE * self.width(), 0.1, 1.0);
        for rows in values.chunks_exact_mut(2 * PAGE * self.width()) {
            rows[..PAGE * self.width()].iter_mut().for_each(|k| *k *= magnitude);
        }
        let mut bytes = vec![0; count * page_bytes(self.target.cache, self.width())];
        self.target.cache.quantize(&values, &mut bytes);
        self.target.cache.dequantize(&bytes, &mut values);
        (values, bytes)
    }

    /// Bits of NaN in all positions that no sequence of the step has.
    fn poison(&self, step: &Step, bytes: &mut [u8]) {
        let row = page_bytes(self.target.cache, self.width()) / (2 * PAGE);
        let mut written = vec![false; bytes.len() / row];
        for s in &step.sequences {
            for j in 0..s.past + s.rows.len() {
                let at = s.pages[j / PAGE] as usize * 2 * PAGE + j % PAGE;
                (written[at], written[at + PAGE]) = (true, true);
            }
        }
        let rows = bytes.chunks_exact_mut(row).zip(written);
        rows.filter(|(_, written)| !written).for_each(|(row, _)| row.fill(0xff));
    }

    fn expected(&self, step: &Step, q: &[f32], pages: &[f32]) -> Vec<f64> {
        let (op, n, [heads, kv_heads]) = (self.op(), self.n, self.heads);
        let mut out = Vec::new();
        for (s, t) in step.sequences.iter().flat_map(|s| s.rows.clone().map(move |t| (s, t))) {
            let position = s.past + t - s.rows.start;
            for h in 0..heads {
                let q = &q[(t * heads + h) * n..][..n];
                let row = |j: usize, which: usize| {
                    let at = (s.pages[j / PAGE] as usize * 2 + which) * PAGE + j % PAGE;
                    &pages[at * self.width() + h / (heads / kv_heads) * n..][..n]
                };
                let dot =
                    |k: &[f32]| q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
                let seen = op.first_seen(position)..=position;
                let capped = |s: f64| op.cap.map_or(s, |cap| f64::from(cap) * (s / f64::from(cap)).tanh());
                let score = |j| capped(dot(row(j, 0)) * f64::from(op.scale));
                let scores: Vec<f64> = seen.clone().map(score).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                let mut sums = vec![0.0; n];
                for (j, score) in seen.zip(scores) {
                    let weight = (score - max).exp() / total;
                    sums.iter_mut().zip(row(j, 1)).for_each(|(o, &v)| *o += weight * f64::from(v));
                }
                out.extend(sums);
            }
        }
        out
    }

    fn check(&self, of: &[(usize, usize)], q_magnitude: f32, k_magnitude: f32, limit: f64) {
        let (step, pages) = step(of);
        let (values, mut bytes) = self.pages(pages, k_magnitude);
        self.poison(&step, &mut bytes);
        let q = self.queries(&step, q_magnitude);
        let got = self.run(&step, &q, &bytes);
        for (i, (&g, e)) in got.iter().zip(self.expected(&step, &q, &values)).enumerate() {
            let (t, h, c) = (i / self.n / self.heads[0], i / self.n % self.heads[0], i % self.n);
            let off = (f64::from(g) - e).abs();
            assert!(
                off <= limit,
                "heads of {}: row {t}, head {h}, value {c} is {g:e}, expected {e:e}",
                self.n
            );
        }
    }

    fn queries(&self, step: &Step, magnitude: f32) -> Vec<f32> {
        let row = |p: usize| Random(p as u64 + 1).values(self.heads[0] * self.n, 0.0, magnitude);
        step.positions().flat_map(row).collect()
    }
}

/// Sequences with (past, rows), the first pages last; and the number of pages.
fn step(of: &[(usize, usize)]) -> (Step, usize) {
    let pages = |(past, rows): (usize, usize)| (past + rows).div_ceil(PAGE);
    let total: usize = of.iter().map(|&s| pages(s)).sum();
    let mut free = (0..total as u32).rev();
    let mut step = Step { outputs: vec![0], ..Step::default() };
    for &(past, rows) in of {
        let first = step.tokens.len();
        step.tokens.resize(first + rows, 0);
        let pages = free.by_ref().take(pages((past, rows))).collect();
        step.sequences.push(Sequence { rows: first..first + rows, past, slot: 0, pages });
    }
    (step, total)
}

#[test]
fn attention_of_every_head_size() {
    for n in [8, 32, 64, 80, 96, 128, 256] {
        for exact in [false, true] {
            let layer = Layer::new(n, [4, 2], None, DType::F16, exact);
            layer.check(&[(0, 35), (70, 1), (30, 5)], 1.0, 1.0, if exact { 5e-6 } else { 3e-3 });
        }
    }
}

#[test]
fn attention_over_every_cache() {
    for cache in [DType::F16, DType::F32, DType::Q8_0] {
        for exact in [false, true] {
            let layer = Layer::new(32, [2, 1], None, cache, exact);
            layer.check(&[(100, 33), (0, 64)], 1.0, 1.0, if exact { 5e-6 } else { 3e-3 });
        }
    }
}

#[test]
fn attention_with_any_scale_and_cap() {
    for (scale, cap) in [(0.2, Some(3.0)), (-0.2, None), (-0.1, Some(2.0))] {
        for (exact, cache) in [(false, DType::F16), (false, DType::Q8_0), (true, DType::F16)] {
            let layer = Layer::scored(64, [2, 1], (scale, cap), Some(90), cache, exact);
            layer.check(&[(20, 90), (60, 10)], 1.0, 1.0, if exact { 5e-6 } else { 3e-3 });
        }
    }
}

#[test]
fn attention_through_windows() {
    for window in [1, 7, 32, 33, 1000] {
        for exact in [false, true] {
            let layer = Layer::new(32, [2, 2], Some(window), DType::F16, exact);
            layer.check(&[(0, 50), (90, 40)], 1.0, 1.0, if exact { 5e-6 } else { 3e-3 });
        }
    }
}

#[test]
fn huge_and_tiny_queries_and_keys() {
    for (q, k) in [(1e9, 1e-8), (3e-9, 1e9), (1e6, 1e-6)] {
        let layer = Layer::new(64, [2, 1], None, DType::F32, false);
        layer.check(&[(20, 40)], q, k, 2e-2);
    }
    // One key has all the weight; nothing overflows on the way there.
    let layer = Layer::new(64, [2, 1], None, DType::F32, true);
    layer.check(&[(20, 40)], 1e9, 1e9, 1e-5);
}

#[test]
fn attention_is_the_same_however_a_prompt_is_cut() {
    for (cache, window) in [(DType::F16, None), (DType::Q8_0, Some(45))] {
        let layer = Layer::new(64, [2, 1], window, cache, false);
        let (whole, pages) = step(&[(0, 120)]);
        let (_, bytes) = layer.pages(pages, 1.0);
        let run = |past: usize, rows: usize| {
            let (mut step, _) = step(&[(past, rows)]);
            step.sequences[0].pages = whole.sequences[0].pages.clone();
            layer.run(&step, &layer.queries(&step, 1.0), &bytes)
        };
        let pieces = [(0, 1), (1, 36), (37, 64), (101, 19)].map(|(past, rows)| run(past, rows));
        assert_eq!(run(0, 120), pieces.concat());
    }
}
