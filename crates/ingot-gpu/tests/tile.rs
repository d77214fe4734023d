//! Packed activations and products on tiles against plain loops in f64.

#[allow(dead_code, reason = "other tests use the rest")]
mod bench;

use bench::{Bench, Random};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::What;
use ingot_gpu::launches::linear_few::linear_few;
use ingot_gpu::launches::linear_tile::{Part, gated_tile, gates, linear_tile};
use ingot_gpu::launches::pack::{Input, Layout, pack};
use ingot_gpu::launches::{Norm, Shape, Target};
use ingot_gpu::sim::{Options, SimDevice};
use ingot_gpu::{Tuning, eights};
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{PlanBuilder, Precision, Step, WeightId};

const EPS: f32 = 1e-5;
const RESIDUAL: What = What::Scratch(100);

fn new_bench(seed: u64) -> Bench<SimDevice> {
    Bench::new(SimDevice::with(Options { seed, ..Options::default() }).unwrap())
}

/// A product: type, rows, columns, which of the inputs, bias, activation.
#[derive(Clone, Copy)]
struct P(DType, usize, usize, u32, bool, Activation);

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn plain(dtype: DType, rows: usize, cols: usize) -> P {
    P(dtype, rows, cols, 0, false, Activation::Identity)
}

#[derive(Clone)]
struct Case {
    parts: Vec<P>,
    tokens: usize,
    /// 0 none, 1 RMS, 2 layer
    norm: usize,
    glu: bool,
    residual: bool,
    exact: bool,
    cores: usize,
    launches: usize,
    /// Weights are arranged in eights.
    eights: bool,
    /// On tiles as Hopper has them.
    wide: bool,
    /// The two parts are a gate and what it gates.
    gated: bool,
    /// By the kernel for few rows.
    few: bool,
}

fn case(parts: &[P], tokens: usize) -> Case {
    let parts = parts.to_vec();
    Case {
        parts,
        tokens,
        norm: 0,
        glu: false,
        residual: false,
        exact: false,
        cores: 4,
        launches: 1,
        eights: false,
        wide: false,
        gated: false,
        few: false,
    }
}

fn wide(parts: &[P], tokens: usize) -> Case {
    Case { wide: true, ..case(parts, tokens) }
}

/// Rows of all kinds: usual, beyond the range of half, far below it, equal, zero, one outlier.
fn activations(random: &mut Random, rows: usize, cols: usize) -> Vec<f32> {
    let mut values = random.values(rows * cols, 0.1, 1.0);
    for (t, row) in values.chunks_exact_mut(cols).enumerate() {
        let change: fn(usize, f32) -> f32 = match t % 7 {
            1 => |_, x| 3e7 * x,
            2 => |_, x| 1e-9 * x,
            3 => |_, _| 0.7,
            4 => |_, _| 0.0,
            5 => |i, x| if i == 3 { 900.0 } else { x },
            _ => |_, x| x,
        };
        row.iter_mut().enumerate().for_each(|(i, x)| *x = change(i, *x));
    }
    values
}

impl Case {
    /// Runs the case with weights as they are in files, and as devices have them; all outputs, one
    /// after the other.
    fn check(&self) -> Vec<f32> {
        let stored = self.check_stored();
        if self.parts.iter().any(|p| eights::is_arranged(p.0)) {
            let arranged = Self { eights: true, ..self.clone() }.check_stored();
            assert_eq!(bits(&stored), bits(&arranged), "in eights");
        }
        stored
    }

