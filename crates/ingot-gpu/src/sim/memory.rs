//! Device memory of the simulator: host memory that knows which of its bytes
//! were ever written, and carries the shadow in which kernels note who touched
//! what (see `prelude/memory.h`).

use crate::device::DeviceError;
use ingot_format::Bytes;
use std::alloc::{Layout, alloc, dealloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

/// Where allocations begin: as on real devices, and more than any element needs.
const ALIGN: usize = 256;

/// Memory that is read by nobody looks like this: a NaN as f32 and as f16.
const POISON: u8 = 0xff;

/// Memory of a [`super::SimDevice`].
#[derive(Clone)]
pub struct SimBuffer(pub(super) Arc<Memory>);

pub(super) struct Memory {
    data: NonNull<u8>,
    bytes: usize,
    /// The device that made it; no other may use it.
    pub(super) device: u64,
    /// What it borrows, if it was adopted: such memory is never written.
    adopted: Option<Bytes>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A bit for each byte that anybody wrote.
    written: Vec<u64>,
    /// All of them are set.
    complete: bool,
    /// Last write and reads of each 4 bytes, then of each byte; made when a kernel writes.
    words: Vec<[u64; 2]>,
    each: Vec<[u64; 2]>,
}

/// Pointers into a buffer and its shadow, for a kernel.
pub(super) struct Pointers {
    pub base: *mut u8,
    pub words: *mut [u64; 2],
    pub each: *mut [u64; 2],
    pub written: *mut u64,
}

// SAFETY: the bytes are touched only by the device that made them, which can be used by one
// thread at a time (it is not `Sync`, and `device` is compared on every use).
unsafe impl Send for Memory {}
// SAFETY: as above; the state has its own lock.
unsafe impl Sync for Memory {}

impl SimBuffer {
    pub(super) fn alloc(device: u64, bytes: usize) -> Result<Self, DeviceError> {
        let none = || DeviceError::OutOfMemory(format!("{bytes} bytes of simulated device memory"));
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_| none())?;
        // SAFETY: the layout has a size other than zero.
        let data = NonNull::new(unsafe { alloc(layout) }).ok_or_else(none)?;
        // SAFETY: that many bytes were just allocated.
        unsafe { data.write_bytes(POISON, bytes) };
        let state = State { written: vec![0; bytes.div_ceil(64)], complete: bytes == 0, ..State::default() };
        Ok(Self(Arc::new(Memory { data, bytes, device, adopted: None, state: Mutex::new(state) })))
    }

    /// Bytes that are there already, or `None` if they are not aligned to `align`.
    pub(super) fn adopt(device: u64, bytes: &Bytes, align: usize) -> Option<Self> {
        let data = NonNull::from(&**bytes).cast::<u8>();
        if data.addr().get() % align != 0 {
            return None;
        }
        let state = Mutex::new(State { complete: true, ..State::default() });
        let (len, adopted) = (bytes.len(), Some(bytes.clone()));
        Some(Self(Arc::new(Memory { data, bytes: len, device, adopted, state })))
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn is_adopted(&self) -> bool {
        self.adopted.is_some()
    }

    /// The range, if it is inside.
    pub(super) fn range(&self, at: usize, bytes: usize) -> Result<Range<usize>, DeviceError> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(at..end),
            _ => Err(DeviceError::Failed(format!("{bytes} bytes at {at} of a buffer of {}", self.bytes))),
        }
    }

    fn writable(&self, at: usize, bytes: usize) -> Result<Range<usize>, DeviceError> {
        if self.is_adopted() {
            return Err(DeviceError::Failed("adopted memory is not written".into()));
        }
        self.range(at, bytes)
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let range = self.writable(at, bytes.len())?;
        // SAFETY: the range is inside, and nobody else uses it (see above).
        unsafe { self.data.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.mark_written(range);
        Ok(())
    }

    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.range(at, bytes.len())?;
        // SAFETY: the range is inside, and nobody writes it now.
        unsafe { self.data.add(at).copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
        Ok(())
    }

    pub(super) fn clear(&self, at: usize, bytes: usize) -> Result<(), DeviceError> {
        let range = self.writable(at, bytes)?;
        // SAFETY: the range is inside, and nobody else uses it.
        unsafe { self.data.add(at).write_bytes(0, bytes) };
        self.mark_written(range);
        Ok(())
    }

    /// Copies bytes, and whether anybody wrote them.
    pub(super) fn copy(from: (&Self, usize), to: (&Self, usize), bytes: usize) -> Result<(), DeviceError> {
        let source = from.0.range(from.1, bytes)?;
        let target = to.0.writable(to.1, bytes)?;
        // SAFETY: both ranges are inside their buffers; they may overlap.
        unsafe { to.0.data.add(to.1).copy_from(from.0.data.add(from.1), bytes) };
        let known: Vec<bool> = {
            let state = from.0.state();
            if state.complete {
                drop(state);
                to.0.mark_written(target);
                return Ok(());
            }
            source.map(|i| state.is_written(i)).collect()
        };
        let mut state = to.0.state();
        for (i, known) in target.zip(known) {
            let bit = 1u64 << (i % 64);
            if known {
                state.written[i / 64] |= bit;
            } else {
                state.written[i / 64] &= !bit;
                state.complete = false;
            }
        }
        Ok(())
    }

    /// A word as it is now.
    pub(super) fn peek(&self, word: usize) -> u32 {
        let range = self.range(word * 4, 4);
        assert!(range.is_ok(), "word {word} of a buffer of {} bytes", self.bytes);
        // SAFETY: the word is inside, and the allocation is aligned.
        unsafe { self.data.add(word * 4).cast::<u32>().read_volatile() }
    }

    /// Notes that somebody wrote these bytes.
    pub(super) fn mark_written(&self, range: Range<usize>) {
        let mut state = self.state();
        if state.complete {
            return;
        }
        for_words(range, |word, bits| {
            state.written[word] |= bits;
            true
        });
    }

    /// Whether every byte of the range was written by somebody.
    pub(super) fn is_complete(&self, range: Range<usize>) -> bool {
        let mut state = self.state();
        if !state.complete {
            let complete = for_words(0..self.bytes, |word, bits| state.written[word] & bits == bits);
            state.complete = complete;
        }
        state.complete || for_words(range, |word, bits| state.written[word] & bits == bits)
    }

    /// Where it lies, with a shadow if `shadow`.
    pub(super) fn pointers(&self, shadow: bool) -> Pointers {
        let mut state = self.state();
        if shadow && state.words.is_empty() {
            let words = self.bytes.div_ceil(4);
            // Zeroed memory that nobody touches costs nothing.
            state.words = vec![[0; 2]; words];
            state.each = vec![[0; 2]; words * 4];
        }
        Pointers {
            base: self.data.as_ptr(),
            words: state.words.as_mut_ptr(),
            each: state.each.as_mut_ptr(),
            written: state.written.as_mut_ptr(),
        }
    }
}

