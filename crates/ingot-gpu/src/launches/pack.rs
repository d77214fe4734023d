//! Rows of activations as matrix units want them, with the norm or the gate that
//! comes before.

use super::linear_vec::glu_option;
use super::{Norm, Shape, Target};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::Gate;

/// Most inputs of one launch.
pub const MOST_INPUTS: usize = 6;

/// Values of a row are a multiple of this; the twin is `kernels/include/packed.h`.
const STEP: usize = 32;
/// The same in the form of `kernels/include/wide.h`.
const WIDE_STEP: usize = 64;
/// Bytes before a row's values.
const HEADER: usize = 32;
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

/// Bytes of packed rows.
pub fn packed_bytes(target: &Target, rows: usize, width: usize) -> usize {
    let value = if target.exact { 4 } else { 2 };
    if target.is_wide(rows) {
        let padded = rows.next_multiple_of(wide_tile(target, rows));
        return padded * (4 + value * width.next_multiple_of(WIDE_STEP));
    }
    rows * (HEADER + value * width.next_multiple_of(STEP))
}

/// Tokens of a tile in the form of `kernels/include/wide.h`; its `wide_tokens` is the twin.
pub(super) fn wide_tile(target: &Target, rows: usize) -> usize {
    if rows > 256 && !target.exact { 256 } else { 128 }
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
    let padded = width.next_multiple_of(if target.is_wide(shape.rows) { WIDE_STEP } else { STEP });
    let most = padded.div_ceil(VALUES).next_multiple_of(32).clamp(THREADS, MOST_THREADS);
    let threads = padded.div_ceil(4).next_multiple_of(32).min(most);
    let kernel = Kernel::new("pack")
        .option("NORM", kind)
        .option("GLU", glu_option(gate))
        .option("TILE_F32", target.exact)
        .option("WIDE", target.is_wide(shape.rows))
        .option("ITEMS", padded.div_ceil(4 * threads) as i64)
        .uint("WIDTH", width)
        .uint("THREADS", threads)
        .float("EPS", eps);
    let bytes = packed_bytes(target, shape.rows, width);
    // Tokens behind the last leave their places as they are.
    let access = if target.is_wide(shape.rows) { Operand::update } else { Operand::write };
    let written = |&to: &u32| Operand { range: Some(0..bytes), ..access(What::Scratch(to)) };
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
