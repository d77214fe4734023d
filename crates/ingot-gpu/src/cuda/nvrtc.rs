//! NVIDIA's run-time compiler, found and loaded when it is needed.
//!
//! Its few functions are looked up here and not through bindings, because those
//! find libraries by name only. NVRTC comes in many ways (the toolkit, a package
//! of the distribution, a Python wheel) and is often not where libraries are
//! searched for, so a path can be given.

use crate::device::DeviceError;
use libloading::Library;
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

/// Names a file or a folder with NVRTC in it.
const PATH_VARIABLE: &str = "INGOT_NVRTC";
/// Major versions that are looked for, in this order unless another is preferred.
const MAJORS: [u32; 2] = [13, 12];
/// Where the library is below a folder that was named, or below a toolkit.
const SUBFOLDERS: [&str; 6] = ["", "lib64", "lib", "nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "bin"];

type Program = *mut c_void;
type Status = c_int;

/// The compiler.
pub struct Nvrtc {
    functions: Functions,
    version: (u32, u32),
    architectures: Vec<u32>,
    /// Never unloaded: whether its threads and exit handlers survive that is not documented.
    _library: ManuallyDrop<Library>,
}

/// What NVRTC's functions are called and what they take.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*);)*) => {
        struct Functions { $($field: unsafe extern "C" fn($($argument),*) -> Status,)* }

        impl Functions {
            fn load(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: the signatures are those of nvrtc.h, the same in all versions since 11.2.
                unsafe { Ok(Self { $($field: *library.get($name)?,)* }) }
            }
        }
    };
}

functions! {
    version = b"nvrtcVersion": fn(*mut c_int, *mut c_int);
    architecture_count = b"nvrtcGetNumSupportedArchs": fn(*mut c_int);
    architectures = b"nvrtcGetSupportedArchs": fn(*mut c_int);
    create = b"nvrtcCreateProgram":
        fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char);
    destroy = b"nvrtcDestroyProgram": fn(*mut Program);
    compile = b"nvrtcCompileProgram": fn(Program, c_int, *const *const c_char);
    log_size = b"nvrtcGetProgramLogSize": fn(Program, *mut usize);
    log = b"nvrtcGetProgramLog": fn(Program, *mut c_char);
    cubin_size = b"nvrtcGetCUBINSize": fn(Program, *mut usize);
    cubin = b"nvrtcGetCUBIN": fn(Program, *mut c_char);
    ptx_size = b"nvrtcGetPTXSize": fn(Program, *mut usize);
    ptx = b"nvrtcGetPTX": fn(Program, *mut c_char);
}

/// What became of a source.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Something that the driver loads.
    pub image: Vec<u8>,
    /// The assembly language it was made from.
    pub ptx: String,
    /// Warnings, and what was asked for with [`Nvrtc::compile`]'s `options`.
    pub log: String,
}

impl Nvrtc {
    /// Finds the compiler: where `INGOT_NVRTC` says, where libraries are searched
    /// for, then in toolkits. That of CUDA version `preferred` is taken if there are several.
    pub fn find(preferred: Option<u32>) -> Result<Self, DeviceError> {
        let mut rejected = String::new();
        for candidate in candidates(preferred, |name| std::env::var_os(name)) {
            // SAFETY: NVRTC runs nothing of note when it is loaded. Whoever sets the
            // search path or the variable chooses what is trusted.
            let Ok(library) = (unsafe { Library::new(&candidate) }) else { continue };
            match Self::from_library(library) {
                Ok(nvrtc) => return Ok(nvrtc),
                Err(e) => rejected = format!("; {} is unusable: {e}", candidate.display()),
            }
        }
        Err(DeviceError::Unavailable(format!(
            "NVIDIA's run-time compiler (NVRTC 12 or 13) was not found: install it, or name its folder in {PATH_VARIABLE}{rejected}"
        )))
    }

