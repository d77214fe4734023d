//! `/tokenize` and `/detokenize`: how the model sees a text.

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::{Body, parse};
use axum::Json;
use axum::extract::State;
use ingot_tokenizer::EncodeOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
struct Text {
    content: String,
    /// Add what prompts begin with.
    #[serde(default)]
    add_special: bool,
    /// Take the names of control tokens for these tokens.
    #[serde(default)]
    parse_special: bool,
}

pub(super) async fn tokenize(State(app): State<Arc<App>>, body: Body) -> Result<Json<Value>> {
    let text: Text = parse(&body.0)?;
    let options = EncodeOptions { special: text.parse_special, bos: text.add_special };
    let tokens =
        super::blocking(move || Ok(app.scheduler()?.model().tokenizer().encode(&text.content, options)?));
    Ok(Json(json!({ "tokens": tokens.await? })))
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<u32>,
}

pub(super) async fn detokenize(State(app): State<Arc<App>>, body: Body) -> Result<Json<Value>> {
    let Tokens { tokens } = parse(&body.0)?;
    let tokenizer = app.scheduler()?.model().tokenizer();
    match tokens.iter().find(|&&t| t as usize >= tokenizer.vocab_size()) {
        Some(t) => Err(ApiError::param("tokens", format!("token {t} is not in the vocabulary"))),
        None => Ok(Json(json!({ "content": tokenizer.decode_with(&tokens, true) }))),
    }
}
