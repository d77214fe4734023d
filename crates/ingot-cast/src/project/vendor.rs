//! The sources that every project comes with, see `build.rs`.

use std::collections::BTreeSet;

/// The versions of other people's crates that ours were tested with.
pub const CARGO_LOCK: &str = include_str!(concat!(env!("OUT_DIR"), "/Cargo.lock"));

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sources.deflate"));

/// (path, text) of every file, of the kernels only these and what they include.
pub fn files(kernels: &BTreeSet<&str>) -> Vec<(String, String)> {
    let mut files = unpack();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut pending: Vec<String> = kernels.iter().map(|name| format!("kernels/{name}.metal")).collect();
    while let Some(path) = pending.pop() {
        let (_, text) =
            files.iter().find(|(p, _)| *p == path).unwrap_or_else(|| panic!("{path} is not there"));
        let headers =
            text.lines().filter_map(|line| line.trim().strip_prefix("#include \"")?.strip_suffix('"'));
        pending.extend(
            headers.map(|name| format!("kernels/include/{name}")).filter(|path| !wanted.contains(path)),
        );
        wanted.insert(path);
    }
    files.retain(|(path, _)| {
        let is_kernel = path.ends_with(".metal") || path.starts_with("kernels/include/");
        !is_kernel || wanted.contains(path)
    });
    files
}

fn unpack() -> Vec<(String, String)> {
    let unpacked = miniz_oxide::inflate::decompress_to_vec(PACKED).expect("packed when this was built");
    let mut rest = &unpacked[..];
    let mut next = || -> Option<String> {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (text, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        rest = after;
        Some(String::from_utf8(text.to_vec()).expect("it was text"))
    };
    let mut files = Vec::new();
    while let (Some(path), Some(text)) = (next(), next()) {
        files.push((path, text));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_there() {
        let files = files(&["linear_vec", "norm"].into());
        let find = |path: &str| files.iter().find(|(p, _)| p == path).map(|(_, text)| text.as_str());
        assert!(find("crates/ingot-cpu/src/lib.rs").is_some_and(|text| text.contains("CpuExecutor")));
        assert!(find("kernels/linear_vec.metal").is_some() && find("kernels/include/linear.h").is_some());
        assert!(find("kernels/attention_vec.metal").is_none() && find("kernels/include/attend.h").is_none());
        assert!(find("crates/ingot-gpu/build.rs").is_some());
        let manifest = find("crates/ingot-cpu/Cargo.toml").unwrap();
        assert!(manifest.contains("[dependencies]") && !manifest.contains("[[bench]]"));
        let workspace = find("Cargo.toml").unwrap();
        assert!(workspace.contains("thiserror = ") && workspace.contains("ingot-plan = "));
        assert!(!workspace.contains("ingot-server") && !workspace.contains("profile"));
        // Part of the program: it is to stay small.
        assert!(PACKED.len() < 1 << 20, "{} bytes", PACKED.len());
        // No path leads out of the folder.
        assert!(files.iter().all(|(path, _)| !path.starts_with('/') && !path.contains("..")));
    }
}
