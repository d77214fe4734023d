//! The chat page: files that are part of the program.

use crate::error::ApiError;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Nothing from elsewhere, no scripts or styles but those of the page's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("../page/index.html");

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "answer.js",
    "api.js",
    "chat.js",
    "composer.js",
    "dom.js",
    "inline.js",
    "key.js",
    "live.js",
    "main.js",
    "markdown.js",
    "message.js",
    "notices.js",
    "settings.js",
    "sidebar.js",
    "sse.js",
    "store.js",
    "style.css",
    "transcript.js",
];

/// The page itself.
pub(crate) async fn index() -> Response {
    file("index.html", INDEX)
}

/// One of its files.
pub(crate) async fn part(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, _)| *file == name) {
        Some((name, text)) => file(name, text),
        None => ApiError::new(StatusCode::NOT_FOUND, "the page has no such file").into_response(),
    }
}

fn file(name: &str, text: &'static str) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_files_of_the_page_are_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let there: BTreeSet<String> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served = FILES.iter().map(|(name, _)| name.to_string()).chain(["index.html".into()]);
        assert_eq!(there, served.collect());
    }
}
