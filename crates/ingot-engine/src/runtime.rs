//! The executor and who owns which part of its memory.
//!
//! Pages are counted: sequences that began alike share the pages of what they
//! have in common, and a page is copied when one of its owners wants to write
//! to it.

use crate::{Error, Memory, Result, available_memory};
use ingot_format::Tensor;
use ingot_plan::{Draw, Executor, PAGE, Place, Sequence, Step, Window};

/// Memory that must stay free when the pools grow.
const HEADROOM: u64 = 64 << 20;

pub(crate) struct Runtime {
    pub(crate) executor: Box<dyn Executor>,
    pages: Pool,
    slots: Pool,
    weights: Vec<Tensor>,
    /// The pools grow in the computer's own memory; a device with memory of its
    /// own knows better how much it has.
    in_host_memory: bool,
    /// Bytes that sequences may take together.
    pub(crate) limit: u64,
    memory: Memory,
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
    pub(crate) fn new(executor: Box<dyn Executor>, weights: Vec<Tensor>, in_host_memory: bool) -> Self {
        let (pages, slots) = (Pool::default(), Pool::default());
        let memory = Memory::of(executor.plan(), executor.cache_type());
        let (limit, logits) = (u64::MAX, Vec::new());
        Self { executor, pages, slots, weights, in_host_memory, limit, memory, logits }
    }

    /// The tensors of the plan.
    pub(crate) fn weights(&self) -> &[Tensor] {
        &self.weights
    }

