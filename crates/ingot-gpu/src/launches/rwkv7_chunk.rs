//! RWKV-7's time mix of many rows: chunks of rows at once, the state from chunk to chunk,
//! and the output (`kernels/include/rwkv7_chunk.h`).

use super::rwkv7;
use super::rwkv7_mix::Mix;
use super::{Shape, rwkv7_mix};
use crate::launch::{Launch, Operand, What};
use ingot_plan::{Buf, Plan, WeightId};

/// Rows of a chunk, as in the kernels.
const CHUNK: usize = 16;
/// Channels of the largest head: of larger ones a chunk does not fit into threadgroup memory.
const LARGEST: usize = 64;
/// Most value channels of a threadgroup of the recurrence, as in the kernel.
const VALUES: usize = 32;
/// Simdgroups of a threadgroup of the kernels that prepare and finish.
const SIMDGROUPS: usize = 4;

/// True for heads that the kernels can do.
pub fn supports(head: usize) -> bool {
    rwkv7::supports(head) && head <= LARGEST
}

/// Bytes of the scratch memory that [`rwkv7_chunk`] needs: for the chunks, for what the
/// recurrence gives, and for what is added to that.
pub fn scratch_bytes(plan: &Plan, shape: &Shape, m: &Mix) -> [usize; 3] {
    let width = plan.buffer(m.bonus.out).width;
    let padded = padded(width / m.wkv.heads);
    let chunk = 7 * CHUNK * padded + padded;
    [chunks(shape) * m.wkv.heads * chunk, shape.rows * width, shape.rows * width].map(|floats| 4 * floats)
}

/// The launches for all heads and sequences.
///
/// # Panics
/// If the heads are not [supported](supports).
pub fn rwkv7_chunk(plan: &Plan, shape: &Shape, m: &Mix, scratch: [u32; 3]) -> [Launch; 3] {
    let (width, heads) = (plan.buffer(m.bonus.out).width, m.wkv.heads);
    let head = width / heads;
    assert!(supports(head), "heads of {head}");
    let [kept, y, bonus] = scratch.map(What::Scratch);
    let buffer = |b: Option<Buf>| b.map_or(Operand::absent(), |b| Operand::read(b.into()));
    let weight = |w: WeightId| Operand::read(w.into());

    let inputs = rwkv7_mix::inputs(m);
    let mut operands: Vec<Operand> = inputs.into_iter().map(buffer).collect();
    operands.extend([m.keys.k_k, m.keys.k_a, m.bonus.r_k].map(weight));
    operands.extend([Operand::read(What::Step), Operand::write(kept), Operand::write(bonus)]);
    let prepare = Launch {
        kernel: rwkv7::kernel("rwkv7_chunk", width, heads).option("BLEND", m.blend.is_some()),
        operands,
        grid: [heads as u32, chunks(shape) as u32, 1],
        threads: 32 * SIMDGROUPS as u32,
    };
    let values = VALUES.min(padded(head));
    let scan = Launch {
        kernel: rwkv7::kernel("rwkv7_scan", width, heads),
        operands: vec![
            Operand::read(kept),
            Operand::read(What::Step),
            Operand::update(m.wkv.state.into()),
            Operand::write(y),
        ],
        grid: [(heads * padded(head) / values) as u32, shape.sequences as u32, 1],
        threads: 4 * values as u32,
    };
    let finish = Launch {
        kernel: rwkv7::kernel("rwkv7_finish", width, heads).float("EPS", m.norm.eps),
        operands: vec![
            Operand::read(y),
            Operand::read(bonus),
            Operand::read(m.bonus.g.into()),
            weight(m.norm.weight),
            weight(m.norm.bias),
            Operand::write(m.bonus.out.into()),
        ],
        grid: [heads.div_ceil(SIMDGROUPS) as u32, shape.rows as u32, 1],
        threads: 32 * SIMDGROUPS as u32,
    };
    [prepare, scan, finish]
}

/// Channels of a head in the kernels, as [`rwkv7::kernel`] chooses it.
fn padded(head: usize) -> usize {
    head.next_multiple_of(16).next_power_of_two()
}

/// Enough chunks for all sequences: the first and the last of each may have a single row.
fn chunks(shape: &Shape) -> usize {
    shape.rows.div_ceil(CHUNK) + 2 * shape.sequences - 1
}
