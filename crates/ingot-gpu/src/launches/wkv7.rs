//! The plain op wkv7.

use super::{Shape, rwkv7};
use crate::launch::{Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Wkv7;

/// The launch for all heads and sequences.
///
/// # Panics
/// If the heads are not [supported](rwkv7::supports).
pub fn wkv7(plan: &Plan, shape: &Shape, op: &Wkv7) -> Launch {
    let width = plan.buffer(op.out).width;
    let buffers = [op.r, op.decay, op.key, op.v, op.removal, op.a];
    let mut operands: Vec<Operand> = buffers.iter().map(|&b| Operand::read(b.into())).collect();
    operands.extend([
        Operand::read(What::Step),
        Operand::update(op.state.into()),
        Operand::write(op.out.into()),
    ]);
    Launch {
        kernel: rwkv7::kernel("wkv7", width, op.heads),
        operands,
        grid: [op.heads as u32, shape.sequences as u32, 1],
        threads: rwkv7::threads(width / op.heads),
    }
}
