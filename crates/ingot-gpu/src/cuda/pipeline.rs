//! Kernels on their way from text to something that can be launched.

use super::cache::Cache;
use super::driver::{
    CUfunction, CUmodule, CUresult, Context, check, cuFuncGetAttribute, cuFuncSetAttribute,
    cuModuleGetFunction, cuModuleLoadData, cuModuleUnload, explain,
};
use super::nvrtc::Nvrtc;
use crate::device::DeviceError;
use crate::launch::Kernel;
use crate::msl::CudaSource;
use cudarc::driver::sys::CUfunction_attribute;
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

/// The first architecture with the instructions that let launches overlap.
pub(super) const OVERLAP_ARCHITECTURE: u32 = 90;

/// A kernel that can be launched.
#[derive(Clone)]
pub struct CudaPipeline(pub(super) Arc<Module>);

/// Unloaded when the pipeline and all recordings that use it are gone.
pub(super) struct Module {
    context: Arc<Context>,
    handle: CUmodule,
    pub(super) function: CUfunction,
    /// For error messages.
    pub(super) name: String,
    pub(super) buffers: usize,
    pub(super) max_threads: u32,
    /// Bytes of shared memory beyond what the kernel declares.
    pub(super) shared: u32,
}

// SAFETY: handles of the driver, which any thread may use; nothing changes after loading.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl CudaPipeline {
    /// Loads what NVRTC makes of the source, or what it made of it before.
    pub(super) fn new(
        context: &Arc<Context>,
        nvrtc: &Nvrtc,
        cache: &Cache,
        architecture: u32,
        source: &CudaSource,
        kernel: &Kernel,
    ) -> Result<Self, DeviceError> {
        let failed = |message: String| DeviceError::Compile { kernel: describe(kernel), message };
        let (major, minor) = nvrtc.version();
        let compiler = format!("NVRTC {major}.{minor}, sm_{architecture}");
        let key = [env!("CARGO_PKG_VERSION"), compiler.as_str(), source.text.as_str()];
        // An image that does not load is as good as none.
        let cached = cache.get(&key).and_then(|image| load(&image).ok());
        let handle = match cached {
            Some(handle) => handle,
            None => {
                let image =
                    nvrtc.compile(&source.text, kernel.name, architecture, &[]).map_err(failed)?.image;
                let handle = load(&image)
                    .map_err(|status| failed(format!("the driver does not load it: {}", explain(status))))?;
                cache.put(&key, &image);
                handle
            }
        };
        let mut module = Module {
            context: context.clone(),
            handle,
            function: ptr::null_mut(),
            name: describe(kernel),
            buffers: source.buffers,
            max_threads: 0,
            shared: 0,
        };
        let name = CString::new(source.entry.as_str()).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the module is loaded; writes a handle that lives as long as the module.
        let status = unsafe { cuModuleGetFunction(&mut module.function, handle, name.as_ptr()) };
        check(status, &module.name)?;
        let mut threads = 0;
        let which = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
        // SAFETY: the function was just found; writes an integer.
        check(unsafe { cuFuncGetAttribute(&mut threads, which, module.function) }, &module.name)?;
        module.max_threads = u32::try_from(threads).unwrap_or(0);
        if let Some((_, bytes)) = kernel.options.iter().find(|(name, _)| name == "INGOT_SHARED") {
            let (which, bytes) =
                (CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, *bytes);
            let bytes = i32::try_from(bytes).map_err(|e| failed(e.to_string()))?;
            // SAFETY: the function was just found.
            check(unsafe { cuFuncSetAttribute(module.function, which, bytes) }, &module.name)?;
            module.shared = bytes.unsigned_abs();
        }
        Ok(Self(Arc::new(module)))
    }
}

/// Loads an image into the current context. Whole cubins carry their length within;
/// text ends in the zero that NVRTC counts as part of it.
fn load(image: &[u8]) -> Result<CUmodule, CUresult> {
    let mut handle = ptr::null_mut();
    // SAFETY: the bytes come from NVRTC, directly or with a hash that was checked.
    match unsafe { cuModuleLoadData(&mut handle, image.as_ptr().cast()) } {
        CUresult::CUDA_SUCCESS => Ok(handle),
        status => Err(status),
    }
}

/// A kernel's name and options, for people.
fn describe(kernel: &Kernel) -> String {
    let options: Vec<String> = kernel.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    match options.is_empty() {
        true => kernel.name.to_string(),
        false => format!("{} ({})", kernel.name, options.join(" ")),
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nothing can be done about errors here. The wait is for launches that were begun.
        let _ = self.context.enter().and_then(|()| self.context.finish());
        // SAFETY: loaded, unloaded once, and used by nothing any more.
        let _ = unsafe { cuModuleUnload(self.handle) };
    }
}
