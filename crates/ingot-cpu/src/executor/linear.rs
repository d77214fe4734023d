//! Matrix products: all parts of an op, or of several, are one piece of parallel
//! work.

use super::workspace::Workspace;
use super::{CpuExecutor, Machine, Weights};
use crate::blocks::GROUP;
use crate::linear::{Active, Input, Layout, MOST_ACTIVE};
use crate::q8::Q8;
use crate::shared::Out;
use crate::{isa::Enabled, vector};
use ingot_format::Tensor;
use ingot_plan::ops::{self, Activation, Linear};
use ingot_plan::{Buf, Precision};
use std::ops::Range;

/// Memory kept from op to op.
#[derive(Default)]
pub(super) struct Scratch {
    rounded: Vec<Q8>,
    inputs: Vec<Input8>,
    parts: Vec<Part>,
    /// By part.
    outs: Vec<Out>,
    /// By part, for those that multiply few tokens with weights in columns.
    active: Vec<Active>,
}

/// An input that nobody has rounded yet.
struct Input8 {
    buf: Buf,
    /// Its groups among all that are rounded.
    groups: Range<usize>,
}

/// One product, as far as it can outlive its op.
struct Part {
    /// Which op, and which of its parts.
    of: (usize, usize),
    /// Rows of weights.
    rows: usize,
    /// Rows that are handed out together.
    unit: usize,
    /// How often it has these in the count over all parts.
    units: Range<usize>,
}

impl Part {
    /// Rows of some units, given in the count over all parts: those that are its own.
    fn rows(&self, units: &Range<usize>) -> Range<usize> {
        let row = |unit: usize| {
            let unit = unit.clamp(self.units.start, self.units.end) - self.units.start;
            self.rows.min(unit * self.unit)
        };
        row(units.start)..row(units.end)
    }
}

/// The parts of ops that run together, how many units they have, and how many
/// multiplications one of these is for a token.
fn divide(weights: &Weights, workspace: &Workspace, ops: &[Linear], parts: &mut Vec<Part>) -> (usize, usize) {
    parts.clear();
    let (mut units, mut work) = (0, 0);
    for (o, op) in ops.iter().enumerate() {
        for (p, part) in op.parts.iter().enumerate() {
            let (of, rows) = ((o, p), workspace.width(part.out));
            let unit = weights.matrix(part.weight, 0).unit();
            let first = units;
            units += rows.div_ceil(unit);
            work += rows * workspace.width(op.x);
            parts.push(Part { of, rows, unit, units: first..units });
        }
    }
    (units, work / units)
}

/// For so many tokens at most, products wait for memory.
const FEW: usize = 16;

/// True if products with this tensor take rounded activations.
pub(super) fn takes_q8(tensor: &Tensor, inputs: Precision) -> bool {
    inputs == Precision::Q8 && tensor.dtype().block_len() > 1
}

/// Rounds `x` `[T, C]`, C a multiple of 32, to 8 bits.
pub(super) fn round<'a>(machine: &Machine, x: &[f32], rounded: &'a mut Vec<Q8>) -> &'a [Q8] {
    round_at(machine, x, rounded, 0);
    &rounded[..x.len() / GROUP]
}

/// The same, to where the `first` group is.
fn round_at(machine: &Machine, x: &[f32], rounded: &mut Vec<Q8>, first: usize) {
    const PIECE: usize = 32;
    let groups = x.len() / GROUP;
    if rounded.len() < first + groups {
        rounded.resize(first + groups, Q8::default());
    }
    let out = Rounded(rounded[first..].as_mut_ptr());
    machine.split(groups.div_ceil(PIECE), PIECE * GROUP, |pieces| {
        let range = pieces.start * PIECE..groups.min(pieces.end * PIECE);
        // SAFETY: the pieces are distinct and inside of the vector.
        let out = unsafe { std::slice::from_raw_parts_mut(out.at(range.start), range.len()) };
        vector::quantize(machine.isa, &x[range.start * GROUP..range.end * GROUP], out);
    });
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
        Activation::Tanh => vector::tanh_in_place(isa, values),
    }
}

