//! Lists the kernels' sources for embedding, and the sets of options that they
//! name; for macOS also compiles these, where Apple's compiler is at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options and their values.
type Options = Vec<(String, i64)>;

fn main() {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&folder).join("../../kernels");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut sources =
        String::from("/// (path under `kernels/`, text)\nstatic SOURCES: &[(&str, &str)] = &[\n");
    let mut variants =
        String::from("/// (kernel, its sets of options)\nstatic VARIANTS: &[(&str, &[Options])] = &[\n");
    let mut libraries =
        String::from("/// (kernel and options, library)\nstatic METALLIBS: &[(&str, &[u8])] = &[\n");
    let compiler = metal_compiler();
    for path in &files {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
        sources += &format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string());
        let Some(kernel) = name.strip_suffix(".metal") else { continue };
        let text = fs::read_to_string(path).expect("it can be read");
        let mut sets =
            named_options(&text).unwrap_or_else(|wrong| panic!("kernels/{name}: variants: {wrong}"));
        variants += &format!("    ({kernel:?}, &[");
        for set in &sets {
            variants += &format!("&{set:?}, ");
        }
        variants += "]),\n";
        if compiler {
            sets.insert(0, Options::new());
            for set in &sets {
                libraries += &compile(path, kernel, set, &root, &out).unwrap_or_default();
            }
        }
    }
    for (file, mut text) in [("sources.rs", sources), ("variants.rs", variants), ("metallibs.rs", libraries)]
    {
        text += "];\n";
        fs::write(out.join(file), text).expect("OUT_DIR can be written");
    }
}

/// Every .metal and .h file below a folder; cargo runs this again if one changes.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder).expect("kernels/ is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "metal" || e == "h") {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
}

/// The sets in lines `// variants: A=1 B=2; A=0 B=3`, each in the order of names.
fn named_options(text: &str) -> Result<Vec<Options>, String> {
    let mut sets = Vec::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("// variants:")) {
        for set in line.split(';').filter(|set| !set.trim().is_empty()) {
            let mut options = Options::new();
            for option in set.split_whitespace() {
                let (name, value) = option.split_once('=').ok_or_else(|| format!("'{option}' has no '='"))?;
                options
                    .push((name.into(), value.parse().map_err(|_| format!("'{option}' is not an integer"))?));
            }
            options.sort();
            sets.push(options);
        }
    }
    Ok(sets)
}

/// True if the program is for macOS and Apple's compiler for kernels works here.
/// It is a separate download, so that many machines with Xcode do not have it.
fn metal_compiler() -> bool {
    std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos")
        && xcrun_metal().arg("--version").output().is_ok_and(|run| run.status.success())
}

fn xcrun_metal() -> Command {
    let mut command = Command::new("xcrun");
    command.args(["-sdk", "macosx", "metal"]);
    command
}

/// Compiles a kernel with its specialisation constants left open: an entry of the
/// table of libraries. Without one the program compiles the kernel when it runs.
fn compile(path: &Path, kernel: &str, options: &Options, root: &Path, out: &Path) -> Option<String> {
    let mut name = kernel.to_string(); // as `metal::library::name` makes it
    let mut command = xcrun_metal();
    for (option, value) in options {
        name += &format!(" {option}={value}");
        command.arg(format!("-D{option}={value}"));
    }
    let target = out.join(format!("{}.metallib", name.replace(' ', "-")));
    // The language and arithmetic that `metal::library` asks for at run time.
    command.args(["-std=metal3.0", "-mmacosx-version-min=13.0", "-O2", "-fno-fast-math", "-I"]);
    let run = command.arg(root.join("include")).arg("-o").arg(&target).arg(path).output().ok()?;
    if !run.status.success() {
        println!("cargo::warning={name}: {}", String::from_utf8_lossy(&run.stderr).replace('\n', " "));
        return None;
    }
    Some(format!("    ({name:?}, include_bytes!({:?})),\n", target.display().to_string()))
}