    fn from_library(library: Library) -> Result<Self, String> {
        let functions = Functions::load(&library).map_err(|e| e.to_string())?;
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the arguments are valid for writing.
        let status = unsafe { (functions.version)(&mut major, &mut minor) };
        // SAFETY: as above.
        let status = status | unsafe { (functions.architecture_count)(&mut count) };
        let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: there is space for as many as it said there are.
        let status = status | unsafe { (functions.architectures)(architectures.as_mut_ptr()) };
        if status != 0 || major < 12 {
            return Err(format!("version {major}.{minor}, 12 or 13 is needed"));
        }
        let architectures = architectures.into_iter().filter_map(|a| a.try_into().ok()).collect();
        Ok(Self {
            functions,
            version: (major as u32, minor as u32),
            architectures,
            _library: ManuallyDrop::new(library),
        })
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Compiles for the architecture (80 for `sm_80`), or for the best one before it
    /// that this compiler knows, for the driver to translate. The error is what the compiler said.
    pub fn compile(
        &self,
        source: &str,
        name: &str,
        architecture: u32,
        options: &[&str],
    ) -> Result<Compiled, String> {
        let known = self.architectures.contains(&architecture);
        let target = match self.architectures.iter().filter(|a| **a <= architecture).max() {
            // With the instructions that only this one has.
            _ if known && architecture == 90 => "--gpu-architecture=sm_90a".into(),
            _ if known => format!("--gpu-architecture=sm_{architecture}"),
            Some(nearest) => format!("--gpu-architecture=compute_{nearest}"),
            None => return Err(format!("NVRTC {:?} does not know sm_{architecture}", self.version)),
        };
        let fixed = [target.as_str(), "--std=c++17", "--device-as-default-execution-space"];
        let options: Vec<CString> = fixed
            .iter()
            .chain(options)
            .map(|o| CString::new(*o))
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();

        let program = OpenProgram::new(&self.functions, source, name)?;
        // SAFETY: the program lives, and so do the options.
        let status =
            unsafe { (self.functions.compile)(program.handle, pointers.len() as c_int, pointers.as_ptr()) };
        let log = program.take(self.functions.log_size, self.functions.log).unwrap_or_default();
        let log = CStr::from_bytes_until_nul(&log).map(|l| l.to_string_lossy().trim().to_string());
        let log = log.unwrap_or_default();
        if status != 0 {
            return Err(if log.is_empty() { format!("NVRTC failed with status {status}") } else { log });
        }
        let ptx = program.take(self.functions.ptx_size, self.functions.ptx)?;
        let image = match known {
            true => program.take(self.functions.cubin_size, self.functions.cubin)?,
            false => ptx.clone(),
        };
        Ok(Compiled { image, ptx: String::from_utf8_lossy(&ptx).into_owned(), log })
    }
}

/// A program that is destroyed at the end.
struct OpenProgram<'a> {
    functions: &'a Functions,
    handle: Program,
}

impl<'a> OpenProgram<'a> {
    fn new(functions: &'a Functions, source: &str, name: &str) -> Result<Self, String> {
        let source = CString::new(source).map_err(|e| e.to_string())?;
        let name = CString::new(name).map_err(|e| e.to_string())?;
        let mut handle = ptr::null_mut();
        // SAFETY: texts end in zero and are copied; there are no headers.
        let status = unsafe {
            (functions.create)(&mut handle, source.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null())
        };
        match status {
            0 => Ok(Self { functions, handle }),
            _ => Err(format!("NVRTC failed with status {status}")),
        }
    }

    /// What a pair of functions gives: the size of something, and the thing.
    fn take(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> Status,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ) -> Result<Vec<u8>, String> {
        let mut len = 0;
        // SAFETY: the program lives, `len` can be written.
        let status = unsafe { size(self.handle, &mut len) };
        let mut bytes = vec![0u8; len];
        if status != 0 || len == 0 {
            return Err(format!("NVRTC gave nothing, status {status}"));
        }
        // SAFETY: there are as many bytes as it asked for.
        match unsafe { get(self.handle, bytes.as_mut_ptr().cast()) } {
            0 => Ok(bytes),
            status => Err(format!("NVRTC gave nothing, status {status}")),
        }
    }
}

impl Drop for OpenProgram<'_> {
    fn drop(&mut self) {
        // SAFETY: made by the same library and not destroyed yet.
        unsafe { (self.functions.destroy)(&mut self.handle) };
    }
}

/// Everything the library may be called, best first.
fn candidates(preferred: Option<u32>, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let preferred = preferred.filter(|p| MAJORS.contains(p));
    let majors = preferred.into_iter().chain(MAJORS.into_iter().filter(|m| Some(*m) != preferred));
    let mut names: Vec<String> = majors
        .map(|major| match cfg!(windows) {
            true => format!("nvrtc64_{major}0_0.dll"),
            false => format!("libnvrtc.so.{major}"),
        })
        .collect();
    if cfg!(not(windows)) {
        names.push("libnvrtc.so".into());
    }
    let below = |root: &Path| -> Vec<PathBuf> {
        let folders = SUBFOLDERS.iter().map(|sub| root.join(sub));
        folders.flat_map(|folder| names.iter().map(move |name| folder.join(name))).collect()
    };
    let mut found = Vec::new();
    if let Some(given) = variable(PATH_VARIABLE).map(PathBuf::from) {
        found.push(given.clone());
        found.extend(below(&given));
    }
    found.extend(names.iter().map(PathBuf::from));
    for toolkit in ["CUDA_PATH", "CUDA_HOME"].into_iter().filter_map(&variable) {
        found.extend(below(Path::new(&toolkit)));
    }
    found.extend(below(Path::new("/usr/local/cuda")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(windows))]
    fn what_was_named_comes_first_and_then_the_preferred_version() {
        let all = candidates(Some(12), |name| (name == PATH_VARIABLE).then(|| "/wheel".into()));
        assert_eq!(all[0], Path::new("/wheel"));
        assert!(all.contains(&"/wheel/nvidia/cu13/lib/libnvrtc.so.13".into()));
        let place = |name: &str| all.iter().position(|c| c == Path::new(name)).unwrap();
        assert!(place("/wheel/libnvrtc.so.13") < place("libnvrtc.so.12"));
        assert!(place("libnvrtc.so.12") < place("libnvrtc.so.13"));
        assert!(place("libnvrtc.so.13") < place("/usr/local/cuda/lib64/libnvrtc.so.12"));
    }
}
