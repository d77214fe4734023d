//! The ops that work row by row.

use super::groups::row_output;
use super::rotations::Rotations;
use super::workspace::SharedRows;
use super::{CpuExecutor, Weights};
use crate::isa::Enabled;
use crate::vector;
use ingot_plan::ops::{Gate, Pairing, Rope};
use ingot_plan::{Op, Step};

/// What row ops need besides buffers.
struct RowOps<'a> {
    isa: Enabled,
    weights: &'a Weights,
    rotations: &'a Rotations,
    step: &'a Step,
}

impl RowOps<'_> {
    /// Computes row `t` of an op's output.
    ///
    /// # Safety
    /// Nobody writes the op's inputs meanwhile.
    #[inline(always)]
    unsafe fn run(&self, op: &Op, t: usize, w: &SharedRows, out: &mut [f32]) {
        let isa = self.isa;
        // SAFETY: by the caller's promise.
        let row = |buf| unsafe { w.row(buf, t) };
        let vector = |id| self.weights.vector(id);
        match op {
            Op::Add(op) => vector::add(isa, row(op.a), row(op.b), out),
            Op::Embed(op) => {
                let (table, id) = (self.weights.tensor(op.table), op.table.index());
                self.weights.matrices.dequantize_row(id, table, self.step.tokens[t] as usize, out);
                if op.scale != 1.0 {
                    vector::scale_in_place(isa, op.scale, out);
                }
            }
            Op::Glu(op) => match op.f {
                Gate::Gelu => vector::gelu_glu(isa, row(op.gate), row(op.up), out),
                Gate::Silu => vector::silu_glu(isa, row(op.gate), row(op.up), out),
            },
            Op::LayerNorm(op) => {
                let (weight, bias) = (vector(op.weight), vector(op.bias));
                vector::layer_norm(isa, row(op.x), weight, bias, op.groups, op.eps, out);
            }
            Op::RmsNorm(op) => vector::rms_norm(isa, row(op.x), vector(op.weight), op.eps, out),
            Op::Rope(op) => self.rope(op, t, row(op.x), out),
            // SAFETY: by the caller's promise; the group only writes output rows.
            Op::Select(op) => out.copy_from_slice(unsafe { w.row(op.x, self.step.outputs[t] as usize) }),
            Op::Softcap(op) => vector::softcap(isa, op.cap, row(op.x), out),
            other => unreachable!("{other:?} does not work row by row"),
        }
    }

    fn rope(&self, op: &Rope, t: usize, x: &[f32], out: &mut [f32]) {
        if op.rotary.frequencies.is_empty() {
            return out.copy_from_slice(x);
        }
        let (cos, sin) = self.rotations.row(&op.rotary, t);
        let size = out.len() / op.heads;
        match op.rotary.pairing {
            Pairing::Halves => vector::rotate_halves(self.isa, x, cos, sin, size, out),
            Pairing::Adjacent => vector::rotate_adjacent(self.isa, x, cos, sin, size, out),
        }
    }
}

impl CpuExecutor {
    /// Runs a group of ops that work row by row, see [`super::groups`].
    pub(super) fn row_ops(&mut self, ops: &[Op], step: &Step) {
        let Self { weights, machine, workspace, rotations, .. } = self;
        let outs = || ops.iter().filter_map(row_output);
        let rows = outs().next().map_or(0, |out| workspace.rows(out));
        let cost = outs().map(|out| workspace.width(out)).sum();
        let context = RowOps { isa: machine.isa, weights, rotations, step };
        let shared = workspace.share(outs());
        machine.split(rows, cost, |range| {
            for t in range {
                for (op, out) in ops.iter().zip(outs()) {
                    // SAFETY: every row is in exactly one range, an op does not write where
                    // it reads, and other rows are elsewhere, or the ops were no group.
                    unsafe {
                        context.run(op, t, &shared, shared.row_mut(out, t));
                        shared.round(machine.isa, out, t);
                    }
                }
            }
        });
    }
}
