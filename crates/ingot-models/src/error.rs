//! What can be wrong with a model.

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file is not a model that ingot runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself is at fault.
    #[error(transparent)]
    Format(#[from] ingot_format::Error),
    /// Numbers or tensors are missing or contradict each other.
    #[error("{0}")]
    Inconsistent(String),
    /// A model ingot does not run.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    pub(crate) fn inconsistent(message: impl Into<String>) -> Self {
        Self::Inconsistent(message.into())
    }
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(message.into())
    }
}
