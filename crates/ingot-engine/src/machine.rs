//! From options to an executor: what they come to on this computer, known before
//! anything is loaded, because the plan depends on it.

use crate::{CacheType, Error, ExecutorKind, Memory, Options, Result, available_memory};
use ingot_cpu::{CpuExecutor, CpuOptions};
use ingot_format::{DType, Tensor};
use ingot_gpu::{Gpu, GpuOptions, device::Info};
use ingot_plan::{Executor, Plan, Precision, Reference};
use std::sync::Arc;

/// What options come to on this computer.
#[derive(Clone, Debug)]
pub struct Setup {
    executor: ExecutorKind,
    threads: Option<usize>,
    cache: DType,
    exact: bool,
    gpu: Option<Info>,
}

impl Options {
    /// Looks at the device that is to be used.
    ///
    /// # Errors
    /// If there is no such device, or it cannot keep such a cache.
    pub fn resolve(&self) -> Result<Setup> {
        let cache = match (self.executor, self.cache) {
            (ExecutorKind::Reference, _) | (_, CacheType::F32) => DType::F32,
            (_, CacheType::F16) => DType::F16,
            (_, CacheType::Q8_0) => DType::Q8_0,
        };
        let gpu = match self.executor {
            ExecutorKind::Gpu(device) => {
                Some(ingot_gpu::probe(device).map_err(|source| Error::Gpu { device, source })?)
            }
            ExecutorKind::Cpu | ExecutorKind::Reference => None,
        };
        Ok(Setup { executor: self.executor, threads: self.threads, cache, exact: self.exact, gpu })
    }
}

impl Setup {
    /// How quantized matrices are to see their inputs: what the plan is built with.
    pub fn precision(&self) -> Precision {
        let multiplies_integers = match (&self.gpu, self.executor) {
            (Some(gpu), _) => gpu.int8_dot,
            (None, executor) => executor == ExecutorKind::Cpu,
        };
        if multiplies_integers && !self.exact { Precision::Q8 } else { Precision::F32 }
    }

    /// How keys and values are stored.
    pub fn cache(&self) -> DType {
        self.cache
    }

    /// Threads that were asked for.
    pub fn threads(&self) -> Option<usize> {
        self.threads
    }

    /// True if sequences live in the computer's own memory.
    pub(crate) fn uses_host_memory(&self) -> bool {
        self.gpu.as_ref().is_none_or(|gpu| gpu.shares_memory)
    }

    /// Bytes that are left for sequences beside the weights.
    pub fn room(&self, memory: &Memory) -> u64 {
        match &self.gpu {
            Some(gpu) if !gpu.shares_memory => gpu.memory.saturating_sub(memory.weights),
            _ => available_memory(),
        }
    }

    /// An executor for `plan`; `weights` are the tensors it declares, in order.
    /// `progress` is told how many bytes of how many are on the GPU.
    ///
    /// # Errors
    /// If the device cannot run this plan.
    ///
    /// # Panics
    /// If a tensor does not match its declaration.
    pub fn open(
        &self,
        plan: Arc<Plan>,
        weights: Vec<Tensor>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Machine> {
        match self.executor {
            ExecutorKind::Reference => Ok(Machine::Reference(Box::new(Reference::new(plan, weights)))),
            ExecutorKind::Cpu => {
                let (threads, cache_type) = (self.threads, self.cache);
                // Weights in a file are packed and its pages given back. Those that were
                // computed for a file's model are in memory twice, if there is enough; a
                // model that is in memory altogether stays as it is. A file's pages count
                // as available.
                let bytes: u64 = weights.iter().map(|w| w.data().len() as u64).sum();
                let pack = bytes < available_memory() && weights.iter().any(|w| w.data().is_mapped());
                let options = CpuOptions { threads, cache_type, pack, ..CpuOptions::default() };
                Ok(Machine::Cpu(Box::new(CpuExecutor::open(plan, weights, &options)?)))
            }
            ExecutorKind::Gpu(device) => {
                let options = GpuOptions { cache: self.cache, exact: self.exact };
                let gpu = ingot_gpu::open(device, plan, weights, &options, progress);
                Ok(Machine::Gpu(gpu.map_err(|source| Error::Gpu { device, source })?))
            }
        }
    }
}

/// An executor of whatever kind, for those who want to look at it as well.
pub enum Machine {
    /// SIMD kernels.
    Cpu(Box<CpuExecutor>),
    /// The oracle.
    Reference(Box<Reference>),
    /// Some GPU.
    Gpu(Box<dyn Gpu>),
}

impl Machine {
    /// What all of them can do.
    pub fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Self::Cpu(cpu) => cpu.as_mut(),
            Self::Reference(reference) => reference.as_mut(),
            Self::Gpu(gpu) => gpu.as_mut(),
        }
    }

    /// Waits for what goes on after opening, so that all steps take the same time.
    /// `progress` is told how many bytes of how many are done.
    pub fn settle(&mut self, progress: &mut dyn FnMut(u64, u64)) {
        if let Self::Cpu(cpu) = self {
            cpu.settle(progress);
        }
    }

    /// What GPUs can do beside.
    pub fn gpu(&mut self) -> Option<&mut dyn Gpu> {
        match self {
            Self::Gpu(gpu) => Some(gpu.as_mut()),
            Self::Cpu(_) | Self::Reference(_) => None,
        }
    }
}

impl From<Machine> for Box<dyn Executor> {
    fn from(machine: Machine) -> Self {
        match machine {
            Machine::Cpu(cpu) => cpu,
            Machine::Reference(reference) => reference,
            Machine::Gpu(gpu) => gpu,
        }
    }
}
