//! The model that this program was cast with, in its own file.

use crate::failure::{Failure, Result};
use ingot_cast::file::{CastFile, Verification};
use std::sync::OnceLock;

/// The file that was started, which is a program and a model.
#[derive(Debug)]
pub struct Own {
    file: CastFile,
    /// What the user typed to start it.
    typed: String,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// Looks whether the program was cast. Nothing is read of one that was not.
///
/// # Errors
/// If it was, and its file cannot be read or is damaged.
pub fn find() -> Result<Option<&'static Own>> {
    let Some(file) = CastFile::own()? else { return Ok(None) };
    crate::cli::check_defaults(&file.index().contents.defaults)
        .map_err(|e| Failure::new(format!("the defaults of this program make no sense: {e}")))?;
    let typed = std::env::args_os().next().unwrap_or_default();
    let typed = crate::term::printable(&typed.to_string_lossy()).into_owned();
    Ok(Some(OWN.get_or_init(|| Own { file, typed })))
}

/// The program's own model; `None` if it was not cast.
pub fn own() -> Option<&'static Own> {
    OWN.get()
}

/// What the user types for a command of ingot in this program.
pub fn typed(command: &str) -> String {
    match (own(), command) {
        (None, _) => format!("ingot {command}"),
        (Some(own), "run") => own.typed().into(),
        (Some(own), _) => format!("{} {command}", own.typed()),
    }
}

impl Own {
    /// The file, of which the index has been verified.
    pub fn file(&self) -> &CastFile {
        &self.file
    }

    /// What the user typed to start the program.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Begins to verify the rest. Opening a model keeps one thread busy; the others do this.
    pub fn verify(&self) -> Verification {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Verification::start(&self.file, threads.saturating_sub(1))
    }
}

/// There is one.
impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Own {}
