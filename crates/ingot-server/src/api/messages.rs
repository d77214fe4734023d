//! Messages as clients send them.

use crate::error::{ApiError, Result};
use ingot_tokenizer::Message;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A message of a conversation.
#[derive(Deserialize)]
pub(super) struct ChatMessage {
    role: String,
    content: Option<Content>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// A text, or parts of one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// As the model's template sees them.
pub(super) fn convert(messages: Vec<ChatMessage>) -> Result<Vec<Message>> {
    if messages.is_empty() {
        return Err(ApiError::param("messages", "there are no messages"));
    }
    let convert = |(i, message): (usize, ChatMessage)| {
        let content = match message.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => text_of(i, parts)?,
        };
        // OpenAI's newer word for the same.
        let role = if message.role == "developer" { "system".into() } else { message.role };
        Ok(Message { role, content, extra: message.extra })
    };
    messages.into_iter().enumerate().map(convert).collect()
}

fn text_of(message: usize, parts: Vec<Part>) -> Result<String> {
    let text = |(i, part): (usize, Part)| match (part.kind.as_str(), part.text) {
        ("text" | "input_text" | "output_text", Some(text)) => Ok(text),
        (kind, _) => Err(not_text(&format!("messages[{message}].content[{i}]"), kind)),
    };
    let texts: Vec<String> = parts.into_iter().enumerate().map(text).collect::<Result<_>>()?;
    Ok(texts.join("\n"))
}

/// Pictures, sounds, files.
pub(super) fn not_text(place: &str, kind: &str) -> ApiError {
    let kind: String = kind.chars().take(40).collect();
    ApiError::param(place, format!("{place}: parts of type '{kind}' are not supported, only text"))
}
