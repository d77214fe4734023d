//! A number that tells models apart, so that a saved session meets only the
//! model that it came from.

use ingot_format::Tensor;
use ingot_plan::{Op, Plan};

/// Bytes looked at in each tensor.
const SAMPLE: usize = 256;

/// A checksum of the plan's states, rotations and weights and of a sample of every weight;
/// reading all of a large file would take longer than loading the session. Of tensors that
/// are not the file's own (`replaced`) everything counts: what is added to a weight may be
/// anywhere in it.
pub(crate) fn fingerprint<'a>(
    plan: &Plan,
    weights: &[Tensor],
    replaced: impl Iterator<Item = &'a Tensor>,
) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(format!("{:?}", plan.states()).as_bytes());
    // Some models turn keys by the context they are opened for.
    for op in plan.ops() {
        if let Op::Rope(op) = op {
            let numbers = op.rotary.frequencies.iter().chain([&op.rotary.scale]);
            numbers.for_each(|x| hash.update(&x.to_le_bytes()));
        }
    }
    for (decl, tensor) in plan.weights().iter().zip(weights) {
        hash.update(format!("{} {} {:?}", decl.name, decl.dtype, decl.shape).as_bytes());
        let data = tensor.data();
        let middle = data.len().saturating_sub(SAMPLE) / 2;
        hash.update(&data[middle..data.len().min(middle + SAMPLE)]);
    }
    for tensor in replaced {
        hash.update(tensor.name().as_bytes());
        hash.update(tensor.data());
    }
    hash.finalize()
}
