//! The plain op bonus.

use super::rwkv7;
use crate::launch::{Launch, Operand};
use ingot_plan::Plan;
use ingot_plan::ops::Bonus;

/// The launch for all heads of `rows` rows.
///
/// # Panics
/// If the heads are not [supported](rwkv7::supports).
pub fn bonus(plan: &Plan, op: &Bonus, rows: usize) -> Launch {
    let reads = [op.y, op.r, op.k, op.v, op.g];
    let mut operands: Vec<Operand> = reads.iter().map(|&b| Operand::read(b.into())).collect();
    operands.extend([Operand::read(op.r_k.into()), Operand::write(op.out.into())]);
    let kernel = rwkv7::kernel("bonus", plan.buffer(op.out).width, op.heads);
    Launch { kernel, operands, grid: [op.heads as u32, rows as u32, 1], threads: 32 }
}
