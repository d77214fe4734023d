//! Matrix-vector products of every type and with everything that is worked into
//! them, against unpacked weights in f64.

#[allow(dead_code)] // not all of it is used here
mod bench;

use bench::{Bench, Random, sequences};
use ingot_format::{Bytes, DType, Tensor};
use ingot_gpu::launch::{Operand, What};
use ingot_gpu::launches::linear_vec::{Linear, Part, linear_vec};
use ingot_gpu::launches::{Norm, Target};
use ingot_gpu::sim::SimDevice;
use ingot_gpu::{Tuning, eights};
use ingot_plan::ops::{Activation, Gate, round_to_q8};
use ingot_plan::{PlanBuilder, Precision, Step};

const EPS: f32 = 1e-5;
/// Allowed error relative to the sum of the magnitudes of what is added up.
const LIMIT: f64 = 4e-6;
const RESIDUAL: What = What::Scratch(100);

/// One part: type, rows, columns, and which of the inputs.
#[derive(Clone, Copy)]
struct P {
    dtype: DType,
    rows: usize,
    cols: usize,
    bias: bool,
    activation: Activation,
    x: u32,
}

fn part(dtype: DType, rows: usize, cols: usize) -> P {
    P { dtype, rows, cols, bias: false, activation: Activation::Identity, x: 0 }
}

#[derive(Clone, Default)]
struct Case {
    parts: Vec<P>,
    /// 0 none, 1 RMS, 2 layer
    norm: usize,
    glu: bool,
    residual: bool,
    /// Rows of the input that are outputs.
    select: Option<Vec<u32>>,
    skip_zeros: bool,
    inputs: Precision,
    rows: usize,
    /// Weights are arranged in eights.
    eights: bool,
    /// Values of the inputs, other than the usual.
    x: Option<fn(usize) -> f32>,
}

/// Rows of all kinds: usual, huge, tiny, equal, zero, one outlier.
fn weights(random: &mut Random, rows: usize, cols: usize) -> Vec<f32> {
    let mut values = random.values(rows * cols, 0.0, 0.3);
    for (r, row) in values.chunks_exact_mut(cols).enumerate() {
        let change: fn(usize, f32) -> f32 = match r % 7 {
            1 => |_, x| 2e4 * x,
            2 => |_, x| 1e-6 * x,
            3 => |_, _| 0.7,
            4 => |_, _| 0.0,
            5 => |i, x| if i == 3 { 900.0 } else { x },
            _ => |_, x| x,
        };
        row.iter_mut().enumerate().for_each(|(i, x)| *x = change(i, *x));
    }
    values
}

fn as_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Sum of the magnitudes of what is added up: a weight of a type with offsets is the
/// difference of numbers as large as the largest weight of its block.
fn magnitude(row: &[f64], x: &[f64]) -> f64 {
    let block = |(w, x): (&[f64], &[f64])| {
        let largest = w.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        x.iter().map(|x| largest * x.abs()).sum::<f64>()
    };
    row.chunks(32).zip(x.chunks(32)).map(block).sum()
}

struct Run {
    got: Vec<Vec<f32>>,
    /// What is expected and how far off it may be.
    expected: Vec<Vec<(f64, f64)>>,
}

