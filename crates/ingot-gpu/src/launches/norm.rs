//! Root-mean-square and layer norm.

use super::Shape;
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::{Add, LayerNorm, RmsNorm};
use ingot_plan::{Buf, Plan, Rows, WeightId};

/// The launch of an [`RmsNorm`], and of what adds its result to something.
pub fn rms_norm(plan: &Plan, shape: Shape, op: &RmsNorm, add: Option<&Add>) -> Launch {
    let n = plan.weight(op.weight).shape[0];
    let groups = plan.buffer(op.x).width / n;
    let residual = add.map(|add| if add.a == op.out { add.b } else { add.a });
    let out = add.map_or(op.out, |add| add.out);
    Norm { kind: 0, n, groups, eps: op.eps, weight: op.weight, bias: None, residual }
        .launch(plan, shape, op.x, out)
}

/// The launch of a [`LayerNorm`].
pub fn layer_norm(plan: &Plan, shape: Shape, op: &LayerNorm) -> Launch {
    let n = plan.buffer(op.x).width / op.groups;
    Norm {
        kind: 1,
        n,
        groups: op.groups,
        eps: op.eps,
        weight: op.weight,
        bias: Some(op.bias),
        residual: None,
    }
    .launch(plan, shape, op.x, op.out)
}

struct Norm {
    kind: i64,
    n: usize,
    groups: usize,
    eps: f32,
    weight: WeightId,
    bias: Option<WeightId>,
    residual: Option<Buf>,
}

impl Norm {
    fn launch(self, plan: &Plan, shape: Shape, x: Buf, out: Buf) -> Launch {
        let of_outputs = plan.buffer(x).rows == Rows::Outputs;
        let groups = self.groups * if of_outputs { shape.outputs } else { shape.rows };
        // A simdgroup for a group, up to a length from which the time of one counts.
        let wide = self.n > 512;
        let (simdgroups, grid) = match wide {
            true => (self.n.div_ceil(4 * 32).min(32), groups),
            false => (4, groups.div_ceil(4)),
        };
        Launch {
            kernel: Kernel::new("norm")
                .option("KIND", self.kind)
                .option("WIDE", i64::from(wide))
                .option("RESIDUAL", self.residual.is_some())
                .uint("N", self.n)
                .uint("GROUPS", self.groups)
                .float("EPS", self.eps)
                .uint("SIMDGROUPS", simdgroups)
                .uint("OF_OUTPUTS", usize::from(of_outputs)),
            operands: vec![
                Operand::read(x.into()),
                Operand::read(self.weight.into()),
                self.bias.map_or_else(Operand::absent, |bias| Operand::read(bias.into())),
                Operand::read(What::Step),
                Operand::write(out.into()),
                self.residual.map_or_else(Operand::absent, |buf| Operand::read(buf.into())),
            ],
            grid: [grid as u32, 1, 1],
            threads: 32 * simdgroups as u32,
        }
    }
}
