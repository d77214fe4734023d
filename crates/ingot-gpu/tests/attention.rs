//! Rotary embedding, the cache, and attention of single rows against plain loops in f64.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random, assert_near};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::Tuning;
use ingot_gpu::launch::What;
use ingot_gpu::launches::attention_vec::{attention_vec, partial_bytes};
use ingot_gpu::launches::cache::page_bytes;
use ingot_gpu::launches::rope_store::{KeysValues, Queries, RopeStore, rope_store};
use ingot_gpu::launches::{Shape, Target};
use ingot_gpu::sim::{Options, SimDevice};
use ingot_plan::ops::{Attention, Pairing, Rotary};
use ingot_plan::{Buf, Op, PAGE, Plan, PlanBuilder, Precision, Sequence, StateId, Step, WeightId};

const FREQUENCIES: What = What::Scratch(0);
const PARTIALS: u32 = 1;

/// A layer's attention.
struct Layer {
    plan: Plan,
    n: usize,
    heads: usize,
    kv_heads: usize,
    qkv: [Buf; 3],
    norms: [WeightId; 2],
    target: Target,
}

impl Layer {
    fn new(n: usize, [heads, kv_heads]: [usize; 2], window: Option<usize>, cache: DType) -> Self {
        let mut b = PlanBuilder::new(Precision::F32);
        let mut weight = |name: &str, shape: Vec<usize>| {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            b.weight(&Tensor::new(name, DType::F32, shape, Bytes::from(bytes)).unwrap())
        };
        let tables = [heads, kv_heads, kv_heads].map(|heads| weight("table", vec![1, heads * n]));
        let norms = ["q_norm", "k_norm"].map(|name| weight(name, vec![n]));
        let qkv = tables.map(|table| b.embed(table));
        let out = b.attention(qkv, [heads, kv_heads], 1.0 / (n as f32).sqrt(), window);
        let logits = b.select(out);
        let target = Target { cores: 4, cache, exact: true, eights: false, tuning: Tuning::default() };
        Self { plan: b.finish(logits), n, heads, kv_heads, qkv, norms, target }
    }

    fn attention(&self) -> &Attention {
        let op =
            self.plan.ops().iter().find_map(|op| if let Op::Attention(op) = op { Some(op) } else { None });
        op.unwrap()
    }
    fn cache(&self) -> StateId {
        self.attention().cache
    }
    fn width(&self) -> usize {
        self.n * self.kv_heads
    }
    fn page_bytes(&self) -> usize {
        page_bytes(self.target.cache, self.width())
    }
    /// Keys or values of a page as they are stored.
    fn stored(&self, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; self.page_bytes() * values.len() / (2 * PAGE * self.width())];
        self.target.cache.quantize(values, &mut bytes);
        bytes
    }
    fn loaded(&self, bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; bytes.len() / self.page_bytes() * 2 * PAGE * self.width()];
        self.target.cache.dequantize(bytes, &mut values);
        values
    }
}

fn bench(seed: u64) -> Bench<SimDevice> {
    Bench::new(SimDevice::with(Options { seed, ..Options::default() }).unwrap())
}

/// One row for each of the sequences, at these positions, the first pages last.
fn decode(positions: &[usize]) -> (Step, usize) {
    let total: usize = positions.iter().map(|p| p / PAGE + 1).sum();
    let mut free = (0..total as u32).rev();
    let sequences = positions.iter().enumerate().map(|(i, &past)| Sequence {
        rows: i..i + 1,
        past,
        slot: i as u32,
        pages: free.by_ref().take(past / PAGE + 1).collect(),
    });
    let sequences = sequences.collect();
    (Step { tokens: vec![0; positions.len()], sequences, outputs: vec![0] }, total)
}

fn shape(step: &Step) -> Shape {
    let context = step.sequences.iter().map(|s| s.past + s.rows.len()).max().unwrap();
    Shape { rows: step.rows(), outputs: 1, sequences: step.sequences.len(), context }
}

