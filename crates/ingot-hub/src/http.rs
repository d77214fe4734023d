//! Requests to the hub: who is asked, with which proxy and certificates, where
//! redirects may lead, what is told to whom, and what a status means.

use crate::proxy::Proxies;
use crate::{Error, Reference, Result, Settings};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

#[cfg(target_vendor = "apple")]
const TLS: TlsProvider = TlsProvider::NativeTls;
#[cfg(not(target_vendor = "apple"))]
const TLS: TlsProvider = TlsProvider::Rustls;

/// More redirects are a circle.
const REDIRECTS: usize = 10;
/// The largest list of files; those of 10 000 files are about 3 MB.
const LARGEST_TEXT: usize = 32 << 20;
/// How many times the time in which a connection may be silent such a list may take.
const TEXT_TIMEOUTS: u32 = 4;

/// A client of one hub.
pub struct Http {
    agent: Agent,
    endpoint: Uri,
    /// Its address without a slash at the end.
    base: String,
    authorization: Option<String>,
    proxies: Proxies,
    /// How long a connection may be silent.
    timeout: Duration,
}

impl Http {
    /// Prepares for requests; makes none.
    pub fn new(settings: &Settings) -> Result<Self> {
        let bad = || Error::BadSetting {
            name: "HF_ENDPOINT".into(),
            reason: "expected an address such as https://huggingface.co".into(),
        };
        let base = settings.endpoint.trim_end_matches('/').to_string();
        let endpoint: Uri = base.parse().map_err(|_| bad())?;
        endpoint.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0) // they are followed here, where it is known who may see the token
            .proxy(None)
            .user_agent(concat!("ingot/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity") // sizes and ranges are those of the file
            .tls_config(TlsConfig::builder().provider(TLS).root_certs(RootCerts::PlatformVerifier).build())
            .timeout_connect(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            .timeout_recv_response(Some(2 * settings.timeout))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            authorization: settings.token.as_ref().map(|token| token.header()),
            proxies: Proxies::from_env()?,
            timeout: settings.timeout,
            base,
            endpoint,
        })
    }

    /// The hub's host, for messages.
    pub fn host(&self) -> String {
        host(&self.endpoint)
    }

    /// A short text, such as a list of files. `asked` is what it is about.
    pub fn text(&self, path: &str, asked: &Reference) -> Result<String> {
        let start = Instant::now();
        let mut answer = self.get(path, None, asked)?;
        let host = answer.host.clone();
        let bad = |what: &str| Error::BadAnswer { host: host.clone(), what: what.into() };
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match answer.read(&mut piece)? {
                0 => return String::from_utf8(bytes).map_err(|_| bad("the list of files is no text")),
                n => bytes.extend_from_slice(&piece[..n]),
            }
            if bytes.len() > LARGEST_TEXT {
                return Err(bad("a list of files that does not end"));
            }
            if start.elapsed() > TEXT_TIMEOUTS * self.timeout {
                return Err(Error::Broken { host, cause: "the list of files takes too long".into() });
            }
        }
    }

    /// The bytes at a path of the hub, those from `from` on if that is not at the
    /// beginning and the server can. Redirects are followed; only the hub itself
    /// sees the token.
    pub fn get(&self, path: &str, from: Option<u64>, asked: &Reference) -> Result<Answer> {
        let mut address: Uri = format!("{}{path}", self.base).parse().map_err(|_| Error::BadAnswer {
            host: self.host(),
            what: "a file's name makes no address".into(),
        })?;
        for _ in 0..=REDIRECTS {
            let answer = self.get_once(&address, from)?;
            if !answer.status().is_redirection() {
                return self.judged(answer, &address, asked);
            }
            address = self.redirect(&answer, &address)?;
        }
        Err(Error::BadAnswer { host: self.host(), what: "redirects that never end".into() })
    }

    fn get_once(&self, address: &Uri, from: Option<u64>) -> Result<Response<Body>> {
        let mut request = self.agent.get(address);
        if let (Some(authorization), true) = (&self.authorization, is_same_server(address, &self.endpoint)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let proxy = self.proxies.on_the_way_to(address).cloned();
        let host =
            proxy.as_ref().map_or_else(|| host(address), |p| format!("{} by {}", host(address), p.host()));
        request.config().proxy(proxy).build().call().map_err(|e| failed(e, &host))
    }

    /// Where a redirect leads: to an address of its own or to a path of the same server.
    fn redirect(&self, answer: &Response<Body>, from: &Uri) -> Result<Uri> {
        let bad = |what: &str| Error::BadAnswer { host: host(from), what: what.into() };
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.ok_or_else(|| bad("a redirect to nowhere"))?;
        let absolute = match location.starts_with('/') && !location.starts_with("//") {
            true => format!("{}://{}{location}", from.scheme_str().unwrap_or("https"), authority(from)),
            false => location.to_string(),
        };
        let to: Uri = absolute.parse().map_err(|_| bad("a redirect to something that is no address"))?;
        match (from.scheme_str(), to.scheme_str()) {
            (Some("https"), Some("http")) => Err(bad("a redirect that gives encryption up")),
            (_, Some("http" | "https")) => Ok(to),
            _ => Err(bad("a redirect to something that is no address")),
        }
    }

    /// The answer, if it is one; what a status of failure means otherwise.
    fn judged(&self, answer: Response<Body>, address: &Uri, asked: &Reference) -> Result<Answer> {
        let host = host(address);
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let (code, token) = (header("x-error-code").unwrap_or_default(), self.authorization.is_some());
        let repo = || asked.repo.to_string();
        let what = || match code {
            "RevisionNotFound" => format!("revision {} in {}", asked.revision, asked.repo),
            "EntryNotFound" => format!("such file in {} any more", asked.repo),
            _ => format!("repository {}", asked.repo),
        };
        Err(match answer.status().as_u16() {
            200 | 206 | 416 => return Ok(Answer::new(answer, host)),
            401 | 403 if code == "GatedRepo" => {
                Error::Gated { repo: repo(), page: format!("{}/{}", self.base, asked.repo), token }
            }
            401 | 403 => Error::Refused { what: format!("repository {}", asked.repo), token },
            404 if code == "RepoNotFound" || code.is_empty() => Error::Refused { what: what(), token },
            404 | 410 => Error::NotFound { what: what() },
            status @ (408 | 429 | 500..) => Error::Busy { host, status, after: wait(header) },
            status => Error::Status { host, status },
        })
    }
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// 200, 206 or 416.
    pub status: u16,
    /// Who sent it, for messages.
    pub host: String,
    /// Bytes in the body, if that was said.
    pub length: Option<u64>,
    /// First byte and size of the whole file, of a part of one.
    pub range: Option<(u64, Option<u64>)>,
    body: ureq::BodyReader<'static>,
}

