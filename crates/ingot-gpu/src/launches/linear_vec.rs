//! `linear_vec`: matrix-vector products, one or several in a launch, with what
//! comes before and after them worked in.
//!
//! Geometry: a simdgroup has [`rows`](Sizes::rows) rows at a time, `split` simdgroups
//! share them and take a part of the columns each. Only `split` decides in which
//! order a row is summed, so it depends on the matrix alone. Nothing depends on how
//! many rows the input has. As many threadgroups are launched as the GPU holds at a
//! time; they go on to further rows, so that the input is rounded or normed once and
//! loads never pause.

use super::block_types::{UnsupportedType, stored};
use super::{Norm, Target};
use crate::launch::{Kernel, Launch, Operand, What};
use crate::tuning::{Choice, Tuning, TuningKey};
use ingot_format::DType;
use ingot_plan::ops::{Activation, Gate};
use ingot_plan::{Plan, Precision, WeightId};

/// Most parts of a launch.
pub const PARTS: usize = 8;
/// Most parts with a bias in a launch.
pub const BIASES: usize = 4;

/// Simdgroups in a threadgroup, where a launch has no reason for more.
pub(super) const SIMDGROUPS: usize = 8;
/// Simdgroups on a core at a time where threadgroups are wide: what leaves threads enough registers.
const CORE_SIMDGROUPS: usize = 32;
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
    /// The input has many zeros: weights that meet only these are not loaded. (Not of types in
    /// blocks: there a lane loads so many at a time that some always meet another value.)
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
    linear_vec_with(plan, target, l, &|_| ())
}

/// The same with other sizes than the usual, which `change` may change: for benchmarks.
pub fn linear_vec_with(
    plan: &Plan,
    target: &Target,
    l: &Linear,
    change: &dyn Fn(&mut Sizes),
) -> Result<Launch, UnsupportedType> {
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
    let matrices: Vec<Matrix> = parts.iter().map(|p| Matrix::of(plan, target, p.weight)).collect();
    let launched = if glu { 1 } else { parts.len() };
    let cols = matrices.iter().map(|m| m.cols).max().unwrap_or(0);
    let geometry = |sizes: &Sizes| Geometry::of(&matrices, cols, target, l.inputs, glu, 1, sizes);
    // Whatever was measured on the device, so that it changes no result: simdgroups decide in which
    // order squares are summed.
    let usual = |n: &&usize| geometry(&Sizes::wide(&matrices, l.inputs, &Tuning::default(), **n));
    let mut sizes = match wide(&matrices, l.inputs, glu, target) {
        [] => Sizes::of(&matrices, l.inputs, glu, &target.tuning),
        several => {
            let best = several.iter().rev().max_by_key(|n| usual(n).busy(&matrices, target.cores));
            Sizes::wide(&matrices, l.inputs, &target.tuning, *best.expect("there are some"))
        }
    };
    change(&mut sizes);
    let geometry = geometry(&sizes);

    let mut kernel = geometry
        .kernel("linear_vec")
        .option("PARTS", launched as i64)
        .option("NORM", norm_option(l.norm.as_ref()))
        .option("GLU", glu_option(l.glu))
        .option("RESIDUAL", l.residual.is_some())
        .option("SELECT", l.select)
        .option("SKIP_ZEROS", l.skip_zeros && !matrices.iter().any(Matrix::packed))
        .float("EPS", l.norm.map_or(0.0, |norm| norm.eps()));
    for (n, (part, m)) in parts.iter().zip(&matrices).enumerate() {
        let (block, align) = stored(m.dtype, m.cols, m.eights)?;
        kernel = kernel
            .option(format!("P{n}_BLOCK"), block)
            .option(format!("P{n}_ALIGN"), align)
            .option(format!("P{n}_ACT"), activation_option(part.activation))
            .option(format!("P{n}_BIAS"), part.bias.is_some());
    }
    for (n, names) in CONSTANTS.iter().enumerate() {
        let values = match (matrices.get(n), geometry.groups.get(n)) {
            (Some(m), Some(&groups)) => [m.rows, m.cols, geometry.split(m), groups],
            _ => [0, 0, 1, 0],
        };
        for (name, value) in names.iter().zip(values) {
            kernel = kernel.uint(name, value);
        }
    }
    let groups: usize = geometry.groups.iter().sum();
    let grid = [groups as u32, l.rows as u32, 1];
    Ok(Launch { kernel, operands: operands(&parts, l), grid, threads: geometry.threads() })
}

