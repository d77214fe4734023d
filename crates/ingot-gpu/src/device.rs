//! What every machine that runs our kernels looks like from above.
//!
//! There are no ops here: a device has memory, compiles kernels, and runs lists
//! of launches in which it is said which launch has to wait for which.

use crate::launch::{Access, Kernel};
use ingot_format::Bytes;
use std::fmt::Debug;

/// A machine that runs our kernels. Nothing above this trait knows which.
pub trait Device: Send {
    /// Memory on the device.
    type Buffer: Send;
    /// A compiled kernel.
    type Pipeline: Send;
    /// A list of launches that can be submitted any number of times.
    type Recording: Send;
    /// Something that was submitted.
    type Fence: Send;

    /// What it is and what it can do.
    fn info(&self) -> &Info;

    /// New memory; its contents are undefined (the simulator poisons it).
    fn alloc(&self, bytes: usize) -> Result<Self::Buffer, DeviceError>;

    /// Memory that the host can look at while the device runs, see [`Device::peek`].
    fn alloc_shared(&self, bytes: usize) -> Result<Self::Buffer, DeviceError>;

    /// The given bytes as device memory without copying them, where the hardware
    /// shares memory with the host and their alignment allows it. The buffer
    /// keeps the bytes alive and is never written.
    fn adopt(&self, bytes: &Bytes) -> Result<Option<Self::Buffer>, DeviceError>;

    /// Copies bytes to device memory. Nothing that uses it may be running.
    fn write(&self, to: &Self::Buffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies bytes from device memory. Nothing that writes it may be running.
    fn read(&self, from: &Self::Buffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies within device memory, from (buffer, offset) to (buffer, offset).
    fn copy(
        &self,
        from: (&Self::Buffer, usize),
        to: (&Self::Buffer, usize),
        bytes: usize,
    ) -> Result<(), DeviceError>;

    /// Sets device memory to zero.
    fn clear(&self, buffer: &Self::Buffer, at: usize, bytes: usize) -> Result<(), DeviceError>;

    /// A word of shared memory as it is now; the device may be writing it.
    fn peek(&self, shared: &Self::Buffer, word: usize) -> u32;

    /// Compiles a kernel, or finds it in a cache.
    fn compile(&self, kernel: &Kernel) -> Result<Self::Pipeline, DeviceError>;

    /// Records launches. They may run at the same time unless one waits for another.
    fn record(&self, launches: &[Recorded<'_, Self>]) -> Result<Self::Recording, DeviceError>
    where
        Self: Sized;

    /// Starts a recording. Submissions run one after the other.
    fn submit(&self, recording: &Self::Recording) -> Result<Self::Fence, DeviceError>;

    /// Waits for the end of what was submitted; the time in seconds that the device
    /// was busy with it, where that is known.
    fn wait(&self, fence: Self::Fence) -> Result<Option<f64>, DeviceError>;

    /// Runs the launches one by one and measures each, in seconds.
    fn time(&self, launches: &[Recorded<'_, Self>]) -> Result<Vec<f64>, DeviceError>
    where
        Self: Sized;
}

/// A launch with everything looked up.
pub struct Recorded<'a, D: Device> {
    /// The compiled kernel.
    pub pipeline: &'a D::Pipeline,
    /// Its buffers 0, 1, 2...
    pub operands: Vec<Bound<'a, D::Buffer>>,
    /// Threadgroups in each dimension.
    pub grid: [u32; 3],
    /// Threads in a threadgroup.
    pub threads: u32,
    /// Earlier launches of the same list, by index, that have to be over before
    /// this one begins. Transitive ones are left out.
    pub after: Vec<usize>,
}

/// A range of device memory and what a launch does to it.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a, B> {
    /// The memory.
    pub buffer: &'a B,
    /// Where the range begins, in bytes.
    pub at: usize,
    /// Its length in bytes.
    pub bytes: usize,
    /// What the launch does to it.
    pub access: Access,
}

/// What a device is and what it can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Name for people.
    pub name: String,
    /// `metal`, `cuda` or `sim`.
    pub kind: &'static str,
    /// Version of the driver or compiler, for people.
    pub driver: String,
    /// Cores that hold threadgroups (multiprocessors).
    pub cores: u32,
    /// Bytes of memory that this process may use.
    pub memory: u64,
    /// True if weights can stay in the mapped file.
    pub shares_memory: bool,
    /// True if there is an instruction for products of 8-bit integers, so that
    /// quantised weights are best multiplied by activations in 8 bits.
    pub int8_dot: bool,
    /// True if four simdgroups multiply matrices together, as `kernels/include/wide.h` does.
    pub wide: bool,
    /// From how many sequences of one row on products are faster on matrix units than one by one;
    /// none where that was not measured.
    pub few_from: Option<usize>,
}

impl From<DeviceError> for ingot_plan::ExecError {
    fn from(e: DeviceError) -> Self {
        match e {
            DeviceError::OutOfMemory(what) => Self::OutOfMemory(what),
            other => Self::Device(other.to_string()),
        }
    }
}

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device, or not what it takes to use it.
    #[error("{0}")]
    Unavailable(String),
    /// There is no memory for it.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// A kernel did not compile: our mistake, with the compiler's words.
    #[error("kernel {kernel}: {message}")]
    Compile {
        /// Which kernel.
        kernel: String,
        /// What the compiler said.
        message: String,
    },
    /// A kernel broke a rule that the simulator checks: our mistake.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// Which kernel.
        kernel: String,
        /// What it did and where.
        message: String,
    },
    /// The device failed.
    #[error("{0}")]
    Failed(String),
}
