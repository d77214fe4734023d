//! What can go wrong with a model in use, by whose fault it is.

use ingot_gpu::{DeviceKind, device::DeviceError};
use ingot_plan::ExecError;
use std::path::{Path, PathBuf};

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model file is not one that ingot runs.
    #[error("{}", named(path, source.as_ref()))]
    BadModel {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model file changed while it was in use.
    #[error("the model file was truncated while it was in use; what was computed since is not reliable")]
    FileLost,
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A saved session that cannot be used.
    #[error("{}: {what}", path.display())]
    BadSession {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The request makes no sense for this model.
    #[error("{0}")]
    BadRequest(String),
    /// More tokens than the context holds.
    #[error(
        "{needed} tokens do not fit into the context of {context}; shorten the prompt or allow a larger context"
    )]
    ContextFull {
        /// Tokens there would be.
        needed: usize,
        /// Tokens there may be.
        context: usize,
    },
    /// It would not fit, or did not.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// There is no such device, or it cannot run this model.
    #[error("{device}: {source}")]
    Gpu {
        /// The device that was asked for.
        device: DeviceKind,
        /// What is wrong with it.
        source: DeviceError,
    },
    /// The machine that runs the model failed.
    #[error("{0}")]
    Device(String),
}

/// The message with the file's name in front, unless it names a file already.
fn named(path: &Path, source: &(dyn std::error::Error + Send + Sync)) -> String {
    let (path, message) = (path.display().to_string(), source.to_string());
    if message.contains(&path) { message } else { format!("{path}: {message}") }
}

impl From<ExecError> for Error {
    fn from(e: ExecError) -> Self {
        match e {
            ExecError::Request(what) => Self::BadRequest(what),
            ExecError::OutOfMemory(what) => Self::OutOfMemory(what),
            ExecError::Device(what) => Self::Device(what),
        }
    }
}