    /// Runs the case and compares every value.
    fn check_stored(&self) -> Vec<f32> {
        let mut random = Random(7);
        let mut bench = new_bench(self.tokens as u64);
        let mut b = PlanBuilder::new(Precision::F32);
        let mut weight = |dtype: DType, shape: &[usize], values: &[f32]| -> (WeightId, Vec<f32>) {
            let cols = *shape.last().unwrap();
            let mut bytes = vec![0; dtype.row_bytes(cols).unwrap() * (values.len() / cols)];
            dtype.quantize(values, &mut bytes);
            let mut unpacked = vec![0.0; values.len()];
            dtype.dequantize(&bytes, &mut unpacked);
            let tensor = Tensor::new("w", dtype, shape.to_vec(), Bytes::from(bytes)).unwrap();
            let id = b.weight(&tensor);
            bench.matrix(id.into(), &tensor, self.eights);
            (id, unpacked)
        };
        let count = self.parts.iter().map(|p| p.3).max().unwrap() + 1;
        let width = |n: u32| self.parts.iter().find(|p| p.3 == n).unwrap().2;
        let norm_weights =
            [1.0, 0.0].map(|m| weight(DType::F32, &[width(0)], &random.values(width(0), m, 0.3)));
        let mut parts = Vec::new();
        let mut unpacked = Vec::new();
        for (n, &P(dtype, rows, cols, x, bias, activation)) in self.parts.iter().enumerate() {
            let (id, w) = weight(dtype, &[rows, cols], &random.values(rows * cols, 0.02, 0.3));
            let (bias_id, v) = weight(DType::F32, &[rows], &random.values(rows, 0.0, 1.0));
            let (bias, bias_values) = if bias { (Some(bias_id), v) } else { (None, vec![0.0; rows]) };
            let out = What::Scratch(50 + n as u32);
            parts.push(Part { x: What::Scratch(x), weight: id, bias, activation, out });
            unpacked.push((w, bias_values));
        }
        let (table, _) = weight(DType::F32, &[1, 1], &[0.0]);
        let x = b.embed(table);
        let last = b.select(x);
        let plan = b.finish(last);

        let sources = |n: u32| What::Scratch(10 + n);
        let mut inputs = Vec::new();
        for n in 0..count + u32::from(self.glu) {
            let cols = if self.glu { width(0) } else { width(n) };
            let mut values = activations(&mut random, self.tokens, cols);
            if n > 0 && self.glu {
                values.iter_mut().for_each(|x| *x = x.clamp(-3.0, 3.0));
            }
            bench.put(sources(n), &values);
            inputs.push(values);
        }
        let target = Target {
            cores: self.cores,
            cache: DType::F16,
            exact: self.exact,
            eights: self.eights,
            wide: self.wide,
            tuning: Tuning::default(),
        };
        let shape = Shape { rows: self.tokens, outputs: 1, sequences: 1, context: self.tokens };
        let norm = [
            None,
            Some(Norm::Rms { weight: norm_weights[0].0, eps: EPS }),
            Some(Norm::Layer { weight: norm_weights[0].0, bias: norm_weights[1].0, eps: EPS }),
        ][self.norm];
        let mut launches = Vec::new();
        let layout = match self.few {
            true => Layout::Few,
            false => Layout::of_tiles(&target),
        };
        for n in 0..count {
            let bytes = layout.bytes(self.tokens, width(n));
            bench.room(What::Scratch(n), bytes / 4);
        }
        if self.glu {
            let input = Input::Glu { gate: sources(0), up: sources(1), f: Gate::Silu };
            launches.push(pack(&shape, layout, width(0), &input, None, &[0]));
        } else {
            let equal = (0..count).take_while(|&n| width(n) == width(0)).count() as u32;
            let input = Input::Rows((0..equal).map(sources).collect());
            launches.push(pack(&shape, layout, width(0), &input, norm, &(0..equal).collect::<Vec<_>>()));
            for n in equal..count {
                launches.push(pack(&shape, layout, width(n), &Input::Rows(vec![sources(n)]), None, &[n]));
            }
        }
        for part in &parts {
            bench.room(part.out, self.tokens * plan.weight(part.weight).shape[0]);
        }
        let residual = random.values(self.tokens * self.parts[0].1, 0.0, 1.0);
        bench.put(RESIDUAL, &residual);
        bench.step(&Step { tokens: vec![0; self.tokens], outputs: vec![0], ..Step::default() });
        let residual_at = self.residual.then_some(RESIDUAL);
        let (gate, rows) = (&parts[0], self.tokens);
        let products = match (self.few, self.gated) {
            (true, _) => linear_few(&plan, &target, &parts, residual_at, false, rows),
            (false, false) => linear_tile(&plan, &target, &parts, residual_at, rows),
            (false, true) => {
                let up = parts[1].weight;
                assert!(gates(&plan, &target, [gate.weight, up]));
                gated_tile(&plan, &target, gate, up, Gate::Silu, rows)
            }
        };
        let products = products.unwrap();
        assert!(products.len() == self.launches || self.wide && !self.gated);
        launches.extend(products);
        bench.run(&launches);

        if self.gated {
            let got = bench.get(parts[0].out);
            self.compare_gated(&got, &inputs[0], &unpacked);
            return got;
        }
        let mut all = Vec::new();
        for (n, P(dtype, rows, cols, x, _, activation)) in self.parts.iter().enumerate() {
            let got = bench.get(parts[n].out);
            for t in 0..self.tokens {
                let row = |n: u32| &inputs[n as usize][t * cols..][..*cols];
                let x = match self.glu {
                    true => {
                        row(0).iter().zip(row(1)).map(|(&g, &u)| silu(f64::from(g)) * f64::from(u)).collect()
                    }
                    false => self.normed(row(*x), &norm_weights),
                };
                for r in 0..*rows {
                    let (w, bias) = (&unpacked[n].0[r * cols..][..*cols], unpacked[n].1[r]);
                    let residual = if self.residual { residual[t * rows + r] } else { 0.0 };
                    let what = format!("{dtype} {rows}x{cols}, part {n}, token {t}, row {r}");
                    self.compare(&what, got[t * rows + r], &x, w, bias, residual, *activation);
                }
            }
            all.extend(got);
        }
        all
    }

