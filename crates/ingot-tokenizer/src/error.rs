//! What can go wrong between text and tokens.

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A problem with a vocabulary, a chat template or a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model file could not be read.
    #[error(transparent)]
    File(#[from] ingot_format::Error),
    /// The file's vocabulary is malformed or of a kind that ingot does not know.
    #[error("tokenizer: {0}")]
    Vocabulary(String),
    /// The text cannot be expressed in this vocabulary.
    #[error("cannot tokenize: {0}")]
    Text(String),
    /// The chat template is malformed, or asks for more than it may have.
    #[error("chat template: {0}")]
    Template(String),
    /// The conversation is not one that can be rendered.
    #[error("bad message: {0}")]
    Message(String),
}

pub(crate) fn vocabulary<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Vocabulary(message.into()))
}
