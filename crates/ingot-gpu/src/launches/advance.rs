//! From one step of a window to the next without the host.

use super::Shape;
use super::sample::{Sampling, counts_len};
use crate::launch::{Kernel, Launch, Operand, What};
use ingot_plan::Plan;

/// The launch that makes the sampled tokens the next step's input. Every sequence
/// of the step has one row, whose logits are wanted.
pub fn advance(plan: &Plan, shape: Shape, sampling: &Sampling) -> Launch {
    let update = |id| Operand::update(What::Scratch(id));
    Launch {
        kernel: Kernel::new("advance")
            .option("PENALTIES", i64::from(sampling.penalties))
            .uint("COUNTS", counts_len(plan.vocab()))
            .uint("HISTORY", sampling.history_len)
            .uint("ENTRIES", sampling.ring_len),
        operands: vec![
            Operand::read(What::Scratch(sampling.result)),
            Operand::read(What::Scratch(sampling.ends)),
            Operand::update(What::Step),
            update(sampling.params),
            if sampling.penalties { update(sampling.counts) } else { Operand::absent() },
            if sampling.penalties { update(sampling.history) } else { Operand::absent() },
            update(sampling.ring),
        ],
        grid: [shape.sequences.div_ceil(32) as u32, 1, 1],
        threads: 32,
    }
}
