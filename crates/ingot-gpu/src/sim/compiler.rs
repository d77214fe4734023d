//! Kernels become shared libraries, by the system's C++ compiler, kept in a folder.

use crate::device::DeviceError;
use libloading::Library;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::{env, fs, io};

/// MSL for the host's compiler, in the order in which the parts need each other.
const PRELUDE: &str = concat!(
    include_str!("prelude/types.h"),
    include_str!("prelude/machine.h"),
    include_str!("prelude/memory.h"),
    include_str!("prelude/together.h")
);

/// No exceptions, no reordered or fused arithmetic, `char` signed everywhere, lines in the
/// result so that a failure can be placed, and checks of what C++ leaves undefined, which
/// `prelude/machine.h` reports.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-g1",
    "-gdwarf-4",
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-fwrapv",
    "-fsigned-char",
    "-fvisibility=hidden",
    "-Werror=vla",
    "-fsanitize=bounds,shift-exponent,integer-divide-by-zero",
    "-fno-sanitize-recover=all",
];

struct Compiler {
    program: String,
    version: String,
    flags: Vec<&'static str>,
}

/// A compiled kernel.
pub(super) struct Compiled {
    /// `int ingot_sim_run(Launch*)`
    pub entry: unsafe extern "C" fn(*mut super::launch::Launch) -> i32,
    /// The library's file.
    pub path: PathBuf,
    _library: Library,
}

fn compiler() -> Result<&'static Compiler, DeviceError> {
    static FOUND: OnceLock<Option<Compiler>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let named = env::var("CXX").ok();
        named.into_iter().chain(["c++", "g++", "clang++"].map(String::from)).find_map(|program| {
            let output = Command::new(&program).arg("--version").output().ok()?;
            let version = String::from_utf8_lossy(&output.stdout).lines().next()?.to_string();
            let mut flags = FLAGS.to_vec();
            // a thread's stack has 64 KiB, and calls nest
            flags.extend(match version.contains("clang") {
                true => &["-Wframe-larger-than=24576", "-Werror=frame-larger-than="][..],
                false => &["-Werror=frame-larger-than=24576"],
            });
            #[cfg(target_arch = "x86_64")]
            if std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2") {
                flags.extend(["-mfma", "-mavx2"]);
            }
            output.status.success().then_some(Compiler { program, version, flags })
        })
    });
    found.as_ref().ok_or_else(|| {
        DeviceError::Unavailable(
            "the simulator needs a C++ compiler (c++, g++, clang++ or $CXX): install the package g++".into(),
        )
    })
}

