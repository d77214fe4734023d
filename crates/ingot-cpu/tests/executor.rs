//! The CPU executor against the plan's reference, on small models that between
//! them use every op.

use ingot_cpu::{CpuExecutor, CpuOptions, Isa};
use ingot_format::{DType, Tensor};
use ingot_plan::ops::{Activation, Bonus, Gate, Pairing, Rotary, Stack, Wkv7};
use ingot_plan::{
    Executor, ExpertWeights, PAGE, Place, Plan, PlanBuilder, Precision, Projection, Reference, Sequence,
    StateDecl, Step, WeightId,
};
use std::sync::Arc;

const VOCAB: usize = 50;

/// Collects random weights while a plan is built.
struct Model {
    plan: PlanBuilder,
    weights: Vec<Tensor>,
    seed: u64,
}

impl Model {
    fn new(precision: Precision) -> Self {
        Self { plan: PlanBuilder::new(precision), weights: Vec::new(), seed: 7 }
    }

    fn random(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as f32 / (1u64 << 30) as f32 - 1.0
    }

    /// A weight with values of about `size` around `center`.
    fn weight_near(&mut self, dtype: DType, shape: &[usize], center: f32, size: f32) -> WeightId {
        let len = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|_| center + size * self.random()).collect();
        let mut bytes = vec![0; len / dtype.block_len() * dtype.block_bytes()];
        dtype.quantize(&values, &mut bytes);
        let name = format!("w{}", self.weights.len());
        let tensor = Tensor::new(name, dtype, shape.to_vec(), bytes.into()).unwrap();
        let id = self.plan.weight(&tensor);
        self.weights.push(tensor);
        id
    }

    fn matrix(&mut self, dtype: DType, rows: usize, cols: usize) -> WeightId {
        self.weight_near(dtype, &[rows, cols], 0.0, 2.0 / (cols as f32).sqrt())
    }

    fn vector(&mut self, len: usize) -> WeightId {
        self.weight_near(DType::F32, &[len], 1.0, 0.3)
    }

    fn bias(&mut self, len: usize) -> WeightId {
        self.weight_near(DType::F32, &[len], 0.0, 0.3)
    }
}

/// Grouped heads of an odd size.
fn transformer(precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    transformer_of(24, precision, dtype)
}

/// Grouped heads that Q8_0 can store.
fn transformer_of_blocks(precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    transformer_of(32, precision, dtype)
}

/// Two layers of attention and feed-forward: a window in one, adjacent and split
/// pairs, biases, norms per head.
fn transformer_of(size: usize, precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    let mut m = Model::new(precision);
    let (c, heads, kv_heads, f) = (64, 6, 2, 96);
    let table = m.matrix(dtype, VOCAB, c);
    let mut x = m.plan.embed(table);
    for (window, pairing, pairs) in [(None, Pairing::Halves, 12), (Some(70), Pairing::Adjacent, 8)] {
        let frequencies = (0..pairs).map(|j| 0.7f32.powi(j)).collect();
        let rotary = Arc::new(Rotary { pairing, frequencies, scale: 1.1 });
        let norm = m.vector(c);
        let h = m.plan.rms_norm(x, norm, 1e-5);
        let wq = (m.matrix(dtype, heads * size, c), Some(m.bias(heads * size)));
        let wk = (m.matrix(DType::F16, kv_heads * size, c), Some(m.bias(kv_heads * size)));
        let wv = (m.matrix(DType::BF16, kv_heads * size, c), None);
        let [q, k, v] = m.plan.linears(h, [wq, wk, wv].map(Projection::from));
        let norms = [m.vector(size), m.vector(size)];
        let (q, k) = (m.plan.rms_norm(q, norms[0], 1e-5), m.plan.rms_norm(k, norms[1], 1e-5));
        let (q, k) = (m.plan.rope(q, heads, &rotary), m.plan.rope(k, kv_heads, &rotary));
        let a = m.plan.attention([q, k, v], [heads, kv_heads], 0.2, window);
        let wo = m.matrix(DType::F32, c, heads * size);
        let o = m.plan.linear(a, wo);
        x = m.plan.add(x, o);
        let norm = m.vector(c);
        let h = m.plan.rms_norm(x, norm, 1e-5);
        let wide = [m.matrix(dtype, f, c), m.matrix(dtype, f, c)];
        let [gate, up] = m.plan.linears(h, wide.map(Projection::from));
        let h = m.plan.glu(gate, up, Gate::Silu);
        let down = m.matrix(dtype, c, f);
        let h = m.plan.linear(h, down);
        x = m.plan.add(x, h);
    }
    finish(m, x, table)
}

