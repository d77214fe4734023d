//! Log-probabilities, in the forms of the two endpoints that report them.

use ingot_engine::scheduler::Token;
use ingot_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

/// What JSON cannot say: minus infinity.
const IMPOSSIBLE: f32 = -9999.0;

fn number(logprob: f32) -> f32 {
    logprob.max(IMPOSSIBLE)
}

/// A token's entry in the `content` list of a chat completion.
pub(super) fn chat(token: &Token, tokenizer: &Tokenizer) -> Option<Value> {
    let logprobs = token.logprobs.as_ref()?;
    let entry = |id: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({ "token": tokenizer.token_text(id), "logprob": number(logprob), "bytes": &*bytes })
    };
    let mut value = entry(token.id, logprobs.token);
    value["top_logprobs"] = logprobs.top.iter().map(|&(id, logprob)| entry(id, logprob)).collect();
    Some(value)
}

/// The lists of a completion, that grow by a token.
#[derive(Default)]
pub(super) struct Lists {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
    /// Characters so far.
    offset: usize,
}

impl Lists {
    pub(super) fn push(&mut self, token: &Token, tokenizer: &Tokenizer) {
        let Some(logprobs) = &token.logprobs else { return };
        let text = tokenizer.token_text(token.id);
        self.text_offset.push(self.offset);
        self.offset += text.chars().count();
        self.tokens.push(text);
        self.token_logprobs.push(number(logprobs.token));
        let top =
            logprobs.top.iter().map(|&(id, logprob)| (tokenizer.token_text(id), number(logprob).into()));
        self.top_logprobs.push(Value::Object(top.collect::<Map<_, _>>()));
    }

    /// The entries since the last call.
    pub(super) fn take(&mut self) -> Value {
        json!({
            "tokens": std::mem::take(&mut self.tokens),
            "token_logprobs": std::mem::take(&mut self.token_logprobs),
            "top_logprobs": std::mem::take(&mut self.top_logprobs),
            "text_offset": std::mem::take(&mut self.text_offset),
        })
    }
}
