//! How a model is to be run.

use ingot_plan::Precision;

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
    /// Keep activations in f32 where quantized weights would see them in 8 bits.
    pub exact: bool,
}

impl Options {
    pub(crate) fn precision(&self) -> Precision {
        match (self.executor, self.exact) {
            (ExecutorKind::Cpu, false) => Precision::Q8,
            _ => Precision::F32,
        }
    }
}

/// What runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorKind {
    /// SIMD kernels on several threads.
    #[default]
    Cpu,
    /// The naive oracle; very slow, exact.
    Reference,
}

/// How keys and values are kept. The reference always keeps f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheType {
    /// 16-bit floats.
    #[default]
    F16,
    /// 32-bit floats.
    F32,
}