fn finish(mut m: Model, x: ingot_plan::Buf, table: WeightId) -> (Arc<Plan>, Vec<Tensor>) {
    let x = m.plan.select(x);
    let logits = m.plan.linear(x, table);
    (Arc::new(m.plan.finish(logits)), m.weights)
}

/// One layer of experts.
fn mixture(precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    let mut m = Model::new(precision);
    let (c, f, experts, chosen) = (64, 32, 7, 3);
    let table = m.matrix(dtype, VOCAB, c);
    let x = m.plan.embed(table);
    let router = m.weight_near(DType::F32, &[experts, c], 0.0, 1.0);
    let logits = m.plan.linear(x, router);
    let gate = m.weight_near(dtype, &[experts, f, c], 0.0, 0.4);
    let up = m.weight_near(dtype, &[experts, f, c], 0.0, 0.4);
    let down = m.weight_near(dtype, &[experts, c, f], 0.0, 0.4);
    let [gate, up, down] = [gate, up, down].map(Stack::from);
    let h = m.plan.experts(x, logits, ExpertWeights { gate, up, down, chosen, renormalise: true });
    let x = m.plan.add(x, h);
    finish(m, x, table)
}

/// Two layers in the manner of RWKV-7.
fn rwkv(precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    let mut m = Model::new(precision);
    let (c, heads, f) = (96, 4, 160);
    let table = m.matrix(dtype, VOCAB, c);
    let mut x = m.plan.embed(table);
    let mut first = None;
    for _ in 0..2 {
        let norm = (m.vector(c), m.bias(c));
        let h = m.plan.layer_norm(x, norm, 1e-5);
        let mix = m.weight_near(DType::F32, &[6, 1, c], 0.5, 0.5);
        let state = m.plan.state(StateDecl::Recurrent { len: c });
        let [xr, xw, xk, xv, xa, xg] = m.plan.token_shift(h, mix, state);
        let square = [m.matrix(dtype, c, c), m.matrix(dtype, c, c), m.matrix(dtype, c, c)];
        let (r, k) = (m.plan.linear(xr, square[0]), m.plan.linear(xk, square[1]));
        let mut v = m.plan.linear(xv, square[2]);
        let low = |m: &mut Model, x, inner, outer| {
            let (down, up, bias) = (m.matrix(DType::F16, 20, c), m.matrix(DType::F32, c, 20), m.bias(c));
            let h = m.plan.linear(x, (down, inner));
            m.plan.linear(h, (up, bias, outer))
        };
        let w = low(&mut m, xw, Activation::Tanh, Activation::Identity);
        let a = low(&mut m, xa, Activation::Identity, Activation::Sigmoid);
        let g = low(&mut m, xg, Activation::Sigmoid, Activation::Identity);
        match first {
            None => first = Some(v),
            Some(first) => {
                let by = low(&mut m, xv, Activation::Identity, Activation::Sigmoid);
                v = m.plan.blend(v, first, by);
            }
        }
        let keys = [m.vector(c), m.vector(c)];
        let [decay, removal, key] = m.plan.rwkv_keys([w, k, a], keys, heads);
        let state = m.plan.state(StateDecl::Recurrent { len: c * (c / heads) });
        let y = m.plan.wkv7(|out| Wkv7 { r, decay, key, v, removal, a, heads, state, out }, r);
        let norm = (m.vector(c), m.bias(c));
        let y = m.plan.group_norm(y, norm, heads, 64e-5);
        let r_k = m.bias(c);
        let y = m.plan.bonus(|out| Bonus { y, r, k: key, v, g, r_k, heads, out }, y);
        let wo = m.matrix(dtype, c, c);
        let o = m.plan.linear(y, wo);
        x = m.plan.add(x, o);
        let norm = (m.vector(c), m.bias(c));
        let h = m.plan.layer_norm(x, norm, 1e-5);
        let mix = m.weight_near(DType::F32, &[c], 0.5, 0.5);
        let state = m.plan.state(StateDecl::Recurrent { len: c });
        let [h] = m.plan.token_shift(h, mix, state);
        let (key, value) = (m.matrix(dtype, f, c), m.matrix(dtype, c, f));
        let h = m.plan.linear(h, (key, Activation::SquaredRelu));
        let h = m.plan.linear(h, value);
        x = m.plan.add(x, h);
    }
    finish(m, x, table)
}