impl Case {
    fn run(&self) -> Run {
        let mut random = Random(7);
        let mut bench = Bench::new(SimDevice::new().unwrap());
        let mut b = PlanBuilder::new(Precision::F32);
        let mut weight = |name: String, dtype: DType, shape: Vec<usize>, bytes: Vec<u8>| {
            let tensor = Tensor::new(name, dtype, shape, Bytes::from(bytes)).unwrap();
            let id = b.weight(&tensor);
            bench.matrix(id.into(), &tensor, self.eights);
            id
        };
        let cols = self.parts[0].cols;
        let in_rows = self.select.as_ref().map_or(self.rows, |s| *s.iter().max().unwrap() as usize + 1);
        let f32s = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let (norm_weight, norm_bias) = (random.values(cols, 1.0, 0.3), random.values(cols, 0.0, 0.2));
        let mut ids = Vec::new();
        let mut unpacked = Vec::new();
        for (n, p) in self.parts.iter().enumerate() {
            // The same part has the same weights in any company.
            let mut random = Random((1000 * p.rows + p.cols) as u64);
            let mut bytes = vec![0; p.dtype.row_bytes(p.cols).unwrap() * p.rows];
            p.dtype.quantize(&weights(&mut random, p.rows, p.cols), &mut bytes);
            let mut values = vec![0.0; p.rows * p.cols];
            p.dtype.dequantize(&bytes, &mut values);
            let id = weight(format!("w{n}"), p.dtype, vec![p.rows, p.cols], bytes);
            let bias = random.values(p.rows, 0.0, 1.0);
            let bias_id = weight(format!("b{n}"), DType::F32, vec![p.rows], f32s(&bias));
            unpacked.push((values, bias));
            ids.push((id, bias_id));
        }
        let norm_ids = [&norm_weight, &norm_bias]
            .map(|values| weight("norm".into(), DType::F32, vec![cols], f32s(values)));
        let table = b.weight(&Tensor::new("t", DType::F32, vec![1, 1], Bytes::from(vec![0; 4])).unwrap());
        let x = b.embed(table);
        let last = b.select(x);
        let plan = b.finish(last);
        let inputs: Vec<Vec<f32>> = (0..=self.parts.iter().map(|p| p.x).max().unwrap())
            .map(|n| {
                let cols = self.parts.iter().find(|p| p.x == n).map_or(1, |p| p.cols);
                let values = random.values(in_rows * cols, 0.1, 1.0);
                let values = self.x.map_or(values, |f| (0..in_rows * cols).map(f).collect());
                bench.put(What::Scratch(n), &values);
                values
            })
            .collect();
        let out_rows = if self.glu { &self.parts[..1] } else { &self.parts[..] };
        for (n, p) in out_rows.iter().enumerate() {
            bench.room(What::Scratch(50 + n as u32), self.rows * p.rows);
        }
        let residual = random.values(self.rows * self.parts[0].rows, 0.0, 1.0);
        bench.put(RESIDUAL, &residual);
        let outputs = self.select.clone().unwrap_or_default();
        bench.step(&Step { outputs: outputs.clone(), ..sequences(&[(0, in_rows)]) });

        let [weight, bias] = norm_ids;
        let norm = [None, Some(Norm::Rms { weight, eps: EPS }), Some(Norm::Layer { weight, bias, eps: EPS })];
        let parts: Vec<Part> = self
            .parts
            .iter()
            .zip(&ids)
            .enumerate()
            .map(|(n, (p, &(weight, bias)))| Part {
                x: Operand::read(What::Scratch(p.x)),
                weight,
                bias: p.bias.then_some(bias),
                activation: p.activation,
                out: What::Scratch(50 + n as u32),
            })
            .collect();
        let target = Target {
            cores: 4,
            cache: DType::F16,
            exact: false,
            eights: self.eights,
            wide: false,
            tuning: Tuning::default(),
        };
        let linear = Linear {
            parts: &parts,
            norm: norm[self.norm],
            glu: self.glu.then_some(Gate::Silu),
            residual: self.residual.then_some(RESIDUAL),
            select: self.select.is_some(),
            skip_zeros: self.skip_zeros,
            inputs: self.inputs,
            rows: self.rows,
        };
        bench.run(&[linear_vec(&plan, &target, &linear).unwrap()]);
        let got: Vec<Vec<f32>> =
            (0..out_rows.len()).map(|n| bench.get(What::Scratch(50 + n as u32))).collect();

        let mut expected = Vec::new();
        for (p, (values, bias)) in self.parts.iter().zip(&unpacked) {
            let mut out = Vec::new();
            for t in 0..self.rows {
                let row = outputs.get(t).map_or(t, |&o| o as usize);
                let x =
                    self.input(&inputs[p.x as usize][row * p.cols..][..p.cols], p, &norm_weight, &norm_bias);
                for r in 0..p.rows {
                    let row = as_f64(&values[r * p.cols..][..p.cols]);
                    let sum: f64 = row.iter().zip(&x).map(|(w, x)| w * x).sum();
                    let size = magnitude(&row, &x);
                    let bias = if p.bias { f64::from(bias[r]) } else { 0.0 };
                    out.push((sum + bias, LIMIT * (size + bias.abs()) + 1e-30));
                }
            }
            expected.push(out);
        }
        if self.glu {
            let silu = |g: f64| g / (1.0 + (-g).exp());
            let pairs = expected[0].iter().zip(&expected[1]);
            let both = pairs.map(|(&(g, ge), &(u, ue))| {
                let v = silu(g) * u;
                (v, 1.2 * ge * (u.abs() + ue) + ue * silu(g).abs() + 1e-5 * v.abs())
            });
            expected = vec![both.collect()];
        }
        for (n, out) in expected.iter_mut().enumerate() {
            for ((v, e), residual) in out.iter_mut().zip(as_f64(&residual).iter().cycle()) {
                match self.parts[n].activation {
                    Activation::Identity => {}
                    Activation::Tanh => (*v, *e) = (v.tanh(), *e + 1e-6),
                    Activation::Sigmoid => (*v, *e) = (1.0 / (1.0 + (-*v).exp()), *e + 1e-6),
                    Activation::SquaredRelu => {
                        (*v, *e) = (v.max(0.0).powi(2), (2.0 * v.abs() + *e) * *e + 1e-6 * v.powi(2))
                    }
                }
                if self.residual {
                    *v += residual;
                    *e += 1e-6 * v.abs();
                }
            }
        }
        Run { got, expected }
    }