/// The attention of all rows with the definition.
fn expected(layer: &Layer, step: &Step, q: &[f32], pages: &[f32]) -> Vec<f64> {
    let (op, n, width) = (layer.attention(), layer.n, layer.width());
    let mut out = Vec::new();
    for (t, s) in step.sequences.iter().enumerate() {
        for h in 0..layer.heads {
            let q = &q[(t * layer.heads + h) * n..][..n];
            let column = h / (layer.heads / layer.kv_heads) * n;
            let row = |j: usize, which: usize| {
                let page = s.pages[j / PAGE] as usize;
                &pages[((page * 2 + which) * PAGE + j % PAGE) * width + column..][..n]
            };
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let seen = op.first_seen(s.past)..=s.past;
            let scores: Vec<f64> = seen.clone().map(|j| dot(q, row(j, 0)) * f64::from(op.scale)).collect();
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

/// Runs attention over a cache of random values; the spread of the queries decides how sharp it is.
fn attend(layer: &Layer, positions: &[usize], spread: f32, context: Option<usize>) -> (Vec<f32>, Vec<f64>) {
    let (step, pages) = decode(positions);
    // The first sequence has the last pages: with the same contents, whatever other sequences there are.
    let page = |p: usize| Random((pages - p) as u64 * 77).values(2 * PAGE * layer.width(), 0.1, 1.0);
    let values: Vec<f32> = (0..pages).flat_map(page).collect();
    let mut bytes = layer.stored(&values);
    let values = layer.loaded(&bytes);
    // What no sequence has written yet must not be looked at: here it is NaN.
    poison(layer, &step, &mut bytes);
    let q: Vec<f32> = (0..positions.len())
        .flat_map(|t| Random(positions[t] as u64).values(layer.heads * layer.n, 0.0, spread))
        .collect();
    let mut shape = shape(&step);
    shape.context = context.unwrap_or(shape.context);
    let op = layer.attention();
    let mut bench = bench(positions.len() as u64);
    bench.step(&step);
    bench.put(op.q, &q);
    bench.bytes(op.cache.into(), &bytes);
    bench.room(op.out, q.len());
    bench.room(What::Scratch(PARTIALS), partial_bytes(&layer.plan, shape, op) / 4);
    let launches = attention_vec(&layer.plan, shape, layer.target, op, None, PARTIALS);
    assert_eq!(launches.len(), if shape.context > 256 { 2 } else { 1 });
    bench.run(&launches);
    (bench.get(op.out), expected(layer, &step, &q, &values))
}

fn poison(layer: &Layer, step: &Step, bytes: &mut [u8]) {
    let row = layer.page_bytes() / (2 * PAGE);
    for s in &step.sequences {
        for j in s.past + 1..s.pages.len() * PAGE {
            for which in 0..2 {
                let at = ((s.pages[j / PAGE] as usize * 2 + which) * PAGE + j % PAGE) * row;
                bytes[at..at + row].fill(0xff);
            }
        }
    }
}

#[test]
fn attention_is_that_of_the_definition() {
    // Head size, heads, window, cache, and the positions of the rows.
    type Case<'a> = (usize, [usize; 2], Option<usize>, DType, &'a [usize]);
    let cases: [Case; 10] = [
        (64, [8, 2], None, DType::F16, &[0, 1, 63, 64, 200, 255]),
        (128, [4, 1], None, DType::F16, &[256, 5, 700]),
        (64, [7, 1], None, DType::F16, &[300]),
        (96, [4, 2], Some(100), DType::F16, &[99, 100, 255, 256, 511, 600]),
        (64, [6, 3], Some(1), DType::F32, &[0, 300]),
        (8, [4, 1], None, DType::F32, &[511, 17]),
        (40, [4, 1], Some(300), DType::F32, &[1050, 299]),
        (256, [2, 1], None, DType::Q8_0, &[130, 520]),
        (32, [12, 1], None, DType::Q8_0, &[260, 33]),
        (256, [16, 2], None, DType::F16, &[70]),
    ];
    for (n, heads, window, cache, positions) in cases {
        let layer = Layer::new(n, heads, window, cache);
        for spread in [0.5, 8.0] {
            let (got, expected) = attend(&layer, positions, spread, None);
            let what = format!("{n}, {heads:?}, {window:?}, {cache:?}, {positions:?}, {spread}");
            assert_near(&what, &got, &expected, 3e-6);
        }
    }
}

/// Neither the other rows nor the room for longer sequences change a bit.
#[test]
fn a_row_is_the_same_in_any_company() {
    let layer = Layer::new(64, [8, 2], None, DType::F32);
    for position in [100, 255, 256, 900] {
        let (alone, _) = attend(&layer, &[position], 2.0, None);
        let (roomy, _) = attend(&layer, &[position], 2.0, Some(5000));
        assert_eq!(bits(&alone), bits(&roomy), "{position}");
        let (crowd, _) = attend(&layer, &[position, 3, 700, position], 2.0, None);
        assert_eq!(bits(&alone), bits(&crowd[..alone.len()]), "{position}");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// What rope_store should leave: the rotated heads of a row.
fn turned(x: &[f32], norm: Option<(&[f32], f32)>, rotary: Option<&Rotary>, position: usize) -> Vec<f64> {
    let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    if let Some((weight, eps)) = norm {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + f64::from(eps)).sqrt();
        x.iter_mut().zip(weight).for_each(|(x, &w)| *x *= scale * f64::from(w));
    }
    for j in 0..rotary.map_or(0, |r| r.frequencies.len()) {
        let rotary = rotary.unwrap();
        let angle = f64::from(position as f32 * rotary.frequencies[j]);
        let (sin, cos) = (angle.sin() * f64::from(rotary.scale), angle.cos() * f64::from(rotary.scale));
        let (a, b) = rotary.pair(j);
        (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
    }
    x
}

/// Everything that rope_store can do, on rows of two sequences.
fn store(layer: &Layer, rotary: Option<&Rotary>, normed: bool, with_q: bool, with_kv: bool, past: usize) {
    let (n, width) = (layer.n, layer.width());
    let rows = [13usize, 7];
    let mut step = Step { outputs: vec![0], ..Step::default() };
    let mut next = 0;
    for (slot, &count) in rows.iter().enumerate() {
        let (past, first) = (past * (slot + 1), step.tokens.len());
        step.tokens.resize(first + count, 0);
        let pages = (past + count).div_ceil(PAGE);
        let pages: Vec<u32> = (0..pages as u32).map(|i| i % 2 + next).collect();
        next += 2;
        step.sequences.push(Sequence { rows: first..first + count, past, slot: slot as u32, pages });
    }
    let (t, eps) = (step.rows(), [1e-5f32, 1e-6]);
    let mut random = Random(past as u64 + n as u64);
    let inputs =
        [layer.heads, layer.kv_heads, layer.kv_heads].map(|heads| random.values(t * heads * n, 0.2, 1.0));
    let weights = [(); 2].map(|()| random.values(n, 1.0, 0.3));
    let mut bench = bench(past as u64);
    bench.step(&step);
    layer.qkv.iter().zip(&inputs).for_each(|(&buf, values)| bench.put(buf, values));
    layer.norms.iter().zip(&weights).for_each(|(&id, values)| bench.put(id, values));
    bench.put(FREQUENCIES, rotary.map_or(&[], |r| &r.frequencies));
    let out = layer.attention().out;
    bench.room(out, inputs[0].len());
    bench.bytes(layer.cache().into(), &vec![0; 4 * layer.page_bytes()]);
    let norm = |i: usize| normed.then_some((layer.norms[i], eps[i]));
    let [q, k, v] = layer.qkv.map(What::from);
    let op = RopeStore {
        n,
        q: with_q.then_some(Queries { x: q, heads: layer.heads, norm: norm(0), out: out.into() }),
        kv: with_kv.then_some(KeysValues {
            k,
            v,
            heads: layer.kv_heads,
            norm: norm(1),
            cache: layer.cache(),
        }),
        rotary,
        frequencies: FREQUENCIES,
    };
    bench.run(&[rope_store(shape(&step), layer.target, &op)]);

    let positions: Vec<usize> = step.positions().collect();
    let heads = |x: &[f32], count: usize, norm: Option<(&[f32], f32)>, rotary: Option<&Rotary>| -> Vec<f64> {
        let head = |(i, x)| turned(x, norm, rotary, positions[i / count]);
        x.chunks_exact(n).enumerate().flat_map(head).collect()
    };
    let norm = |i: usize| normed.then_some((weights[i].as_slice(), eps[i]));
    let what = format!("{n}, {rotary:?}, {:?}", layer.target.cache);
    if with_q {
        assert_near(&what, &bench.get(out), &heads(&inputs[0], layer.heads, norm(0), rotary), 1e-6);
    }
    if with_kv {
        let stored = layer.loaded(&bench.get_bytes(layer.cache()));
        let limit = [1e-6, 6e-4, 6e-3]
            [[DType::F32, DType::F16, DType::Q8_0].iter().position(|d| *d == layer.target.cache).unwrap()];
        let k = heads(&inputs[1], layer.kv_heads, norm(1), rotary);
        let v = heads(&inputs[2], layer.kv_heads, None, None);
        for s in &step.sequences {
            for (position, row) in (s.past..).zip(s.rows.clone()) {
                for (which, expected) in [&k, &v].into_iter().enumerate() {
                    let page = s.pages[position / PAGE] as usize;
                    let at = ((page * 2 + which) * PAGE + position % PAGE) * width;
                    let expected = &expected[row * width..][..width];
                    assert_near(&what, &stored[at..at + width], expected, limit);
                }
            }
        }
    }
}

#[test]
fn heads_are_normed_turned_and_stored() {
    let rotary = |pairing, pairs: usize, scale| Rotary {
        pairing,
        frequencies: (0..pairs).map(|j| 10000f32.powf(-(j as f32) / pairs as f32)).collect(),
        scale,
    };
    let (halves, adjacent) = (Pairing::Halves, Pairing::Adjacent);
    let full = rotary(halves, 32, 1.0);
    store(&Layer::new(64, [4, 2], None, DType::F16), Some(&full), false, true, true, 60);
    store(&Layer::new(64, [3, 3], None, DType::F32), Some(&rotary(adjacent, 32, 1.5)), true, true, true, 0);
    store(&Layer::new(80, [4, 1], None, DType::F32), Some(&rotary(halves, 17, 1.0)), false, true, true, 1000);
    store(&Layer::new(96, [2, 1], None, DType::Q8_0), Some(&rotary(adjacent, 48, 0.7)), true, true, true, 5);
    store(
        &Layer::new(256, [2, 1], None, DType::F16),
        Some(&rotary(halves, 64, 1.0)),
        true,
        true,
        true,
        50_000,
    );
    // The plain ops: rope alone, store alone.
    store(&Layer::new(64, [4, 2], None, DType::F32), Some(&full), false, true, false, 9);
    store(&Layer::new(40, [4, 2], None, DType::F32), None, false, false, true, 9);
    store(&Layer::new(64, [4, 2], None, DType::Q8_0), None, false, false, true, 100);
}

/// The last bits of the rows' attention and of the cache after it, whether attention turns queries and
/// keys itself or rope_store does before.
fn turned_and_attended(
    layer: &Layer,
    rotary: Option<&Rotary>,
    positions: &[usize],
    alone: bool,
) -> [Vec<u8>; 2] {
    let (step, pages) = decode(positions);
    let (op, shape) = (layer.attention(), shape(&step));
    let mut random = Random(positions.len() as u64);
    let mut bench = bench(9);
    bench.step(&step);
    let heads = [layer.heads, layer.kv_heads, layer.kv_heads];
    for (buf, heads) in layer.qkv.into_iter().zip(heads) {
        bench.put(buf, &random.values(positions.len() * heads * layer.n, 0.2, 1.0));
    }
    layer.norms.iter().for_each(|&id| bench.put(id, &random.values(layer.n, 1.0, 0.3)));
    bench.put(FREQUENCIES, rotary.map_or(&[], |r| &r.frequencies));
    bench.bytes(op.cache.into(), &layer.stored(&random.values(pages * 2 * PAGE * layer.width(), 0.1, 1.0)));
    let [x, k, v] = layer.qkv.map(What::from);
    let norm = |i: usize| rotary.map(|_| (layer.norms[i], 1e-5));
    // Queries that nothing happens to are read where they are.
    let out = if alone { What::Scratch(2) } else { op.q.into() };
    let mut new = RopeStore {
        n: layer.n,
        q: rotary.map(|_| Queries { x, heads: layer.heads, norm: norm(0), out }),
        kv: Some(KeysValues { k, v, heads: layer.kv_heads, norm: norm(1), cache: op.cache }),
        rotary,
        frequencies: FREQUENCIES,
    };
    bench.room(What::Scratch(2), positions.len() * layer.heads * layer.n);
    bench.room(op.out, positions.len() * layer.heads * layer.n);
    bench.room(What::Scratch(PARTIALS), partial_bytes(&layer.plan, shape, op) / 4);
    if alone {
        bench.run(&attention_vec(&layer.plan, shape, layer.target, op, Some(&new), PARTIALS));
    } else {
        // In place is not possible: turned elsewhere, then copied back.
        new.q = new.q.map(|q| Queries { out: What::Scratch(2), ..q });
        bench.run(&[rope_store(shape, layer.target, &new)]);
        if new.q.is_some() {
            let turned = bench.get(What::Scratch(2));
            bench.put(op.q, &turned);
        }
        bench.run(&attention_vec(&layer.plan, shape, layer.target, op, None, PARTIALS));
    }
    [bench.get_bytes(op.out), bench.get_bytes(op.cache)]
}

#[test]
fn turned_by_attention_is_like_turned_before() {
    type Case<'a> = (usize, [usize; 2], Option<usize>, DType, usize, &'a [usize]);
    let cases: [Case; 7] = [
        (64, [8, 2], None, DType::F16, 32, &[0, 1, 63, 64, 200, 255]),
        (64, [7, 1], None, DType::F16, 32, &[300, 5]),
        (128, [16, 2], None, DType::F16, 64, &[256, 5, 700]),
        (96, [4, 2], Some(100), DType::F16, 17, &[99, 256, 600]),
        (40, [3, 3], None, DType::F32, 0, &[511, 17]),
        (256, [4, 1], None, DType::Q8_0, 128, &[130, 520]),
        (32, [2, 2], Some(1), DType::Q8_0, 16, &[33, 0]),
    ];
    for (n, heads, window, cache, pairs, positions) in cases {
        let layer = Layer::new(n, heads, window, cache);
        let rotary = Rotary {
            pairing: if n == 128 { Pairing::Adjacent } else { Pairing::Halves },
            frequencies: (0..pairs).map(|j| 10000f32.powf(-(j as f32) / pairs as f32)).collect(),
            scale: 1.1,
        };
        let rotary = (pairs > 0).then_some(&rotary);
        let [alone, before] =
            [true, false].map(|alone| turned_and_attended(&layer, rotary, positions, alone));
        let what = format!("{n}, {heads:?}, {window:?}, {cache:?}, {positions:?}");
        assert_eq!(alone[1], before[1], "the cache: {what}");
        assert_eq!(alone[0], before[0], "attention: {what}");
    }
}

/// Halves are rounded to nearest even, and what 8 bits cannot tell apart stays near.
#[test]
fn stored_values_are_rounded_as_files_are() {
    for cache in [DType::F16, DType::Q8_0] {
        let layer = Layer::new(32, [1, 1], None, cache);
        let (step, _) = decode(&[0]);
        let mut random = Random(1);
        let mut k = random.values(32, 0.0, 3.0);
        k[..6].copy_from_slice(&[1.0 + 0.00048828125, 1.0 + 3.0 * 0.00048828125, 6e-8, -2e-6, 0.0, -7.5]);
        let v = vec![0.0; 32];
        let mut bench = bench(3);
        bench.step(&step);
        bench.put(layer.qkv[1], &k);
        bench.put(layer.qkv[2], &v);
        bench.bytes(layer.cache().into(), &vec![0; layer.page_bytes()]);
        let [_, key, value] = layer.qkv.map(What::from);
        let kv = KeysValues { k: key, v: value, heads: 1, norm: None, cache: layer.cache() };
        let op = RopeStore { n: 32, q: None, kv: Some(kv), rotary: None, frequencies: FREQUENCIES };
        bench.run(&[rope_store(shape(&step), layer.target, &op)]);
        let row = layer.page_bytes() / (2 * PAGE);
        let mut expected = vec![0; row];
        cache.quantize(&k, &mut expected);
        assert_eq!(bench.get_bytes(layer.cache())[..row], expected, "{cache:?}");
    }
}
