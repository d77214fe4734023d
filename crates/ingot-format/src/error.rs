//! What can be wrong with a file.

use std::path::PathBuf;

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A problem with a model file. Every message says what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file it happened to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not a file of the expected kind, or contradict themselves.
    #[error("{0}")]
    Malformed(String),
    /// A well-formed file with something in it that ingot does not read.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// A malformed-file error from anything printable.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed(message.into())
    }
    /// An unsupported-file error from anything printable.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(message.into())
    }
}
