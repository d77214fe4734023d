//! Memory: of the device, of the host where the device sees it, and the way between.
//!
//! What is copied goes through two pieces of pinned memory in turn, so that one is
//! filled while the other travels: the driver reads ordinary memory much slower. A
//! mapped file is read by several threads, because one cannot read as fast as the
//! bus takes it.

use super::driver::{
    CUdeviceptr, CUevent, CUresult, Context, check, cuMemAlloc_v2, cuMemFree_v2, cuMemFreeHost,
    cuMemHostAlloc, cuMemHostGetDevicePointer_v2, cuMemcpyDtoDAsync_v2, cuMemcpyDtoHAsync_v2,
    cuMemcpyHtoDAsync_v2, cuMemsetD8Async, explain,
};
use crate::device::DeviceError;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory that the device reads and writes.
#[derive(Clone)]
pub struct CudaBuffer(Arc<Allocation>);

/// Freed when the buffer and all recordings that use it are gone.
struct Allocation {
    context: Arc<Context>,
    address: CUdeviceptr,
    bytes: usize,
    /// Where the host sees it; null if it does not.
    host: *mut c_void,
}

// SAFETY: an address of the device, and one of pinned memory that is reached through
// the functions below only; the host's view is shared with the device, never with
// another thread without synchronisation, since devices are not `Sync`.
unsafe impl Send for Allocation {}
// SAFETY: as above; only `CudaDevice` looks inside.
unsafe impl Sync for Allocation {}

impl CudaBuffer {
    /// Memory on the device.
    pub(super) fn device(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        context.enter()?;
        let mut address = 0;
        // SAFETY: the context is current; writes an address, which `drop` frees.
        let status = unsafe { cuMemAlloc_v2(&mut address, bytes.max(1)) };
        if status != CUresult::CUDA_SUCCESS {
            let (free, total) = context.memory()?;
            // The driver calls absurd sizes invalid.
            return Err(match status == CUresult::CUDA_ERROR_OUT_OF_MEMORY || bytes > total {
                true => DeviceError::OutOfMemory(format!(
                    "{bytes} bytes wanted on the GPU, {free} of {total} are free"
                )),
                false => DeviceError::Failed(format!("{bytes} bytes of memory: {}", explain(status))),
            });
        }
        Ok(Self(Arc::new(Allocation { context: context.clone(), address, bytes, host: ptr::null_mut() })))
    }

    /// Memory of the host that the device sees, zeroed.
    pub(super) fn shared(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        let (host, address) = pinned(context, bytes.max(1))?;
        // SAFETY: just allocated with this length.
        unsafe { ptr::write_bytes(host.cast::<u8>(), 0, bytes) };
        Ok(Self(Arc::new(Allocation { context: context.clone(), address, bytes, host })))
    }

    /// Its address on the device, if `bytes` at `at` lie within.
    pub(super) fn address(&self, at: usize, bytes: usize) -> Result<CUdeviceptr, DeviceError> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.0.bytes => Ok(self.0.address + at as CUdeviceptr),
            _ => Err(DeviceError::Failed(format!("{bytes} bytes at {at} of a buffer of {}", self.0.bytes))),
        }
    }

    /// Its address on the host, after everything that was begun is over.
    fn host(&self, at: usize, bytes: usize) -> Result<Option<*mut u8>, DeviceError> {
        self.address(at, bytes)?;
        if self.0.host.is_null() {
            return Ok(None);
        }
        self.0.context.finish()?;
        // SAFETY: within the allocation, as was checked.
        Ok(Some(unsafe { self.0.host.cast::<u8>().add(at) }))
    }

    /// A word as it is now.
    ///
    /// # Panics
    /// If the memory is not shared or the word lies outside.
    pub(super) fn peek(&self, word: usize) -> u32 {
        assert!(!self.0.host.is_null(), "only shared memory can be peeked at");
        assert!(word < self.0.bytes / 4, "word {word} of {} bytes", self.0.bytes);
        // SAFETY: within the allocation and aligned; the device writes whole words, and
        // the host accesses this memory as plain bytes only while nothing runs.
        unsafe { AtomicU32::from_ptr(self.0.host.cast::<u32>().add(word)) }.load(Ordering::Acquire)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // Nothing can be done about errors here. The wait is for copies that were begun.
        let _ = self.context.enter().and_then(|()| self.context.finish());
        // SAFETY: allocated by the function that belongs to it, freed once, and used by nothing any more.
        let _ = unsafe {
            match self.host.is_null() {
                true => cuMemFree_v2(self.address),
                false => cuMemFreeHost(self.host),
            }
        };
    }
}

