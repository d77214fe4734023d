//! Who may use the server.
//!
//! A web page anywhere can make the browser of someone who reads it send requests to
//! this computer, and by giving its own name the address 127.0.0.1 (DNS rebinding) it
//! can even read the answers. So names in `Host` have to be known ones, and a page that
//! says where it comes from has to come from here, or from where the owner allows.

use crate::app::App;
use crate::error::{ApiError, Result};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Whose request it is, for fairness: a number for a key, or else for an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) u64);

/// What needs no key: the chat page, which asks for one, and what says that the server is alive.
fn is_public(path: &str) -> bool {
    path == "/" || path == "/health" || path.starts_with("/page/")
}

/// Lets a request through or refuses it.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Err(e) = check_host(headers, &app.config.hosts) {
        return e.into_response();
    }
    let origin = match check_origin(headers, &app.config.origins) {
        Ok(origin) => origin,
        Err(e) => return e.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS && origin.is_some();
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let key = match check_key(headers, &app.config.keys) {
            Err(e) if !is_public(request.uri().path()) => return allow(e.into_response(), origin),
            key => key.unwrap_or_default(),
        };
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        request.extensions_mut().insert(Client(client(key, peer)));
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    allow(response, origin)
}

fn client(key: Option<usize>, peer: Option<IpAddr>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match key {
        Some(key) => key.hash(&mut hasher),
        None => peer.hash(&mut hasher),
    }
    hasher.finish()
}

/// Tells a browser that a page of this origin may read the answer.
fn allow(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, value);
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    set(header::VARY, HeaderValue::from_static("Origin"));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    let allowed = HeaderValue::from_static("authorization, content-type, x-api-key, anthropic-version");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    set(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The host of a request has to be an address, this computer, or a name that is allowed.
fn check_host(headers: &HeaderMap, allowed: &[String]) -> Result<()> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) }; // no browser
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let known = authority.is_some_and(|authority| {
        let name = authority.host().trim_end_matches('.');
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let local = is("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
        local || address.parse::<IpAddr>().is_ok() || allowed.iter().any(|host| host == "*" || is(host))
    });
    match known {
        true => Ok(()),
        false => {
            let message = "this host name is not one of the server's; --allow-host names more";
            Err(ApiError::new(StatusCode::FORBIDDEN, message))
        }
    }
}

/// The origin of a page of another server, if it is allowed; `None` for pages of this
/// one, and for requests that do not come from a page.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<Option<HeaderValue>> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let text = origin.to_str().unwrap_or_default();
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if authority.is_some() && authority == host {
        return Ok(None);
    }
    match allowed.iter().any(|o| o == "*" || o.trim_end_matches('/') == text) {
        true => Ok(Some(origin.clone())),
        false => {
            let message = "pages of other servers may not use this one; --allow-origin names exceptions";
            Err(ApiError::new(StatusCode::FORBIDDEN, message))
        }
    }
}

/// The index of the key that came with the request; `None` if none is needed.
fn check_key(headers: &HeaderMap, keys: &[String]) -> Result<Option<usize>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let bearer = |value: &'_ HeaderValue| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    };
    let given = headers.get(header::AUTHORIZATION).and_then(bearer);
    let other = || headers.get("x-api-key").and_then(|key| key.to_str().ok().map(str::to_owned));
    let given = given.or_else(other).unwrap_or_default();
    // All of them are looked at, each in a time that does not depend on what is equal.
    let same = |key: &String| bool::from(key.as_bytes().ct_eq(given.as_bytes()));
    let found = keys.iter().enumerate().fold(None, |found, (i, key)| if same(key) { Some(i) } else { found });
    found.map(Some).ok_or_else(|| {
        ApiError::new(StatusCode::UNAUTHORIZED, "an API key of this server is needed").code("invalid_api_key")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn hosts() {
        let check = |host, allowed: &[String]| check_host(&headers(&[("host", host)]), allowed).is_ok();
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "192.168.1.2", "LocalHost."] {
            assert!(check(host, &[]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "a b", ""] {
            assert!(!check(host, &[]), "{host}");
        }
        assert!(check("box.lan:8080", &["box.lan".into()]));
        assert!(check("anything", &["*".into()]));
    }

    #[test]
    fn origins() {
        let check = |origin, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|&o| o.into()).collect();
            let headers = headers(&[("host", "localhost:8080"), ("origin", origin)]);
            check_origin(&headers, &allowed).map(|origin| origin.is_some())
        };
        assert!(matches!(check("http://localhost:8080", &[]), Ok(false)));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "localhost:8080", ""] {
            assert!(check(origin, &[]).is_err(), "{origin}");
        }
        assert!(matches!(check("https://chat.example", &["https://chat.example/"]), Ok(true)));
        assert!(matches!(check("null", &["*"]), Ok(true)));
    }

    #[test]
    fn keys() {
        let keys = ["alpha".to_owned(), "beta".to_owned()];
        let check = |name, value| check_key(&headers(&[(name, value)]), &keys).ok().flatten();
        assert_eq!(check("authorization", "Bearer beta"), Some(1));
        assert_eq!(check("authorization", "bearer alpha"), Some(0));
        assert_eq!(check("x-api-key", "alpha"), Some(0));
        for wrong in ["Bearer", "Bearer ", "Bearer alph", "Bearer alphabeta", "Basic alpha", "alpha"] {
            assert_eq!(check("authorization", wrong), None, "{wrong}");
        }
        assert!(check_key(&headers(&[]), &keys).is_err());
        assert!(matches!(check_key(&headers(&[]), &[]), Ok(None)));
    }
}
