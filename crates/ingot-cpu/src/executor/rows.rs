//! The ops that work row by row.

use super::groups::row_output;
use super::rotations::Rotations;
use super::workspace::SharedRows;
use super::{CpuExecutor, Weights};
use crate::isa::Enabled;
use crate::shared::Out;
use crate::vector;
use ingot_plan::ops::{Blend, Bonus, Gate, Pairing, Rope, RwkvKeys, TokenShift, Wkv7};
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
                let table = self.weights.tensor(op.table);
                let bytes = table.row_bytes();
                let at = self.step.tokens[t] as usize * bytes;
                table.dtype().dequantize(&table.data()[at..][..bytes], out);
            }
            Op::Glu(op) => match op.f {
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

    pub(super) fn blend(&mut self, op: &Blend) {
        let isa = self.machine.isa;
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            vector::blend(isa, w.row(op.from, t), w.row(op.to, t), w.row(op.by, t), out);
        });
    }

    pub(super) fn rwkv_keys(&mut self, op: &RwkvKeys) {
        let isa = self.machine.isa;
        let (k_k, k_a) = (self.weights.vector(op.k_k), self.weights.vector(op.k_a));
        let outs = [op.decay, op.removal, op.key];
        self.workspace.write_rows(&self.machine, outs, |w, t, [decay, removal, key]| {
            let (k, a) = (w.row(op.k, t), w.row(op.a, t));
            vector::rwkv_decay(isa, w.row(op.w, t), decay);
            vector::rwkv_removal(isa, k, k_k, k.len() / op.heads, RwkvKeys::MIN_NORM, removal);
            vector::rwkv_key(isa, k, a, k_a, key);
        });
    }

    pub(super) fn bonus(&mut self, op: &Bonus) {
        let (isa, r_k) = (self.machine.isa, self.weights.vector(op.r_k));
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            let [y, r, k, v, g] = [op.y, op.r, op.k, op.v, op.g].map(|buf| w.row(buf, t));
            vector::rwkv_bonus(isa, y, r, k, v, g, r_k, out.len() / op.heads, out);
        });
    }

    pub(super) fn token_shift(&mut self, op: &TokenShift, step: &Step) {
        let (isa, width) = (self.machine.isa, self.workspace.width(op.x));
        let state = self.plan.state_offset(op.state)..self.plan.state_offset(op.state) + width;
        let (mixes, slots) = (self.weights.vector(op.mix), &self.slots);
        for (&buf, mix) in op.outs.iter().zip(mixes.chunks_exact(width)) {
            self.workspace.write_rows(&self.machine, [buf], |w, t, [out]| {
                let first = step.sequences.iter().find(|s| s.rows.start == t);
                let before = match first {
                    Some(s) => &slots[s.slot as usize][state.clone()],
                    None => w.row(op.x, t - 1),
                };
                vector::blend(isa, w.row(op.x, t), before, mix, out);
            });
        }
        for s in &step.sequences {
            let last = self.workspace.row(op.x, s.rows.end - 1);
            self.slots[s.slot as usize][state.clone()].copy_from_slice(last);
        }
    }

    pub(super) fn wkv7(&mut self, op: &Wkv7, step: &Step) {
        let (isa, width) = (self.machine.isa, self.workspace.width(op.r));
        let (size, at) = (width / op.heads, self.plan.state_offset(op.state));
        let machine = &self.machine;
        // Heads of one sequence after the other: each has a state of its own.
        for s in &step.sequences {
            let state = &mut self.slots[s.slot as usize][at..at + width * size];
            let state = Out::new(state, size * size);
            self.workspace.write([op.out], |w, [out]| {
                let out = Out::new(out, width);
                machine.split(op.heads, 4 * size * size * s.rows.len(), |heads| {
                    for h in heads {
                        // SAFETY: every head is in exactly one range.
                        let state = unsafe { state.part(h, 0, size * size) };
                        for t in s.rows.clone() {
                            // SAFETY: as above.
                            let out = unsafe { out.part(t, h * size, size) };
                            let [r, decay, key, v, removal, a] =
                                [op.r, op.decay, op.key, op.v, op.removal, op.a]
                                    .map(|buf| &w.row(buf, t)[h * size..][..size]);
                            vector::wkv7(isa, state, r, decay, key, v, removal, a, out);
                        }
                    }
                });
            });
        }
    }
}
