//! How the server is doing, and what it has.

use crate::app::{App, State as AppState};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// `/health`: 200 when requests for texts are answered, otherwise 503.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, word) = match app.state() {
        AppState::Ready => (StatusCode::OK, "ok"),
        AppState::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        AppState::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        AppState::Failed => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    (status, Json(json!({ "status": word }))).into_response()
}

/// `/metrics`: counters in the format of Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match app.metrics.page(&app) {
        Ok(page) => ([(header::CONTENT_TYPE, FORMAT)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `/openapi.json`: a description of all of this for programs.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../openapi.json")).into_response()
}
