//! The executor and who owns which part of its memory.
//!
//! Pages are counted: sequences that began alike share the pages of what they
//! have in common, and a page is copied when one of its owners wants to write
//! to it.

use crate::{Error, Memory, Result, available_memory};
use ingot_format::Tensor;
use ingot_plan::{Executor, PAGE, Place, Sequence, Step};

/// Memory that must stay free when the pools grow.
const HEADROOM: u64 = 64 << 20;

pub(crate) struct Runtime {
    pub(crate) executor: Box<dyn Executor>,
    pages: Pool,
    slots: Pool,
    weights: Vec<Tensor>,
    logits: Vec<f32>,
}

/// The memory of one sequence. Not to be dropped but given back with
/// [`Runtime::release`].
#[derive(Debug, Default)]
pub(crate) struct Lease {
    pub(crate) pages: Vec<u32>,
    pub(crate) slot: Option<u32>,
}

/// New tokens of one sequence for a step.
pub(crate) struct Rows<'a> {
    pub(crate) lease: &'a mut Lease,
    pub(crate) past: usize,
    pub(crate) tokens: &'a [u32],
}

impl Runtime {
    pub(crate) fn new(executor: Box<dyn Executor>, weights: Vec<Tensor>) -> Self {
        Self { executor, pages: Pool::default(), slots: Pool::default(), weights, logits: Vec::new() }
    }

    /// Memory for a sequence that has seen nothing.
    pub(crate) fn lease(&mut self) -> Result<Lease> {
        let mut slot = None;
        if self.executor.plan().slot_len() > 0 {
            let id = self.slots.claim();
            if let Err(e) = self.grow().and_then(|()| Ok(self.executor.clear_slot(id)?)) {
                self.slots.release(id);
                return Err(e);
            }
            slot = Some(id);
        }
        Ok(Lease { pages: Vec::new(), slot })
    }

    /// Memory with the same contents: pages are shared, the slot is copied.
    pub(crate) fn fork(&mut self, lease: &Lease) -> Result<Lease> {
        let mut copy = self.lease()?;
        if let (Some(from), Some(to)) = (lease.slot, copy.slot)
            && let Err(e) = self.executor.copy(Place::Slot(from), Place::Slot(to))
        {
            self.release(&mut copy);
            return Err(e.into());
        }
        lease.pages.iter().for_each(|&p| self.pages.share(p));
        copy.pages = lease.pages.clone();
        Ok(copy)
    }

    /// Takes back a sequence's memory.
    pub(crate) fn release(&mut self, lease: &mut Lease) {
        lease.pages.drain(..).for_each(|p| self.pages.release(p));
        lease.slot.take().into_iter().for_each(|s| self.slots.release(s));
    }

    /// Keeps the pages of the first `len` positions.
    pub(crate) fn truncate(&mut self, lease: &mut Lease, len: usize) {
        let keep = len.div_ceil(PAGE).min(lease.pages.len());
        lease.pages.drain(keep..).for_each(|p| self.pages.release(p));
    }

    /// Adds pages until `positions` fit.
    pub(crate) fn extend(&mut self, lease: &mut Lease, positions: usize) -> Result<()> {
        let wanted = if self.executor.plan().page_len() == 0 { 0 } else { positions.div_ceil(PAGE) };
        let before = lease.pages.len();
        while lease.pages.len() < wanted {
            lease.pages.push(self.pages.claim());
        }
        self.grow().inspect_err(|_| lease.pages.drain(before..).for_each(|p| self.pages.release(p)))
    }

    /// Runs one step; a row of logits for the last token of each sequence, or for
    /// every token with `all`, in order: `[O, vocab]`.
    pub(crate) fn step(&mut self, batch: &mut [Rows], all: bool) -> Result<&[f32]> {
        let mut step = Step::default();
        for rows in batch {
            let end = rows.past + rows.tokens.len();
            self.extend(rows.lease, end)?;
            self.own(rows.lease, rows.past..end)?;
            let start = step.tokens.len();
            step.tokens.extend_from_slice(rows.tokens);
            let first_output = if all { start } else { step.tokens.len() - 1 };
            step.outputs.extend(first_output as u32..step.tokens.len() as u32);
            step.sequences.push(Sequence {
                rows: start..step.tokens.len(),
                past: rows.past,
                slot: rows.lease.slot.unwrap_or(0),
                pages: rows.lease.pages.clone(),
            });
        }
        self.executor.run(&step, &mut self.logits)?;
        if self.weights.iter().any(|w| !w.data().is_intact()) {
            return Err(Error::FileLost);
        }
        Ok(&self.logits)
    }

    /// Copies those pages of a range of positions that others have as well.
    fn own(&mut self, lease: &mut Lease, positions: std::ops::Range<usize>) -> Result<()> {
        for i in positions.start / PAGE..lease.pages.len().min(positions.end.div_ceil(PAGE)) {
            let shared = lease.pages[i];
            if self.pages.owners(shared) > 1 {
                let own = self.pages.claim();
                let copied = self
                    .grow()
                    .and_then(|()| Ok(self.executor.copy(Place::Page(shared), Place::Page(own))?));
                if let Err(e) = copied {
                    self.pages.release(own);
                    return Err(e);
                }
                self.pages.release(shared);
                lease.pages[i] = own;
            }
        }
        Ok(())
    }

    /// Makes the executor's pools as large as what was claimed, unless that would
    /// exhaust the machine.
    fn grow(&mut self) -> Result<()> {
        let (pages, slots) = (self.pages.owners.len(), self.slots.owners.len());
        if pages <= self.pages.reserved && slots <= self.slots.reserved {
            return Ok(());
        }
        let memory = Memory::of(self.executor.plan(), self.executor.cache_type());
        let needed = (pages - self.pages.reserved) as u64 * memory.page_bytes
            + (slots - self.slots.reserved) as u64 * memory.slot_bytes;
        if needed + HEADROOM > available_memory() {
            self.pages.forget_unreserved();
            self.slots.forget_unreserved();
            return Err(Error::OutOfMemory(format!(
                "the next part of the context takes {} MB, the machine has {} MB left",
                needed.div_ceil(1 << 20),
                available_memory() >> 20
            )));
        }
        self.executor.reserve(pages, slots)?;
        (self.pages.reserved, self.slots.reserved) = (pages, slots);
        Ok(())
    }
}

/// Ids with the number of their owners.
#[derive(Default)]
struct Pool {
    owners: Vec<u32>,
    free: Vec<u32>,
    /// How many of the ids exist in the executor.
    reserved: usize,
}

impl Pool {
    fn claim(&mut self) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.owners.push(0);
            self.owners.len() as u32 - 1
        });
        self.owners[id as usize] = 1;
        id
    }

    fn share(&mut self, id: u32) {
        self.owners[id as usize] += 1;
    }

    fn owners(&self, id: u32) -> u32 {
        self.owners[id as usize]
    }

    fn release(&mut self, id: u32) {
        let Some(owners) = self.owners.get_mut(id as usize) else { return };
        *owners -= 1;
        if *owners == 0 {
            self.free.push(id);
        }
    }

    /// Drops the ids that the executor could not be given memory for.
    fn forget_unreserved(&mut self) {
        self.owners.truncate(self.reserved);
        self.free.retain(|&id| (id as usize) < self.reserved);
    }
}
