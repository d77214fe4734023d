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
/// The same in the form of `kernels/include/wide.h`.
const WIDE_STEP: usize = 64;
/// Bytes before a row's values.
const HEADER: usize = 32;
/// The same of groups of rows; the twin is `kernels/include/packed_few.h`.
const FEW_ROWS: usize = 16;
const FEW_STEP: usize = 128;
/// Threads of a threadgroup, which packs a row: enough for eight times four values each.
const THREADS: usize = 256;
const MOST_THREADS: usize = 1024;
const VALUES: usize = 32;

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

/// How rows are packed, by who reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// For `linear_tile`: row after row, as halves.
    Half,
    /// The same as floats.
    Float,
    /// For `linear_tile` with WIDE: columns after columns of whole tiles of rows, as halves.
    Wide,
    /// The same with what halves leave.
    WideExact,
    /// For `linear_few`: groups of rows, as halves.
    Few,
}

impl Layout {
    /// That of `linear_tile`.
    pub fn of_tiles(target: &Target) -> Self {
        match (target.wide, target.exact) {
            (true, true) => Self::WideExact,
            (true, false) => Self::Wide,
            (false, true) => Self::Float,
            (false, false) => Self::Half,
        }
    }

    /// Bytes of packed rows.
    pub fn bytes(self, rows: usize, width: usize) -> usize {
        let padded = self.padded(width);
        match self {
            Self::Half => rows * (HEADER + 2 * padded),
            Self::Float => rows * (HEADER + 4 * padded),
            Self::Wide => rows.next_multiple_of(wide_tile(false, rows)) * (4 + 2 * padded),
            Self::WideExact => rows.next_multiple_of(wide_tile(true, rows)) * (4 + 4 * padded),
            Self::Few => rows.next_multiple_of(FEW_ROWS) * (4 + 2 * padded),
        }
    }

    /// Values of a row with the zeros behind them.
    fn padded(self, width: usize) -> usize {
        width.next_multiple_of(match self {
            Self::Half | Self::Float => STEP,
            Self::Wide | Self::WideExact => WIDE_STEP,
            Self::Few => FEW_STEP,
        })
    }

    /// Of the last tile or group of rows those are written that there are.
    fn access(self) -> Access {
        match self {
            Self::Half | Self::Float => Access::Write,
            Self::Wide | Self::WideExact | Self::Few => Access::Update,
        }
    }
}

/// Tokens of a tile in the form of `kernels/include/wide.h`; `wide_tokens` of packed.h is the twin.
pub(super) fn wide_tile(exact: bool, rows: usize) -> usize {
    if rows > 256 && !exact { 256 } else { 128 }
}

/// Packs all rows of the step, each input to a scratch of [`Layout::bytes`].
///
/// # Panics
/// If there are not as many places as inputs, none, or more than [`MOST_INPUTS`].
pub fn pack(
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
    let padded = layout.padded(width);
    // Few rows leave cores to spare.
    let least = if layout == Layout::Few { MOST_THREADS } else { THREADS };
    let most = padded.div_ceil(VALUES).next_multiple_of(32).clamp(least, MOST_THREADS);
    let threads = padded.div_ceil(4).next_multiple_of(32).min(most);
    let kernel = Kernel::new("pack")
        .option("NORM", kind)
        .option("GLU", glu_option(gate))
        .option("FEW", layout == Layout::Few)
        .option("WIDE", matches!(layout, Layout::Wide | Layout::WideExact))
        .option("TILE_F32", matches!(layout, Layout::Float | Layout::WideExact))
        .option("ITEMS", padded.div_ceil(4 * threads) as i64)
        .uint("WIDTH", width)
        .uint("THREADS", threads)
        .float("EPS", eps);
    let (bytes, access) = (layout.bytes(shape.rows, width), layout.access());
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
