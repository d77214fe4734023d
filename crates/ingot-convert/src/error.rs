//! What can be wrong with a conversion.

use ingot_format::DType;

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file cannot be made. Every message says what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is at fault.
    #[error(transparent)]
    Format(#[from] ingot_format::Error),
    /// The model is not one that ingot knows.
    #[error(transparent)]
    Model(#[from] ingot_models::Error),
    /// The tokenizer is.
    #[error(transparent)]
    Tokenizer(#[from] ingot_tokenizer::Error),
    /// What is asked for cannot be done with these files.
    #[error("{0}")]
    Refused(String),
    /// Quantized weights would be quantized again.
    #[error(
        "tensor '{tensor}' is {from} already; making {to} of it loses more than making it of the original model"
    )]
    Quantized {
        /// The first of them.
        tensor: String,
        /// What it is.
        from: DType,
        /// What it would become.
        to: DType,
    },
    /// Whoever watched asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What is wrong with a value, while it is packed.
impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Refused(message)
    }
}

impl Error {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }
}
