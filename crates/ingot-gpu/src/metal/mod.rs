//! Apple's GPUs.
//!
//! All memory is shared with the host, so that reading and writing is copying.
//! A submission is one command buffer with one encoder, in which launches run
//! side by side except where a barrier is ([`crate::barriers`]). Successive
//! command buffers are ordered by Metal, which tracks what their buffers are used for.
//!
//! This cannot be run where it was written: it is type-checked, and its kernels
//! are checked by the lint, the simulator and NVIDIA's compiler.

mod library;
mod memory;
mod object;
mod residency;
mod submit;
mod timing;

pub use library::Pipeline;
pub use memory::Buffer;
pub use submit::{Fence, Recording};

use crate::device::{Device, DeviceError, Info, Recorded};
use crate::launch::Kernel;
use ingot_format::Bytes;
use library::Compiler;
use objc2::available;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSProcessInfo;
use objc2_metal::{MTLCommandQueue, MTLCreateSystemDefaultDevice, MTLDevice};
use residency::Residency;
use std::sync::Arc;

// `MTLCreateSystemDefaultDevice` works only in programs that load this.
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}

type MetalDevice = Retained<ProtocolObject<dyn MTLDevice>>;
type Queue = Retained<ProtocolObject<dyn MTLCommandQueue>>;

/// The system's default GPU.
pub struct Metal {
    device: MetalDevice,
    queue: Queue,
    info: Info,
    compiler: Compiler,
    /// Absent where the system has no residency sets.
    residency: Option<Arc<Residency>>,
}

impl Metal {
    /// Opens the system's default GPU.
    pub fn open() -> Result<Self, DeviceError> {
        autoreleasepool(|_| {
            let unavailable = |why: &str| DeviceError::Unavailable(why.into());
            if !available!(macos = 13.0) {
                return Err(unavailable("macOS 13 or newer is needed"));
            }
            let device =
                MTLCreateSystemDefaultDevice().ok_or_else(|| unavailable("no GPU supports Metal"))?;
            let queue = device.newCommandQueue().ok_or_else(|| unavailable("Metal gave no command queue"))?;
            let info = info(&device);
            let compiler = Compiler::new(device.clone());
            let residency = Residency::new(&device, &queue);
            Ok(Self { device, queue, info, compiler, residency })
        })
    }
}

impl Device for Metal {
    type Buffer = Buffer;
    type Pipeline = Pipeline;
    type Recording = Recording;
    type Fence = Fence;

    fn info(&self) -> &Info {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<Buffer, DeviceError> {
        Buffer::alloc(&self.device, self.residency.as_ref(), bytes)
    }

    fn alloc_shared(&self, bytes: usize) -> Result<Buffer, DeviceError> {
        self.alloc(bytes)
    }

    fn adopt(&self, bytes: &Bytes) -> Result<Option<Buffer>, DeviceError> {
        if !self.info.shares_memory {
            return Ok(None);
        }
        Ok(Buffer::adopt(&self.device, self.residency.as_ref(), bytes))
    }

    fn write(&self, to: &Buffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let target = to.host_mut(at, bytes.len());
        // SAFETY: the range was checked; nothing that uses it runs (`Device::write`);
        // the device's memory is no Rust object, so `bytes` lies outside of it.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&self, from: &Buffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let source = from.host(at, bytes.len());
        // SAFETY: as in `write`; nothing that writes the range runs (`Device::read`).
        unsafe { source.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&self, from: (&Buffer, usize), to: (&Buffer, usize), bytes: usize) -> Result<(), DeviceError> {
        let (source, target) = (from.0.host(from.1, bytes), to.0.host_mut(to.1, bytes));
        // SAFETY: both ranges were checked; they may overlap; nothing that uses them runs.
        unsafe { target.copy_from(source, bytes) };
        Ok(())
    }

    fn clear(&self, buffer: &Buffer, at: usize, bytes: usize) -> Result<(), DeviceError> {
        // SAFETY: the range was checked; nothing that uses it runs.
        unsafe { buffer.host_mut(at, bytes).write_bytes(0, bytes) };
        Ok(())
    }

    fn peek(&self, shared: &Buffer, word: usize) -> u32 {
        let word = shared.host(4 * word, 4).cast::<u32>();
        // SAFETY: the range was checked, and buffers begin at a page. The device may
        // be writing the word, of which the compiler must assume nothing: volatile.
        unsafe { word.read_volatile() }
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline, DeviceError> {
        autoreleasepool(|_| self.compiler.pipeline(kernel))
    }

    fn record(&self, launches: &[Recorded<'_, Self>]) -> Result<Recording, DeviceError> {
        Recording::new(&self.device, launches)
    }

    fn submit(&self, recording: &Recording) -> Result<Fence, DeviceError> {
        if let Some(residency) = &self.residency {
            residency.used();
        }
        autoreleasepool(|_| recording.submit(&self.queue))
    }

    fn wait(&self, fence: Fence) -> Result<Option<f64>, DeviceError> {
        autoreleasepool(|_| fence.wait().map(Some))
    }

    fn time(&self, launches: &[Recorded<'_, Self>]) -> Result<Vec<f64>, DeviceError> {
        let recording = self.record(launches)?;
        autoreleasepool(|_| timing::time(&self.device, &self.queue, &recording))
    }
}

fn info(device: &ProtocolObject<dyn MTLDevice>) -> Info {
    let name = device.name().to_string();
    Info {
        cores: cores(&name),
        name,
        kind: "metal",
        driver: format!("macOS {}", NSProcessInfo::processInfo().operatingSystemVersionString()),
        memory: device.recommendedMaxWorkingSetSize(),
        shares_memory: device.hasUnifiedMemory(),
        int8_dot: false,
        wide: false,
        few_from: None,
    }
}

/// Metal does not tell how many cores there are. Grids need only know about how
/// many: this is what the smaller versions of a chip have.
fn cores(name: &str) -> u32 {
    match name.rsplit(' ').next() {
        Some("Ultra") => 48,
        Some("Max") => 24,
        Some("Pro") => 14,
        _ => 8,
    }
}
