//! The plain op rwkv_keys.

use super::rwkv7;
use crate::launch::{Launch, Operand};
use ingot_plan::Plan;
use ingot_plan::ops::RwkvKeys;

/// The launch for all heads of `rows` rows.
///
/// # Panics
/// If the heads are not [supported](rwkv7::supports).
pub fn rwkv_keys(plan: &Plan, op: &RwkvKeys, rows: usize) -> Launch {
    let mut operands: Vec<Operand> = [op.w, op.k, op.a].iter().map(|&b| Operand::read(b.into())).collect();
    operands.extend([op.k_k, op.k_a].iter().map(|&w| Operand::read(w.into())));
    operands.extend([op.decay, op.removal, op.key].iter().map(|&b| Operand::write(b.into())));
    let kernel = rwkv7::kernel("rwkv_keys", plan.buffer(op.k).width, op.heads);
    Launch { kernel, operands, grid: [op.heads as u32, rows as u32, 1], threads: 32 }
}