    /// A row as the products see it.
    fn input(&self, x: &[f32], p: &P, weight: &[f32], bias: &[f32]) -> Vec<f64> {
        let n = x.len() as f64;
        let (mut x, mut factor) = (x.to_vec(), 1.0);
        if self.norm == 1 {
            // The factor comes last, so that it does not take part in the rounding.
            factor = 1.0 / (as_f64(&x).iter().map(|x| x * x).sum::<f64>() / n + f64::from(EPS)).sqrt();
            x.iter_mut().zip(weight).for_each(|(x, w)| *x *= w);
        } else if self.norm == 2 {
            let mean = as_f64(&x).iter().sum::<f64>() / n;
            let var = as_f64(&x).iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (var + f64::from(EPS)).sqrt();
            let normed =
                |(i, &x): (usize, &f32)| ((f64::from(x) - mean) * scale) as f32 * weight[i] + bias[i];
            x = x.iter().enumerate().map(normed).collect();
        }
        if self.inputs == Precision::Q8 && p.dtype.block_len() > 1 {
            for block in x.chunks_mut(32) {
                // Too small to have an inverse: zeros.
                let tiny = block.iter().all(|x| x.abs() < 4e-37);
                if tiny { block.fill(0.0) } else { round_to_q8(block) }
            }
        }
        as_f64(&x).iter().map(|x| x * factor).collect()
    }

    /// Checks all values, with weights as they are in files and as devices have them.
    fn check(&self, what: &str) {
        self.check_stored(what);
        if self.parts.iter().any(|p| eights::is_arranged(p.dtype)) {
            Self { eights: true, ..self.clone() }.check_stored(&format!("{what}, in eights"));
        }
    }

    fn check_stored(&self, what: &str) {
        let run = self.run();
        for (n, (got, expected)) in run.got.iter().zip(&run.expected).enumerate() {
            assert_eq!(got.len(), expected.len());
            for (i, (&g, &(v, e))) in got.iter().zip(expected).enumerate() {
                let p = &self.parts[n];
                assert!(
                    (f64::from(g) - v).abs() <= e,
                    "{what}: part {n} ({} [{}, {}]) row {} value {}: {g:e}, expected {v:e} +- {e:e}",
                    p.dtype,
                    p.rows,
                    p.cols,
                    i / p.rows,
                    i % p.rows
                );
            }
        }
    }
}

fn one(p: P) -> Case {
    Case { parts: vec![p], rows: 1, ..Case::default() }
}

#[test]
fn every_type_in_both_precisions() {
    for dtype in DType::ALL {
        let len = dtype.block_len();
        for inputs in [Precision::F32, Precision::Q8] {
            for (rows, cols) in [(1, len), (21, 3 * len.max(32)), (40, 1024)] {
                let case = Case { inputs, ..one(part(dtype, rows, cols)) };
                case.check(&format!("{inputs:?}"));
            }
        }
    }
}

#[test]
fn q8_0_rows_of_every_alignment() {
    for cols in [64, 192, 384, 640, 2304] {
        for rows in [3, 40] {
            let case = Case { inputs: Precision::Q8, rows: 2, ..one(part(DType::Q8_0, rows, cols)) };
            case.check("Q8_0");
        }
    }
}

#[test]
fn float_rows_of_any_length() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for cols in [1, 7, 12, 40, 257, 514] {
            one(part(dtype, 5, cols)).check("odd");
        }
    }
}

#[test]
fn long_rows_are_rounded_in_pieces() {
    for (dtype, cols) in [(DType::Q4_K, 28672), (DType::Q8_0, 24 * 1024 + 32), (DType::Q6_K, 8960)] {
        let case = Case { inputs: Precision::Q8, norm: 1, ..one(part(dtype, 40, cols)) };
        case.check("long");
    }
}