/// Two hidden layers of which a ReLU leaves about half.
fn squared_relu(precision: Precision, dtype: DType) -> (Arc<Plan>, Vec<Tensor>) {
    let mut m = Model::new(precision);
    let (c, f) = (256, 512);
    let table = m.matrix(dtype, VOCAB, c);
    let mut x = m.plan.embed(table);
    for _ in 0..2 {
        let (key, value) = (m.matrix(dtype, f, c), m.matrix(dtype, c, f));
        let h = m.plan.linear(x, (key, Activation::SquaredRelu));
        let h = m.plan.linear(h, value);
        x = m.plan.add(x, h);
    }
    finish(m, x, table)
}

#[test]
fn knowing_of_zeros_changes_nothing() {
    for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K] {
        let outputs = |threads, pack| {
            let options = CpuOptions { threads: Some(threads), pack, ..f32_cache() };
            let mut cpu = executor(squared_relu, Precision::Q8, dtype, options);
            let mut outputs = Vec::new();
            for step in steps() {
                let mut logits = Vec::new();
                cpu.run(&step, &mut logits).unwrap();
                outputs.push(logits);
            }
            outputs
        };
        let in_place = outputs(2, false);
        assert!(in_place.iter().flatten().any(|x| *x != 0.0), "{dtype}");
        for threads in [1, 2, 3] {
            assert!(outputs(threads, true) == in_place, "{dtype}, {threads} threads");
        }
    }
}

type Build = fn(Precision, DType) -> (Arc<Plan>, Vec<Tensor>);
const MODELS: [(&str, Build); 3] = [("transformer", transformer), ("mixture", mixture), ("rwkv", rwkv)];

fn executor(build: Build, precision: Precision, dtype: DType, options: CpuOptions) -> CpuExecutor {
    let (plan, weights) = build(precision, dtype);
    let mut cpu = CpuExecutor::new(plan, weights, &options).unwrap();
    cpu.reserve(8, 4).unwrap();
    cpu
}

fn f32_cache() -> CpuOptions {
    CpuOptions { cache_type: DType::F32, threads: Some(2), isa: None, pack: true }
}

/// Tokens of a text that goes on for ever.
fn text(range: std::ops::Range<usize>) -> Vec<u32> {
    range.map(|i| ((i * i * 7 + i * 3) % VOCAB) as u32).collect()
}

/// Steps of two interleaved sequences: prompts, chunks, single tokens, mixtures.
fn steps() -> Vec<Step> {
    let [a, b] = [(2, vec![5, 1, 3]), (0, vec![4, 0, 2])];
    let mut past = [0; 2];
    let counts = [(70, 0), (1, 9), (3, 1), (0, 64), (1, 1), (5, 0), (30, 2)];
    let step = |(n, m): (usize, usize)| {
        let mut step = Step::default();
        for (i, (count, (slot, pages))) in [(n, &a), (m, &b)].into_iter().enumerate() {
            if count > 0 {
                let rows = step.tokens.len()..step.tokens.len() + count;
                step.tokens.extend(text(past[i]..past[i] + count));
                step.outputs.push(rows.end as u32 - 1);
                step.sequences.push(Sequence { rows, past: past[i], slot: *slot, pages: pages.clone() });
                past[i] += count;
            }
        }
        step
    };
    counts.map(step).into()
}

fn rms(x: impl IntoIterator<Item = f32>) -> f32 {
    let (sum, n) = x.into_iter().fold((0.0, 0), |(sum, n), x| (sum + x * x, n + 1));
    (sum / n.max(1) as f32).sqrt()
}

