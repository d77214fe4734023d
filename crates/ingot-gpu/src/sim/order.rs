//! What launches of one recording may do at the same time: nothing that the
//! declared order does not settle.

use super::launch::Step;
use crate::device::DeviceError;
use crate::launch::Access;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// One use of a buffer by a launch.
struct Use {
    launch: usize,
    range: Range<usize>,
    writes: bool,
}

/// Checks that any two launches that touch the same memory, one of them writing, are
/// ordered by `after`, and notes which operands no earlier launch writes.
pub(super) fn check(steps: &mut [Step], after: &[&[usize]]) -> Result<(), DeviceError> {
    let names: Vec<String> = steps.iter().map(|s| s.pipeline.0.name.clone()).collect();
    let mut waits = Waits::default();
    let mut uses: HashMap<usize, Vec<Use>> = HashMap::new();
    for (i, step) in steps.iter_mut().enumerate() {
        if let Some(j) = after[i].iter().find(|&&j| j >= i) {
            let message = format!("launch {i} waits for launch {j}, which is not earlier");
            return Err(DeviceError::Kernel { kernel: names[i].clone(), message });
        }
        waits.add(after[i]);
        for part in &mut step.parts {
            let earlier = uses.entry(Arc::as_ptr(&part.memory) as usize).or_default();
            let writes = part.access != Access::Read;
            let overlapping = earlier.iter().filter(|u| {
                u.launch != i && u.range.start < part.range.end && part.range.start < u.range.end
            });
            for u in overlapping.filter(|u| u.writes || writes) {
                part.early = false;
                if !waits.waits(i, u.launch) {
                    let j = u.launch;
                    let message = format!(
                        "launches {j} ({}) and {i} ({}) touch the same memory and neither waits for the \
                         other",
                        names[j], names[i]
                    );
                    return Err(DeviceError::Kernel { kernel: names[i].clone(), message });
                }
            }
            earlier.push(Use { launch: i, range: part.range.clone(), writes });
        }
    }
    Ok(())
}

/// For each launch a bit for every launch it waits for, directly or not.
#[derive(Default)]
struct Waits(Vec<Vec<u64>>);

impl Waits {
    fn add(&mut self, after: &[usize]) {
        let mut bits = vec![0u64; self.0.len() / 64 + 1];
        for &j in after {
            bits[j / 64] |= 1 << (j % 64);
            for (all, more) in bits.iter_mut().zip(&self.0[j]) {
                *all |= more;
            }
        }
        self.0.push(bits);
    }

    fn waits(&self, i: usize, j: usize) -> bool {
        self.0[i][j / 64] >> (j % 64) & 1 == 1
    }
}