#[test]
fn norms_of_the_input() {
    for norm in [1, 2] {
        for (dtype, inputs) in
            [(DType::F16, Precision::F32), (DType::Q4_K, Precision::F32), (DType::Q4_K, Precision::Q8)]
        {
            let case = Case { norm, inputs, rows: 2, ..one(part(dtype, 30, 768)) };
            case.check(&format!("norm {norm}, {inputs:?}"));
        }
    }
}

#[test]
fn parts_of_all_sorts() {
    let sorts = [
        (DType::Q4_K, 50, 512, true, Activation::Identity, 0),
        (DType::Q6_K, 20, 512, false, Activation::Tanh, 1),
        (DType::F16, 33, 100, true, Activation::Sigmoid, 2),
        (DType::Q8_0, 64, 96, false, Activation::SquaredRelu, 3),
        (DType::F32, 3, 512, true, Activation::SquaredRelu, 0),
        (DType::Q8_0, 17, 512, false, Activation::Identity, 0),
        (DType::BF16, 5, 100, true, Activation::Tanh, 2),
        (DType::Q5_1, 5, 96, false, Activation::Identity, 3),
    ];
    let parts =
        sorts.map(|(dtype, rows, cols, bias, activation, x)| P { dtype, rows, cols, bias, activation, x });
    for inputs in [Precision::F32, Precision::Q8] {
        Case { parts: parts.to_vec(), inputs, rows: 3, ..Case::default() }.check("eight parts");
    }
}

/// Not a bit of a part depends on the parts that share its launch, or on other rows.
#[test]
fn company_changes_nothing() {
    let sorts = [
        (DType::Q4_K, 50, 512, 0),
        (DType::Q8_0, 64, 96, 1),
        (DType::F16, 33, 100, 2),
        (DType::Q6_K, 20, 512, 0),
        (DType::MXFP4, 9, 512, 0),
        (DType::F32, 300, 96, 1),
    ];
    let parts = sorts.map(|(dtype, rows, cols, x)| P { x, ..part(dtype, rows, cols) });
    let case = Case {
        inputs: Precision::Q8,
        rows: 3,
        x: Some(|i| (i % 577 * 29 % 64) as f32 / 7.0 - 4.0),
        ..Case::default()
    };
    let together = Case { parts: parts.to_vec(), ..case.clone() }.run();
    for (p, got) in parts.iter().zip(&together.got) {
        let alone = Case { parts: vec![P { x: 0, ..*p }], rows: 1, ..case.clone() };
        assert_eq!(got[..p.rows], alone.run().got[0][..], "{}", p.dtype);
        assert_eq!(got[..], Case { rows: 3, ..alone }.run().got[0][..], "{}", p.dtype);
    }
}

#[test]
fn gates_residuals_and_outputs() {
    for (first, second) in [(DType::Q4_K, DType::Q4_K), (DType::Q8_0, DType::Q6_K), (DType::F16, DType::F16)]
    {
        for inputs in [Precision::F32, Precision::Q8] {
            let parts = vec![part(first, 37, 512), part(second, 37, 512)];
            let case = Case { parts, inputs, norm: 1, glu: true, rows: 2, ..Case::default() };
            case.check("gated");
        }
    }
    let case = Case { residual: true, rows: 3, inputs: Precision::Q8, ..one(part(DType::Q8_0, 70, 256)) };
    case.check("residual");
    let case = Case { select: Some(vec![4, 1]), rows: 2, norm: 1, ..one(part(DType::F16, 70, 256)) };
    case.check("select");
}

#[test]
fn zeros_are_skipped() {
    let sparse = |i: usize| if i % 37 == 5 { i as f32 % 11.0 - 4.0 } else { 0.0 };
    for (dtype, inputs) in
        [(DType::F16, Precision::F32), (DType::Q8_0, Precision::Q8), (DType::Q4_K, Precision::Q8)]
    {
        let plain = Case { inputs, rows: 2, x: Some(sparse), ..one(part(dtype, 45, 1024)) };
        let skipping = Case { skip_zeros: true, residual: true, ..plain.clone() };
        skipping.check("sparse");
        assert_eq!(Case { skip_zeros: true, ..plain.clone() }.run().got, plain.run().got);
    }
}

#[test]
fn extreme_inputs() {
    for dtype in [DType::F16, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
        for inputs in [Precision::F32, Precision::Q8] {
            for x in [
                |_| 0.0,
                |i| if i % 32 < 16 { 1e-42 } else { 0.0 },
                |i| if i == 77 { 3e5 } else { 1e-3 },
                |_| -2.5,
            ] as [fn(usize) -> f32; 4]
            {
                Case { inputs, x: Some(x), ..one(part(dtype, 14, 512)) }.check("extreme");
            }
        }
    }
}
