//! Kernels to pipelines: from libraries that were compiled with the program, else
//! from the source.

use super::MetalDevice;
use crate::device::DeviceError;
use crate::launch::{Constant, Kernel};
use crate::source;
use dispatch2::DispatchData;
use objc2::available;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::{NSError, NSString};
use objc2_metal::{
    MTLCompileOptions, MTLComputePipelineState, MTLDataType, MTLDevice, MTLFunctionConstantValues,
    MTLLanguageVersion, MTLLibrary, MTLMathFloatingPointFunctions, MTLMathMode,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::NonNull;

include!(concat!(env!("OUT_DIR"), "/metallibs.rs"));

/// Set to anything: the libraries compiled with the program are not used.
const NO_METALLIB: &str = "INGOT_NO_METALLIB";

type Library = Retained<ProtocolObject<dyn MTLLibrary>>;

/// A compiled kernel.
#[derive(Clone)]
pub struct Pipeline {
    pub(super) state: Retained<ProtocolObject<dyn MTLComputePipelineState>>,
    pub(super) kernel: &'static str,
}

pub(super) struct Compiler {
    device: MetalDevice,
    /// By kernel and options: constants are put in later.
    libraries: RefCell<HashMap<String, Library>>,
    pipelines: RefCell<HashMap<Kernel, Pipeline>>,
}

impl Compiler {
    pub(super) fn new(device: MetalDevice) -> Self {
        Self { device, libraries: RefCell::default(), pipelines: RefCell::default() }
    }

    pub(super) fn pipeline(&self, kernel: &Kernel) -> Result<Pipeline, DeviceError> {
        if let Some(known) = self.pipelines.borrow().get(kernel) {
            return Ok(known.clone());
        }
        let wrong = |message: String| DeviceError::Compile { kernel: kernel.name.into(), message };
        let said = |error: Retained<NSError>| wrong(error.localizedDescription().to_string());
        let library = self.library(kernel)?;
        let function = library
            .newFunctionWithName_constantValues_error(&NSString::from_str(kernel.name), &constants(kernel))
            .map_err(said)?;
        let state = self.device.newComputePipelineStateWithFunction_error(&function).map_err(said)?;
        if state.threadExecutionWidth() != 32 {
            return Err(DeviceError::Unavailable("this GPU's simdgroups have not 32 lanes".into()));
        }
        let pipeline = Pipeline { state, kernel: kernel.name };
        self.pipelines.borrow_mut().insert(kernel.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn library(&self, kernel: &Kernel) -> Result<Library, DeviceError> {
        let name = name(kernel);
        if let Some(known) = self.libraries.borrow().get(&name) {
            return Ok(known.clone());
        }
        let library = match self.precompiled(&name) {
            Some(library) => library,
            None => self.from_source(kernel)?,
        };
        self.libraries.borrow_mut().insert(name, library.clone());
        Ok(library)
    }

    /// One that Metal does not take, too new for this system perhaps, is passed over.
    fn precompiled(&self, name: &str) -> Option<Library> {
        let (_, bytes) = METALLIBS.iter().find(|(known, _)| *known == name)?;
        if std::env::var_os(NO_METALLIB).is_some() {
            return None;
        }
        self.device.newLibraryWithData_error(&DispatchData::from_static_bytes(bytes)).ok()
    }

    fn from_source(&self, kernel: &Kernel) -> Result<Library, DeviceError> {
        let wrong = |message: String| DeviceError::Compile { kernel: kernel.name.into(), message };
        let text = source::expand(kernel).map_err(|e| wrong(e.to_string()))?;
        self.device
            .newLibraryWithSource_options_error(&NSString::from_str(&text), Some(&options()))
            .map_err(|error| wrong(error.localizedDescription().to_string()))
    }
}

/// What a kernel's library is called in the table that build.rs makes.
fn name(kernel: &Kernel) -> String {
    let mut name = kernel.name.to_string();
    for (option, value) in &kernel.options {
        name += &format!(" {option}={value}");
    }
    name
}

/// The language that the lint checks for, and arithmetic in the order in which it
/// is written: a row's result must not depend on how a loop over rows was compiled,
/// and masks are infinities.
fn options() -> Retained<MTLCompileOptions> {
    let options = MTLCompileOptions::new();
    options.setLanguageVersion(MTLLanguageVersion::Version3_0);
    if available!(macos = 15.0) {
        options.setMathMode(MTLMathMode::Safe);
        options.setMathFloatingPointFunctions(MTLMathFloatingPointFunctions::Precise);
    } else {
        #[allow(deprecated)] // the same for older systems
        options.setFastMathEnabled(false);
    }
    options
}

fn constants(kernel: &Kernel) -> Retained<MTLFunctionConstantValues> {
    let values = MTLFunctionConstantValues::new();
    for (name, constant) in &kernel.constants {
        let (value, kind): (NonNull<c_void>, _) = match constant {
            Constant::Uint(value) => (NonNull::from(value).cast(), MTLDataType::UInt),
            Constant::Int(value) => (NonNull::from(value).cast(), MTLDataType::Int),
            Constant::Bool(value) => (NonNull::from(value).cast(), MTLDataType::Bool),
            Constant::Float(bits) => (NonNull::from(bits).cast(), MTLDataType::Float),
        };
        // SAFETY: the pointer is to a value of the size of that type, one byte for
        // `bool`, which Metal copies before it returns.
        unsafe { values.setConstantValue_type_withName(value, kind, &NSString::from_str(name)) };
    }
    values
}
