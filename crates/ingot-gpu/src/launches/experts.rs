//! Mixture of experts: `expert_choose`, `experts_up` (gate and up with the gate's
//! function), `experts_down` (down, weighted and summed). Row by row; of the
//! experts' weights only those of the chosen ones are read.

use super::Target;
use super::block_types::{UnsupportedType, stored};
use super::linear_vec::{Geometry, Matrix, SIMDGROUPS, Sizes};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Experts;

/// Bytes of the two pieces of scratch memory that [`experts`] needs for `rows` rows:
/// the choice, and the hidden values of the chosen experts.
pub fn experts_scratch(plan: &Plan, op: &Experts, rows: usize) -> [usize; 2] {
    let [.., hidden, _] = plan.weight(op.up.ids()[0]).shape[..] else { panic!("experts are matrices") };
    [8 * rows * op.chosen, 4 * rows * op.chosen * hidden]
}

/// The launches, one after the other. `out` is what the op writes, plus `residual`.
pub fn experts(
    plan: &Plan,
    target: &Target,
    op: &Experts,
    residual: Option<What>,
    out: What,
    rows: usize,
    scratch: [u32; 2],
) -> Result<Vec<Launch>, UnsupportedType> {
    let [choice, hidden] = scratch.map(What::Scratch);
    // A stack's tensors lie together, so the first stands for all.
    let ids = [&op.gate, &op.up, &op.down].map(|stack| stack.ids()[0]);
    let [gate, up, down] = ids.map(|id| Matrix::of(plan, target, id));
    let choose = Launch {
        kernel: Kernel::new("expert_choose")
            .uint("EXPERTS", op.experts)
            .uint("CHOSEN", op.chosen)
            .uint("RENORMALISE", usize::from(op.renormalise)),
        operands: vec![Operand::read(op.router.into()), Operand::write(choice)],
        grid: [rows as u32, 1, 1],
        threads: 32,
    };
    let threads = 32 * SIMDGROUPS as u32;
    let kernel = |name, g: &Geometry, m: &Matrix| {
        g.kernel(name).uint("CHOSEN", op.chosen).uint("SPLIT", g.split(m)).uint("STRIDE", g.groups[0])
    };
    let typed = |kernel: Kernel, n: usize, m: &Matrix| -> Result<Kernel, UnsupportedType> {
        let (block, align) = stored(m.dtype, m.cols, m.eights)?;
        Ok(kernel.option(format!("P{n}_BLOCK"), block).option(format!("P{n}_ALIGN"), align))
    };

    // What rounds the input is the type of either, so the geometry is made for both.
    let both = [gate, up];
    let sizes = Sizes::of(&both, op.inputs, true, &target.tuning);
    let g = Geometry::of(&both, both[0].cols, target, op.inputs, true, op.chosen, &sizes);
    let [gate, up] = &both;
    let kernel_up = kernel("experts_up", &g, gate).uint("HIDDEN", gate.rows).uint("WIDTH", gate.cols);
    let up_launch = Launch {
        kernel: typed(typed(kernel_up, 0, gate)?, 1, up)?,
        operands: vec![
            Operand::read(ids[0].into()),
            Operand::read(ids[1].into()),
            Operand::read(op.x.into()),
            Operand::read(choice),
            Operand::write(hidden),
        ],
        grid: [g.groups[0] as u32, op.chosen as u32, rows as u32],
        threads,
    };

    let down = [down];
    let sizes = Sizes::of(&down, op.inputs, false, &target.tuning);
    let g = Geometry::of(&down, op.chosen * down[0].cols, target, op.inputs, false, 1, &sizes);
    let [down] = &down;
    let kernel_down = kernel("experts_down", &g, down).option("RESIDUAL", residual.is_some());
    let down_launch = Launch {
        kernel: typed(kernel_down.uint("WIDTH", down.rows).uint("HIDDEN", down.cols), 0, down)?,
        operands: vec![
            Operand::read(ids[2].into()),
            Operand::read(hidden),
            Operand::read(choice),
            residual.map_or_else(Operand::absent, Operand::read),
            Operand::write(out),
        ],
        grid: [g.groups[0] as u32, rows as u32, 1],
        threads,
    };
    Ok(vec![choose, up_launch, down_launch])
}
