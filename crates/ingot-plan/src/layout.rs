//! Which buffers can share memory.
//!
//! A buffer lives from the op that writes it to the last op that reads it. Two
//! buffers whose lives do not touch may lie in the same region. An op never
//! writes a region that it reads, so executors need no special case for that.

use crate::{Buf, Op, Plan, Rows, Uses};

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
    /// Region of each buffer, by [`Buf::index`]; `usize::MAX` for none.
    pub region_of: Vec<usize>,
}

impl Layout {
    /// Assigns every buffer of a plan to a region.
    pub fn new(plan: &Plan) -> Self {
        let uses: Vec<Uses> = plan.ops.iter().map(Op::uses).collect();
        Self::of(plan, &uses)
    }

    /// Assigns the buffers that the ops touch, for an executor that runs some
    /// ops as one: it gives the uses of all ops in order, those of several ops in
    /// the place of one and none in the others'. Buffers that are never written
    /// have no region.
    pub fn of(plan: &Plan, uses: &[Uses]) -> Self {
        let last = last_use(plan, uses);
        let mut layout = Self { regions: Vec::new(), region_of: vec![usize::MAX; plan.buffers.len()] };
        let mut free: Vec<usize> = Vec::new();
        for (i, uses) in uses.iter().enumerate() {
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
fn last_use(plan: &Plan, uses: &[Uses]) -> Vec<usize> {
    let mut last = vec![0; plan.buffers.len()];
    for (i, uses) in uses.iter().enumerate() {
        for buf in uses.reads.iter().chain(&uses.writes) {
            last[buf.index()] = i;
        }
    }
    last[plan.logits.index()] = usize::MAX;
    last
}
