//! Bodies of requests: JSON, within limits of size and time.

use crate::app::App;
use crate::error::{ApiError, Result};
use axum::body::{HttpBody, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;
use tokio::time::timeout;

/// The JSON object that came with a request.
pub(crate) struct Body(pub(crate) Value);

impl FromRequest<Arc<App>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let limits = &app.config.limits;
        let too_large = || {
            let message = format!("the request is larger than {} bytes", limits.body);
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let body = request.into_body();
        if body.size_hint().lower() > limits.body as u64 {
            return Err(too_large());
        }
        let bytes = match timeout(limits.arrival, to_bytes(body, limits.body)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(e)) if is_length(&e) => return Err(too_large()),
            Ok(Err(_)) => return Err(ApiError::bad("the request was cut short")),
            Err(_) => {
                return Err(ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request took too long to arrive",
                ));
            }
        };
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|e| ApiError::bad(format!("the request is not JSON: {e}")))?;
        match value.is_object() {
            true => Ok(Self(value)),
            false => Err(ApiError::bad("the request has to be a JSON object")),
        }
    }
}

fn is_length(e: &axum::Error) -> bool {
    e.source().is_some_and(|e| e.is::<LengthLimitError>())
}

/// The fields of `value` that `T` has; others are ignored.
///
/// # Errors
/// With the name of the field that is wrong.
pub(crate) fn parse<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let (path, message) = (e.path().to_string(), e.inner().to_string());
        // A field that is missing has no path of its own.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match (path.as_str(), missing) {
            (".", None) => ApiError::bad(message),
            (".", Some(field)) => ApiError::param(field, &message),
            (path, None) => ApiError::param(path, format!("{path}: {message}")),
            (path, Some(field)) => ApiError::param(format!("{path}.{field}"), format!("{path}: {message}")),
        }
    })
}
