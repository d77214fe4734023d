//! The rows whose logits are wanted.

use super::Shape;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Select;

/// The launch of a [`Select`].
pub fn select(plan: &Plan, shape: Shape, op: &Select) -> Launch {
    let width = plan.buffer(op.x).width;
    Launch {
        kernel: Kernel::new("select_rows").uint("WIDTH", width),
        operands: vec![Operand::read(op.x.into()), Operand::read(What::Step), Operand::write(op.out.into())],
        grid: [width.div_ceil(1024) as u32, shape.outputs as u32, 1],
        threads: 256,
    }
}
