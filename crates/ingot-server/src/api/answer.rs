//! What all pieces of an answer of the older endpoints have in common.

use crate::app::{App, now};
use crate::texts::Usage;
use serde_json::{Value, json};
use std::sync::Arc;

/// An answer that is being given.
pub(super) struct Answer {
    app: Arc<App>,
    id: String,
    created: u64,
    /// Log-probabilities were asked for.
    pub(super) logprobs: bool,
}

impl Answer {
    /// A new one, whose id begins with `prefix`.
    pub(super) fn new(app: Arc<App>, prefix: &str, logprobs: bool) -> Self {
        Self { id: app.id(prefix), created: now(), app, logprobs }
    }

    /// The whole of it, or a piece, with these choices.
    pub(super) fn body(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.app.name(),
            "choices": choices,
        })
    }

    /// The same, with the tokens that it took.
    pub(super) fn with_usage(&self, object: &str, choices: Value, usage: &Usage) -> Value {
        let mut body = self.body(object, choices);
        body["usage"] = json!({
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.generated,
            "total_tokens": usage.prompt + usage.generated,
            "prompt_tokens_details": { "cached_tokens": usage.cached },
        });
        body
    }
}
