//! Which buffers can share memory.
//!
//! A buffer lives from the op that writes it to the last op that reads it. Two
//! buffers whose lives do not touch may lie in the same region. An op never
//! writes a region that it reads, so executors need no special case for that.

use crate::{Buf, Plan, Rows};

/// A region of scratch memory: `width` f32 values per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// What its rows are.
    pub rows: Rows,
    /// The widest buffer in it.
    pub width: usize,
}

/// Buffers assigned to regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The regions to allocate.
    pub regions: Vec<Region>,
    /// Region of each buffer, by [`Buf::index`].
    pub region_of: Vec<usize>,
}

impl Layout {
    /// Assigns every buffer of a plan to a region.
    pub fn new(plan: &Plan) -> Self {
        let last = last_use(plan);
        let mut layout = Self { regions: Vec::new(), region_of: vec![usize::MAX; plan.buffers.len()] };
        let mut free: Vec<usize> = Vec::new();
        for (i, op) in plan.ops.iter().enumerate() {
            let uses = op.uses();
            for &buf in &uses.writes {
                layout.region_of[buf.index()] = layout.claim(plan, buf, &mut free);
            }
            for &buf in uses.reads.iter().chain(&uses.writes) {
                let region = layout.region_of[buf.index()];
                if last[buf.index()] == i && !free.contains(&region) {
                    free.push(region);
                }
            }
        }
        layout
    }

    /// Takes the free region that fits best, or adds one.
    fn claim(&mut self, plan: &Plan, buf: Buf, free: &mut Vec<usize>) -> usize {
        let decl = plan.buffer(buf);
        let best = (0..free.len())
            .filter(|&f| self.regions[free[f]].rows == decl.rows)
            .min_by_key(|&f| self.regions[free[f]].width.abs_diff(decl.width));
        match best {
            Some(f) => {
                let region = free.swap_remove(f);
                self.regions[region].width = self.regions[region].width.max(decl.width);
                region
            }
            None => {
                self.regions.push(Region { rows: decl.rows, width: decl.width });
                self.regions.len() - 1
            }
        }
    }
}

/// Index of the last op that touches each buffer; the logits are never done with.
fn last_use(plan: &Plan) -> Vec<usize> {
    let mut last = vec![0; plan.buffers.len()];
    for (i, op) in plan.ops.iter().enumerate() {
        let uses = op.uses();
        for buf in uses.reads.iter().chain(&uses.writes) {
            last[buf.index()] = i;
        }
    }
    last[plan.logits.index()] = usize::MAX;
    last
}
