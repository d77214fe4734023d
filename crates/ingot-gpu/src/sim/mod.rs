//! A strict simulator of a GPU, for testing: it runs the kernels themselves,
//! compiled as C++ for this machine, and is there to be stricter than hardware.
//!
//! Every thread is a fiber; barriers and simdgroup functions are where they
//! change, in an order that depends on a seed. Pointers know their bounds, and
//! memory knows who touched it, so that these are errors, with the place:
//!
//! * access out of bounds or not aligned; reads of what nothing wrote;
//! * two threads touching the same byte, one writing, with no barrier between;
//! * barriers and simdgroup functions that not all threads reach;
//! * operands that are not used as the launch declares; before
//!   `grid_dependency_wait()`, reads of what earlier launches write;
//! * launches of a recording that touch the same memory in no declared order;
//! * too much threadgroup memory, endless loops.
//!
//! `prelude/` is the C++ side: MSL's types (`types.h`), the machine (`machine.h`),
//! checked pointers (`memory.h`), what threads do together (`together.h`).

mod compiler;
mod launch;
mod memory;
mod order;

pub use compiler::available;
pub use memory::SimBuffer;

use crate::device::{Bound, Device, DeviceError, Info, Recorded};
use crate::launch::{Access, Constant, Kernel};
use crate::msl::sim::emit;
use crate::source;
use compiler::Compiled;
use ingot_format::Bytes;
use launch::{Part, Region, Step};
use memory::Memory;
use std::cell::RefCell;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How a simulated device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides in which order threadgroups, simdgroups and lanes run.
    pub seed: u64,
    /// See [`Info::int8_dot`].
    pub int8_dot: bool,
    /// See [`Info::shares_memory`].
    pub shares_memory: bool,
    /// See [`Info::wide`].
    pub wide: bool,
    /// See [`Info::few_from`].
    pub few_from: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, int8_dot: true, shares_memory: true, wide: false, few_from: None }
    }
}

/// A simulated GPU.
pub struct SimDevice {
    info: Info,
    options: Options,
    /// Tells its buffers from those of others.
    id: u64,
    region: RefCell<Region>,
}

/// A compiled kernel with its constants.
#[derive(Clone)]
pub struct SimPipeline(Arc<Pipeline>);

struct Pipeline {
    name: String,
    /// What was translated, for messages.
    source: String,
    compiled: Arc<Compiled>,
    /// Values by index, as bits.
    constants: Vec<u32>,
    /// The operands' names, and whether the kernel cannot write them.
    names: Vec<CString>,
    is_const: Vec<bool>,
}

/// Launches in order.
pub struct SimRecording(Vec<Step>);

/// The seconds that a submission took: it is over when it comes back.
pub struct SimFence(f64);

impl SimDevice {
    /// A device with the usual options, if there is a C++ compiler.
    pub fn new() -> Result<Self, DeviceError> {
        Self::with(Options::default())
    }

    /// A device with these options.
    pub fn with(options: Options) -> Result<Self, DeviceError> {
        static DEVICES: AtomicU64 = AtomicU64::new(0);
        let info = Info {
            name: "simulator".into(),
            kind: "sim",
            driver: available()?,
            cores: 4,
            memory: 8 << 30,
            shares_memory: options.shares_memory,
            int8_dot: options.int8_dot,
            wide: options.wide,
            few_from: options.few_from,
        };
        let id = DEVICES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { info, options, id, region: RefCell::new(Region::take()?) })
    }

    /// Compiles a kernel from a text instead of its file. The options are already in it.
    pub fn compile_source(
        &self,
        name: &str,
        source: &str,
        kernel: &Kernel,
    ) -> Result<SimPipeline, DeviceError> {
        let failed = |message: String| DeviceError::Compile { kernel: name.to_string(), message };
        let code = emit(source).map_err(|e| failed(e.0))?;
        if code.signature.name != name {
            return Err(failed(format!("the function's name is {}", code.signature.name)));
        }
        let has_option =
            |option: &str| source.lines().any(|line| line.split_whitespace().take(2).eq(["#ifndef", option]));
        if let Some((option, _)) = kernel.options.iter().find(|(name, _)| !has_option(name)) {
            return Err(failed(format!("it has no option {option}")));
        }
        if let Some((constant, _)) =
            kernel.constants.iter().find(|(n, _)| code.constants.iter().all(|c| c.name != *n))
        {
            return Err(failed(format!("it has no constant {constant}")));
        }
        let constants = code.constants.iter().map(|c| {
            let given = kernel.constants.iter().find(|(n, _)| *n == c.name);
            match (c.kind.as_str(), given.map(|(_, value)| *value)) {
                ("uint", Some(Constant::Uint(v))) | ("float", Some(Constant::Float(v))) => Ok(v),
                ("int", Some(Constant::Int(v))) => Ok(v as u32),
                ("bool", Some(Constant::Bool(v))) => Ok(v.into()),
                (_, None) => Err(failed(format!("constant {} is not given", c.name))),
                (kind, Some(v)) => Err(failed(format!("constant {} is {kind}, not {v:?}", c.name))),
            }
        });
        let constants = constants.collect::<Result<_, _>>()?;
        let compiled = compiler::compile(name, &code.text)?;
        let buffers = &code.signature.buffers;
        Ok(SimPipeline(Arc::new(Pipeline {
            name: name.to_string(),
            source: source.to_string(),
            compiled,
            constants,
            names: buffers.iter().map(|b| CString::new(b.name.as_str()).unwrap_or_default()).collect(),
            is_const: buffers.iter().map(|b| b.is_const).collect(),
        })))
    }

    fn own<'a>(&self, buffer: &'a SimBuffer) -> Result<&'a Memory, DeviceError> {
        if buffer.0.device != self.id {
            return Err(DeviceError::Failed("a buffer of another device".into()));
        }
        Ok(&buffer.0)
    }

    /// A launch with its operands checked.
    fn step(&self, launch: &Recorded<'_, Self>) -> Result<Step, DeviceError> {
        let pipeline = launch.pipeline.clone();
        let failed = |message: String| DeviceError::Kernel { kernel: pipeline.0.name.clone(), message };
        if launch.threads == 0 || !launch.threads.is_multiple_of(32) || launch.threads > 1024 {
            return Err(failed(format!("{} threads: not a multiple of 32 up to 1024", launch.threads)));
        }
        let groups = launch.grid.iter().try_fold(1u32, |n, &g| n.checked_mul(g)).unwrap_or(0);
        if groups == 0 {
            return Err(failed(format!("a grid of {:?}", launch.grid)));
        }
        if launch.operands.len() != pipeline.0.names.len() {
            return Err(failed(format!(
                "{} operands, expected {}",
                launch.operands.len(),
                pipeline.0.names.len()
            )));
        }
        let mut parts = Vec::new();
        for (n, &Bound { buffer, at, bytes, access }) in launch.operands.iter().enumerate() {
            let memory = self.own(buffer)?;
            let name = pipeline.0.names[n].to_string_lossy();
            let range = memory.range(at, bytes).map_err(|e| failed(format!("'{name}': {e}")))?;
            if access != Access::Read && (pipeline.0.is_const[n] || memory.is_adopted()) {
                let what = if pipeline.0.is_const[n] { "const in the kernel" } else { "adopted memory" };
                return Err(failed(format!("'{name}' is declared {access:?}, but is {what}")));
            }
            parts.push(Part { memory: buffer.0.clone(), range, access, early: true });
        }
        Ok(Step { pipeline, parts, grid: launch.grid, threads: launch.threads })
    }
}

