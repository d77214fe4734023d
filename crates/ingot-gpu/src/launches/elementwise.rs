//! Sums, blends, gated linear units and caps, value by value.

use super::Shape;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::{Add, Blend, Gate, Glu, Softcap};
use ingot_plan::{Buf, Plan, Rows};

/// The launch of an [`Add`].
pub fn add(plan: &Plan, shape: Shape, op: &Add) -> Launch {
    launch(plan, shape, (0, 0.0), [Some(op.a), Some(op.b), None], op.out)
}

/// The launch of a [`Blend`].
pub fn blend(plan: &Plan, shape: Shape, op: &Blend) -> Launch {
    launch(plan, shape, (1, 0.0), [op.from, op.to, op.by].map(Some), op.out)
}

/// The launch of a [`Glu`].
pub fn glu(plan: &Plan, shape: Shape, op: &Glu) -> Launch {
    let number = match op.f {
        Gate::Silu => 2,
        Gate::Gelu => 3,
    };
    launch(plan, shape, (number, 0.0), [Some(op.gate), Some(op.up), None], op.out)
}

/// The launch of a [`Softcap`].
pub fn softcap(plan: &Plan, shape: Shape, op: &Softcap) -> Launch {
    launch(plan, shape, (4, op.cap), [Some(op.x), None, None], op.out)
}

/// `op` as the kernel numbers them, with the cap that one of them has.
fn launch(plan: &Plan, shape: Shape, (op, cap): (i64, f32), inputs: [Option<Buf>; 3], out: Buf) -> Launch {
    let decl = plan.buffer(out);
    let of_outputs = decl.rows == Rows::Outputs;
    let rows = if of_outputs { shape.outputs } else { shape.rows };
    let [a, b, c] = inputs.map(|buf| buf.map_or_else(Operand::absent, |buf| Operand::read(buf.into())));
    Launch {
        kernel: Kernel::new("elementwise")
            .option("OP", op)
            .uint("WIDTH", decl.width)
            .uint("OF_OUTPUTS", usize::from(of_outputs))
            .float("CAP", cap),
        operands: vec![a, b, c, Operand::read(What::Step), Operand::write(out.into())],
        grid: [decl.width.div_ceil(1024) as u32, rows as u32, 1],
        threads: 256,
    }
}