impl Answer {
    fn new(answer: Response<Body>, host: String) -> Self {
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: answer.status().as_u16(),
            range: header("content-range").and_then(content_range),
            length: answer.body().content_length(),
            host,
            body: answer.into_body().into_reader(),
        }
    }

    /// Reads some bytes; 0 at the end.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        self.body.read(bytes).map_err(broken(&self.host))
    }
}

/// First byte and whole size in `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()))
}

/// How long the server asks to wait, in `Retry-After: 5` or the hub's own
/// `RateLimit: "api";r=0;t=5`.
fn wait<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let limit =
        header("ratelimit").and_then(|text| text.split(';').find_map(|p| p.trim().strip_prefix("t=")));
    let seconds = header("retry-after").or(limit)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn host(address: &Uri) -> String {
    address.host().unwrap_or_default().to_string()
}

fn authority(address: &Uri) -> &str {
    address.authority().map_or("", |authority| authority.as_str())
}

/// True if a token for one may be sent to the other.
fn is_same_server(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    a.scheme() == b.scheme() && a.host() == b.host() && port(a) == port(b)
}

/// What it means that there is no answer.
fn failed(e: ureq::Error, host: &str) -> Error {
    use std::io::ErrorKind as K;
    use ureq::{Error as E, Timeout};
    let (host, cause) = (host.to_string(), e.to_string());
    match e {
        E::HostNotFound => Error::Unreachable { host, cause: "no such host, or no network".into() },
        E::Timeout(Timeout::Connect | Timeout::Resolve) | E::ConnectionFailed | E::ConnectProxyFailed(_) => {
            Error::Unreachable { host, cause }
        }
        E::Timeout(_) => Error::Broken { host, cause: "no answer in time".into() },
        E::Io(e) => match (e.kind(), e.to_string()) {
            (K::InvalidData, cause) => Error::Untrusted { host, cause },
            (K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof, cause) => {
                Error::Broken { host, cause }
            }
            // Refused, no way to there, no such name: systems differ in what they call it.
            (_, cause) => Error::Unreachable { host, cause },
        },
        #[cfg(not(target_vendor = "apple"))]
        E::Rustls(_) => Error::Untrusted { host, cause },
        #[cfg(target_vendor = "apple")]
        E::NativeTls(_) => Error::Untrusted { host, cause },
        E::Tls(_) => Error::Untrusted { host, cause },
        _ => Error::BadAnswer { host, what: cause },
    }
}

/// What it means that an answer stops.
fn broken(host: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |e| {
        let timeout = matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
            || e.get_ref().is_some_and(|e| matches!(e.downcast_ref(), Some(ureq::Error::Timeout(_))));
        let cause = if timeout { "nothing came for too long".into() } else { e.to_string() };
        Error::Broken { host: host.into(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("lines 1-2/3"), None);
        let wait_in =
            |name: &'static str, value: &'static str| wait(move |n: &str| (n == name).then_some(value));
        assert_eq!(wait_in("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait_in("ratelimit", "\"api\";r=0;t=55"), Some(Duration::from_secs(55)));
        assert_eq!(wait_in("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }

    #[test]
    fn failures_to_connect() {
        use std::io::{Error as Io, ErrorKind};
        let failed = |e: Io| failed(ureq::Error::Io(e), "h");
        // This is what the standard library makes of an unknown name.
        let unknown = Io::other("failed to lookup address information");
        assert!(matches!(failed(unknown), Error::Unreachable { .. }));
        assert!(matches!(failed(ErrorKind::ConnectionRefused.into()), Error::Unreachable { .. }));
        assert!(matches!(failed(ErrorKind::ConnectionReset.into()), Error::Broken { .. }));
        assert!(matches!(failed(ErrorKind::InvalidData.into()), Error::Untrusted { .. }));
    }

    #[test]
    fn who_may_see_a_token() {
        let same = |a: &str, b: &str| is_same_server(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub/x", "https://hub:443/y"));
        for other in ["http://hub/", "https://hub:444/", "https://hub.evil/", "https://cdn.hub/"] {
            assert!(!same(other, "https://hub/"), "{other}");
        }
    }
}
