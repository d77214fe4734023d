//! `/v1/models`: the model that is served.

use crate::app::App;
use crate::error::Result;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [describe(&app)] }))
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>> {
    app.check_model(Some(&name))?;
    Ok(Json(describe(&app)))
}

fn describe(app: &App) -> Value {
    json!({
        "id": app.name(),
        "object": "model",
        "created": app.created,
        "owned_by": "ingot",
        "context_length": app.running().map(|scheduler| scheduler.model().context()),
    })
}
