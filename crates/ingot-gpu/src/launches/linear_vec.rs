//! `linear_vec`: matrix-vector products, one or several in a launch, with what
//! comes before and after them worked in.
//!
//! Geometry: a simdgroup has [`rows`](Geometry) rows at a time, `split` simdgroups
//! share them and take a part of the columns each. Only `split` decides in which
//! order a row is summed, so it depends on the matrix alone. A threadgroup that
//! rounds its input to 8 bits goes on to further rows, so that rounding is paid for once.

use super::block_types::{UnsupportedType, align, block};
use super::{Norm, Target};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_format::DType;
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{Plan, Precision, WeightId};

/// Most parts of a launch.
pub const PARTS: usize = 8;
/// Most parts with a bias in a launch.
pub const BIASES: usize = 4;

/// Simdgroups in a threadgroup. Sums of squares are summed in this many parts, so
/// it is one number for all launches.
pub(super) const SIMDGROUPS: usize = 8;
/// Most columns of an input row that threadgroup memory holds in 8 bits.
const PIECE: usize = 24 * 1024;

/// One product of a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `[T, C]`, or the rows that outputs are chosen from
    pub x: Operand,
    /// `[R, C]`
    pub weight: WeightId,
    /// `[R]`, F32
    pub bias: Option<WeightId>,
    /// Applied to the sum.
    pub activation: Activation,
    /// `[T, R]`
    pub out: What,
}

/// What one launch computes: `out_p = act_p(norm(x_p) W_p^T + bias_p)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear<'a> {
    /// The products, at most [`PARTS`], at most [`BIASES`] of them with a bias.
    pub parts: &'a [Part],
    /// Applied to the input, which all parts share then.
    pub norm: Option<Norm>,
    /// If given there are two parts of one shape and the first part's output is
    /// `gate(first) * second`; neither has a bias or an activation.
    pub glu: Option<Gate>,
    /// `[T, R]`, added to the only output.
    pub residual: Option<What>,
    /// If true the input has a row per token and the output a row per output.
    pub select: bool,
    /// The input has many zeros: weights that meet only these are not loaded.
    pub skip_zeros: bool,
    /// How packed weights see their input.
    pub inputs: Precision,
    /// Rows of the outputs.
    pub rows: usize,
}

/// The launch.
///
/// # Panics
/// If there are more parts or biases than a launch takes, or features that exclude
/// each other: the lowering puts launches together from checked plans.
pub fn linear_vec(plan: &Plan, target: &Target, l: &Linear) -> Result<Launch, UnsupportedType> {
    let glu = l.glu.is_some();
    let biases = l.parts.iter().filter(|p| p.bias.is_some()).count();
    assert!((1..=PARTS).contains(&l.parts.len()) && biases <= BIASES, "linear_vec: {} parts", l.parts.len());
    assert!(!glu || l.parts.len() == 2, "linear_vec: {} parts in a gated unit", l.parts.len());
    let extras = usize::from(l.residual.is_some()) + usize::from(l.select);
    assert!(
        extras == 0 || extras == 1 && (glu || l.parts.len() == 1),
        "linear_vec: residual {:?}, select {}, {} parts",
        l.residual,
        l.select,
        l.parts.len()
    );
    // Only the first few have room for a bias.
    let mut parts: Vec<&Part> = l.parts.iter().collect();
    parts.sort_by_key(|p| p.bias.is_none());
    let matrices: Vec<Matrix> = parts.iter().map(|p| Matrix::of(plan, p.weight)).collect();
    let launched = if glu { 1 } else { parts.len() };
    let cols = matrices.iter().map(|m| m.cols).max().unwrap_or(0);
    let geometry = Geometry::of(&matrices, cols, target, l.inputs, glu, l.rows);

    let mut kernel = Kernel::new("linear_vec")
        .option("PARTS", launched as i64)
        .option("ROWS", geometry.rows as i64)
        .option("SIMDGROUPS", SIMDGROUPS as i64)
        .option("NORM", norm_option(l.norm.as_ref()))
        .option("GLU", glu)
        .option("RESIDUAL", l.residual.is_some())
        .option("SELECT", l.select)
        .option("SKIP_ZEROS", l.skip_zeros)
        .option("INPUTS", inputs_option(l.inputs))
        .option("MAXCOLS", geometry.piece as i64)
        .float("EPS", l.norm.map_or(0.0, |norm| norm.eps()));
    for (n, (part, m)) in parts.iter().zip(&matrices).enumerate() {
        kernel = kernel
            .option(format!("P{n}_BLOCK"), block(m.dtype)?)
            .option(format!("P{n}_ALIGN"), align(m.dtype, m.cols))
            .option(format!("P{n}_ACT"), activation_option(part.activation))
            .option(format!("P{n}_BIAS"), part.bias.is_some());
    }
    for (n, names) in CONSTANTS.iter().enumerate() {
        let values = match (matrices.get(n), geometry.groups.get(n)) {
            (Some(m), Some(&groups)) => [m.rows, m.cols, m.split(l.inputs), groups],
            _ => [0, 0, 1, 0],
        };
        for (name, value) in names.iter().zip(values) {
            kernel = kernel.uint(name, value);
        }
    }
    let groups: usize = geometry.groups.iter().sum();
    let grid = [groups as u32, l.rows as u32, 1];
    Ok(Launch { kernel, operands: operands(&parts, l), grid, threads: 32 * SIMDGROUPS as u32 })
}