/// Runs the steps on both and returns the largest relative errors of logits and state.
fn errors(build: Build, precision: Precision, dtype: DType, options: CpuOptions) -> f32 {
    let mut cpu = executor(build, precision, dtype, options);
    let (plan, weights) = build(precision, dtype);
    let mut reference = Reference::new(plan, weights);
    reference.reserve(8, 4).unwrap();
    let (mut got, mut want) = (Vec::new(), Vec::new());
    let mut worst = 0.0f32;
    for step in steps() {
        cpu.run(&step, &mut got).unwrap();
        reference.run(&step, &mut want).unwrap();
        assert_eq!(got.len(), step.outputs.len() * VOCAB);
        let difference = rms(got.iter().zip(&want).map(|(a, b)| a - b));
        worst = worst.max(difference / rms(want.iter().copied()));
    }
    for slot in 0..4 {
        let floats =
            |bytes: Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let got: Vec<f32> = floats(cpu.read(Place::Slot(slot)).unwrap());
        let want: Vec<f32> = floats(reference.read(Place::Slot(slot)).unwrap());
        let difference = rms(got.iter().zip(&want).map(|(a, b)| a - b));
        worst = worst.max(difference / rms(want).max(1e-3));
    }
    worst
}

#[test]
fn every_op_on_every_instruction_set() {
    for (name, build) in MODELS {
        for isa in Isa::available() {
            for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q5_1] {
                let error =
                    errors(build, Precision::F32, dtype, CpuOptions { isa: Some(isa), ..f32_cache() });
                assert!(error < 1e-5, "{name} {dtype} {isa}: {error}");
            }
        }
    }
}

#[test]
fn rounded_activations_and_half_precision_cache() {
    for (name, build) in MODELS {
        let half = CpuOptions { cache_type: DType::F16, ..f32_cache() };
        let error = errors(build, Precision::F32, DType::F32, half);
        assert!(error < 1e-3, "{name} with an F16 cache: {error}");
    }
    let eight = CpuOptions { cache_type: DType::Q8_0, ..f32_cache() };
    let error = errors(transformer_of_blocks, Precision::F32, DType::F32, eight);
    assert!(error < 2e-2, "with a Q8_0 cache: {error}");
    for (name, build) in MODELS {
        for dtype in [DType::Q8_0, DType::Q4_0] {
            // Where a value lies between two steps the last bit of a float decides
            // which one it becomes; everything after differs by a rounding.
            let error = errors(build, Precision::Q8, dtype, f32_cache());
            assert!(error < 2e-2, "{name} {dtype} with rounded activations: {error}");
        }
    }
}

/// Pages of the one sequence, none in order.
const PAGES: [u32; 6] = [2, 6, 0, 5, 3, 1];

/// Logits of every position of one sequence, fed in pieces.
fn logits(cpu: &mut CpuExecutor, pieces: &[usize], company: bool) -> Vec<f32> {
    cpu.clear_slot(1).unwrap();
    cpu.clear_slot(3).unwrap();
    let (mut past, mut all, mut out) = (0, Vec::new(), Vec::new());
    for &count in pieces {
        let mut step = Step::default();
        if company {
            step.tokens = text(11..14);
            step.sequences.push(Sequence { rows: 0..3, past: 0, slot: 3, pages: vec![7] });
        }
        let rows = step.tokens.len()..step.tokens.len() + count;
        step.tokens.extend(text(past..past + count));
        step.outputs = rows.clone().map(|r| r as u32).collect();
        step.sequences.push(Sequence { rows, past, slot: 1, pages: PAGES.to_vec() });
        cpu.run(&step, &mut out).unwrap();
        cpu.clear_slot(3).unwrap();
        all.extend_from_slice(&out);
        past += count;
    }
    all
}

/// Weights are used in place at first, and packed by and by.
#[test]
fn results_do_not_depend_on_when_weights_are_packed() {
    for (name, build) in MODELS {
        for round in 0..20 {
            let options = CpuOptions { threads: Some(2), ..CpuOptions::default() };
            let (plan, weights) = build(Precision::Q8, DType::Q4_0);
            let mut cpu = CpuExecutor::open(plan, weights, &options).unwrap();
            cpu.reserve(8, 4).unwrap();
            // Some rounds end while nothing is packed yet, and one waits for all.
            if round == 19 {
                cpu.settle(&mut |done, all| assert!(done <= all && all > 0));
            }
            if round % 4 == 0 {
                continue;
            }
            let got = logits(&mut cpu, &[3, 5, 1], false);
            let want = logits(&mut executor(build, Precision::Q8, DType::Q4_0, options), &[9], false);
            assert!(got == want, "{name}, round {round}");
        }
    }
}

