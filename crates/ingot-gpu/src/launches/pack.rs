//! Rows of activations as matrix units want them, with the norm or the gate that
//! comes before.

use super::linear_vec::glu_option;
use super::{Norm, Shape, Target};
use crate::launch::{Access, Kernel, Launch, Operand, What};
use ingot_plan::ops::Gate;

/// Most inputs of one launch.
pub const MOST_INPUTS: usize = 6;

/// Values of a row are a multiple of this; the twin is `kernels/include/packed.h`.
const STEP: usize = 32;
/// Bytes before a row's values.
const HEADER: usize = 32;
/// The same of groups of rows; the twin is `kernels/include/packed_few.h`.
const FEW_ROWS: usize = 16;
const FEW_STEP: usize = 128;
const FEW_THREADS: usize = 1024;
/// Most threads of a threadgroup, which packs a row.
const THREADS: usize = 256;

/// What is packed.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Equally wide inputs `[T, width]`, each packed for itself.
    Rows(Vec<What>),
    /// `f(gate) * up`
    Glu {
        /// `[T, width]`
        gate: What,
        /// `[T, width]`
        up: What,
        /// The function of the gate.
        f: Gate,
    },
}

/// Bytes of packed rows.
pub fn packed_bytes(rows: usize, width: usize, exact: bool) -> usize {
    let value = if exact { 4 } else { 2 };
    rows * (HEADER + value * width.next_multiple_of(STEP))
}

/// How rows are packed, by who reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// For `linear_tile`: row after row, as halves.
    Half,
    /// The same as floats.
    Float,
    /// For `linear_few`: groups of rows, as halves.
    Few,
}

impl Layout {
    /// Bytes of packed rows.
    pub fn bytes(self, rows: usize, width: usize) -> usize {
        match self {
            Self::Half | Self::Float => packed_bytes(rows, width, self == Self::Float),
            Self::Few => rows.div_ceil(FEW_ROWS) * FEW_ROWS * (4 + 2 * width.next_multiple_of(FEW_STEP)),
        }
    }
}

/// Packs all rows of the step, each input to a scratch of [`packed_bytes`].
///
/// # Panics
/// If there are not as many places as inputs, none, or more than [`MOST_INPUTS`].
pub fn pack(
    shape: &Shape,
    target: &Target,
    width: usize,
    input: &Input,
    norm: Option<Norm>,
    to: &[u32],
) -> Launch {
    let layout = if target.exact { Layout::Float } else { Layout::Half };
    pack_as(shape, layout, width, input, norm, to)
}

/// The same in some layout.
///
/// # Panics
/// As [`pack`].
pub fn pack_as(
    shape: &Shape,
    layout: Layout,
    width: usize,
    input: &Input,
    norm: Option<Norm>,
    to: &[u32],
) -> Launch {
    let (xs, outs) = match input {
        Input::Rows(xs) => (xs.clone(), xs.len()),
        Input::Glu { gate, up, .. } => (vec![*gate, *up], 1),
    };
    assert!((1..=MOST_INPUTS).contains(&outs) && outs == to.len(), "pack: {input:?} to {to:?}");
    let gate = match input {
        Input::Rows(_) => None,
        Input::Glu { f, .. } => Some(*f),
    };
    let unused = Operand::absent();
    let (kind, weight, bias, eps) = match norm {
        None => (0, None, None, 0.0),
        Some(Norm::Rms { weight, eps }) => (1, Some(weight), None, eps),
        Some(Norm::Layer { weight, bias, eps }) => (2, Some(weight), Some(bias), eps),
    };
    let most = if layout == Layout::Few { FEW_THREADS } else { THREADS };
    let threads = width.div_ceil(4).next_multiple_of(32).min(most);
    let kernel = Kernel::new("pack")
        .option("NORM", kind)
        .option("GLU", glu_option(gate))
        .option("FEW", layout == Layout::Few)
        .option("TILE_F32", layout == Layout::Float)
        .uint("WIDTH", width)
        .uint("THREADS", threads)
        .float("EPS", eps);
    let bytes = layout.bytes(shape.rows, width);
    // Of the last group of rows those are written that there are.
    let access = if layout == Layout::Few { Access::Update } else { Access::Write };
    let written = |&to: &u32| Operand { range: Some(0..bytes), access, ..Operand::read(What::Scratch(to)) };
    let fill =
        |some: Vec<Operand>| some.into_iter().chain(std::iter::repeat(unused.clone())).take(MOST_INPUTS);
    let vector =
        |id: Option<_>| id.map_or(unused.clone(), |id: ingot_plan::WeightId| Operand::read(id.into()));
    let operands = fill(xs.into_iter().map(Operand::read).collect())
        .chain([vector(weight), vector(bias)])
        .chain(fill(to.iter().map(written).collect()));
    Launch {
        kernel,
        operands: operands.collect(),
        grid: [shape.rows as u32, outs as u32, 1],
        threads: threads as u32,
    }
}