/// Names of the constants of each part.
const CONSTANTS: [[&str; 4]; PARTS] = [
    ["P0_ROWS", "P0_COLS", "P0_SPLIT", "P0_GROUPS"],
    ["P1_ROWS", "P1_COLS", "P1_SPLIT", "P1_GROUPS"],
    ["P2_ROWS", "P2_COLS", "P2_SPLIT", "P2_GROUPS"],
    ["P3_ROWS", "P3_COLS", "P3_SPLIT", "P3_GROUPS"],
    ["P4_ROWS", "P4_COLS", "P4_SPLIT", "P4_GROUPS"],
    ["P5_ROWS", "P5_COLS", "P5_SPLIT", "P5_GROUPS"],
    ["P6_ROWS", "P6_COLS", "P6_SPLIT", "P6_GROUPS"],
    ["P7_ROWS", "P7_COLS", "P7_SPLIT", "P7_GROUPS"],
];

/// Weights, inputs and outputs of 8 parts, biases of 4, the norm, and one more.
fn operands(parts: &[&Part], l: &Linear) -> Vec<Operand> {
    let [unused_read, unused_write] = [Operand::read(parts[0].x.what), Operand::write(parts[0].out)]
        .map(|o| Operand { range: Some(0..0), ..o });
    let (weight, bias) = match l.norm {
        None => (None, None),
        Some(Norm::Rms { weight, .. }) => (Some(weight), None),
        Some(Norm::Layer { weight, bias, .. }) => (Some(weight), Some(bias)),
    };
    let more = match l.residual {
        Some(residual) => Some(residual),
        None => l.select.then_some(What::Step),
    };
    // With a gated unit the second matrix has the input and the output of the first.
    let launched = if l.glu.is_some() { 1 } else { parts.len() };
    let read = |what: Option<What>| what.map_or(unused_read.clone(), Operand::read);
    let weights = (0..PARTS).map(|n| read(parts.get(n).map(|p| p.weight.into())));
    let nth = |n: usize| parts[..launched].get(n);
    weights
        .chain((0..PARTS).map(|n| nth(n).map_or(unused_read.clone(), |p| p.x.clone())))
        .chain((0..PARTS).map(|n| nth(n).map_or(unused_write.clone(), |p| Operand::write(p.out))))
        .chain((0..BIASES).map(|n| read(nth(n).and_then(|p| p.bias).map(What::from))))
        .chain([read(weight.map(What::from)), read(bias.map(What::from)), read(more)])
        .collect()
}