/// From how many simdgroups a launch's threadgroups can be chosen if they are to be wide; of
/// numbers that leave cores equally busy the first is better. None if it is not known to help:
/// that was measured on devices with memory of their own, and for these types.
fn wide(matrices: &[Matrix], inputs: Precision, gated: bool, target: &Target) -> &'static [usize] {
    use DType::{F16, F32, Q4_K, Q6_K, Q8_0};
    let all = |known: &[DType]| matrices.iter().all(|m| known.contains(&m.dtype));
    let any = |dtype: DType| matrices.iter().any(|m| m.dtype == dtype);
    match inputs {
        _ if gated || !target.eights => &[],
        // Few rows would not be enough for all cores.
        _ if matrices.iter().map(|m| m.rows).sum::<usize>() < 2048 => &[],
        _ if all(&[F16]) => &[16],
        Precision::Q8 if any(Q4_K) && all(&[F16, F32, Q4_K, Q6_K]) => &[16, 24],
        Precision::Q8 if any(Q8_0) && all(&[F16, F32, Q8_0]) => &[16],
        _ => &[],
    }
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
    pub(super) eights: bool,
}

impl Matrix {
    /// The matrix, or the matrices of experts, which are all alike.
    pub(super) fn of(plan: &Plan, target: &Target, id: WeightId) -> Self {
        let w = plan.weight(id);
        let [.., rows, cols] = w.shape[..] else { panic!("{} {:?} is not a matrix", w.name, w.shape) };
        Self { dtype: w.dtype, rows, cols, eights: target.eights }
    }

    fn packed(&self) -> bool {
        self.dtype.block_len() > 1
    }

    /// Units of a row; a unit is what a lane loads in one go.
    fn units(&self, inputs: Precision) -> usize {
        match (self.dtype, inputs) {
            (DType::F32 | DType::F16 | DType::BF16, _) => self.cols.div_ceil(8),
            // 16 bytes of a row, in most cases.
            (DType::Q8_0, Precision::Q8) if !self.eights => (self.cols / 32 * 34).div_ceil(16),
            (DType::Q8_0 | DType::Q2_K | DType::Q3_K, _) => self.cols / 16,
            _ => self.cols / 32,
        }
    }

    /// How many simdgroups share a row. Lanes should rarely be without a unit in the last
    /// round of loads; of the numbers that are equal in this the largest.
    fn split(&self, inputs: Precision, most: usize) -> usize {
        let units = self.units(inputs);
        let rounds = |split: usize| units.div_ceil(32 * split);
        // As many as have something to load.
        let many = |enough: usize| {
            let some = |s: &usize| *s <= enough.min(most) && *s < 2 * rounds(1);
            [4, 2].into_iter().find(some).unwrap_or(1)
        };
        if (self.dtype, inputs) == (DType::Q8_0, Precision::Q8) {
            // Here it is better to have a row in one round of loads ahead, or a few whole ones.
            return many(if units <= 192 || self.rows >= 65536 { 2 } else { 4 });
        }
        // Of few or short rows many lanes: there are not enough simdgroups else.
        if self.rows <= 1024 || !self.packed() && units <= 128 {
            return many(4);
        }
        // An input in f32 stays in registers over a few rounds.
        let (enough, least) = if self.packed() { (4, 1) } else { (8, 4) };
        let allowed = |s: &usize| *s <= enough.min(most) && (*s == 1 || rounds(*s) >= least);
        let idle = |s: &usize| (rounds(*s) * s, 8 - s);
        [1, 2, 4, 8].into_iter().filter(allowed).min_by_key(idle).unwrap_or(1)
    }
}