impl Drop for SimDevice {
    fn drop(&mut self) {
        self.region.get_mut().give_back();
    }
}

impl Device for SimDevice {
    type Buffer = SimBuffer;
    type Pipeline = SimPipeline;
    type Recording = SimRecording;
    type Fence = SimFence;

    fn info(&self) -> &Info {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<SimBuffer, DeviceError> {
        SimBuffer::alloc(self.id, bytes)
    }

    fn alloc_shared(&self, bytes: usize) -> Result<SimBuffer, DeviceError> {
        SimBuffer::alloc(self.id, bytes)
    }

    fn adopt(&self, bytes: &Bytes) -> Result<Option<SimBuffer>, DeviceError> {
        Ok(if self.options.shares_memory { SimBuffer::adopt(self.id, bytes, 32) } else { None })
    }

    fn write(&self, to: &SimBuffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.own(to)?.write(at, bytes)
    }

    fn read(&self, from: &SimBuffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.own(from)?.read(at, bytes)
    }

    fn copy(
        &self,
        from: (&SimBuffer, usize),
        to: (&SimBuffer, usize),
        bytes: usize,
    ) -> Result<(), DeviceError> {
        Memory::copy((self.own(from.0)?, from.1), (self.own(to.0)?, to.1), bytes)
    }

    fn clear(&self, buffer: &SimBuffer, at: usize, bytes: usize) -> Result<(), DeviceError> {
        self.own(buffer)?.clear(at, bytes)
    }

    fn peek(&self, shared: &SimBuffer, word: usize) -> u32 {
        shared.0.peek(word)
    }

    fn compile(&self, kernel: &Kernel) -> Result<SimPipeline, DeviceError> {
        let failed = |message| DeviceError::Compile { kernel: kernel.name.to_string(), message };
        let source = source::expand(kernel).map_err(|e| failed(e.0))?;
        self.compile_source(kernel.name, &source, kernel)
    }

    fn record(&self, launches: &[Recorded<'_, Self>]) -> Result<SimRecording, DeviceError> {
        let mut steps = launches.iter().map(|l| self.step(l)).collect::<Result<Vec<_>, _>>()?;
        let after: Vec<&[usize]> = launches.iter().map(|l| l.after.as_slice()).collect();
        order::check(&mut steps, &after)?;
        Ok(SimRecording(steps))
    }

    fn submit(&self, recording: &SimRecording) -> Result<SimFence, DeviceError> {
        let begin = Instant::now();
        let mut region = self.region.borrow_mut();
        for step in &recording.0 {
            step.run(&mut region, self.options.seed)?;
        }
        Ok(SimFence(begin.elapsed().as_secs_f64()))
    }

    fn wait(&self, fence: SimFence) -> Result<Option<f64>, DeviceError> {
        Ok(Some(fence.0))
    }

    fn time(&self, launches: &[Recorded<'_, Self>]) -> Result<Vec<f64>, DeviceError> {
        let recording = self.record(launches)?;
        let mut region = self.region.borrow_mut();
        let time = |step: &Step| {
            let begin = Instant::now();
            step.run(&mut region, self.options.seed)?;
            Ok(begin.elapsed().as_secs_f64())
        };
        recording.0.iter().map(time).collect()
    }
}