/// A matrix of a launch.
pub(super) struct Matrix {
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Matrix {
    /// The matrix, or the matrices of experts, which are all alike.
    pub(super) fn of(plan: &Plan, id: WeightId) -> Self {
        let w = plan.weight(id);
        let [.., rows, cols] = w.shape[..] else { panic!("{} {:?} is not a matrix", w.name, w.shape) };
        Self { dtype: w.dtype, rows, cols }
    }

    fn packed(&self) -> bool {
        self.dtype.block_len() > 1
    }

    /// How many simdgroups share a row. Each should have several loads to do, or
    /// ending a row costs more than reading it; but short matrices do not have
    /// enough rows for all cores.
    pub(super) fn split(&self, inputs: Precision) -> usize {
        let unit = match (self.dtype, inputs) {
            (DType::F32 | DType::F16 | DType::BF16, _) => 8,
            (DType::Q8_0 | DType::Q2_K | DType::Q3_K, _) => 16,
            _ => 32,
        };
        let loads = self.cols.div_ceil(32 * unit);
        let mut split = 1;
        while 2 * split <= SIMDGROUPS && 2 * split <= loads {
            if loads / (2 * split) < 4 && self.rows * split >= 6144 {
                break;
            }
            split *= 2;
        }
        split
    }
}

/// Sizes of a launch that do not change results.
pub(super) struct Geometry {
    /// Rows of a simdgroup at a time.
    pub(super) rows: usize,
    /// Columns of the input that are rounded at a time.
    pub(super) piece: usize,
    /// Threadgroups of each part.
    pub(super) groups: Vec<usize>,
}

impl Geometry {
    /// For matrices that are launched together, or one after the other (`gated`), on
    /// input rows of at most `cols` columns, `times` times in the grid.
    pub(super) fn of(
        matrices: &[Matrix],
        cols: usize,
        target: &Target,
        inputs: Precision,
        gated: bool,
        times: usize,
    ) -> Self {
        let rounded = inputs == Precision::Q8 && matrices.iter().any(Matrix::packed);
        let tall = matrices.iter().all(|m| m.rows >= 16384);
        let rows = if tall && rounded && !gated { 4 } else { 2 };
        let sets = |m: &Matrix| m.rows.div_ceil(SIMDGROUPS / m.split(inputs) * rows);
        let launched = if gated { &matrices[..1] } else { matrices };
        let total: usize = launched.iter().map(sets).sum();
        // Threadgroups that a core holds at a time, as INGOT_GROUPS in linear.h.
        let resident = if gated || rows > 2 { 2 } else { 3 };
        let places = (target.cores * resident).div_ceil(times).max(1);
        let groups = launched.iter().map(|m| {
            let sets = sets(m);
            if !rounded || total <= places {
                return sets;
            }
            // Its share of the places, in such a number that all have the same to do.
            let share = (sets * places / total).max(1);
            sets.div_ceil(sets.div_ceil(share))
        });
        Self { rows, piece: if rounded { piece(cols) } else { 1024 }, groups: groups.collect() }
    }
}

/// How many columns of a row are rounded at a time: all if threadgroup memory holds
/// them, else equal parts; a multiple of 1024.
fn piece(cols: usize) -> usize {
    let pieces = cols.div_ceil(PIECE).max(1);
    cols.div_ceil(pieces).next_multiple_of(1024).max(1024)
}

fn norm_option(norm: Option<&Norm>) -> i64 {
    match norm {
        None => 0,
        Some(Norm::Rms { .. }) => 1,
        Some(Norm::Layer { .. }) => 2,
    }
}

pub(super) fn inputs_option(inputs: Precision) -> i64 {
    match inputs {
        Precision::F32 => 0,
        Precision::Q8 => 1,
    }
}

fn activation_option(activation: Activation) -> i64 {
    match activation {
        Activation::Identity => 0,
        Activation::Tanh => 1,
        Activation::Sigmoid => 2,
        Activation::SquaredRelu => 3,
    }
}

impl Norm {
    /// What is added before the root.
    pub(super) fn eps(&self) -> f32 {
        match *self {
            Self::Rms { eps, .. } | Self::Layer { eps, .. } => eps,
        }
    }
}