/// Memory of the host at a fixed place, and where the device sees it.
fn pinned(context: &Context, bytes: usize) -> Result<(*mut c_void, CUdeviceptr), DeviceError> {
    const PORTABLE_AND_MAPPED: u32 = 1 | 2;
    context.enter()?;
    let (mut host, mut address) = (ptr::null_mut(), 0);
    // SAFETY: the context is current; writes an address, which callers free.
    let status = unsafe { cuMemHostAlloc(&mut host, bytes, PORTABLE_AND_MAPPED) };
    if status != CUresult::CUDA_SUCCESS {
        let message = format!("{bytes} bytes of pinned memory of the host: {}", explain(status));
        return Err(DeviceError::OutOfMemory(message));
    }
    // SAFETY: the memory was allocated to be mapped; writes an address.
    let status = unsafe { cuMemHostGetDevicePointer_v2(&mut address, host, 0) };
    if let Err(error) = check(status, "mapping memory of the host") {
        // SAFETY: allocated above, not used.
        unsafe { cuMemFreeHost(host) };
        return Err(error);
    }
    Ok((host, address))
}

/// Copies within the device, in the order of the stream.
pub(super) fn copy(
    context: &Context,
    (from, from_at): (&CudaBuffer, usize),
    (to, to_at): (&CudaBuffer, usize),
    bytes: usize,
) -> Result<(), DeviceError> {
    let (source, target) = (from.address(from_at, bytes)?, to.address(to_at, bytes)?);
    // SAFETY: both ranges lie within live allocations; dropping them waits for the stream.
    check(unsafe { cuMemcpyDtoDAsync_v2(target, source, bytes, context.stream()) }, "copying within the GPU")
}

/// Zeroes memory, in the order of the stream.
pub(super) fn clear(
    context: &Context,
    buffer: &CudaBuffer,
    at: usize,
    bytes: usize,
) -> Result<(), DeviceError> {
    let address = buffer.address(at, bytes)?;
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: the range lies within a live allocation; dropping it waits for the stream.
    check(unsafe { cuMemsetD8Async(address, 0, bytes, context.stream()) }, "clearing memory of the GPU")
}

/// Two pieces of pinned memory for what is copied to and from the device.
pub(super) struct Staging {
    context: Arc<Context>,
    slots: [Slot; 2],
    next: usize,
}

struct Slot {
    memory: *mut c_void,
    /// Over when the device has read or written all of it.
    event: CUevent,
}

// SAFETY: the pinned memory belongs to this value alone.
unsafe impl Send for Staging {}

impl Staging {
    /// Bytes of a piece: long enough to hide what it costs to begin a copy.
    const PIECE: usize = 32 << 20;

    pub(super) fn new(context: &Arc<Context>) -> Result<Self, DeviceError> {
        let empty = || Slot { memory: ptr::null_mut(), event: ptr::null_mut() };
        let mut staging = Self { context: context.clone(), slots: [empty(), empty()], next: 0 };
        for slot in &mut staging.slots {
            slot.memory = pinned(context, Self::PIECE)?.0;
            slot.event = context.event()?;
        }
        Ok(staging)
    }

