//! RWKV-7's time mix from the projections to the gated output, in one launch.

use super::Shape;
use super::rwkv7;
use crate::launch::{Launch, Operand, What};
use ingot_plan::ops::{Blend, Bonus, LayerNorm, RwkvKeys, Wkv7};
use ingot_plan::{Buf, Plan};

/// The ops that the launch stands for. Each reads what the one before it wrote.
#[derive(Clone, Copy, Debug)]
pub struct Mix<'a> {
    /// Makes the value; it comes as it is if absent.
    pub blend: Option<&'a Blend>,
    /// Makes decay and keys.
    pub keys: &'a RwkvKeys,
    /// The recurrence.
    pub wkv: &'a Wkv7,
    /// Its output's norm, a group per head.
    pub norm: &'a LayerNorm,
    /// Bonus and gate.
    pub bonus: &'a Bonus,
}

/// The launch for all heads and sequences.
///
/// # Panics
/// If the heads are not [supported](rwkv7::supports).
pub fn rwkv7_mix(plan: &Plan, shape: &Shape, m: &Mix) -> Launch {
    let (width, heads) = (plan.buffer(m.bonus.out).width, m.wkv.heads);
    let kernel =
        rwkv7::kernel("rwkv7_mix", width, heads).option("BLEND", m.blend.is_some()).float("EPS", m.norm.eps);
    let [r, w, k, v, a, v_first, by] = inputs(m);
    let buffers = [r, w, k, v, a, Some(m.bonus.g), v_first, by];
    let weights = [m.keys.k_k, m.keys.k_a, m.bonus.r_k, m.norm.weight, m.norm.bias];
    let read = |b: &Option<Buf>| b.map_or(Operand::absent(), |b| Operand::read(b.into()));
    let mut operands: Vec<Operand> = buffers.iter().map(read).collect();
    operands.extend(weights.iter().map(|&w| Operand::read(w.into())));
    operands.extend([
        Operand::read(What::Step),
        Operand::update(m.wkv.state.into()),
        Operand::write(m.bonus.out.into()),
    ]);
    let grid = [heads as u32, shape.sequences as u32, 1];
    Launch { kernel, operands, grid, threads: rwkv7::threads(width / heads) }
}

/// r, w, k, v, a, and v_first and by where the value is blended.
pub(super) fn inputs(m: &Mix) -> [Option<Buf>; 7] {
    let v = m.blend.map_or(m.wkv.v, |b| b.from);
    let [r, w, k, v, a] = [m.wkv.r, m.keys.w, m.keys.k, v, m.keys.a].map(Some);
    [r, w, k, v, a, m.blend.map(|b| b.to), m.blend.map(|b| b.by)]
}
