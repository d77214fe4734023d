//! How a model is to be run.

use ingot_gpu::DeviceKind;
use std::fmt;

/// Choices made when a model is opened; the defaults suit most people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What runs it.
    pub executor: ExecutorKind,
    /// Threads of the CPU executor; as many as the process may use if absent.
    pub threads: Option<usize>,
    /// Most tokens a session may hold; what the model was trained for if absent.
    pub context: Option<usize>,
    /// How keys and values are kept.
    pub cache: CacheType,
    /// Keep activations in f32 where quantized weights would see them in 8 bits,
    /// or a GPU's matrix units in 16.
    pub exact: bool,
}

/// What runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorKind {
    /// SIMD kernels on several threads.
    #[default]
    Cpu,
    /// The naive oracle; very slow, exact.
    Reference,
    /// Kernels on a GPU, or in the simulator of one.
    Gpu(DeviceKind),
}

impl ExecutorKind {
    /// Rows of one step while a prompt is read. Long prompts are read in pieces, so
    /// that scratch memory stays small, progress can be shown and ctrl-C is heard;
    /// with fewer rows the weights would be unpacked for too few products, and a
    /// GPU has more to fill, a large one much more.
    pub fn chunk(self) -> usize {
        match self {
            Self::Cpu | Self::Reference => 256,
            Self::Gpu(DeviceKind::Cuda(_)) => 2048,
            Self::Gpu(_) => 512,
        }
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Reference => f.write_str("reference"),
            Self::Gpu(device) => device.fmt(f),
        }
    }
}

/// How keys and values are kept. The reference always keeps f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheType {
    /// 16-bit floats.
    #[default]
    F16,
    /// 32-bit floats.
    F32,
    /// 8-bit integers in blocks of 32 with a scale.
    Q8_0,
}
