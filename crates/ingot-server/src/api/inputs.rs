//! Texts or tokens, one or several.

use crate::error::{ApiError, Result};
use ingot_tokenizer::{EncodeOptions, Tokenizer};
use serde::Deserialize;

/// A text, several, the tokens of one, or those of several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a string, a list of strings, a list of token ids, or a list of such lists")]
pub(super) enum Inputs {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Several(Vec<Vec<u32>>),
}

impl Inputs {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Several(several) => several.len(),
        }
    }

    /// The tokens of each, with what prompts begin with before texts. `param` is the
    /// field they came in.
    pub(super) fn encode(self, tokenizer: &Tokenizer, param: &str) -> Result<Vec<Vec<u32>>> {
        let encode = |text: String| {
            let options = EncodeOptions { special: false, bos: true };
            tokenizer.encode(&text, options).map_err(|e| ApiError::param(param, e))
        };
        match self {
            Self::Text(text) => Ok(vec![encode(text)?]),
            Self::Texts(texts) => texts.into_iter().map(encode).collect(),
            Self::Tokens(tokens) => Ok(vec![tokens]),
            Self::Several(several) => Ok(several),
        }
    }
}
