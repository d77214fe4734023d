//! Every request gets an id, is counted, and leaves a line in the log, which never has
//! what was said in it.

use crate::app::App;
use crate::metrics::Labels;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps a request.
pub(crate) async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (start, id) = (Instant::now(), app.id("req-"));
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let active = Active::new(app.clone());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.requests.get_or_create(&Labels { endpoint: route.clone(), status }).inc();
    response.headers_mut().insert(REQUEST_ID, HeaderValue::from_str(&id).expect("letters and digits"));
    // The line is written, and the request over, when its body is.
    let line = Line { start, id, method: method.to_string(), route, status, active };
    response.map(|body| Body::new(Logged { body, line }))
}

/// A body, at the end of which there is a line in the log.
struct Logged {
    body: Body,
    #[allow(dead_code)] // for its end
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request that is being answered.
struct Active(Arc<App>);

impl Active {
    fn new(app: Arc<App>) -> Self {
        app.active.fetch_add(1, Ordering::SeqCst);
        Self(app)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Line {
    start: Instant,
    id: String,
    method: String,
    route: String,
    status: u16,
    #[allow(dead_code)] // for its end
    active: Active,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { start, id, method, route, status, .. } = self;
        let seconds = start.elapsed().as_secs_f64();
        tracing::info!(id, method, route, status, seconds, "request");
    }
}
