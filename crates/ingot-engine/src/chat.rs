//! From a conversation to a prompt.

use crate::Result;
use ingot_tokenizer::{EncodeOptions, Message, Tokenizer};
use serde_json::{Map, Value};

/// A conversation as the model sees it, up to where its answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens to read.
    pub tokens: Vec<u32>,
    /// What ends the answer beside the model's own tokens for it: models whose turns are
    /// marked with plain words go on with the other side's.
    pub stop: Option<&'static str>,
}

/// What a model without a chat template sees as the end of its turn.
const PLAIN_STOP: &str = "\n\nUser:";

impl Prompt {
    /// Through the model's chat template, or in plain words if it has none. `extra` are
    /// further variables of the template.
    ///
    /// # Errors
    /// If the template refuses the conversation, or it is too long.
    pub fn of(
        tokenizer: &Tokenizer,
        messages: &[Message],
        extra: &Map<String, Value>,
    ) -> Result<Self, ingot_tokenizer::Error> {
        let tokens = match tokenizer.encode_chat(messages, true, extra)? {
            Some(tokens) => tokens,
            None => {
                let options = EncodeOptions { special: false, bos: true };
                tokenizer.encode(&plain(messages), options)?
            }
        };
        let is_plain = tokenizer.chat_template().is_none_or(|t| t.source().contains("'User'"));
        Ok(Self { tokens, stop: is_plain.then_some(PLAIN_STOP) })
    }
}

/// A conversation in plain words.
fn plain(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        let content = message.content.trim();
        text += &match message.role.as_str() {
            "user" => format!("User: {content}\n\n"),
            "assistant" => format!("Assistant: {content}\n\n"),
            _ => format!("{content}\n\n"),
        };
    }
    text + "Assistant:"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words() {
        let said = [("system", "Be brief."), ("user", "Hi "), ("assistant", " Hello."), ("user", "Bye")];
        let text = plain(&said.map(|(role, content)| Message::new(role, content)));
        assert_eq!(text, "Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Bye\n\nAssistant:");
    }
}
