//! RWKV-7's ops, alone and in groups.
//!
//! A slot holds the recurrence's states transposed, see [`crate::rwkv::recurrence`];
//! outside of the executor nobody sees that.

use super::chains::{Mix, Shift};
use super::workspace::Workspace;
use super::{CpuExecutor, Machine, Weights};
use crate::rwkv::keys::{self, Keys, Raw};
use crate::rwkv::output::{self, Gated};
use crate::rwkv::recurrence::{Ends, Heads, Token};
use crate::rwkv::shift;
use crate::shared::Out;
use crate::simd::Simd;
use crate::vector;
use ingot_plan::ops::{Blend, Bonus, RwkvKeys, Wkv7};
use ingot_plan::{Op, Plan, StateId, Step};
use std::ops::Range;

/// Rows of a shift that are computed together.
const SHIFTED: usize = 16;

/// Turns a slot from the form of [`ingot_plan::Executor::read`] into the one it
/// is kept in, or back.
pub(super) fn transpose_states(plan: &Plan, slot: &mut [f32]) {
    for op in plan.ops() {
        if let Op::Wkv7(op) = op {
            let (at, n) = (plan.state_offset(op.state), plan.buffer(op.r).width / op.heads);
            for state in slot[at..at + op.heads * n * n].chunks_exact_mut(n * n) {
                for i in 0..n {
                    for j in 0..i {
                        state.swap(i * n + j, j * n + i);
                    }
                }
            }
        }
    }
}

impl CpuExecutor {
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
            let raw = Raw { w: w.row(op.w, t), k: w.row(op.k, t), a: w.row(op.a, t), k_k, k_a };
            let (out, size) = (Keys { decay, removal, key }, k_k.len() / op.heads);
            isa.run(keys::Row { raw, out, size });
        });
    }

    pub(super) fn bonus(&mut self, op: &Bonus) {
        let (isa, r_k) = (self.machine.isa, self.weights.vector(op.r_k));
        self.workspace.write_rows(&self.machine, [op.out], |w, t, [out]| {
            let [y, r, key, v, g] = [op.y, op.r, op.k, op.v, op.g].map(|buf| w.row(buf, t));
            let (gated, size) = (Gated { r, key, v, g, r_k }, out.len() / op.heads);
            isa.run(output::Row { y, gated, size, out });
        });
    }

    pub(super) fn shift(&mut self, Shift { norm, op }: &Shift, step: &Step) {
        let (isa, weights, x) = (self.machine.isa, &self.weights, norm.as_ref().map_or(op.x, |n| n.x));
        let width = self.workspace.width(x);
        let state = self.plan.state_offset(op.state)..self.plan.state_offset(op.state) + width;
        // Rows may still want the stored row when the last one is known.
        let mut last = vec![0.0; step.sequences.len() * width];
        let outs: Vec<Out> = op.outs.iter().map(|&buf| self.workspace.out(buf)).collect();
        let before: Vec<&[f32]> =
            step.sequences.iter().map(|s| &self.slots[s.slot as usize][state.clone()]).collect();
        let shift = shift::Shift {
            x: self.workspace.all(x),
            norm: norm.as_ref().map(|n| shift::Norm {
                weight: weights.vector(n.weight),
                bias: weights.vector(n.bias),
                eps: n.eps,
            }),
            mixes: weights.vector(op.mix),
            outs: &outs,
            sequences: &step.sequences,
            before: &before,
            last: Out::new(&mut last, width),
        };
        let rows = step.rows();
        let cost = SHIFTED.min(rows) * width * (op.outs.len() + 1);
        self.machine.split(rows.div_ceil(SHIFTED), cost, |pieces| {
            let rows = pieces.start * SHIFTED..rows.min(pieces.end * SHIFTED);
            // SAFETY: every row is in exactly one range, and the outputs are in
            // regions of their own.
            unsafe { shift.rows(isa, rows) };
        });
        for (s, last) in step.sequences.iter().zip(last.chunks_exact(width)) {
            self.slots[s.slot as usize][state.clone()].copy_from_slice(last);
        }
    }

    pub(super) fn wkv7(&mut self, op: &Wkv7, step: &Step) {
        let width = self.workspace.width(op.r);
        let states = self.states(op.state, width * (width / op.heads), op.heads, step);
        let machine = &self.machine;
        self.workspace.write([op.out], |w, [out]| {
            let [r, decay, key, v, removal, a] =
                [op.r, op.decay, op.key, op.v, op.removal, op.a].map(|buf| w.all(buf));
            let ends = Alone { r, decay, key, v, removal, a, out: Out::new(out, width) };
            recur(machine, &ends, &states, step, width / op.heads, op.heads);
        });
    }

    pub(super) fn mix(&mut self, mix: &Mix, step: &Step) {
        let bonus = &mix.bonus;
        let (width, heads) = (self.workspace.width(bonus.out), bonus.heads);
        let states = self.states(mix.wkv.state, width * (width / heads), heads, step);
        let (machine, weights) = (&self.machine, &self.weights);
        self.workspace.write([bonus.out], |w, [out]| {
            let ends = WholeMix::new(mix, w, weights, Out::new(out, width));
            recur(machine, &ends, &states, step, width / heads, heads);
        });
    }

    /// The state of each sequence of a step, `[H, N * N]`.
    fn states(&mut self, state: StateId, len: usize, heads: usize, step: &Step) -> Vec<Out> {
        let at = self.plan.state_offset(state);
        let slots = &mut self.slots;
        let state =
            |s: &ingot_plan::Sequence| Out::new(&mut slots[s.slot as usize][at..at + len], len / heads);
        step.sequences.iter().map(state).collect()
    }
}

