//! Packs the sources that a project needs to be built anywhere: the crates beneath
//! `ingot-runtime` and the kernels, as one compressed archive that is part of the program.
//!
//! The archive is a row of entries: a path and a text, each with its length in front (32 bits,
//! little endian); `src/project/vendor.rs` reads it.

use std::fs;
use std::path::{Path, PathBuf};

/// `ingot-runtime` and what it needs.
const CRATES: [&str; 8] = [
    "ingot-cpu",
    "ingot-engine",
    "ingot-format",
    "ingot-gpu",
    "ingot-models",
    "ingot-plan",
    "ingot-runtime",
    "ingot-tokenizer",
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut archive = Vec::new();
    let mut add = |path: &str, text: &str| {
        for part in [path, text] {
            archive.extend((part.len() as u32).to_le_bytes());
            archive.extend(part.as_bytes());
        }
    };
    add("Cargo.toml", &workspace(&read(&root.join("Cargo.toml"))));
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        add(license, &read(&root.join(license)));
    }
    let mut files = Vec::new();
    for name in CRATES {
        let folder = root.join("crates").join(name);
        add(&format!("crates/{name}/Cargo.toml"), &manifest(&read(&folder.join("Cargo.toml"))));
        collect(&folder.join("src"), &mut files);
        files.extend(Some(folder.join("build.rs")).filter(|path| path.exists()));
    }
    collect(&root.join("kernels"), &mut files);
    files.sort();
    for path in files {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
        add(&name, &read(&path));
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let packed = miniz_oxide::deflate::compress_to_vec(&archive, 9);
    fs::write(out.join("sources.deflate"), packed).expect("OUT_DIR can be written");
    // The versions that all of this was tested with; cargo leaves out what is not needed.
    fs::write(out.join("Cargo.lock"), read(&root.join("Cargo.lock"))).expect("OUT_DIR can be written");
}

fn read(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below a folder; cargo runs this again if one comes or goes.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// The workspace of these crates alone.
fn workspace(text: &str) -> String {
    let ours = |line: &&str| {
        !line.starts_with("ingot-") || CRATES.iter().any(|name| line.starts_with(&format!("{name} ")))
    };
    let kept = sections(text, |name| name.starts_with("[workspace."));
    let kept: Vec<&str> = kept.lines().filter(ours).collect();
    format!("[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\n{}\n", kept.join("\n"))
}

/// A crate's manifest without what its tests and benchmarks need.
fn manifest(text: &str) -> String {
    sections(text, |name| !name.contains("dev-dependencies") && name != "[[bench]]")
}

/// The sections of a TOML file that are wanted, by the line they begin with.
fn sections(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut keep = false;
    let lines = text.lines().filter(|line| {
        if line.starts_with('[') {
            keep = wanted(line.trim());
        }
        keep
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