    /// Bytes of the pages and slots that have owners.
    pub(crate) fn in_use(&self) -> u64 {
        self.pages.claimed() * self.memory.page_bytes + self.slots.claimed() * self.memory.slot_bytes
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

    /// Memory with the same contents.
    pub(crate) fn fork(&mut self, lease: &Lease) -> Result<Lease> {
        let mut copy = self.lease()?;
        match self.assign(lease, &mut copy) {
            Ok(()) => Ok(copy),
            Err(e) => {
                self.release(&mut copy);
                Err(e)
            }
        }
    }

    /// Gives a sequence's memory the contents of another's: pages are shared, the slot
    /// is copied.
    pub(crate) fn assign(&mut self, from: &Lease, to: &mut Lease) -> Result<()> {
        if let (Some(from), Some(to)) = (from.slot, to.slot) {
            self.executor.copy(Place::Slot(from), Place::Slot(to))?;
        }
        from.pages.iter().for_each(|&p| self.pages.share(p));
        let before = std::mem::replace(&mut to.pages, from.pages.clone());
        before.into_iter().for_each(|p| self.pages.release(p));
        Ok(())
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
        self.check_intact()?;
        Ok(&self.logits)
    }

    /// Runs up to `steps` decode steps of one sequence in one go; the tokens drawn, or
    /// `None` if the executor does not draw.
    pub(crate) fn window(
        &mut self,
        lease: &mut Lease,
        past: usize,
        token: u32,
        draw: &Draw,
        ends: &[u32],
        steps: usize,
    ) -> Result<Option<Vec<u32>>> {
        let mut drawn = Vec::new();
        let done = self.extend(lease, past + steps).and_then(|()| {
            self.own(lease, past..past + steps)?;
            let first = Step::single(&[token], past, lease.slot.unwrap_or(0), &lease.pages);
            let window = Window { first: &first, draws: std::slice::from_ref(draw), ends, steps };
            Ok(self.executor.window(&window, &mut |_, token| drawn.push(token))?)
        });
        // It may have read less than there was room for.
        self.truncate(lease, past + drawn.len());
        let done = done?;
        self.check_intact()?;
        Ok(done.then_some(drawn))
    }

    /// An error if a part of the model's file is gone.
    fn check_intact(&self) -> Result<()> {
        match self.weights.iter().all(|w| w.data().is_intact()) {
            true => Ok(()),
            false => Err(Error::FileLost),
        }
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
        let (more_pages, more_slots) =
            (pages.saturating_sub(self.pages.reserved), slots.saturating_sub(self.slots.reserved));
        let grown = self.check_limit().and_then(|()| match more_pages + more_slots {
            0 => Ok(()),
            _ => {
                self.check_host_memory(more_pages, more_slots)?;
                Ok(self.executor.reserve(pages, slots)?)
            }
        });
        match grown {
            Ok(()) => (self.pages.reserved, self.slots.reserved) = (pages, slots),
            Err(_) => {
                self.pages.forget_unreserved();
                self.slots.forget_unreserved();
            }
        }
        grown
    }

    /// Refuses more than sequences are allowed.
    fn check_limit(&self) -> Result<()> {
        match self.in_use() > self.limit {
            false => Ok(()),
            true => Err(Error::OutOfMemory(format!(
                "the next part of the context exceeds the {} MB that sequences may take",
                self.limit >> 20
            ))),
        }
    }

    /// Refuses new pages and slots that would exhaust the machine.
    fn check_host_memory(&self, pages: usize, slots: usize) -> Result<()> {
        let needed = pages as u64 * self.memory.page_bytes + slots as u64 * self.memory.slot_bytes;
        if self.in_host_memory && needed + HEADROOM > available_memory() {
            return Err(Error::OutOfMemory(format!(
                "the next part of the context takes {} MB, the machine has {} MB left",
                needed.div_ceil(1 << 20),
                available_memory() >> 20
            )));
        }
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

    /// How many have owners.
    fn claimed(&self) -> u64 {
        (self.owners.len() - self.free.len()) as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_format::{DType, ModelFile};
    use ingot_plan::{ExecError, Plan, Reference};

    /// A device with memory of its own, for so many pages.
    struct Small {
        reference: Reference,
        pages: usize,
    }

    impl Executor for Small {
        fn plan(&self) -> &Plan {
            self.reference.plan()
        }
        fn cache_type(&self) -> DType {
            self.reference.cache_type()
        }
        fn reserve(&mut self, pages: usize, slots: usize) -> Result<(), ExecError> {
            match pages <= self.pages {
                true => self.reference.reserve(pages, slots),
                false => Err(ExecError::OutOfMemory(format!("{pages} pages"))),
            }
        }
        fn run(&mut self, step: &Step, logits: &mut Vec<f32>) -> Result<(), ExecError> {
            self.reference.run(step, logits)
        }
        fn copy(&mut self, from: Place, to: Place) -> Result<(), ExecError> {
            self.reference.copy(from, to)
        }
        fn clear_slot(&mut self, slot: u32) -> Result<(), ExecError> {
            self.reference.clear_slot(slot)
        }
        fn read(&self, place: Place) -> Result<Vec<u8>, ExecError> {
            self.reference.read(place)
        }
        fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
            self.reference.write(place, bytes)
        }
    }

    #[test]
    fn a_device_that_is_full_can_still_be_used() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models/llama-s-q8_0.gguf");
        let file = ModelFile::open(path.as_ref()).unwrap();
        let model = ingot_models::Model::load(&file, Default::default()).unwrap();
        let small = Small { reference: Reference::new(model.plan, model.weights), pages: 3 };
        let mut runtime = Runtime::new(Box::new(small), Vec::new(), false);
        let (mut a, mut b) = (runtime.lease().unwrap(), runtime.lease().unwrap());
        runtime.extend(&mut a, 2 * PAGE).unwrap();
        let too_much = runtime.extend(&mut b, 2 * PAGE);
        assert!(matches!(too_much, Err(Error::OutOfMemory(what)) if what == "4 pages"));
        // What did not fit is forgotten: there is room for one page, and then for what `a` gives back.
        assert!(b.pages.is_empty());
        runtime.extend(&mut b, PAGE).unwrap();
        assert!(runtime.extend(&mut b, 2 * PAGE).is_err());
        runtime.release(&mut a);
        runtime.extend(&mut b, 3 * PAGE).unwrap();
        let rows = Rows { lease: &mut b, past: 0, tokens: &[1, 2, 3] };
        assert_eq!(runtime.step(&mut [rows], false).unwrap().len(), model.info.vocab);
    }
}
