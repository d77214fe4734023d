//! What sequences keep: for each state of the plan a buffer of pages or of slots.

use crate::device::{Device, DeviceError};
use ingot_format::DType;
use ingot_plan::{ExecError, PAGE, Place, Plan, StateDecl, StateId};

pub(super) struct States<D: Device> {
    states: Vec<State<D>>,
    pages: usize,
    slots: usize,
}

struct State<D: Device> {
    /// True for keys and values, false for recurrent values.
    paged: bool,
    /// Bytes of one page or slot.
    each: usize,
    buffer: Option<D::Buffer>,
    /// Pages or slots there is memory for.
    capacity: usize,
}

impl<D: Device> States<D> {
    /// # Errors
    /// If keys and values of this type do not fill whole blocks.
    pub(super) fn new(plan: &Plan, cache: DType) -> Result<Self, ExecError> {
        let state = |decl: &StateDecl| {
            let (paged, each) = match *decl {
                StateDecl::Kv { width } => {
                    let row = cache.row_bytes(width).ok_or_else(|| {
                        let what = format!("keys and values of {width} numbers cannot be kept as {cache}");
                        ExecError::Request(what)
                    })?;
                    (true, 2 * PAGE * row)
                }
                StateDecl::Recurrent { len } => (false, 4 * len),
            };
            Ok(State { paged, each, buffer: None, capacity: 0 })
        };
        let states: Result<_, ExecError> = plan.states().iter().map(state).collect();
        Ok(Self { states: states?, pages: 0, slots: 0 })
    }

    pub(super) fn pages(&self) -> usize {
        self.pages
    }
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// The memory of a state and its size.
    pub(super) fn buffer(&self, id: StateId) -> Option<(&D::Buffer, usize)> {
        let state = &self.states[id.index()];
        Some((state.buffer.as_ref()?, state.capacity * state.each))
    }

    /// Makes room; true if memory moved, so that recordings of it are void.
    pub(super) fn reserve(&mut self, device: &D, pages: usize, slots: usize) -> Result<bool, DeviceError> {
        let mut moved = false;
        for state in &mut self.states {
            let wanted = if state.paged { pages } else { slots };
            if wanted > state.capacity && state.each > 0 {
                state.grow(device, wanted)?;
                moved = true;
            }
        }
        (self.pages, self.slots) = (self.pages.max(pages), self.slots.max(slots));
        Ok(moved)
    }

    /// The states that a place is part of: (state, where the place begins, its bytes).
    fn parts(&self, place: Place) -> Result<impl Iterator<Item = (&State<D>, usize)>, ExecError> {
        let (paged, number, there) = match place {
            Place::Page(page) => (true, page as usize, self.pages),
            Place::Slot(slot) => (false, slot as usize, self.slots),
        };
        if number >= there {
            return Err(ExecError::Request(format!("{place:?} was never reserved")));
        }
        let parts = self.states.iter().filter(move |s| s.paged == paged && s.each > 0);
        Ok(parts.map(move |s| (s, number * s.each)))
    }

    pub(super) fn copy(&self, device: &D, from: Place, to: Place) -> Result<(), ExecError> {
        if matches!(from, Place::Page(_)) != matches!(to, Place::Page(_)) {
            return Err(ExecError::Request(format!("{from:?} and {to:?} are of different kinds")));
        }
        for ((state, from), (_, to)) in self.parts(from)?.zip(self.parts(to)?) {
            if from != to {
                device.copy((state.memory(), from), (state.memory(), to), state.each)?;
            }
        }
        Ok(())
    }

    pub(super) fn clear_slot(&self, device: &D, slot: u32) -> Result<(), ExecError> {
        for (state, at) in self.parts(Place::Slot(slot))? {
            device.clear(state.memory(), at, state.each)?;
        }
        Ok(())
    }

    pub(super) fn read(&self, device: &D, place: Place) -> Result<Vec<u8>, ExecError> {
        let mut all = Vec::new();
        for (state, at) in self.parts(place)? {
            let start = all.len();
            all.resize(start + state.each, 0);
            device.read(state.memory(), at, &mut all[start..])?;
        }
        Ok(all)
    }

    pub(super) fn write(&self, device: &D, place: Place, bytes: &[u8]) -> Result<(), ExecError> {
        let size: usize = self.parts(place)?.map(|(state, _)| state.each).sum();
        if bytes.len() != size {
            return Err(ExecError::Request(format!("{place:?} takes {size} bytes, not {}", bytes.len())));
        }
        let mut rest = bytes;
        for (state, at) in self.parts(place)? {
            let (part, tail) = rest.split_at(state.each);
            device.write(state.memory(), at, part)?;
            rest = tail;
        }
        Ok(())
    }
}

impl<D: Device> State<D> {
    fn memory(&self) -> &D::Buffer {
        self.buffer.as_ref().expect("reserved before it is used")
    }

    /// Moves to a larger buffer; what is new is zero.
    fn grow(&mut self, device: &D, wanted: usize) -> Result<(), DeviceError> {
        // Half as much again, so that a growing cache is seldom copied.
        let mut capacity = wanted.max(self.capacity + self.capacity / 2);
        let buffer = match device.alloc(capacity * self.each) {
            Err(DeviceError::OutOfMemory(_)) => {
                capacity = wanted;
                device.alloc(capacity * self.each)?
            }
            other => other?,
        };
        let old = self.capacity * self.each;
        if let Some(before) = &self.buffer {
            device.copy((before, 0), (&buffer, 0), old)?;
        }
        device.clear(&buffer, old, capacity * self.each - old)?;
        (self.buffer, self.capacity) = (Some(buffer), capacity);
        Ok(())
    }
}
