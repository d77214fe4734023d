//! Files that a command was asked to write.

use crate::failure::{Failure, Result};
use ingot_format::NewFile;
use std::io::Write;
use std::path::Path;

/// Writes a file, which appears when it is complete.
///
/// # Errors
/// If that is not possible; the path is in the message.
pub fn write_file(path: &Path, text: &str) -> Result {
    let write = || {
        let mut file = NewFile::create(path)?;
        file.write_all(text.as_bytes())?;
        file.finish()
    };
    write().map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}
