//! NVIDIA's driver: loading it, its errors, and one context with its stream.
//!
//! The bindings panic if the library or one of its functions is missing, so
//! everything that is used is looked up before anything is called.

use crate::device::{DeviceError, Info};
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Display;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

pub(super) use cudarc::driver::sys::{
    CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUgraphNode,
    CUmodule, CUresult, CUstream,
};

/// The functions of the driver that may be called in this module, with their names.
macro_rules! functions {
    ($($name:ident)*) => {
        pub(super) use cudarc::driver::sys::{$($name),*};
        const FUNCTIONS: &[&str] = &[$(stringify!($name)),*];
    };
}

functions! {
    cuInit cuDriverGetVersion cuGetErrorString
    cuDeviceGet cuDeviceGetCount cuDeviceGetName cuDeviceGetAttribute cuDeviceTotalMem_v2
    cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent
    cuMemAlloc_v2 cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc cuMemFreeHost cuMemHostGetDevicePointer_v2
    cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuMemsetD8Async
    cuStreamCreate cuStreamDestroy_v2 cuStreamSynchronize cuStreamBeginCapture_v2 cuStreamEndCapture
    cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventRecordWithFlags cuEventSynchronize cuEventElapsedTime
    cuModuleLoadData cuModuleUnload cuModuleGetFunction cuFuncGetAttribute cuFuncSetAttribute
    cuGraphCreate cuGraphDestroy cuGraphAddKernelNode_v2 cuGraphAddDependencies_v2
    cuGraphInstantiateWithFlags cuGraphLaunch cuGraphExecDestroy cuLaunchKernelEx
}

/// The oldest driver whose functions these are: CUDA 12.3.
const MIN_VERSION: i32 = 12_030;
/// The oldest GPUs that kernels are written and checked for: compute capability 8.0.
const MIN_ARCHITECTURE: u32 = 80;

/// An error of the driver as ours.
pub(super) fn check(status: CUresult, what: impl Display) -> Result<(), DeviceError> {
    match status {
        CUresult::CUDA_SUCCESS => Ok(()),
        _ => Err(DeviceError::Failed(format!("{what}: {}", explain(status)))),
    }
}