/// Sizes that are chosen by what is fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of a simdgroup at a time, a power of two.
    pub rows: usize,
    /// Units in flight per lane and row.
    pub ahead: usize,
    /// Threadgroups on a core at a time: more of them have fewer registers each.
    pub resident: usize,
    /// Most simdgroups that share a row.
    pub split: usize,
    /// Simdgroups of a threadgroup. Its input is rounded once for all of them, and sums of
    /// squares are summed in so many parts.
    pub simdgroups: usize,
}

impl Sizes {
    /// What was measured on this device, or else what was fastest on an H200 without
    /// asking for more registers than there are. Matrices of a launch share what the most
    /// demanding of them can have.
    pub(super) fn of(matrices: &[Matrix], inputs: Precision, gated: bool, tuning: &Tuning) -> Self {
        let one = |m: &Matrix| {
            let measured = tuning.get(TuningKey { dtype: m.dtype, inputs, gated });
            measured.map_or(Self::usual(m.dtype, inputs, gated), Self::from)
        };
        matrices.iter().map(one).reduce(Self::least).expect("a launch has a matrix")
    }

    /// The same for threadgroups of more simdgroups, and threads with fewer registers.
    fn wide(matrices: &[Matrix], inputs: Precision, tuning: &Tuning, simdgroups: usize) -> Self {
        let resident = CORE_SIMDGROUPS / simdgroups;
        let one = |m: &Matrix| {
            let (rows, ahead) = match (m.dtype, inputs) {
                (DType::Q8_0, Precision::Q8) => (2, 3),
                (DType::F16, _) | (DType::Q4_K, Precision::Q8) => (2, 2),
                _ => (2, 1),
            };
            let usual = Self { rows, ahead, resident, split: SIMDGROUPS, simdgroups };
            let measured = |c: Choice| Self { rows: c.rows.into(), ahead: c.ahead.into(), ..usual };
            tuning.get(TuningKey { dtype: m.dtype, inputs, gated: false }).map_or(usual, measured)
        };
        matrices.iter().map(one).reduce(Self::least).expect("a launch has a matrix")
    }

    /// What both can have.
    fn least(a: Self, b: Self) -> Self {
        Self {
            rows: a.rows.min(b.rows),
            ahead: a.ahead.min(b.ahead),
            resident: a.resident.min(b.resident),
            ..a
        }
    }

    fn usual(dtype: DType, inputs: Precision, gated: bool) -> Self {
        // Two matrices of a gated unit are read together.
        let both = if gated { 2 } else { 1 };
        let (rows, ahead) = match (dtype, inputs) {
            (DType::F16 | DType::BF16, _) => (4 / both, 2),
            (DType::F32, _) => (2, 2 / both),
            (_, Precision::F32) => (2 / both, 1),
            (DType::Q8_0, _) => (4 / both, 3),
            (DType::Q4_K, _) => (4, 1),
            (DType::MXFP4, _) => (2 / both, 1),
            _ => (4 / both, 1),
        };
        Self { rows, ahead, resident: 2, split: SIMDGROUPS, simdgroups: SIMDGROUPS }
    }
}

impl From<Choice> for Sizes {
    fn from(choice: Choice) -> Self {
        let [rows, ahead, resident] = [choice.rows, choice.ahead, choice.resident].map(usize::from);
        Self { rows, ahead, resident, split: SIMDGROUPS, simdgroups: SIMDGROUPS }
    }
}

/// Sizes of a launch.
pub(super) struct Geometry {
    sizes: Sizes,
    inputs: Precision,
    /// Columns of the input that are rounded at a time.
    piece: usize,
    /// Threadgroups of each part.
    pub(super) groups: Vec<usize>,
}

