//! The endpoints, one file for each kind. What they take and return is what clients of
//! OpenAI's API expect; fields that are not known are ignored, known ones that cannot
//! be obeyed are refused.

mod answer;
mod anthropic;
mod chat;
mod completions;
mod conversation;
mod embeddings;
mod fields;
mod form;
mod inputs;
mod logprobs;
mod messages;
mod models;
mod responses;
mod sse;
mod status;
mod tokens;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http;
use crate::page;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;

/// Everything that can be asked for.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(page::part))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(status::openapi))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/responses", post(responses::create))
        .route("/v1/messages", post(anthropic::create))
        .route("/v1/chat/completions", post(chat::create))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .fallback(async |request: Request| {
            let path = request.uri().path().chars().take(100).collect::<String>();
            ApiError::new(
                StatusCode::NOT_FOUND,
                format!("there is no {path} here; /openapi.json lists what is"),
            )
        })
        .layer(from_fn_with_state(app.clone(), http::guard))
        .layer(from_fn_with_state(app.clone(), http::log))
        .with_state(app)
}

/// Runs something that takes a while, such as cutting a long text into tokens, where it
/// holds up nobody else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be prepared");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Refuses prompts that are longer than is allowed, or that are none. `param` is where they
/// came from.
fn check_prompts(app: &App, prompts: &[Vec<u32>], param: &str) -> Result<()> {
    if prompts.is_empty() || prompts.iter().any(Vec::is_empty) {
        return Err(ApiError::param(param, format!("{param}: there is nothing in it")));
    }
    let vocab = app.scheduler()?.model().info().vocab;
    for prompt in prompts {
        if let Some(token) = prompt.iter().find(|&&token| token as usize >= vocab) {
            let message = format!("{param}: token {token} is not in the vocabulary of {vocab}");
            return Err(ApiError::param(param, message));
        }
        if let Some(most) = app.config.limits.prompt
            && prompt.len() > most
        {
            let message = format!("a prompt of {} tokens; the server allows {most}", prompt.len());
            return Err(ApiError::bad(message).code("context_length_exceeded"));
        }
    }
    Ok(())
}
