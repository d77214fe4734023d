//! Matrix products: all parts of an op are one piece of parallel work.

use super::{CpuExecutor, Machine};
use crate::linear::{Input, TILE};
use crate::q8::Q8;
use crate::shared::Out;
use crate::{isa::Enabled, vector};
use ingot_format::Tensor;
use ingot_plan::Precision;
use ingot_plan::ops::{Activation, Linear};
use std::ops::Range;

/// Memory kept from op to op.
#[derive(Default)]
pub(super) struct Scratch {
    rounded: Vec<Q8>,
    parts: Vec<Part>,
}

/// One product of an op, as far as it can outlive the op.
struct Part {
    out: Out,
    /// Its tiles in the count over all parts.
    tiles: Range<usize>,
}

/// True if products with this tensor take rounded activations.
pub(super) fn takes_q8(tensor: &Tensor, inputs: Precision) -> bool {
    inputs == Precision::Q8 && tensor.dtype().block_len() > 1
}

/// Rounds `x` `[T, C]`, C a multiple of 32, to 8 bits.
pub(super) fn round<'a>(machine: &Machine, x: &[f32], rounded: &'a mut Vec<Q8>) -> &'a [Q8] {
    const GROUP: usize = 32;
    const PIECE: usize = 32;
    let groups = x.len() / GROUP;
    if rounded.len() < groups {
        rounded.resize(groups, Q8::default());
    }
    let out = Rounded(rounded.as_mut_ptr());
    machine.split(groups.div_ceil(PIECE), PIECE * GROUP, |pieces| {
        let range = pieces.start * PIECE..groups.min(pieces.end * PIECE);
        // SAFETY: the pieces are distinct and inside of the vector.
        let out = unsafe { std::slice::from_raw_parts_mut(out.at(range.start), range.len()) };
        vector::quantize(machine.isa, &x[range.start * GROUP..range.end * GROUP], out);
    });
    &rounded[..groups]
}

#[derive(Clone, Copy)]
struct Rounded(*mut Q8);
// SAFETY: workers write distinct pieces.
unsafe impl Sync for Rounded {}

impl Rounded {
    /// # Safety
    /// `i` is inside of the vector.
    unsafe fn at(&self, i: usize) -> *mut Q8 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.add(i) }
    }
}

/// Adds a bias to values and applies an activation.
fn finish(isa: Enabled, values: &mut [f32], bias: Option<&[f32]>, activation: Activation) {
    if let Some(bias) = bias {
        vector::add_scaled(isa, 1.0, bias, values);
    }
    match activation {
        Activation::Identity => {}
        Activation::Sigmoid => vector::sigmoid_in_place(isa, values),
        Activation::SquaredRelu => vector::squared_relu_in_place(isa, values),
        Activation::Tanh => values.iter_mut().for_each(|x| *x = activation.apply(*x)),
    }
}

impl CpuExecutor {
    pub(super) fn linear(&mut self, op: &Linear) {
        let Scratch { rounded, parts } = &mut self.linear;
        let (machine, weights) = (&self.machine, &self.weights);
        let tokens = self.workspace.rows(op.x);
        if tokens == 0 {
            return;
        }
        parts.clear();
        let mut tiles = 0;
        for part in &op.parts {
            let out = self.workspace.out(part.out);
            let first = tiles;
            tiles += out.width().div_ceil(TILE);
            parts.push(Part { out, tiles: first..tiles });
        }
        let x = self.workspace.all(op.x);
        let round_x = op.parts.iter().any(|p| takes_q8(weights.tensor(p.weight), op.inputs));
        let rounded = match self.workspace.rounded(op.x) {
            Some(rounded) => rounded,
            None if round_x => round(machine, x, rounded),
            None => &[],
        };
        let parts = &*parts;
        machine.split(tiles, TILE * self.workspace.width(op.x) * tokens, |range| {
            for (of, Part { out, tiles }) in op.parts.iter().zip(parts) {
                let mine = range.start.max(tiles.start)..range.end.min(tiles.end);
                if mine.is_empty() {
                    continue;
                }
                let rows =
                    (mine.start - tiles.start) * TILE..((mine.end - tiles.start) * TILE).min(out.width());
                let tensor = weights.tensor(of.weight);
                let x = if takes_q8(tensor, op.inputs) { Input::Q8(rounded) } else { Input::Floats(x) };
                // SAFETY: every tile is in exactly one range, and the parts' outputs
                // are in regions of their own.
                unsafe { weights.matrix(of.weight, 0).multiply(machine.isa, rows.clone(), x, *out) };
                let bias = of.bias.map(|b| &weights.vector(b)[rows.clone()]);
                if bias.is_some() || of.activation != Activation::Identity {
                    for t in 0..tokens {
                        // SAFETY: as above.
                        let values = unsafe { out.part(t, rows.start, rows.len()) };
                        finish(machine.isa, values, bias, of.activation);
                    }
                }
            }
        });
    }
}
