//! What can be wrong with a cast file, or with what one is made of.

use std::io;
use std::path::{Path, PathBuf};

/// Result of everything fallible here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A problem with a file; [`Error::hint`] says what can be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file it happened to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program cannot read the file it was started from.
    #[error("this program has its model in its own file, which cannot be read: {0}")]
    Unreadable(io::Error),
    /// The file is not what it was when it was cast.
    #[error("{path} is damaged: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A file that cannot be the program of a cast file.
    #[error("{path}: {what}", path = path.display())]
    NoRuntime {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
        /// What would do.
        hint: &'static str,
    },
    /// A cast file made by a version with another idea of one.
    #[error("{path}: a container of version {found}, this program reads version {known}", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The version it should have.
        known: u32,
    },
    /// Whoever watched wanted no more.
    #[error("stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }

    pub(crate) fn no_runtime(path: &Path, what: impl Into<String>, hint: &'static str) -> Self {
        Self::NoRuntime { path: path.into(), what: what.into(), hint }
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable(_) => Some("whoever runs it has to be allowed to read it: chmod +r"),
            Self::Damaged { .. } => Some(
                "copy the file again from where it came, or cast it again; `strip` and `objcopy` drop the model",
            ),
            Self::NoRuntime { hint, .. } => Some(hint),
            Self::Version { .. } => Some("use the ingot that made it, or cast it again"),
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge) =>
            {
                Some("nothing is left of the new file")
            }
            Self::Io { .. } | Self::Stopped => None,
        }
    }
}
