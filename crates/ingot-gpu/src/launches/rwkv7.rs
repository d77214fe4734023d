//! Heads of RWKV-7, as kernels are told (`kernels/include/rwkv7.h`).

use crate::launch::Kernel;

/// Channels of the largest head.
const LARGEST: usize = 256;

/// True for heads that the kernels can do: the recurrence has a simdgroup for
/// eight value channels.
pub fn supports(head: usize) -> bool {
    head.is_multiple_of(8) && (8..=LARGEST).contains(&head)
}

/// A kernel for `heads` heads in rows of `width` values.
///
/// # Panics
/// If the heads are not [supported](supports).
pub(super) fn kernel(name: &'static str, width: usize, heads: usize) -> Kernel {
    let head = width / heads;
    assert!(supports(head) && head * heads == width, "{name}: {heads} heads in {width}");
    // Few sizes of arrays, so that there are few compilations.
    let chunks = head.div_ceil(16).next_power_of_two();
    Kernel::new(name).option("CHUNKS", chunks as i64).uint("HEADS", heads).uint("HEAD", head)
}

/// Threads that hold the state of a head.
pub(super) fn threads(head: usize) -> u32 {
    4 * head as u32
}
