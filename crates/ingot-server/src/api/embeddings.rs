//! `/v1/embeddings`: texts as vectors. Means over a text's tokens of what the model's
//! head would be given, of length 1.

use super::fields::within;
use super::inputs::Inputs;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::http::{Body, parse};
use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    input: Inputs,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    /// Of little-endian f32.
    Base64,
}

impl Format {
    fn write(self, vector: &[f32]) -> Value {
        match self {
            Self::Float => vector.into(),
            Self::Base64 => {
                STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()).into()
            }
        }
    }
}

pub(super) async fn create(State(app): State<Arc<App>>, Body(body): Body) -> Result<Json<Value>> {
    let fields: Fields = parse(&body)?;
    app.check_model(fields.model.as_deref())?;
    within("input", fields.input.count(), app.config.limits.inputs)?;
    let width = app.scheduler()?.model().info().hidden;
    if fields.dimensions.is_some_and(|n| n != width) {
        return Err(ApiError::unsupported("dimensions", format!("this model's vectors have {width} values")));
    }
    let name = app.name().to_owned();
    // One at a time: each uses all processors.
    let turn = app.embedding.clone().acquire_owned().await.expect("never closed");
    let (vectors, count) = super::blocking(move || {
        let _turn = turn;
        let model = app.scheduler()?.model();
        let inputs = fields.input.encode(model.tokenizer(), "input")?;
        super::check_prompts(&app, &inputs, "input")?;
        let count: usize = inputs.iter().map(Vec::len).sum();
        let vectors: Vec<_> = inputs.iter().map(|tokens| model.embed(tokens)).collect::<Result<_, _>>()?;
        Ok((vectors, count))
    })
    .await?;
    let entry = |(index, vector): (usize, &Vec<f32>)| {
        let embedding = fields.encoding_format.write(vector);
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    Ok(Json(json!({
        "object": "list",
        "model": name,
        "data": vectors.iter().enumerate().map(entry).collect::<Vec<_>>(),
        "usage": { "prompt_tokens": count, "total_tokens": count },
    })))
}