/// The C++ compiler's name and version, if the simulator can run here.
pub fn available() -> Result<String, DeviceError> {
    if !cfg!(all(unix, any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Err(DeviceError::Unavailable(
            "the simulator runs on x86-64 and aarch64, Linux and macOS".into(),
        ));
    }
    compiler().map(|c| c.version.clone())
}

/// Compiles the text behind the prelude, or finds the result of an earlier time.
pub(super) fn compile(kernel: &str, text: &str) -> Result<Arc<Compiled>, DeviceError> {
    type Slot = Arc<OnceLock<Result<Arc<Compiled>, DeviceError>>>;
    static LOADED: OnceLock<Mutex<HashMap<String, Slot>>> = OnceLock::new();
    available()?;
    let compiler = compiler()?;
    let key = format!("{kernel}-{:016x}", hash(&(text, PRELUDE, &compiler.version, &compiler.flags)));
    let slot = {
        let loaded = LOADED.get_or_init(Mutex::default);
        let mut loaded = loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loaded.entry(key.clone()).or_default().clone()
    };
    // Others that want the same wait here; other kernels are not held up.
    slot.get_or_init(|| build(compiler, kernel, &key, text).map(Arc::new)).clone()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn build(compiler: &Compiler, kernel: &str, key: &str, text: &str) -> Result<Compiled, DeviceError> {
    let folder = cache_folder().map_err(|e| DeviceError::Failed(format!("the simulator's cache: {e}")))?;
    let path = folder.join(format!("{key}.so"));
    if path.exists()
        && let Ok(compiled) = load(&path)
    {
        return Ok(compiled);
    }
    // Several processes may do this at once: each works on names of its own.
    let own = |ending| folder.join(format!("{key}.{}.{ending}", std::process::id()));
    let (source, object, library) = (own("cpp"), own("o"), own("so"));
    let result = fs::write(&source, format!("#line 1 \"prelude\"\n{PRELUDE}{text}"))
        .and_then(|()| {
            // In two steps: linking must not hear of the checks, or it wants a library for them.
            let steps = [
                Command::new(&compiler.program)
                    .args(&compiler.flags)
                    .arg("-c")
                    .arg(&source)
                    .arg("-o")
                    .arg(&object)
                    .output()?,
                Command::new(&compiler.program)
                    .arg("-shared")
                    .arg(&object)
                    .arg("-o")
                    .arg(&library)
                    .arg("-lm")
                    .output()?,
            ];
            let failed = steps.into_iter().find(|output| !output.status.success());
            match failed {
                None => fs::rename(&library, &path).map(|()| None),
                Some(output) if output.stderr.is_empty() => {
                    Err(io::Error::other(format!("{} ended with {}", compiler.program, output.status)))
                }
                Some(output) => Ok(Some(String::from_utf8_lossy(&output.stderr).into_owned())),
            }
        })
        .map_err(|e| DeviceError::Failed(format!("{}: {e}", source.display())));
    for file in [source, object] {
        let _ = fs::remove_file(file);
    }
    match result? {
        None => load(&path),
        Some(message) => {
            // One mistake makes many messages; the first say what it is.
            let message = message.lines().take(12).collect::<Vec<_>>().join("\n");
            Err(DeviceError::Compile { kernel: kernel.into(), message })
        }
    }
}

fn load(path: &Path) -> Result<Compiled, DeviceError> {
    let failed = |e: libloading::Error| DeviceError::Failed(format!("{}: {e}", path.display()));
    // SAFETY: a library that we made, without initialisers.
    let library = unsafe { Library::new(path) }.map_err(failed)?;
    // SAFETY: the entry that `msl::sim::emit` writes has this type.
    let entry = unsafe { library.get(b"ingot_sim_run\0") }.map(|symbol| *symbol).map_err(failed)?;
    Ok(Compiled { entry, path: path.to_path_buf(), _library: library })
}

/// Where compiled kernels are kept: `$INGOT_SIM_CACHE`, or beside what cargo built, or a
/// folder of this user among the temporary files.
fn cache_folder() -> io::Result<PathBuf> {
    if let Some(folder) = env::var_os("INGOT_SIM_CACHE") {
        fs::create_dir_all(&folder)?;
        return Ok(folder.into());
    }
    let program = env::current_exe()?;
    if let Some(target) = program.ancestors().find(|p| p.file_name().is_some_and(|n| n == "target")) {
        let folder = target.join("ingot-sim");
        fs::create_dir_all(&folder)?;
        return Ok(folder);
    }
    let user = env::var("USER").unwrap_or_default();
    let folder = env::temp_dir().join(format!("ingot-sim-{user}"));
    fs::create_dir_all(&folder)?;
    check_owner(&folder)?;
    Ok(folder)
}

/// Libraries are loaded from there: nobody else may have made the folder.
#[cfg(unix)]
fn check_owner(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed));
    let probe = env::temp_dir().join(format!("ingot-sim-owner.{process}.{number}"));
    let me = fs::File::create_new(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    if fs::symlink_metadata(folder)?.uid() != me {
        return Err(io::Error::other(format!("{} belongs to somebody else", folder.display())));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The kernel's line in which this place of the library is, if the tools to find out are there.
pub(super) fn line_of(library: &Path, place: u64) -> Option<usize> {
    let output = Command::new("addr2line")
        .arg("-i")
        .arg("-e")
        .arg(library)
        .arg(format!("{place:#x}"))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // inlined functions come first, then the place they were inlined into
    let prefix = format!("{}:", crate::msl::sim::FILE);
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(&prefix)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}
