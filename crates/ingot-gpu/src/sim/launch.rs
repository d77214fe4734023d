//! Runs one launch: the descriptors that a kernel's library takes, and the
//! memory for its threads.

use super::SimPipeline;
use super::compiler;
use super::memory::Memory;
use crate::device::DeviceError;
use crate::launch::Access;
use std::alloc::{Layout, alloc};
use std::ffi::{CStr, c_char};
use std::ops::Range;
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex};

/// The twin of `Operand` in `prelude/machine.h`.
#[repr(C)]
pub(super) struct Operand {
    first: *mut u8,
    bytes: u64,
    base: *mut u8,
    words: *mut [u64; 2],
    each: *mut [u64; 2],
    written: *mut u64,
    fuel: u64,
    name: *const c_char,
    access: u32,
    complete: u32,
    shared: u32,
    early: u32,
    plain: u32,
    touched: u32,
}

/// The twin of `Launch` in `prelude/machine.h`.
#[repr(C)]
pub(super) struct Launch {
    region: *mut u8,
    operands: *mut Operand,
    constants: *const u32,
    message: *mut c_char,
    message_bytes: u64,
    seed: u64,
    epoch: u64,
    place: u64,
    line: u32,
    operand_count: u32,
    grid: [u32; 3],
    threads: u32,
}

/// Memory for the machine and its threads' stacks: the twins of REGION, STACKS and STACK in
/// `prelude/machine.h`. Pages that no launch touches are never there.
pub(super) struct Region {
    memory: NonNull<u8>,
    /// The newest stamp's epoch: they only grow, so that shadows need no clearing.
    epoch: u64,
}

const REGION_ALIGN: usize = 128 << 20;
const MACHINE_BYTES: usize = 1 << 20;
const REGION_BYTES: usize = MACHINE_BYTES + 1024 * (64 << 10);
/// Epochs have 35 bits; no device comes near.
const LAST_EPOCH: u64 = 1 << 34;

// SAFETY: the region is owned memory, used by whoever owns it.
unsafe impl Send for Region {}

/// Regions of devices that are gone, for the next.
static UNUSED: Mutex<Vec<Region>> = Mutex::new(Vec::new());

impl Region {
    pub(super) fn take() -> Result<Self, DeviceError> {
        let reused = UNUSED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        if let Some(region) = reused {
            return Ok(region);
        }
        let layout = Layout::from_size_align(REGION_BYTES, REGION_ALIGN).expect("a power of two");
        // SAFETY: the layout has a size other than zero.
        let memory = NonNull::new(unsafe { alloc(layout) });
        let memory =
            memory.ok_or_else(|| DeviceError::OutOfMemory("stacks of the simulator's threads".into()))?;
        // SAFETY: the machine comes first. It begins with an empty shadow; stacks need nothing.
        unsafe { memory.write_bytes(0, MACHINE_BYTES) };
        Ok(Self { memory, epoch: 0 })
    }

    pub(super) fn give_back(&mut self) {
        let region = Self { memory: self.memory, epoch: self.epoch };
        UNUSED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(region);
    }
}

/// One operand, looked up.
pub(super) struct Part {
    pub memory: Arc<Memory>,
    pub range: Range<usize>,
    pub access: Access,
    /// No earlier launch of the recording writes it.
    pub early: bool,
}

/// One launch, looked up.
pub(super) struct Step {
    pub pipeline: SimPipeline,
    pub parts: Vec<Part>,
    pub grid: [u32; 3],
    pub threads: u32,
}

impl Part {
    fn overlaps(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            && self.range.start < other.range.end
            && other.range.start < self.range.end
    }
}

impl Step {
    /// Runs all its threads, and says what any of them did wrong.
    pub(super) fn run(&self, region: &mut Region, seed: u64) -> Result<(), DeviceError> {
        if region.epoch > LAST_EPOCH {
            return Err(DeviceError::Failed("the simulator ran for too long".into()));
        }
        let mut operands: Vec<Operand> = (0..self.parts.len()).map(|n| self.operand(n)).collect();
        let mut message = [0u8; 512];
        let mut launch = Launch {
            region: region.memory.as_ptr(),
            operands: operands.as_mut_ptr(),
            constants: self.pipeline.0.constants.as_ptr(),
            message: message.as_mut_ptr().cast(),
            message_bytes: message.len() as u64,
            seed,
            epoch: region.epoch,
            place: 0,
            line: 0,
            operand_count: operands.len() as u32,
            grid: self.grid,
            threads: self.threads,
        };
        // SAFETY: everything the descriptor points to outlives the call: the buffers are held by
        // `parts`, and no other thread touches them. Kernels reach memory through checked
        // pointers only. The region is ours (`&mut`).
        let failed = unsafe { (self.pipeline.0.compiled.entry)(&mut launch) } != 0;
        region.epoch = launch.epoch;
        if failed {
            let message = CStr::from_bytes_until_nul(&message).unwrap_or_default().to_string_lossy();
            return Err(self.failure(&message, launch.line as usize, launch.place));
        }
        for part in self.parts.iter().filter(|p| p.access == Access::Write) {
            part.memory.mark_written(part.range.clone());
        }
        Ok(())
    }

    fn operand(&self, n: usize) -> Operand {
        let part = &self.parts[n];
        let writes = |p: &Part| p.access != Access::Read;
        let shared = self.parts.iter().enumerate().any(|(k, p)| k != n && writes(p) && p.overlaps(part));
        let pointers = part.memory.pointers(writes(part) || shared);
        Operand {
            first: pointers.base.wrapping_add(part.range.start),
            bytes: part.range.len() as u64,
            base: pointers.base,
            words: pointers.words,
            each: pointers.each,
            written: pointers.written,
            fuel: 0,
            name: self.pipeline.0.names.get(n).map_or(null_mut(), |name| name.as_ptr()),
            access: part.access as u32,
            complete: part.memory.is_complete(part.range.clone()).into(),
            shared: shared.into(),
            early: part.early.into(),
            plain: 0,
            touched: 0,
        }
    }

    /// The message with the source's line.
    fn failure(&self, message: &str, line: usize, place: u64) -> DeviceError {
        let line = match line {
            0 if place == 0 => None,
            0 => compiler::line_of(&self.pipeline.0.compiled.path, place),
            line => Some(line),
        };
        let text = line.and_then(|n| Some((n, self.pipeline.0.source.lines().nth(n.checked_sub(1)?)?)));
        let place = text.map_or(String::new(), |(n, text)| format!(" (line {n}: {})", text.trim()));
        let kernel = self.pipeline.0.name.clone();
        DeviceError::Kernel { kernel, message: format!("{message}{place}") }
    }
}
