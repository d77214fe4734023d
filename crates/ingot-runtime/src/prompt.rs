//! From a prompt to tokens.

use ingot_engine::{Error, Model, Result};
use ingot_tokenizer::{EncodeOptions, Message};

/// The tokens of a prompt: as the message of a user if the model has a template for
/// conversations and the prompt is not `raw`; otherwise as the beginning of a text.
///
/// # Errors
/// If there is nothing to read, or the template refuses the message.
pub fn encode(model: &Model, prompt: &str, raw: bool) -> Result<Vec<u32>> {
    let tokenizer = model.tokenizer();
    let bad = |e: ingot_tokenizer::Error| Error::BadRequest(e.to_string());
    let message = || tokenizer.encode_chat(&[Message::new("user", prompt)], true, &Default::default());
    let mut tokens = match (raw, tokenizer.chat_template()) {
        (false, Some(_)) => message().map_err(bad)?.unwrap_or_default(),
        _ => tokenizer.encode(prompt, EncodeOptions { special: false, bos: true }).map_err(bad)?,
    };
    if tokens.is_empty() {
        tokens.extend(tokenizer.bos());
    }
    match tokens.is_empty() {
        true => {
            Err(Error::BadRequest("the prompt is empty, and this model cannot begin with nothing".into()))
        }
        false => Ok(tokens),
    }
}