#[test]
fn results_do_not_depend_on_how_a_prompt_is_cut_or_weights_are_kept() {
    for (name, build) in MODELS {
        for (precision, dtype) in
            [(Precision::Q8, DType::Q4_0), (Precision::F32, DType::Q8_0), (Precision::F32, DType::F16)]
        {
            let mut whole = Vec::new();
            for (threads, pack) in [(1, true), (3, true), (2, false)] {
                let options = CpuOptions { threads: Some(threads), pack, ..CpuOptions::default() };
                let mut cpu = executor(build, precision, dtype, options);
                for (pieces, company) in
                    [(vec![140], false), (vec![64, 76], true), (vec![1; 140], false), (vec![139, 1], true)]
                {
                    let got = logits(&mut cpu, &pieces, company);
                    if whole.is_empty() {
                        whole = got;
                    } else {
                        assert!(
                            got == whole,
                            "{name} {precision:?} {dtype}, {threads} threads, packed {pack}, {} pieces",
                            pieces.len()
                        );
                    }
                }
            }
        }
    }
}

/// Contexts of several chunks, which threads share.
#[test]
fn long_contexts_do_not_depend_on_how_they_are_dealt_out() {
    for cache_type in [DType::F16, DType::F32, DType::Q8_0] {
        let mut whole = Vec::new();
        for threads in [1, 2, 5] {
            let options = CpuOptions { threads: Some(threads), cache_type, isa: None, pack: true };
            let mut cpu = executor(transformer_of_blocks, Precision::F32, DType::Q8_0, options);
            for pieces in [vec![370], vec![255, 1, 1, 1, 64, 48], vec![1; 370], vec![300, 69, 1]] {
                let got = logits(&mut cpu, &pieces, threads == 5);
                if whole.is_empty() {
                    whole = got;
                } else {
                    assert!(got == whole, "{cache_type}, {threads} threads, {} pieces", pieces.len());
                }
            }
        }
    }
}

#[test]
fn pages_of_every_type_can_be_moved() {
    for (cache_type, build) in
        [(DType::F32, transformer as Build), (DType::F16, transformer), (DType::Q8_0, transformer_of_blocks)]
    {
        let options = CpuOptions { cache_type, ..f32_cache() };
        let mut cpu = executor(build, Precision::F32, DType::Q8_0, options.clone());
        let mut want = Vec::new();
        cpu.run(&Step::single(&text(0..40), 0, 0, &[0]), &mut want).unwrap();
        let saved = cpu.read(Place::Page(0)).unwrap();
        assert_eq!(saved.len(), cache_type.row_bytes(cpu.plan().page_len()).unwrap());
        cpu.run(&Step::single(&[9], 40, 0, &[0]), &mut want).unwrap();
        let mut other = executor(build, Precision::F32, DType::Q8_0, options);
        other.write(Place::Page(5), &saved).unwrap();
        assert!(other.read(Place::Page(5)).unwrap() == saved, "{cache_type}");
        let mut got = Vec::new();
        other.run(&Step::single(&[9], 40, 0, &[5]), &mut got).unwrap();
        assert!(got == want, "{cache_type}");
    }
}

/// A page's bytes are positions one after the other, of each its heads' channels.
#[test]
fn pages_have_the_order_of_the_plan() {
    let mut cpu = executor(transformer, Precision::F32, DType::F32, f32_cache());
    let (plan, weights) = transformer(Precision::F32, DType::F32);
    let mut reference = Reference::new(plan, weights);
    reference.reserve(8, 4).unwrap();
    let step = Step::single(&text(0..40), 0, 0, &[3]);
    cpu.run(&step, &mut Vec::new()).unwrap();
    reference.run(&step, &mut Vec::new()).unwrap();
    let [got, want] = [&cpu as &dyn Executor, &reference].map(|e| e.read(Place::Page(3)).unwrap());
    assert_eq!(got.len(), want.len());
    for (got, want) in got.as_chunks::<4>().0.iter().zip(want.as_chunks::<4>().0) {
        let [got, want] = [got, want].map(|b| f32::from_le_bytes(*b));
        assert!((got - want).abs() < 1e-4, "{got} {want}");
    }
}