    /// Gates and what they gate, each within the limit of a product.
    fn compare_gated(&self, got: &[f32], input: &[f32], unpacked: &[(Vec<f32>, Vec<f32>)]) {
        let P(_, rows, cols, ..) = self.parts[0];
        for (i, &got) in got.iter().enumerate() {
            let (t, r) = (i / rows, i % rows);
            let x = &input[t * cols..][..cols];
            let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let product = |w: &[f32]| {
                let (mut sum, mut limit) = (0.0, 0.0);
                for (&x, &w) in x.iter().zip(&w[r * cols..][..cols]) {
                    sum += f64::from(x) * f64::from(w);
                    limit += 1e-3 * (f64::from(x) * f64::from(w)).abs()
                        + f64::from(w.abs())
                            * (f64::from(largest) * 2f64.powi(-35) + f64::from(x.abs()) * 2f64.powi(-25));
                }
                (sum, limit)
            };
            let ((gate, gate_limit), (up, up_limit)) = (product(&unpacked[0].0), product(&unpacked[1].0));
            // The slope of silu is at most 1.1.
            let limit = 1.1 * gate_limit * (up.abs() + up_limit) + silu(gate).abs() * up_limit + 1e-30;
            let expected = silu(gate) * up;
            let error = (f64::from(got) - expected).abs();
            assert!(
                error <= limit + 2e-6 * expected.abs(),
                "token {t}, row {r}: {got:e}, expected {expected:e}"
            );
        }
    }

