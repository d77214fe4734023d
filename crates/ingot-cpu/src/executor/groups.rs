//! Which ops run together: neighbouring ops that work row by row are one piece
//! of parallel work, in which each row goes through all of them while it is in
//! the first-level cache.

use super::chains::Work;
use super::workspace::Workspace;
use ingot_plan::{Buf, Op, Plan};

/// The output of an op whose row `t` needs no other row of what its neighbours
/// write; `None` for all other ops.
pub(super) fn row_output(op: &Op) -> Option<Buf> {
    match op {
        Op::Add(op) => Some(op.out),
        Op::Embed(op) => Some(op.out),
        Op::Glu(op) => Some(op.out),
        Op::LayerNorm(op) => Some(op.out),
        Op::RmsNorm(op) => Some(op.out),
        Op::Rope(op) => Some(op.out),
        Op::Select(op) => Some(op.out),
        Op::Softcap(op) => Some(op.out),
        Op::Attention(_) | Op::Blend(_) | Op::Bonus(_) | Op::Experts(_) | Op::Linear(_) => None,
        Op::RwkvKeys(_) | Op::StoreKv(_) | Op::TokenShift(_) | Op::Wkv7(_) => None,
    }
}

/// Work with neighbouring row ops in groups.
pub(super) fn groups(plan: &Plan, workspace: &Workspace, work: Vec<Work>) -> Vec<Work> {
    let mut groups: Vec<Work> = Vec::new();
    for next in work {
        match (groups.last_mut(), &next) {
            (Some(Work::Ops(group)), Work::Ops(one))
                if group.end == one.start
                    && joins(plan, workspace, &plan.ops()[group.clone()], &plan.ops()[one.start]) =>
            {
                group.end = one.end;
            }
            _ => groups.push(next),
        }
    }
    groups
}

fn joins(plan: &Plan, workspace: &Workspace, group: &[Op], op: &Op) -> bool {
    let outputs = |op: &Op| row_output(op).map(|buf| plan.buffer(buf).rows);
    // A selection reads other rows than it writes, and only ever begins a group.
    if outputs(op).is_none() || outputs(op) != outputs(&group[0]) || matches!(op, Op::Select(_)) {
        return false;
    }
    // Rows are not worked on in step. So in memory that buffers share, row t of one
    // must not lie where other rows of another are that the group still needs.
    // (What a selection reads has other rows, so it shares no memory with the rest.)
    let uses = op.uses();
    let same_place = |a: Buf, b: Buf| {
        a == b || !workspace.share_memory(a, b) || plan.buffer(a).width == plan.buffer(b).width
    };
    group.iter().map(Op::uses).all(|before| {
        let writes =
            before.writes.iter().all(|&a| uses.reads.iter().chain(&uses.writes).all(|&b| same_place(a, b)));
        let reads = before.reads.iter().all(|&a| uses.writes.iter().all(|&b| same_place(a, b)));
        writes && reads
    })
}

#[cfg(test)]
mod tests {
    use super::super::chains::chains;
    use super::*;
    use ingot_format::{DType, Tensor};
    use ingot_plan::{PlanBuilder, Precision};

    fn weight(plan: &mut PlanBuilder, rows: usize, cols: usize) -> ingot_plan::WeightId {
        let shape = if rows == 0 { vec![cols] } else { vec![rows, cols] };
        let bytes = vec![0; 4 * rows.max(1) * cols];
        plan.weight(&Tensor::new("w", DType::F32, shape, bytes.into()).unwrap())
    }

    /// Lengths of the groups of a plan.
    fn lengths(plan: &Plan) -> Vec<usize> {
        let (work, uses) = chains(plan);
        let groups = groups(plan, &Workspace::new(plan, &uses), work);
        let lengths = groups.iter().map(|work| match work {
            Work::Ops(ops) => ops.len(),
            Work::Linears(stages) => stages.iter().map(Vec::len).sum(),
            Work::Shift(_) | Work::Mix(_) => panic!("there is no such chain"),
        });
        assert_eq!(lengths.clone().sum::<usize>(), plan.ops().len());
        lengths.collect()
    }

    #[test]
    fn row_ops_between_products_come_together() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let [table, square] = [weight(&mut plan, 3, 8), weight(&mut plan, 8, 8)];
        let norm = weight(&mut plan, 0, 8);
        let x = plan.embed(table);
        let h = plan.rms_norm(x, norm, 1e-6);
        let y = plan.linear(h, square);
        let x = plan.add(x, y);
        let h = plan.rms_norm(x, norm, 1e-6);
        let y = plan.linear(h, square);
        let x = plan.add(x, y);
        let x = plan.select(x);
        let x = plan.rms_norm(x, norm, 1e-6);
        let logits = plan.linear(x, table);
        assert_eq!(lengths(&plan.finish(logits)), [2, 1, 2, 1, 1, 2, 1]);
    }

    #[test]
    fn rows_of_other_widths_do_not_share_memory_in_a_group() {
        let mut plan = PlanBuilder::new(Precision::F32);
        let [wide, narrow] = [weight(&mut plan, 3, 64), weight(&mut plan, 3, 8)];
        let norm = weight(&mut plan, 0, 64);
        let a = plan.embed(wide);
        let b = plan.rms_norm(a, norm, 1e-6);
        // Goes where `a` was: its row 8 would lie on row 1 of `a`.
        let c = plan.embed(narrow);
        let square = weight(&mut plan, 8, 64);
        let d = plan.linear(b, square);
        let x = plan.add(c, d);
        let x = plan.select(x);
        let logits = plan.linear(x, narrow);
        let plan = plan.finish(logits);
        let workspace = Workspace::new(&plan, &chains(&plan).1);
        assert!(workspace.share_memory(a, c), "as the layout is now");
        assert_eq!(lengths(&plan)[..2], [2, 1]);
    }
}
