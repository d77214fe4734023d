//! How much memory a model takes, and how much there is.

use ingot_format::DType;
use ingot_plan::{PAGE, Plan};

/// Memory of a model, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All weights. Those of a mapped file are shared with the system's cache.
    pub weights: u64,
    /// One page of keys and values, which holds [`PAGE`] positions.
    pub page_bytes: u64,
    /// The recurrent state of one sequence.
    pub slot_bytes: u64,
}

impl Memory {
    /// The memory that a plan needs with keys and values stored as `cache`.
    pub fn of(plan: &Plan, cache: DType) -> Self {
        let bytes = cache.row_bytes(plan.page_len()).expect("pages hold whole blocks");
        Self {
            weights: plan.weights().iter().map(|w| w.bytes as u64).sum(),
            page_bytes: bytes as u64,
            slot_bytes: 4 * plan.slot_len() as u64,
        }
    }

    /// What one sequence of `tokens` tokens takes beside the weights.
    pub fn sequence(&self, tokens: usize) -> u64 {
        let pages = tokens.div_ceil(PAGE) as u64;
        self.slot_bytes.saturating_add(self.page_bytes.saturating_mul(pages))
    }
}

/// Bytes that this process can still use: what the system and, where there is
/// one, the control group leave.
pub fn available_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    system.available_memory().min(group)
}
