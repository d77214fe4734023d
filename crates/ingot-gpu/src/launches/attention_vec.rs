//! Attention of single rows, in chunks of positions that are put together by a
//! second launch where there are several.

use super::rope_store::RopeStore;
use super::{Shape, Target, cache};
use crate::launch::{Access, Kernel, Launch, Operand, What};
use ingot_plan::Plan;
use ingot_plan::ops::Attention;

/// Positions of a chunk, as in the kernels.
const CHUNK: usize = 256;

/// Chunks that there is room for. A power of two, so that a growing context
/// rarely needs other launches; the result does not depend on it.
fn chunks(shape: Shape) -> usize {
    shape.context.div_ceil(CHUNK).next_power_of_two()
}

/// Bytes of the partial results of a step; 0 if there are none.
pub fn partial_bytes(plan: &Plan, shape: Shape, op: &Attention) -> usize {
    let width = plan.buffer(op.q).width;
    match chunks(shape) {
        1 => 0,
        chunks => 4 * shape.rows * chunks * (width + 2 * op.heads),
    }
}

/// Query heads of a threadgroup: as many share keys and values as there are registers for their sums.
fn together(plan: &Plan, op: &Attention) -> usize {
    let (n, group) = (plan.buffer(op.q).width / op.heads, op.heads / op.kv_heads);
    group.next_power_of_two().min(if n > 128 { 4 } else { 8 })
}

/// True if [`attention_vec`] can turn queries and keys itself: only one threadgroup may store a key.
pub fn turns(plan: &Plan, op: &Attention) -> bool {
    op.heads / op.kv_heads <= together(plan, op)
}

/// The launches of an attention for few rows; `partials` is scratch memory of
/// [`partial_bytes`]. With `new`, keys and values of these rows are not in the cache yet, and
/// queries not turned, if it has any.
///
/// # Panics
/// If the cache type does not support the head size, see [`cache::supports`], or there are new keys
/// and values although it cannot [turn](turns) them.
pub fn attention_vec(
    plan: &Plan,
    shape: Shape,
    target: Target,
    op: &Attention,
    new: Option<&RopeStore>,
    partials: u32,
) -> Vec<Launch> {
    let (n, group, chunks) = (plan.buffer(op.q).width / op.heads, op.heads / op.kv_heads, chunks(shape));
    assert!(cache::supports(target.cache, n), "attention: heads of {n} in {:?}", target.cache);
    assert!(new.is_none() || turns(plan, op), "attention: {} heads of {n} turned", op.heads);
    let together = together(plan, op);
    let (out, rows) = (What::from(op.out), shape.rows as u32);
    let grid = [(op.kv_heads * group.div_ceil(together)) as u32, chunks as u32, rows];
    // Of many threadgroups rather more at a time than each with more on its way.
    let many = chunks > 1 && grid.iter().map(|&n| n as usize).product::<usize>() > 4 * target.cores;
    let resident = if many { 4 } else { 2 };
    // A window beyond all positions is none.
    let window = op.window.filter(|&w| u32::try_from(w).is_ok()).unwrap_or(0);
    let kernel = Kernel::new("attention_vec")
        .option("CACHE", cache::option(target.cache))
        .option("HEADS", together as i64)
        .option("TURN", new.is_some())
        .option("RESIDENT", resident as i64)
        .uint("N", n)
        .uint("KV_HEADS", op.kv_heads)
        .uint("GROUP", group)
        .float("SCALE", op.scale)
        .uint("WINDOW", window)
        .uint("ONE_CHUNK", usize::from(chunks == 1))
        .uint("LANES", (n / 8).next_power_of_two())
        .float("CAP", op.cap.unwrap_or(0.0));
    // Nothing new is like nothing turned.
    let nothing = RopeStore { n, q: None, kv: None, rotary: None, frequencies: What::Step };
    let turned = new.unwrap_or(&nothing);
    let mut operands = vec![
        Operand::read(turned.q.map_or(op.q.into(), |q| q.x)),
        Operand {
            access: if new.is_some() { Access::Update } else { Access::Read },
            ..Operand::read(op.cache.into())
        },
        Operand::read(What::Step),
        // Of the chunks that there is room for, those with positions are written.
        if chunks == 1 { Operand::write(out) } else { Operand::update(What::Scratch(partials)) },
    ];
    operands.extend(turned.inputs());
    let vec = Launch { kernel: turned.turning(kernel), operands, grid, threads: 256 };
    if chunks == 1 {
        return vec![vec];
    }
    let merge = Launch {
        kernel: Kernel::new("attention_merge")
            .uint("N", n)
            .uint("HEADS", op.heads)
            .uint("CHUNKS", chunks)
            .uint("WINDOW", window),
        operands: vec![
            Operand::read(What::Scratch(partials)),
            Operand::read(What::Step),
            Operand::write(out),
        ],
        grid: [op.heads as u32, rows, 1],
        threads: 256,
    };
    vec![vec, merge]
}
