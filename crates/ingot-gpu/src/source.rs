//! The kernels' sources, embedded in the program, with includes put in place.

use crate::launch::Kernel;
use crate::msl::SyntaxError;
use std::collections::BTreeSet;

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// Names of all kernels.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().filter_map(|(path, _)| path.strip_suffix(".metal"))
}

/// A file under `kernels/`.
pub fn file(path: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(p, _)| *p == path).map(|(_, text)| *text)
}

/// The whole source of a kernel: its options as definitions, then its file, with
/// every header of ours put where it is included first. `#include <...>` stays.
pub fn expand(kernel: &Kernel) -> Result<String, SyntaxError> {
    let mut out = String::new();
    for (name, value) in &kernel.options {
        out += &format!("#define {name} {value}\n");
    }
    include(&format!("{}.metal", kernel.name), &mut BTreeSet::new(), &mut out)?;
    Ok(out)
}

fn include(path: &str, seen: &mut BTreeSet<String>, out: &mut String) -> Result<(), SyntaxError> {
    if !seen.insert(path.to_string()) {
        return Ok(());
    }
    let text = file(path).ok_or_else(|| SyntaxError(format!("there is no kernels/{path}")))?;
    for line in text.lines() {
        match line.trim().strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            // Headers name each other from wherever they are; ours have one root.
            Some(header) => include(&format!("include/{header}"), seen, out)?,
            None if line.trim() == "#pragma once" => {}
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(())
}