    /// Copies to the device. The bytes may be changed afterwards; the copy is
    /// ordered before whatever is submitted later.
    pub(super) fn write(&mut self, to: &CudaBuffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        if let Some(host) = to.host(at, bytes.len())? {
            // SAFETY: `host` checked the range, and by contract nothing uses it now.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
            return Ok(());
        }
        for (i, piece) in bytes.chunks(Self::PIECE).enumerate() {
            let address = to.address(at + i * Self::PIECE, piece.len())?;
            let slot = &self.slots[self.next];
            self.context.await_event(slot.event)?;
            // SAFETY: `memory` has PIECE bytes and the device is done with them.
            let pinned = unsafe { std::slice::from_raw_parts_mut(slot.memory.cast::<u8>(), piece.len()) };
            copy_by_threads(piece, pinned);
            // SAFETY: both ranges are valid, and stay so until the event is over.
            let status =
                unsafe { cuMemcpyHtoDAsync_v2(address, slot.memory, piece.len(), self.context.stream()) };
            check(status, "copying to the GPU")?;
            self.context.mark(slot.event)?;
            self.next ^= 1;
        }
        Ok(())
    }

    /// Copies from the device, after everything that was submitted.
    pub(super) fn read(&mut self, from: &CudaBuffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        if let Some(host) = from.host(at, bytes.len())? {
            // SAFETY: `host` checked the range, and by contract nothing writes it now.
            unsafe { ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), bytes.len()) };
            return Ok(());
        }
        let mut on_the_way: Option<(usize, Range<usize>)> = None;
        for begin in (0..bytes.len()).step_by(Self::PIECE) {
            let range = begin..bytes.len().min(begin + Self::PIECE);
            let address = from.address(at + begin, range.len())?;
            let slot = &self.slots[self.next];
            self.context.await_event(slot.event)?;
            // SAFETY: both ranges are valid, and stay so until the event is over.
            let status =
                unsafe { cuMemcpyDtoHAsync_v2(slot.memory, address, range.len(), self.context.stream()) };
            check(status, "copying from the GPU")?;
            self.context.mark(slot.event)?;
            if let Some((slot, range)) = on_the_way.replace((self.next, range)) {
                self.arrive(slot, &mut bytes[range])?;
            }
            self.next ^= 1;
        }
        match on_the_way {
            Some((slot, range)) => self.arrive(slot, &mut bytes[range]),
            None => Ok(()),
        }
    }

    fn arrive(&self, slot: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let slot = &self.slots[slot];
        self.context.await_event(slot.event)?;
        // SAFETY: `memory` has PIECE bytes, which the device has written.
        copy_by_threads(unsafe { std::slice::from_raw_parts(slot.memory.cast::<u8>(), bytes.len()) }, bytes);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nothing can be done about errors here.
        let _ = self.context.enter().and_then(|()| self.context.finish());
        for slot in &self.slots {
            if !slot.memory.is_null() {
                // SAFETY: allocated by `pinned`, freed once; the device is done with it.
                unsafe { cuMemFreeHost(slot.memory) };
            }
            self.context.recycle((!slot.event.is_null()).then_some(slot.event));
        }
    }
}

/// Copies by as many threads as it takes to keep up with the bus.
fn copy_by_threads(from: &[u8], to: &mut [u8]) {
    const THREADS: usize = 8;
    const WORTHWHILE: usize = 1 << 20; // bytes for a thread
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let part = from.len().div_ceil(threads).max(WORTHWHILE);
    if from.len() <= part {
        return to.copy_from_slice(from);
    }
    std::thread::scope(|scope| {
        for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
            scope.spawn(move || to.copy_from_slice(from));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_copy_everything() {
        for len in [0, 1, 1000, (1 << 20) + 1, (5 << 20) + 77] {
            let from: Vec<u8> = (0..len).map(|i| (i * 31 + i / 251) as u8).collect();
            let mut to = vec![0; len];
            copy_by_threads(&from, &mut to);
            assert!(from == to, "{len}");
        }
    }
}