impl State {
    fn is_written(&self, i: usize) -> bool {
        self.complete || self.written[i / 64] >> (i % 64) & 1 == 1
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.is_adopted() {
            let layout =
                Layout::from_size_align(self.bytes.max(1), ALIGN).expect("it was made with this layout");
            // SAFETY: allocated in `alloc` with the same layout.
            unsafe { dealloc(self.data.as_ptr(), layout) };
        }
    }
}

/// Calls `f(word, bits)` for the words of a bit map that hold the range, until it says no.
fn for_words(range: Range<usize>, mut f: impl FnMut(usize, u64) -> bool) -> bool {
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min((at / 64 + 1) * 64);
        let bits = (u64::MAX >> (64 - (end - at))) << (at % 64);
        if !f(at / 64, bits) {
            return false;
        }
        at = end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_by_the_byte() {
        let a = SimBuffer::alloc(0, 200).unwrap();
        let b = SimBuffer::alloc(0, 200).unwrap();
        a.0.write(3, &[1; 130]).unwrap();
        assert!(a.0.is_complete(3..133) && !a.0.is_complete(2..133) && !a.0.is_complete(3..134));
        b.0.clear(0, 200).unwrap();
        assert!(b.0.is_complete(0..200));
        Memory::copy((&a.0, 100), (&b.0, 10), 50).unwrap();
        assert!(b.0.is_complete(0..43) && !b.0.is_complete(43..44) && b.0.is_complete(60..200));
        let mut bytes = [0; 2];
        b.0.read(42, &mut bytes).unwrap();
        assert_eq!(bytes, [1, POISON]);
    }

    #[test]
    fn ranges_are_checked() {
        let a = SimBuffer::alloc(0, 8).unwrap();
        assert!(a.0.write(1, &[0; 8]).is_err() && a.0.clear(usize::MAX, 2).is_err());
        let adopted = SimBuffer::adopt(0, &Bytes::from(vec![1; 8]), 1).unwrap();
        assert!(adopted.0.write(0, &[0]).is_err());
    }
}