/// The driver's words for an error.
pub(super) fn explain(status: CUresult) -> String {
    let mut text: *const c_char = ptr::null();
    // SAFETY: writes a pointer to a constant text, or null.
    let known = unsafe { cuGetErrorString(status, &mut text) };
    match known {
        CUresult::CUDA_SUCCESS if !text.is_null() => {
            // SAFETY: a constant text that ends in zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        }
        _ => format!("{status:?}"),
    }
}

/// Loads the driver once; its version, 12030 for 12.3.
pub(super) fn load() -> Result<i32, DeviceError> {
    static LOADED: OnceLock<Result<i32, DeviceError>> = OnceLock::new();
    LOADED.get_or_init(|| try_load().map_err(DeviceError::Unavailable)).clone()
}

fn try_load() -> Result<i32, String> {
    use cudarc::driver::sys;
    let too_old = "NVIDIA's driver is too old: one for CUDA 12.3 or later is needed";
    // SAFETY: loading the driver's library has no effect besides.
    if !unsafe { sys::is_culib_present() } {
        return Err("NVIDIA's driver (libcuda) was not found".into());
    }
    // SAFETY: it is there, as was just found out.
    let library = unsafe { sys::culib() };
    for name in FUNCTIONS {
        // SAFETY: only asked whether it exists, not called.
        let found = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
        found.map_err(|_| format!("{too_old} ({name} is missing)"))?;
    }
    // SAFETY: the first call, as it has to be.
    match unsafe { cuInit(0) } {
        CUresult::CUDA_SUCCESS => {}
        status => return Err(format!("NVIDIA's driver does not start: {}", explain(status))),
    }
    let mut version = 0;
    // SAFETY: writes an integer.
    let status = unsafe { cuDriverGetVersion(&mut version) };
    match status {
        CUresult::CUDA_SUCCESS if version >= MIN_VERSION => Ok(version),
        _ => Err(format!("{too_old}, this one is for {}", version_text(version))),
    }
}

/// `12.3` for 12030.
pub(super) fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// The number of GPUs.
pub(super) fn count() -> Result<usize, DeviceError> {
    load()?;
    let mut count = 0;
    // SAFETY: the driver is loaded; writes an integer.
    check(unsafe { cuDeviceGetCount(&mut count) }, "counting NVIDIA GPUs")?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A GPU by number, and its architecture, 80 for compute capability 8.0.
pub(super) fn device(number: usize) -> Result<(CUdevice, u32), DeviceError> {
    let count = count()?;
    if number >= count {
        let s = if count == 1 { "is 1 NVIDIA GPU".into() } else { format!("are {count} NVIDIA GPUs") };
        return Err(DeviceError::Unavailable(format!(
            "there {s}, none has number {number} (the first is 0)"
        )));
    }
    let mut device = 0;
    // SAFETY: the driver is loaded; writes a handle.
    check(unsafe { cuDeviceGet(&mut device, number as c_int) }, "opening an NVIDIA GPU")?;
    let architecture = architecture(device)?;
    if architecture < MIN_ARCHITECTURE {
        return Err(DeviceError::Unavailable(format!(
            "{} has compute capability {}.{}, 8.0 or later is needed",
            name(device)?,
            architecture / 10,
            architecture % 10
        )));
    }
    Ok((device, architecture))
}

/// 80 for compute capability 8.0.
fn architecture(device: CUdevice) -> Result<u32, DeviceError> {
    let major = attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(10 * major + minor)
}

/// What a device is; `memory` is all it has.
pub(super) fn info(device: CUdevice) -> Result<Info, DeviceError> {
    let mut memory = 0;
    // SAFETY: writes a size.
    check(unsafe { cuDeviceTotalMem_v2(&mut memory, device) }, "asking for the GPU's memory")?;
    Ok(Info {
        name: name(device)?,
        kind: "cuda",
        driver: format!("CUDA {}", version_text(load()?)),
        cores: attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory: memory as u64,
        shares_memory: false,
        int8_dot: true,
        wide: architecture(device)? == 90,
        // As measured on an H200.
        few_from: Some(4),
    })
}

fn name(device: CUdevice) -> Result<String, DeviceError> {
    let mut name = [0u8; 256];
    // SAFETY: writes at most as many characters as there is space for.
    let status = unsafe { cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as c_int, device) };
    check(status, "asking for the GPU's name")?;
    Ok(CStr::from_bytes_until_nul(&name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())
}

fn attribute(device: CUdevice, which: CUdevice_attribute) -> Result<u32, DeviceError> {
    let mut value = 0;
    // SAFETY: writes an integer.
    check(unsafe { cuDeviceGetAttribute(&mut value, which, device) }, "asking for a property of the GPU")?;
    Ok(u32::try_from(value).unwrap_or(0))
}

/// The use of one GPU: its context, and a stream in which everything is done in order.
/// Everything that was made on the GPU keeps this alive.
pub(super) struct Context {
    device: CUdevice,
    handle: cudarc::driver::sys::CUcontext,
    stream: CUstream,
    /// Events that are not in use.
    events: Mutex<Vec<CUevent>>,
}

// SAFETY: the driver's handles may be used by any thread, one after the other or at
// the same time; `stream` is only changed by the driver.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(device: CUdevice) -> Result<Self, DeviceError> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle, which `drop` gives back.
        check(unsafe { cuDevicePrimaryCtxRetain(&mut handle, device) }, "opening the GPU")?;
        let mut context = Self { device, handle, stream: ptr::null_mut(), events: Mutex::default() };
        context.enter()?;
        let kind = cudarc::driver::sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current; writes a handle, which `drop` destroys.
        check(unsafe { cuStreamCreate(&mut context.stream, kind) }, "making a stream")?;
        Ok(context)
    }

    /// Makes this the context of the calling thread, which every call of the driver needs.
    pub(super) fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context was retained.
        check(unsafe { cuCtxSetCurrent(self.handle) }, "using the GPU")
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream
    }

    /// Waits for everything that was put into the stream.
    pub(super) fn finish(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream lives.
        check(unsafe { cuStreamSynchronize(self.stream) }, "waiting for the GPU")
    }

    /// Free memory and all memory, in bytes.
    pub(super) fn memory(&self) -> Result<(usize, usize), DeviceError> {
        let (mut free, mut total) = (0, 0);
        self.enter()?;
        // SAFETY: the context is current; writes two sizes.
        check(unsafe { cuMemGetInfo_v2(&mut free, &mut total) }, "asking for free memory")?;
        Ok((free, total))
    }

    /// An event that can be recorded; given back with [`Context::recycle`].
    pub(super) fn event(&self) -> Result<CUevent, DeviceError> {
        if let Some(event) = self.events.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(event);
        }
        let mut event = ptr::null_mut();
        // SAFETY: callers have entered the context; writes a handle.
        check(unsafe { cuEventCreate(&mut event, 0) }, "making an event")?;
        Ok(event)
    }

    /// Takes events back for later.
    pub(super) fn recycle(&self, events: impl IntoIterator<Item = CUevent>) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
    }

    /// Puts an event into the stream.
    pub(super) fn mark(&self, event: CUevent) -> Result<(), DeviceError> {
        // SAFETY: both are of this context and live.
        check(unsafe { cuEventRecord(event, self.stream) }, "recording an event")
    }

    /// Waits for an event; one that was never recorded is over.
    pub(super) fn await_event(&self, event: CUevent) -> Result<(), DeviceError> {
        // SAFETY: the event is of this context and lives.
        check(unsafe { cuEventSynchronize(event) }, "waiting for the GPU")
    }

    /// Seconds between two events that are over.
    pub(super) fn seconds(&self, begin: CUevent, end: CUevent) -> Result<f64, DeviceError> {
        let mut milliseconds = 0f32;
        // SAFETY: both are of this context and live; writes a float.
        let status = unsafe { cuEventElapsedTime(&mut milliseconds, begin, end) };
        check(status, "reading the time")?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nothing can be done about errors here: the process ends, or the GPU is broken.
        let _ = self.enter();
        let events = std::mem::take(self.events.get_mut().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: whatever uses the stream or the events keeps this context alive, so
        // nothing does; each is destroyed once.
        unsafe {
            events.into_iter().for_each(|event| _ = cuEventDestroy_v2(event));
            if !self.stream.is_null() {
                let _ = cuStreamDestroy_v2(self.stream);
            }
            let _ = cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}