    fn normed(&self, x: &[f32], [weight, bias]: &[(WeightId, Vec<f32>); 2]) -> Vec<f64> {
        let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        if self.norm == 0 {
            return x;
        }
        let mean = if self.norm == 2 { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (var + f64::from(EPS)).sqrt();
        for (i, x) in x.iter_mut().enumerate() {
            let bias = if self.norm == 2 { f64::from(bias.1[i]) } else { 0.0 };
            *x = (*x - mean) * scale * f64::from(weight.1[i]) + bias;
        }
        x
    }

    /// Each factor was rounded once, to half or not at all, and sums are f32.
    #[allow(clippy::too_many_arguments)]
    fn compare(&self, what: &str, got: f32, x: &[f64], w: &[f32], bias: f32, residual: f32, f: Activation) {
        let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let (mut sum, mut size, mut lost) = (f64::from(bias), f64::from(bias.abs()), 0.0);
        for (x, &w) in x.iter().zip(w) {
            sum += x * f64::from(w);
            size += (x * f64::from(w)).abs();
            // What is far below a row's largest value, or below half's range.
            lost += largest * 2f64.powi(-35) * f64::from(w.abs()) + x.abs() * 2f64.powi(-25);
        }
        let limit = match self.exact {
            true => 3e-6 * size,
            false => 1e-3 * size + lost,
        };
        let apply = |v: f64| match f {
            Activation::Identity => v,
            Activation::Tanh => v.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
            Activation::SquaredRelu => v.max(0.0).powi(2),
        };
        let (low, high) = (apply(sum - limit), apply(sum + limit));
        let slack = 2e-6 * (low.abs().max(high.abs()) + f64::from(residual.abs())) + 1e-37;
        let got = f64::from(got) - f64::from(residual);
        assert!(
            (low - slack..=high + slack).contains(&got),
            "{what}: {got:e}, expected {:e}, between {low:e} and {high:e}",
            apply(sum)
        );
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[test]
fn every_type() {
    for dtype in DType::ALL {
        let cols = if dtype.block_len() == 256 { 512 } else { 96 };
        case(&[plain(dtype, 70, cols)], 9).check();
        Case { few: true, ..case(&[plain(dtype, 70, cols)], 9) }.check();
    }
}

#[test]
fn odd_sizes() {
    for (rows, cols, tokens) in
        [(1, 1, 1), (64, 32, 32), (65, 33, 33), (3, 8, 31), (130, 24, 2), (7, 200, 40)]
    {
        case(&[plain(DType::F16, rows, cols)], tokens).check();
        case(&[plain(DType::BF16, rows, cols)], tokens).check();
        Case { few: true, ..case(&[plain(DType::F16, rows, cols)], tokens) }.check();
        Case { few: true, ..case(&[plain(DType::BF16, rows, cols)], tokens) }.check();
        let exact = Case { exact: true, ..case(&[plain(DType::F32, rows, cols)], tokens) };
        exact.check();
    }
}

#[test]
fn exact_tiles() {
    for dtype in [DType::F16, DType::Q4_K, DType::Q8_0, DType::Q6_K] {
        for norm in 0..3 {
            Case { exact: true, norm, ..case(&[plain(dtype, 66, 256)], 35) }.check();
        }
    }
}

#[test]
fn several_parts() {
    use Activation::{Identity, SquaredRelu, Tanh};
    let parts = [
        P(DType::Q4_K, 64, 256, 0, true, Identity),
        P(DType::Q6_K, 10, 256, 0, true, Tanh),
        P(DType::Q4_K, 129, 256, 1, false, SquaredRelu),
        P(DType::Q6_K, 40, 256, 2, true, Activation::Sigmoid),
    ];
    for norm in 0..3 {
        Case { norm, ..case(&parts[..2], 20) }.check();
    }
    case(&parts, 20).check();
    Case { few: true, ..case(&parts, 20) }.check();
}

#[test]
fn more_than_a_launch_has_room_for() {
    let types = [DType::F16, DType::Q8_0, DType::Q4_0];
    let parts: Vec<P> =
        (0..9).map(|i| P(types[i / 4], 5, 64, i as u32 % 6, i % 2 == 0, Activation::Identity)).collect();
    Case { launches: 2, ..case(&parts, 3) }.check();
    let inputs: Vec<P> =
        (0..9).map(|i| P(DType::F16, 5, 32 + 8 * i, i as u32, true, Activation::Identity)).collect();
    Case { launches: 2, ..case(&inputs, 3) }.check();
}

#[test]
fn gates_and_residuals() {
    let part = P(DType::Q4_0, 70, 160, 0, true, Activation::Identity);
    for exact in [false, true] {
        Case { glu: true, residual: true, exact, ..case(&[part], 14) }.check();
    }
    Case { glu: true, residual: true, few: true, ..case(&[part], 14) }.check();
}

#[test]
fn wide_tiles() {
    use Activation::{Identity, SquaredRelu, Tanh};
    for dtype in DType::ALL.into_iter().filter(|d| *d != DType::F32) {
        let cols = if dtype.block_len() == 256 { 256 } else { 96 };
        wide(&[plain(dtype, 20, cols)], 9).check();
    }
    for (rows, cols, tokens) in [(1, 1, 66), (7, 200, 129), (129, 33, 70), (260, 64, 257)] {
        wide(&[plain(DType::F16, rows, cols)], tokens).check();
        wide(&[plain(DType::BF16, rows, cols)], tokens).check();
    }
    let parts = [
        P(DType::Q4_K, 64, 256, 0, true, Identity),
        P(DType::Q6_K, 10, 256, 0, true, Tanh),
        P(DType::Q4_K, 129, 256, 1, false, SquaredRelu),
        P(DType::Q6_K, 40, 256, 2, true, Activation::Sigmoid),
    ];
    Case { norm: 1, ..wide(&parts[..2], 70) }.check();
    wide(&parts, 90).check();
    Case { glu: true, residual: true, ..wide(&[P(DType::Q4_0, 70, 160, 0, true, Identity)], 80) }.check();
}

#[test]
fn exact_wide_tiles() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q4_K, DType::Q8_0, DType::Q6_K] {
        let norm = dtype.block_len() % 3;
        for cores in [4, 100] {
            Case { exact: true, norm, cores, ..wide(&[plain(dtype, 140, 256)], 131) }.check();
        }
    }
    for (rows, cols, tokens) in [(1, 1, 66), (7, 200, 129), (129, 33, 70)] {
        Case { exact: true, ..wide(&[plain(DType::F32, rows, cols)], tokens) }.check();
    }
}

#[test]
fn wide_tiles_that_are_shared() {
    // So many cores that columns are split: even and odd numbers of steps, and a single one.
    for (cols, tokens) in [(512, 300), (192, 100), (64, 65)] {
        let split = Case { cores: 100, residual: true, ..wide(&[plain(DType::Q8_0, 140, cols)], tokens) };
        split.check();
    }
}

#[test]
fn wide_gates() {
    for (dtype, rows, cols) in [(DType::Q8_0, 100, 96), (DType::Q6_K, 64, 512), (DType::F16, 70, 40)] {
        // With 3 cores the last tile of rows is halved, the others are not.
        for (cores, launches) in [(1, 1), (100, 1), (3, usize::div_ceil(rows, 64))] {
            let parts = [plain(dtype, rows, cols); 2];
            Case { gated: true, cores, launches, ..wide(&parts, 130) }.check();
        }
    }
}

#[test]
fn wide_rows_do_not_depend_on_each_other() {
    let parts = [plain(DType::Q8_0, 100, 320)];
    for cores in [1, 100] {
        let of = |tokens| Case { cores, ..wide(&parts, tokens) }.check();
        let few = of(3);
        for tokens in [128, 257] {
            assert_eq!(of(tokens)[..few.len()], few, "{tokens} tokens");
        }
    }
}

#[test]
fn rows_do_not_depend_on_each_other() {
    let parts = [plain(DType::Q8_0, 100, 320)];
    let few = case(&parts, 3).check();
    // Other rows, and tiles of other sizes.
    for (tokens, cores) in [(40, 100), (60, 1), (100, 1), (129, 1)] {
        let many = Case { cores, ..case(&parts, tokens) }.check();
        assert_eq!(many[..few.len()], few, "{tokens} tokens");
    }
}

/// The same of few rows, for all numbers of tokens that a threadgroup may have.
#[test]
fn few_rows_do_not_depend_on_each_other() {
    let parts = [plain(DType::Q8_0, 100, 1184)];
    let few = Case { few: true, ..case(&parts, 3) }.check();
    for tokens in [17, 64, 130] {
        let many = Case { few: true, ..case(&parts, tokens) }.check();
        assert_eq!(many[..few.len()], few, "{tokens} tokens");
    }
}
