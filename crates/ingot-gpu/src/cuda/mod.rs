//! NVIDIA GPUs, through the driver and NVRTC, both loaded at run time: the program
//! starts without them, and opening a device says what is missing.
//!
//! * [`nvrtc`](Nvrtc), `pipeline`, `cache`: from text to a kernel that can be launched.
//! * `memory`: plain device memory; the host's only where it has to be seen by both.
//! * `recording`: launches as graphs, in which they overlap.
//! * `driver`: errors, the context and its one stream. Copies and submissions go
//!   into that stream, so they happen in the order they were asked for, and only
//!   [`Device::wait`] and [`Device::read`] make the host wait.
//!
//! Environment: `INGOT_NVRTC` (where NVRTC is), `INGOT_CACHE` (where compiled kernels
//! are kept), `INGOT_CUDA_GRAPH` (how launches are recorded: `capture`, `edges`, `stream`).

mod cache;
mod driver;
mod memory;
mod nvrtc;
mod pipeline;
mod recording;

pub use memory::CudaBuffer;
pub use nvrtc::{Compiled, Nvrtc};
pub use pipeline::CudaPipeline;
pub use recording::{CudaFence, CudaRecording};

use crate::device::{Device, DeviceError, Info, Recorded};
use crate::launch::Kernel;
use crate::msl::{self, CudaSource, SyntaxError};
use cache::Cache;
use driver::Context;
use ingot_format::Bytes;
use memory::Staging;
use recording::{Launch, Method};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// An NVIDIA GPU.
pub struct CudaDevice {
    info: Info,
    architecture: u32,
    nvrtc: Nvrtc,
    cache: Cache,
    method: Method,
    /// Launches overlap, as far as is known.
    overlap: Cell<bool>,
    /// Made when something is first copied.
    staging: RefCell<Option<Staging>>,
    context: Arc<Context>,
}

/// What the GPU of this number is, without opening it; `memory` is all that it has.
pub fn info(number: usize) -> Result<Info, DeviceError> {
    driver::info(driver::device(number)?.0)
}

/// All NVIDIA GPUs with their numbers. Those that are too old are left out, unless all
/// are, which is an error, as is that there are none.
pub fn list() -> Result<Vec<(usize, Info)>, DeviceError> {
    let found = (0..driver::count()?).map(|number| Ok((number, info(number)?)));
    let (good, bad): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
    match bad.into_iter().next() {
        Some(Err(error)) if good.is_empty() => Err(error),
        None if good.is_empty() => Err(DeviceError::Unavailable("there is no NVIDIA GPU".into())),
        _ => Ok(good.into_iter().flatten().collect()),
    }
}

impl CudaDevice {
    /// Opens the GPU of this number; `memory` of its [`Info`] is what is free now.
    pub fn open(number: usize) -> Result<Self, DeviceError> {
        let version = driver::load()?;
        let (device, architecture) = driver::device(number)?;
        let nvrtc = Nvrtc::find(u32::try_from(version / 1000).ok())?;
        let method = Method::from_environment()?;
        let context = Arc::new(Context::new(device)?);
        let mut info = driver::info(device)?;
        info.memory = context.memory()?.0 as u64;
        let (major, minor) = nvrtc.version();
        info.driver += &format!(", NVRTC {major}.{minor}");
        Ok(Self {
            info,
            architecture,
            nvrtc,
            cache: Cache::open(),
            method,
            overlap: Cell::new(architecture >= pipeline::OVERLAP_ARCHITECTURE),
            staging: RefCell::new(None),
            context,
        })
    }

    /// Compiles a kernel from a source that is not among the program's own, with
    /// every header already in place.
    pub fn compile_source(&self, source: &str, kernel: &Kernel) -> Result<CudaPipeline, DeviceError> {
        self.build(msl::cuda_from(source, kernel), kernel)
    }

    fn build(
        &self,
        source: Result<CudaSource, SyntaxError>,
        kernel: &Kernel,
    ) -> Result<CudaPipeline, DeviceError> {
        let wrong = |e: SyntaxError| DeviceError::Compile { kernel: kernel.name.to_string(), message: e.0 };
        self.context.enter()?;
        let source = source.map_err(wrong)?;
        CudaPipeline::new(&self.context, &self.nvrtc, &self.cache, self.architecture, &source, kernel)
    }