#[test]
fn states_can_be_moved() {
    for (name, build) in MODELS {
        let mut cpu = executor(build, Precision::F32, DType::Q8_0, CpuOptions::default());
        let mut want = Vec::new();
        let prompt = text(0..40);
        cpu.run(&Step::single(&prompt, 0, 0, &[0]), &mut want).unwrap();
        cpu.copy(Place::Slot(0), Place::Slot(2)).unwrap();
        cpu.copy(Place::Page(0), Place::Page(4)).unwrap();
        let saved = (cpu.read(Place::Slot(0)).unwrap(), cpu.read(Place::Page(0)).unwrap());
        cpu.run(&Step::single(&[9], 40, 0, &[0]), &mut want).unwrap();

        let mut got = Vec::new();
        cpu.run(&Step::single(&[9], 40, 2, &[4]), &mut got).unwrap();
        assert!(got == want, "{name}: a copy");
        cpu.write(Place::Slot(1), &saved.0).unwrap();
        cpu.write(Place::Page(5), &saved.1).unwrap();
        cpu.reserve(20, 20).unwrap();
        cpu.run(&Step::single(&[9], 40, 1, &[5]), &mut got).unwrap();
        assert!(got == want, "{name}: saved and restored");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut cpu = executor(transformer, Precision::F32, DType::F32, CpuOptions::default());
    assert_eq!(cpu.cache_type(), DType::F16);
    let page = cpu.read(Place::Page(0)).unwrap();
    assert_eq!(page.len(), 2 * cpu.plan().page_len());
    assert_eq!(cpu.plan().page_len(), 2 * 2 * PAGE * 48);
    let mut out = Vec::new();
    assert!(cpu.run(&Step::single(&[VOCAB as u32], 0, 0, &[0]), &mut out).is_err());
    assert!(cpu.run(&Step::single(&[1], 0, 0, &[8]), &mut out).is_err());
    assert!(cpu.write(Place::Page(0), &page[1..]).is_err());
    assert!(cpu.write(Place::Page(8), &page).is_err());
    assert!(cpu.read(Place::Slot(4)).is_err() && cpu.clear_slot(4).is_err());
    assert!(cpu.copy(Place::Page(0), Place::Slot(0)).is_err());
    assert!(cpu.copy(Place::Page(0), Place::Page(9)).is_err());
    assert_eq!(cpu.read(Place::Page(0)).unwrap().len(), page.len()); // still there

    let (plan, weights) = transformer(Precision::F32, DType::F32);
    let options = CpuOptions { cache_type: DType::Q8_0, ..CpuOptions::default() };
    let error = CpuExecutor::new(plan, weights, &options).err().expect("heads of 24").to_string();
    assert!(error.contains("heads of 24") && error.contains("Q8_0"), "{error}");
    let (plan, weights) = transformer(Precision::F32, DType::F32);
    let options = CpuOptions { cache_type: DType::Q4_0, ..CpuOptions::default() };
    assert!(CpuExecutor::new(plan, weights, &options).is_err());
}

#[test]
fn pieces_are_timed_and_change_nothing() {
    for (name, build) in MODELS {
        let [mut plain, mut timed] =
            [(); 2].map(|()| executor(build, Precision::Q8, DType::Q8_0, f32_cache()));
        let pieces = timed.pieces();
        let mut ops: Vec<usize> = pieces.iter().flatten().copied().collect();
        ops.sort_unstable();
        assert_eq!(ops, (0..timed.plan().ops().len()).collect::<Vec<_>>(), "{name}: every op in one piece");
        for step in steps() {
            let [mut expected, mut got] = [Vec::new(), Vec::new()];
            plain.run(&step, &mut expected).unwrap();
            let times = timed.run_timed(&step, &mut got).unwrap();
            assert_eq!(times.len(), pieces.len(), "{name}");
            assert!(
                times.iter().all(|t| t.start <= t.end) && times.is_sorted_by(|a, b| a.end <= b.start),
                "{times:?}"
            );
            assert!(got == expected, "{name}: timing changes results");
        }
        let wrong = Step::single(&[VOCAB as u32], 0, 2, &[5]);
        assert!(timed.run_timed(&wrong, &mut Vec::new()).is_err());
        timed.run(&steps()[0], &mut Vec::new()).unwrap();
    }
}
