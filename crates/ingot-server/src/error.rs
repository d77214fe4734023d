//! Errors in the shape that clients of OpenAI's API know.

use crate::tools::ToolError;
use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ingot_engine::{Error, scheduler::Refused};
use serde_json::{Value, json};

/// Result of everything that answers a request.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// Seconds after which a busy server is worth another try.
const RETRY_SECONDS: u32 = 2;

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl ToString) -> Self {
        Self { status, code: None, param: None, message: message.to_string(), retry: false }
    }

    /// The request makes no sense.
    pub(crate) fn bad(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request makes no sense.
    pub(crate) fn param(param: impl ToString, message: impl ToString) -> Self {
        Self { param: Some(param.to_string()), ..Self::bad(message) }
    }

    /// A field asks for something that there is not.
    pub(crate) fn unsupported(param: &str, message: impl ToString) -> Self {
        Self { code: Some("unsupported_parameter"), ..Self::param(param, message) }
    }

    /// The server cannot do it now.
    pub(crate) fn busy(message: impl ToString) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// About a part of this field.
    pub(crate) fn within(self, field: &str) -> Self {
        let param = self.param.map_or(field.to_owned(), |param| format!("{field}.{param}"));
        Self { param: Some(param), ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// As a part of an answer that has already begun.
    ///
    /// `type` beside it is for clients of Anthropic's API.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        let error = json!({ "message": self.message, "type": kind, "param": self.param, "code": self.code });
        json!({ "type": "error", "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Said before all of the request was read, so that what is left of it would be
        // taken for the next one.
        if matches!(self.status.as_u16(), 401 | 403 | 404 | 405 | 408 | 413) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Error> for ApiError {
    fn from(e: Error) -> Self {
        match &e {
            Error::BadRequest(_) => Self::bad(e),
            Error::ContextFull { .. } => Self::bad(e).code("context_length_exceeded"),
            Error::OutOfMemory(_) => Self::busy(e).code("out_of_memory"),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, e),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(e) => e.into(),
            Refused::Busy { .. } => Self::busy(refused).code("overloaded"),
            Refused::Ended => Self::new(StatusCode::INTERNAL_SERVER_ERROR, refused),
        }
    }
}

impl From<ingot_tokenizer::Error> for ApiError {
    fn from(e: ingot_tokenizer::Error) -> Self {
        Self::param("messages", e)
    }
}

impl From<ToolError> for ApiError {
    fn from(e: ToolError) -> Self {
        Self::param(e.param, &e)
    }
}