impl Geometry {
    /// For matrices that are launched together, or as a gated unit, on input rows of at
    /// most `cols` columns, `times` times in the grid.
    pub(super) fn of(
        matrices: &[Matrix],
        cols: usize,
        target: &Target,
        inputs: Precision,
        gated: bool,
        times: usize,
        sizes: &Sizes,
    ) -> Self {
        let rounded = inputs == Precision::Q8 && matrices.iter().any(Matrix::packed);
        let launched = if gated { &matrices[..1] } else { matrices };
        let mut sizes = *sizes;
        let sets = |m: &Matrix, sizes: &Sizes| {
            m.rows.div_ceil(sizes.simdgroups / m.split(inputs, sizes.split) * sizes.rows)
        };
        let all = |sizes: &Sizes| launched.iter().map(|m| sets(m, sizes)).sum::<usize>();
        // Small matrices: rather few rows a simdgroup than cores without any.
        while sizes.rows > 1 && all(&sizes) * times < target.cores {
            sizes.rows /= 2;
        }
        let (total, places) = (all(&sizes), (target.cores * sizes.resident).div_ceil(times));
        let groups = launched.iter().map(|m| {
            let sets = sets(m, &sizes);
            if total <= places {
                return sets;
            }
            // Its share of the places, in such a number that all have the same to do.
            let share = (sets * places / total).max(1);
            sets.div_ceil(sets.div_ceil(share))
        });
        let groups = groups.collect();
        Self { sizes, inputs, piece: if rounded { piece(cols) } else { 1024 }, groups }
    }

    /// The kernel with the options that all linear kernels have.
    pub(super) fn kernel(&self, name: &'static str) -> Kernel {
        Kernel::new(name)
            .option("ROWS", self.sizes.rows as i64)
            .option("AHEAD", self.sizes.ahead as i64)
            .option("RESIDENT", self.sizes.resident as i64)
            .option("SIMDGROUPS", self.sizes.simdgroups as i64)
            .option("INPUTS", inputs_option(self.inputs))
            .option("MAXCOLS", self.piece as i64)
    }

    /// How busy the cores are on average while the one with most to do works, in hundredths.
    fn busy(&self, matrices: &[Matrix], cores: usize) -> usize {
        let mut cores = vec![0; cores];
        let mut n = 0;
        for (m, &groups) in matrices.iter().zip(&self.groups) {
            let set = self.sizes.simdgroups / self.split(m) * self.sizes.rows;
            let sets = m.rows.div_ceil(set);
            for group in 0..groups {
                let core = n % cores.len();
                cores[core] += (sets - group).div_ceil(groups) * set * m.cols;
                n += 1;
            }
        }
        let most = cores.iter().max().copied().unwrap_or(0).max(1);
        100 * cores.iter().sum::<usize>() / (most * cores.len())
    }

    /// Threads of a threadgroup.
    pub(super) fn threads(&self) -> u32 {
        32 * self.sizes.simdgroups as u32
    }

    /// How many simdgroups share a row of a matrix.
    pub(super) fn split(&self, m: &Matrix) -> usize {
        m.split(self.inputs, self.sizes.split)
    }
}

/// How many columns of a row are rounded at a time: all if threadgroup memory holds
/// them, else equal parts; a multiple of 1024.
fn piece(cols: usize) -> usize {
    let pieces = cols.div_ceil(PIECE).max(1);
    cols.div_ceil(pieces).next_multiple_of(1024).max(1024)
}

/// Which gate, as the kernels number them.
pub(super) fn glu_option(gate: Option<Gate>) -> i64 {
    match gate {
        None => 0,
        Some(Gate::Silu) => 1,
        Some(Gate::Gelu) => 2,
    }
}

fn norm_option(norm: Option<&Norm>) -> i64 {
    match norm {
        None => 0,
        Some(Norm::Rms { .. }) => 1,
        Some(Norm::Layer { .. }) => 2,
    }
}

fn inputs_option(inputs: Precision) -> i64 {
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
