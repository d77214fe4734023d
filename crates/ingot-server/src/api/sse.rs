//! Answers that are sent piece by piece, as server-sent events.

use crate::error::{ApiError, Result};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// Silence after which a line says that the connection is still in use.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something that has pieces to send.
pub(super) trait Pieces: Send + 'static {
    /// Appends the next pieces to `out`; false if there are none any more.
    fn next(&mut self, out: &mut VecDeque<Value>) -> impl Future<Output = Result<bool>> + Send;
}

/// An answer with these pieces, and `[DONE]` after them, as OpenAI's older endpoints have
/// it. An error in the middle is the last piece.
pub(super) fn respond(pieces: impl Pieces) -> Response {
    send(pieces, |piece| Event::default().data(piece.to_string()), Some("[DONE]"))
}

/// An answer with these pieces, each of which is an event of the name that is its `type`.
pub(super) fn respond_named(pieces: impl Pieces) -> Response {
    send(pieces, |piece| Event::default().event(kind(piece)).data(piece.to_string()), None)
}

fn kind(piece: &Value) -> &str {
    piece["type"].as_str().unwrap_or("error")
}

fn send(
    pieces: impl Pieces,
    event: impl Fn(&Value) -> Event + Copy + Send + 'static,
    farewell: Option<&'static str>,
) -> Response {
    let state = Some((pieces, VecDeque::new()));
    let events = stream::unfold(state, move |state| async move {
        let (mut pieces, mut ready): (_, VecDeque<Value>) = state?;
        loop {
            if let Some(piece) = ready.pop_front() {
                return Some((Ok::<_, Infallible>(event(&piece)), Some((pieces, ready))));
            }
            match pieces.next(&mut ready).await {
                Ok(true) => {}
                Ok(false) => return farewell.map(|word| (Ok(Event::default().data(word)), None)),
                Err(e) => return Some((Ok(event(&ApiError::body(&e))), None)),
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
