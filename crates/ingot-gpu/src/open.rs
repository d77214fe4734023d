//! Finding devices and opening an executor on one.

#[cfg(not(target_os = "macos"))]
use crate::cuda::{self, CudaDevice};
use crate::device::{Device, DeviceError, Info};
use crate::listed::Lists;
#[cfg(target_os = "macos")]
use crate::metal::Metal;
use crate::sim::SimDevice;
use crate::tuning::Tuning;
use crate::{Gpu, GpuExecutor};
use ingot_format::{DType, Tensor};
use ingot_plan::{ExecError, Plan};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// Apple's GPU.
    Metal,
    /// NVIDIA's GPU of this number.
    Cuda(usize),
    /// The simulator: strict and slow, for testing.
    Sim,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metal => f.write_str("metal"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Sim => f.write_str("sim"),
        }
    }
}

impl FromStr for DeviceKind {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word.split_once(':') {
            None if word == "metal" => Ok(Self::Metal),
            None if word == "cuda" => Ok(Self::Cuda(0)),
            None if word == "sim" => Ok(Self::Sim),
            Some(("cuda", n)) => match n.parse() {
                Ok(n) => Ok(Self::Cuda(n)),
                Err(_) => Err(format!("'{n}' is no number of a GPU; for example cuda:1")),
            },
            _ => Err(format!("there is no device '{word}'; there are metal, cuda, cuda:N and sim")),
        }
    }
}

/// How to run on a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuOptions {
    /// How keys and values are stored: F16, F32 or Q8_0.
    pub cache: DType,
    /// Nothing is rounded to 16 bits on the way.
    pub exact: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self { cache: DType::F16, exact: false }
    }
}

/// A GPU, or for a kind of which there is none its name and the reason.
pub type Found = Result<(DeviceKind, Info), (&'static str, DeviceError)>;

/// The real GPUs of this machine, and for each kind without one the reason.
pub fn devices() -> Vec<Found> {
    #[cfg(target_os = "macos")]
    let found = vec![match Metal::open() {
        Ok(device) => Ok((DeviceKind::Metal, device.info().clone())),
        Err(e) => Err(("metal", e)),
    }];
    #[cfg(not(target_os = "macos"))]
    let found = match cuda::list() {
        Ok(all) => all.into_iter().map(|(n, info)| Ok((DeviceKind::Cuda(n), info))).collect(),
        Err(e) => vec![Err(("cuda", e))],
    };
    found
}

/// What a device is. An NVIDIA GPU is not opened for that, which takes a while.
pub fn probe(kind: DeviceKind) -> Result<Info, DeviceError> {
    match kind {
        DeviceKind::Sim => Ok(SimDevice::new()?.info().clone()),
        #[cfg(target_os = "macos")]
        DeviceKind::Metal => Ok(Metal::open()?.info().clone()),
        #[cfg(not(target_os = "macos"))]
        DeviceKind::Cuda(n) => cuda::info(n),
        other => Err(absent(other)),
    }
}

/// An executor for `plan` on a device; `weights` are the tensors the plan declares,
/// in order. `progress` is told how many bytes of how many are on the device.
///
/// # Errors
/// If there is no such device, the plan has something no kernel can do, or the
/// device has no room for the weights.
///
/// # Panics
/// If a tensor does not match its declaration.
pub fn open(
    kind: DeviceKind,
    plan: Arc<Plan>,
    weights: Vec<Tensor>,
    options: &GpuOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Box<dyn Gpu>, DeviceError> {
    open_with(kind, plan, &weights, options, None, progress)
}

/// Like [`open`] with the usual options, for launches that were made before: steps that
/// `lists` has nothing for are refused.
pub fn open_listed(
    kind: DeviceKind,
    plan: Arc<Plan>,
    weights: Vec<Tensor>,
    lists: &'static Lists,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Box<dyn Gpu>, DeviceError> {
    open_with(kind, plan, &weights, &GpuOptions::default(), Some(lists), progress)
}

fn open_with(
    kind: DeviceKind,
    plan: Arc<Plan>,
    weights: &[Tensor],
    options: &GpuOptions,
    lists: Option<&'static Lists>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Box<dyn Gpu>, DeviceError> {
    match kind {
        DeviceKind::Sim => on(SimDevice::new()?, plan, weights, options, lists, progress),
        #[cfg(target_os = "macos")]
        DeviceKind::Metal => on(Metal::open()?, plan, weights, options, lists, progress),
        #[cfg(not(target_os = "macos"))]
        DeviceKind::Cuda(n) => on(CudaDevice::open(n)?, plan, weights, options, lists, progress),
        other => Err(absent(other)),
    }
}

fn on<D: Device + 'static>(
    device: D,
    plan: Arc<Plan>,
    weights: &[Tensor],
    options: &GpuOptions,
    lists: Option<&'static Lists>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Box<dyn Gpu>, DeviceError> {
    let executor = match lists {
        None => {
            // The simulator's time is nobody's, so that nothing is stored for it.
            let device_name = if device.info().kind == "sim" { "" } else { &device.info().name };
            let tuning = Tuning::of(device_name).map_err(DeviceError::Unavailable)?;
            GpuExecutor::new(device, plan, weights, options, progress).map(|mut executor| {
                executor.tune(&tuning);
                executor
            })
        }
        Some(lists) => GpuExecutor::listed(device, plan, weights, lists, progress),
    };
    match executor {
        Ok(executor) => Ok(Box::new(executor)),
        Err(ExecError::OutOfMemory(what)) => Err(DeviceError::OutOfMemory(what)),
        Err(ExecError::Request(what)) => Err(DeviceError::Unavailable(what)),
        Err(ExecError::Device(what)) => Err(DeviceError::Failed(what)),
    }
}

fn absent(kind: DeviceKind) -> DeviceError {
    DeviceError::Unavailable(match kind {
        DeviceKind::Metal => "Metal is there on macOS only".into(),
        other => format!("{other} is not there on this system"),
    })
}
