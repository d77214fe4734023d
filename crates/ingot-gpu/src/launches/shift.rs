//! Token shift with the layer norm before it, and the launch that puts the last
//! rows of all shifts of a step into their slots.

use super::{Norm, Shape};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::ops::TokenShift;
use ingot_plan::{Plan, StateId};

/// Most outputs of a launch.
pub const MOST_MIXES: usize = 6;
/// Widest row: 1024 threads with 32 values each.
pub const WIDEST: usize = 1024 * 32;
/// Most shifts that one launch commits.
const MOST_STATES: usize = 16;
/// Threads of a committing threadgroup, as in the kernel.
const COMMIT_THREADS: usize = 256;

/// The launch for all rows. `x` is the input of the norm, or of the op if there is
/// none. `next` is a scratch and where in it the sequences' last rows go: `[S, C]`
/// of f32. Without it every sequence has one row, which goes to its slot.
///
/// # Panics
/// If the norm is none over rows with a bias, or there are more outputs than
/// [`MOST_MIXES`] or wider ones than [`WIDEST`].
pub fn shift(
    plan: &Plan,
    shape: &Shape,
    x: What,
    norm: Option<Norm>,
    op: &TokenShift,
    next: Option<(u32, usize)>,
) -> Launch {
    let (width, mixes) = (plan.buffer(op.x).width, op.outs.len());
    assert!((1..=MOST_MIXES).contains(&mixes) && width <= WIDEST, "shift: {mixes} mixes of {width}");
    let (weight, bias, eps) = match norm {
        Some(Norm::Layer { weight, bias, eps }) => {
            (Operand::read(weight.into()), Operand::read(bias.into()), eps)
        }
        None => (Operand::absent(), Operand::absent(), 0.0),
        Some(Norm::Rms { .. }) => panic!("shift: {norm:?}"),
    };
    // Few values per thread, but few sizes of arrays too.
    let items = width.div_ceil(1024).max(4).next_power_of_two();
    let threads = width.div_ceil(items).next_multiple_of(32);
    let kernel = Kernel::new("shift")
        .option("NORM", norm.is_some())
        .option("MIXES", mixes as i64)
        .option("DIRECT", next.is_none())
        .option("ITEMS", items as i64)
        .uint("COLS", width)
        .uint("THREADS", threads)
        .float("EPS", eps);
    let next = match next {
        Some((scratch, at)) => {
            let range = Some(at..at + 4 * shape.sequences * width);
            Operand { range, ..Operand::write(What::Scratch(scratch)) }
        }
        None => Operand::update(op.state.into()),
    };
    let mut operands = vec![
        Operand::read(x),
        Operand::read(op.mix.into()),
        weight,
        bias,
        Operand::read(What::Step),
        Operand::read(op.state.into()),
        next,
    ];
    operands.extend(op.outs.iter().map(|&out| Operand::write(out.into())));
    operands.resize(operands.len() + MOST_MIXES - mixes, Operand::absent());
    Launch { kernel, operands, grid: [shape.rows as u32, 1, 1], threads: threads as u32 }
}

/// Launches that copy what [`shift`] left in a scratch to the slots. `states` are
/// those of the shifts with the width of their rows; in the scratch they follow
/// each other without gaps: `[S, width]` of f32 each.
pub fn shift_commit(shape: &Shape, states: &[(StateId, usize)], scratch: u32) -> Vec<Launch> {
    let mut launches = Vec::new();
    let mut at = 0;
    for alike in states.chunk_by(|a, b| a.1 == b.1) {
        for some in alike.chunks(MOST_STATES) {
            let width = some[0].1;
            let bytes = 4 * some.len() * shape.sequences * width;
            let next = Operand { range: Some(at..at + bytes), ..Operand::read(What::Scratch(scratch)) };
            at += bytes;
            let mut operands = vec![next, Operand::read(What::Step)];
            operands.extend(some.iter().map(|&(state, _)| Operand::update(state.into())));
            operands.resize(2 + MOST_STATES, Operand::absent());
            launches.push(Launch {
                kernel: Kernel::new("shift_commit").uint("COLS", width),
                operands,
                grid: [width.div_ceil(COMMIT_THREADS) as u32, shape.sequences as u32, some.len() as u32],
                threads: COMMIT_THREADS as u32,
            });
        }
    }
    launches
}
