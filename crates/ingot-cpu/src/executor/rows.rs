//! The ops that work row by row.

use super::{CpuExecutor, Machine};
use crate::shared::Out;
use crate::vector;
use ingot_plan::ops::{
    Add, Blend, Bonus, Embed, Gate, Glu, LayerNorm, Pairing, RmsNorm, Rope, Rotary, RwkvKeys, Select,
    TokenShift, Wkv7,
};
use ingot_plan::{Op, Plan, Step};
use std::sync::Arc;

/// Cosines and sines of a step's positions, for each rotary embedding of a plan.
pub(super) struct Rotations {
    tables: Vec<(Arc<Rotary>, Vec<f32>)>,
}

impl Rotations {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut tables: Vec<(Arc<Rotary>, Vec<f32>)> = Vec::new();
        for op in plan.ops() {
            if let Op::Rope(op) = op
                && !tables.iter().any(|(rotary, _)| *rotary == op.rotary)
            {
                tables.push((op.rotary.clone(), Vec::new()));
            }
        }
        Self { tables }
    }

    /// Computes the tables for the step's rows.
    pub(super) fn turn_to(&mut self, step: &Step, machine: &Machine) {
        for (rotary, table) in &mut self.tables {
            let pairs = rotary.frequencies.len();
            if pairs == 0 {
                continue;
            }
            let len = 2 * pairs * step.rows();
            table.resize(table.len().max(len), 0.0);
            let out = Out::new(&mut table[..len], 2 * pairs);
            // A sine takes about as long as a hundred multiplications.
            machine.split(step.rows(), 100 * pairs, |range| {
                for (t, position) in step.positions().enumerate().skip(range.start).take(range.len()) {
                    // SAFETY: every row is in exactly one range.
                    let row = unsafe { out.part(t, 0, 2 * pairs) };
                    let (cos, sin) = row.split_at_mut(pairs);
                    for (j, angle) in rotary.angles(position).enumerate() {
                        (cos[j], sin[j]) = angle;
                    }
                }
            });
        }
    }

    /// All cosines, then all sines of row `t`.
    fn row(&self, rotary: &Rotary, t: usize) -> (&[f32], &[f32]) {
        let pairs = rotary.frequencies.len();
        let (_, table) = self.tables.iter().find(|(r, _)| **r == *rotary).expect("a rotary of the plan");
        table[2 * pairs * t..][..2 * pairs].split_at(pairs)
    }
}

impl CpuExecutor {
    pub(super) fn embed(&mut self, op: &Embed, step: &Step) {
        let table = self.weights.tensor(op.table);
        let (dtype, bytes) = (table.dtype(), table.row_bytes());
        let data: &[u8] = table.data();
        self.workspace.write_rows(&self.machine, [op.out], |_, t, [out]| {
            dtype.dequantize(&data[step.tokens[t] as usize * bytes..][..bytes], out);
        });
    }

    pub(super) fn select(&mut self, op: &Select, step: &Step) {
        self.workspace.write_rows(&self.machine, [op.out], |w, o, [out]| {
            out.copy_from_slice(w.row(op.x, step.outputs[o] as usize));
        });
    }

    pub(super) fn add(&mut self, op: &Add) {
        let isa = self.machine.isa;
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            vector::add(isa, w.row(op.a, t), w.row(op.b, t), out);
        });
    }

    pub(super) fn blend(&mut self, op: &Blend) {
        let isa = self.machine.isa;
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            vector::blend(isa, w.row(op.from, t), w.row(op.to, t), w.row(op.by, t), out);
        });
    }

    pub(super) fn glu(&mut self, op: &Glu) {
        let isa = self.machine.isa;
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| match op.f {
            Gate::Silu => vector::silu_glu(isa, w.row(op.gate, t), w.row(op.up, t), out),
        });
    }

    pub(super) fn rms_norm(&mut self, op: &RmsNorm) {
        let (isa, weight) = (self.machine.isa, self.weights.vector(op.weight));
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            vector::rms_norm(isa, w.row(op.x, t), weight, op.eps, out);
        });
    }

    pub(super) fn layer_norm(&mut self, op: &LayerNorm) {
        let isa = self.machine.isa;
        let (weight, bias) = (self.weights.vector(op.weight), self.weights.vector(op.bias));
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            vector::layer_norm(isa, w.row(op.x, t), weight, bias, op.groups, op.eps, out);
        });
    }

    pub(super) fn rope(&mut self, op: &Rope) {
        let (isa, rotations) = (self.machine.isa, &self.rotations);
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            let (x, size) = (w.row(op.x, t), out.len() / op.heads);
            if op.rotary.frequencies.is_empty() {
                return out.copy_from_slice(x);
            }
            let (cos, sin) = rotations.row(&op.rotary, t);
            for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
                match op.rotary.pairing {
                    Pairing::Halves => vector::rotate_halves(isa, x, cos, sin, out),
                    Pairing::Adjacent => rotate_adjacent(x, cos, sin, out),
                }
            }
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

/// Rotates values 2j and 2j + 1 of a head.
fn rotate_adjacent(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let (pairs, rest) = x.split_at(2 * cos.len());
    let (turned, same) = out.split_at_mut(2 * cos.len());
    same.copy_from_slice(rest);
    let angles = cos.iter().zip(sin);
    for ((x, y), (cos, sin)) in pairs.as_chunks::<2>().0.iter().zip(turned.as_chunks_mut::<2>().0).zip(angles)
    {
        *y = [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos];
    }
}
