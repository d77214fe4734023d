//! Sums, blends and gated linear units, value by value.

use super::Shape;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::{Add, Blend, Gate, Glu};
use ingot_plan::{Buf, Plan, Rows};

/// The launch of an [`Add`].
pub fn add(plan: &Plan, shape: Shape, op: &Add) -> Launch {
    launch(plan, shape, 0, [op.a, op.b], None, op.out)
}

/// The launch of a [`Blend`].
pub fn blend(plan: &Plan, shape: Shape, op: &Blend) -> Launch {
    launch(plan, shape, 1, [op.from, op.to], Some(op.by), op.out)
}

/// The launch of a [`Glu`].
pub fn glu(plan: &Plan, shape: Shape, op: &Glu) -> Launch {
    match op.f {
        Gate::Silu => launch(plan, shape, 2, [op.gate, op.up], None, op.out),
    }
}

fn launch(plan: &Plan, shape: Shape, op: i64, inputs: [Buf; 2], by: Option<Buf>, out: Buf) -> Launch {
    let decl = plan.buffer(out);
    let of_outputs = decl.rows == Rows::Outputs;
    let rows = if of_outputs { shape.outputs } else { shape.rows };
    let [a, b] = inputs.map(|buf| Operand::read(buf.into()));
    let by = by.map_or_else(Operand::absent, |buf| Operand::read(buf.into()));
    Launch {
        kernel: Kernel::new("elementwise")
            .option("OP", op)
            .uint("WIDTH", decl.width)
            .uint("OF_OUTPUTS", usize::from(of_outputs)),
        operands: vec![a, b, by, Operand::read(What::Step), Operand::write(out.into())],
        grid: [decl.width.div_ceil(1024) as u32, rows as u32, 1],
        threads: 256,
    }
}
