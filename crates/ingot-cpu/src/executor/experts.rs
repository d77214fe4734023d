//! Mixture of experts: rows are sorted by expert, so that each expert's weights
//! are read once however many rows chose it.

use super::linear::{round, takes_q8};
use super::{CpuExecutor, Machine, Weights};
use crate::linear::{Input, PAIR};
use crate::q8::Q8;
use crate::shared::Out;
use crate::vector;
use ingot_format::Tensor;
use ingot_plan::Precision;
use ingot_plan::ops::{Experts, Stack, choose};

/// Memory kept from op to op.
#[derive(Default)]
pub(super) struct Scratch {
    /// (expert, row, weight), sorted.
    choices: Vec<(usize, usize, f32)>,
    /// Ranges of choices with the same expert: (expert, first, end).
    segments: Vec<(usize, usize, usize)>,
    /// Inputs of the choices: `[choices, C]`
    x: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
    rounded: Vec<Q8>,
}

/// `[R, C]` of the matrices of a tensor.
fn matrix_shape(tensor: &Tensor) -> (usize, usize) {
    let [.., rows, cols] = tensor.shape()[..] else { unreachable!("checked when it was planned") };
    (rows, cols)
}

/// Each segment's rows of `x` times the matrix `[R, C]` of the segment's expert.
fn products(
    machine: &Machine,
    weights: &Weights,
    stack: &Stack,
    segments: &[(usize, usize, usize)],
    (x, rounded): (&[f32], &[Q8]),
    inputs: Precision,
    out: &mut [f32],
) {
    let tensor = weights.tensor(stack.ids()[0]); // the others are like it
    let (rows, cols) = matrix_shape(tensor);
    let (pairs, groups) = (rows.div_ceil(PAIR), cols / 32);
    let total = segments.last().map_or(0, |s| s.2);
    let out_all = Out::new(&mut out[..total * rows], rows);
    let each = PAIR * cols * total / segments.len().max(1);
    machine.split(segments.len() * pairs, each, |range| {
        for item in range {
            let (expert, first, end) = segments[item / pairs];
            let rows_of_it = item % pairs * PAIR..rows.min((item % pairs + 1) * PAIR);
            let x = if takes_q8(tensor, inputs) {
                Input::Q8(&rounded[first * groups..end * groups])
            } else {
                Input::Floats(&x[first * cols..end * cols])
            };
            let (id, nth) = stack.matrix(expert);
            // SAFETY: every pair of tiles of every segment is one item, in one range only.
            unsafe {
                weights.matrix(id, nth).multiply(
                    machine.isa,
                    rows_of_it,
                    x,
                    out_all.rows_from(first, end - first),
                )
            };
        }
    });
}

impl CpuExecutor {
    pub(super) fn experts(&mut self, op: &Experts) {
        let (machine, weights) = (&self.machine, &self.weights);
        let [gate, up, down] = [&op.gate, &op.up, &op.down].map(|stack| weights.tensor(stack.ids()[0]));
        let (c, f) = (self.workspace.width(op.x), matrix_shape(gate).0);
        let scratch = &mut self.experts;
        let rows = self.workspace.rows(op.x);

        scratch.choices.clear();
        for t in 0..rows {
            let chosen = choose(self.workspace.row(op.router, t), op.chosen, op.renormalise);
            scratch.choices.extend(chosen.into_iter().map(|(e, g)| (e, t, g)));
        }
        scratch.choices.sort_unstable_by_key(|&(e, t, _)| (e, t));
        let choices = &scratch.choices;
        scratch.segments.clear();
        scratch.x.clear();
        for (i, &(e, t, _)) in choices.iter().enumerate() {
            match scratch.segments.last_mut() {
                Some(last) if last.0 == e => last.2 = i + 1,
                _ => scratch.segments.push((e, i, i + 1)),
            }
            scratch.x.extend_from_slice(self.workspace.row(op.x, t));
        }
        let grow = |v: &mut Vec<f32>, width: usize| v.resize(v.len().max(choices.len() * width), 0.0);
        grow(&mut scratch.gate, f);
        grow(&mut scratch.up, f);
        grow(&mut scratch.down, c);

        let segments = &scratch.segments;
        let any_q8 = [gate, up].iter().any(|t| takes_q8(t, op.inputs));
        let rounded = if any_q8 { round(machine, &scratch.x, &mut scratch.rounded) } else { &[] };
        products(machine, weights, &op.gate, segments, (&scratch.x, rounded), op.inputs, &mut scratch.gate);
        products(machine, weights, &op.up, segments, (&scratch.x, rounded), op.inputs, &mut scratch.up);

        let hidden = Out::new(&mut scratch.gate[..choices.len() * f], f);
        machine.split(choices.len(), f, |range| {
            for i in range {
                // SAFETY: every row is in exactly one range.
                let gate = unsafe { hidden.part(i, 0, f) };
                vector::silu_glu_in_place(machine.isa, &scratch.up[i * f..][..f], gate);
            }
        });
        let hidden = &scratch.gate[..choices.len() * f];
        let any_q8 = takes_q8(down, op.inputs);
        let rounded = if any_q8 { round(machine, hidden, &mut scratch.rounded) } else { &[] };
        products(machine, weights, &op.down, segments, (hidden, rounded), op.inputs, &mut scratch.down);

        // In the order of experts, whoever else chose them.
        self.workspace.write([op.out], |_, [out]| {
            out.fill(0.0);
            for (i, &(_, t, g)) in choices.iter().enumerate() {
                vector::add_scaled(machine.isa, g, &scratch.down[i * c..][..c], &mut out[t * c..][..c]);
            }
        });
    }
}
