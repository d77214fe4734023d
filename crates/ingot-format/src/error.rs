//! What can be wrong with a file.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A problem with a model file. Every message says what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at this path.
    #[error("no such file: {}", .0.display())]
    NotFound(PathBuf),
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file it happened to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
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
    /// What the system said about `path`; a missing file becomes [`Error::NotFound`].
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(path.into()),
            _ => Self::Io { path: path.into(), source },
        }
    }
    /// What the JSON reader said, cut short: it may quote the file at any length.
    pub(crate) fn json(what: &str, error: &serde_json::Error) -> Self {
        let message: String = error.to_string().chars().take(200).collect();
        Self::malformed(format!("{what} is not the JSON that was expected: {message}"))
    }
    /// The same error with the file's name in front, unless it names one already.
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Malformed(message) => Self::Malformed(format!("{}: {message}", path.display())),
            Self::Unsupported(message) => Self::Unsupported(format!("{}: {message}", path.display())),
            named => named,
        }
    }
}