/// Runs a recurrence over a step on all threads.
fn recur(machine: &Machine, ends: &impl Ends, states: &[Out], step: &Step, size: usize, heads: usize) {
    // Neighbouring heads share pages of memory, so they stay together.
    let together = heads.div_ceil(2 * machine.pool.workers());
    let groups = heads.div_ceil(together);
    let rows = step.rows().div_ceil(step.sequences.len());
    machine.split(step.sequences.len() * groups, 5 * size * size * together * rows, |items| {
        for item in items {
            let (sequence, group) = (item / groups, item % groups);
            let heads = group * together..heads.min((group + 1) * together);
            let rows = step.sequences[sequence].rows.clone();
            // Every head is in exactly one item, and no two sequences share a slot.
            machine.isa.run(Heads { ends, rows, heads, size, state: states[sequence] });
        }
    });
}

/// The channels of a head in row `t`.
#[inline(always)]
fn part<'a>(all: &'a [f32], width: usize, t: usize, head: &Range<usize>) -> &'a [f32] {
    &all[t * width..][head.clone()]
}

/// The recurrence by itself; buffers are `[T, H * N]`.
struct Alone<'a> {
    r: &'a [f32],
    decay: &'a [f32],
    key: &'a [f32],
    v: &'a [f32],
    removal: &'a [f32],
    a: &'a [f32],
    out: Out,
}

impl Ends for Alone<'_> {
    #[inline(always)]
    fn feed<S: Simd>(&self, _: S, t: usize, head: Range<usize>, token: &mut Token) {
        let (n, width) = (head.len(), self.out.width());
        token.decay[..n].copy_from_slice(part(self.decay, width, t, &head));
        token.removal[..n].copy_from_slice(part(self.removal, width, t, &head));
        token.key[..n].copy_from_slice(part(self.key, width, t, &head));
        token.r[..n].copy_from_slice(part(self.r, width, t, &head));
        token.v[..n].copy_from_slice(part(self.v, width, t, &head));
        for ((rate, removal), a) in
            token.rate.iter_mut().zip(&*token.removal).zip(part(self.a, width, t, &head))
        {
            *rate = removal * a;
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, t: usize, head: Range<usize>, token: &mut Token) {
        // SAFETY: whoever has the head has its channels of the output.
        let out = unsafe { self.out.part(t, head.start, head.len()) };
        out.copy_from_slice(&token.y[..head.len()]);
    }
}

/// A whole [`Mix`]; buffers are `[T, H * N]`, weights `[H * N]`.
struct WholeMix<'a> {
    r: &'a [f32],
    w: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    /// What values are blended with, and how much.
    blend: Option<[&'a [f32]; 2]>,
    a: &'a [f32],
    g: &'a [f32],
    k_k: &'a [f32],
    k_a: &'a [f32],
    r_k: &'a [f32],
    norm: [&'a [f32]; 2],
    eps: f32,
    out: Out,
}

impl<'a> WholeMix<'a> {
    fn new(mix: &Mix, buffers: &'a Workspace, weights: &'a Weights, out: Out) -> Self {
        let Mix { blend, keys, wkv, norm, bonus } = mix;
        Self {
            r: buffers.all(wkv.r),
            w: buffers.all(keys.w),
            k: buffers.all(keys.k),
            v: buffers.all(blend.as_ref().map_or(wkv.v, |b| b.from)),
            blend: blend.as_ref().map(|b| [b.to, b.by].map(|buf| buffers.all(buf))),
            a: buffers.all(keys.a),
            g: buffers.all(bonus.g),
            k_k: weights.vector(keys.k_k),
            k_a: weights.vector(keys.k_a),
            r_k: weights.vector(bonus.r_k),
            norm: [norm.weight, norm.bias].map(|id| weights.vector(id)),
            eps: norm.eps,
            out,
        }
    }
}

impl Ends for WholeMix<'_> {
    #[inline(always)]
    fn feed<S: Simd>(&self, s: S, t: usize, head: Range<usize>, token: &mut Token) {
        let (n, width) = (head.len(), self.out.width());
        let raw = Raw {
            w: part(self.w, width, t, &head),
            k: part(self.k, width, t, &head),
            a: part(self.a, width, t, &head),
            k_k: &self.k_k[head.clone()],
            k_a: &self.k_a[head.clone()],
        };
        raw.keys(s, Keys { decay: token.decay, removal: token.removal, key: token.key });
        vector::map_mul(s, &token.removal[..n], raw.a, &mut token.rate[..n]);
        token.r[..n].copy_from_slice(part(self.r, width, t, &head));
        let v = part(self.v, width, t, &head);
        match self.blend {
            None => token.v[..n].copy_from_slice(v),
            Some([to, by]) => {
                vector::blend_lanes(
                    s,
                    v,
                    part(to, width, t, &head),
                    part(by, width, t, &head),
                    &mut token.v[..n],
                );
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, t: usize, head: Range<usize>, token: &mut Token) {
        let (n, width) = (head.len(), self.out.width());
        let (weight, bias) = (&self.norm[0][head.clone()], &self.norm[1][head.clone()]);
        // SAFETY: whoever has the head has its channels of the output.
        let out = unsafe { self.out.part(t, head.start, n) };
        vector::normalize_group(s, &token.y[..n], weight, bias, self.eps, out);
        let gated = Gated {
            r: &token.r[..n],
            key: &token.key[..n],
            v: &token.v[..n],
            g: part(self.g, width, t, &head),
            r_k: &self.r_k[head],
        };
        gated.apply(s, out);
    }
}