    /// Bytes read and written per second by a large copy within the GPU's memory: the
    /// median of several. It needs up to 2 GiB twice, less where less is free.
    pub fn copy_bandwidth(&self) -> Result<f64, DeviceError> {
        const RUNS: usize = 9;
        let bytes = (self.context.memory()?.0 / 4).min(2 << 30);
        let (from, to) = (self.alloc(bytes)?, self.alloc(bytes)?);
        self.clear(&from, 0, bytes)?;
        self.copy((&from, 0), (&to, 0), bytes)?;
        let mut seconds = Vec::new();
        for _ in 0..RUNS {
            let (begin, end) = (self.context.event()?, self.context.event()?);
            self.context.mark(begin)?;
            self.copy((&from, 0), (&to, 0), bytes)?;
            self.context.mark(end)?;
            self.context.finish()?;
            seconds.push(self.context.seconds(begin, end)?);
            self.context.recycle([begin, end]);
        }
        seconds.sort_by(f64::total_cmp);
        Ok(2.0 * bytes as f64 / seconds[RUNS / 2])
    }

    /// Does something with the memory for copies.
    fn staged<T>(&self, act: impl FnOnce(&mut Staging) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        self.context.enter()?;
        let mut staging = self.staging.borrow_mut();
        match &mut *staging {
            Some(staging) => act(staging),
            none => act(none.insert(Staging::new(&self.context)?)),
        }
    }

    fn launches(&self, launches: &[Recorded<'_, Self>]) -> Result<Vec<Launch>, DeviceError> {
        self.context.enter()?;
        launches.iter().map(Launch::new).collect()
    }
}

impl Device for CudaDevice {
    type Buffer = CudaBuffer;
    type Pipeline = CudaPipeline;
    type Recording = CudaRecording;
    type Fence = CudaFence;

    fn info(&self) -> &Info {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<CudaBuffer, DeviceError> {
        CudaBuffer::device(&self.context, bytes)
    }

    fn alloc_shared(&self, bytes: usize) -> Result<CudaBuffer, DeviceError> {
        CudaBuffer::shared(&self.context, bytes)
    }

    /// Never: memory of the host is behind a bus.
    fn adopt(&self, _: &Bytes) -> Result<Option<CudaBuffer>, DeviceError> {
        Ok(None)
    }

    fn write(&self, to: &CudaBuffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.staged(|staging| staging.write(to, at, bytes))
    }

    fn read(&self, from: &CudaBuffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.staged(|staging| staging.read(from, at, bytes))
    }

    fn copy(
        &self,
        from: (&CudaBuffer, usize),
        to: (&CudaBuffer, usize),
        bytes: usize,
    ) -> Result<(), DeviceError> {
        self.context.enter()?;
        memory::copy(&self.context, from, to, bytes)
    }

    fn clear(&self, buffer: &CudaBuffer, at: usize, bytes: usize) -> Result<(), DeviceError> {
        self.context.enter()?;
        memory::clear(&self.context, buffer, at, bytes)
    }

    fn peek(&self, shared: &CudaBuffer, word: usize) -> u32 {
        shared.peek(word)
    }

    fn compile(&self, kernel: &Kernel) -> Result<CudaPipeline, DeviceError> {
        self.build(msl::cuda(kernel), kernel)
    }

    fn record(&self, launches: &[Recorded<'_, Self>]) -> Result<CudaRecording, DeviceError> {
        let mut overlap = self.overlap.get();
        let recording =
            CudaRecording::new(&self.context, self.launches(launches)?, self.method, &mut overlap);
        self.overlap.set(overlap);
        recording
    }

    fn submit(&self, recording: &CudaRecording) -> Result<CudaFence, DeviceError> {
        self.context.enter()?;
        recording.submit()
    }

    fn wait(&self, fence: CudaFence) -> Result<Option<f64>, DeviceError> {
        self.context.enter()?;
        fence.wait()
    }

    fn time(&self, launches: &[Recorded<'_, Self>]) -> Result<Vec<f64>, DeviceError> {
        recording::time(&self.context, &self.launches(launches)?)
    }
}