impl CpuExecutor {
    /// Runs ops that do not read what the others write as one piece of parallel
    /// work; their inputs have equally many rows.
    pub(super) fn linears(&mut self, ops: &[Linear]) {
        let tokens = self.workspace.rows(ops[0].x);
        if tokens == 0 {
            return;
        }
        self.round_inputs(ops);
        let Scratch { rounded, inputs, parts, outs, active } = &mut self.linear;
        let (machine, weights, workspace) = (&self.machine, &self.weights, &mut self.workspace);
        let (units, cost) = divide(weights, workspace, ops, parts);
        outs.clear();
        outs.extend(parts.iter().map(|part| workspace.out(ops[part.of.0].parts[part.of.1].out)));
        let (workspace, parts, outs) = (&*workspace, &*parts, &*outs);
        let round = |buf: Buf| {
            let own = || inputs.iter().find(|input| input.buf == buf).map(|i| &rounded[i.groups.clone()]);
            workspace.rounded(buf).or_else(own).expect("rounded before")
        };
        let is_sparse = |part: &ops::Part| {
            tokens <= MOST_ACTIVE && weights.matrix(part.weight, 0).layout == Layout::Columns
        };
        active.resize_with(active.len().max(parts.len()), Active::default);
        for (Part { of, .. }, active) in parts.iter().zip(&mut *active) {
            let op = &ops[of.0];
            if is_sparse(&op.parts[of.1]) {
                let dtype = weights.tensor(op.parts[of.1].weight).dtype();
                active.find(dtype, round(op.x), workspace.width(op.x) / GROUP);
            }
        }
        let active = &*active;
        machine.split(units, cost * tokens, |range| {
            for ((part, out), active) in parts.iter().zip(outs).zip(active) {
                let rows = part.rows(&range);
                if rows.is_empty() {
                    continue;
                }
                let op = &ops[part.of.0];
                let part = &op.parts[part.of.1];
                let x = if !takes_q8(weights.tensor(part.weight), op.inputs) {
                    Input::Floats(workspace.all(op.x))
                } else if is_sparse(part) {
                    Input::Active(round(op.x), active)
                } else {
                    Input::Q8(round(op.x))
                };
                // SAFETY: every unit of rows is in exactly one range, and the outputs
                // are in regions of their own.
                unsafe { weights.matrix(part.weight, 0).multiply(machine.isa, rows.clone(), x, *out) };
                let bias = part.bias.map(|b| &weights.vector(b)[rows.clone()]);
                if bias.is_some() || part.activation != Activation::Identity {
                    for t in 0..tokens {
                        // SAFETY: as above.
                        let values = unsafe { out.part(t, rows.start, rows.len()) };
                        finish(machine.isa, values, bias, part.activation);
                    }
                }
            }
        });
    }

    /// Tells the threads which weights they will read when these ops run, if it is these
    /// that they will wait for. (Their shares may have more; this is the beginning.)
    pub(super) fn expect(&mut self, ops: &[Linear]) {
        let (machine, weights, workspace) = (&self.machine, &self.weights, &self.workspace);
        let tokens = workspace.rows(ops[0].x);
        if !(1..=FEW).contains(&tokens) {
            return machine.pool.expect(|_| &[]);
        }
        let parts = &mut self.linear.parts;
        let (units, cost) = divide(weights, workspace, ops, parts);
        machine.pool.expect(|thread| {
            let share = machine.share(units, cost * tokens, thread);
            let Some(part) = parts.iter().find(|part| part.units.contains(&share.start)) else { return &[] };
            let matrix = weights.matrix(ops[part.of.0].parts[part.of.1].weight, 0);
            match matrix.layout {
                // Most of it may not be wanted.
                Layout::Columns => &[],
                Layout::Rows | Layout::Tiles => matrix.bytes_of(part.rows(&share)),
            }
        });
    }

    /// Rounds those inputs that are wanted so and are not yet.
    fn round_inputs(&mut self, ops: &[Linear]) {
        let Scratch { rounded, inputs, .. } = &mut self.linear;
        let (machine, workspace, weights) = (&self.machine, &self.workspace, &self.weights);
        inputs.clear();
        let mut end = 0;
        for op in ops {
            let wanted = op.parts.iter().any(|p| takes_q8(weights.tensor(p.weight), op.inputs));
            let there = workspace.rounded(op.x).is_some() || inputs.iter().any(|i| i.buf == op.x);
            if wanted && !there {
                let groups = end..end + workspace.all(op.x).len() / GROUP;
                end = groups.end;
                inputs.push(Input8 { buf: op.x, groups });
            }
        }
        for input in &*inputs {
            round_at(machine, workspace.all(input.buf), rounded, input.groups.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_rows_of_a_part() {
        // The third to fifth unit of all, the last of which is not full.
        let part = Part { of: (0, 0), rows: 70, unit: 32, units: 2..5 };
        for (units, rows) in
            [(0..9, 0..70), (2..3, 0..32), (3..5, 32..70), (4..7, 64..70), (0..2, 0..0), (5..6, 70..70)]
        {
            assert_eq!(part.rows(&units), rows, "{units:?}");
        }
    }
}
