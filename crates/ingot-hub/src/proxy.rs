//! Which requests go through a proxy, as other programs decide it: by the scheme
//! of the address, unless `NO_PROXY` has its host.

use crate::{Error, Result};
use ureq::Proxy;
use ureq::http::Uri;

/// The proxies of the environment.
#[derive(Debug)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    /// Hosts that are reached directly, in lower case, without the dots before them.
    direct: Vec<String>,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
    pub fn from_env() -> Result<Self> {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let either = |name: &str| var(&name.to_lowercase()).or_else(|| var(name));
        let proxy = |name: &str| -> Result<Option<Proxy>> {
            let Some(address) = either(name).or_else(|| either("ALL_PROXY")) else { return Ok(None) };
            let reason = || "expected an address such as http://proxy.example:3128".to_string();
            let bad = |_| Error::BadSetting { name: name.into(), reason: reason() };
            Proxy::new(&address).map(Some).map_err(bad)
        };
        let direct = either("NO_PROXY").unwrap_or_default().to_lowercase();
        let direct = direct.split(',').map(|host| host.trim().trim_start_matches(['*', '.']).to_string());
        let has_star = either("NO_PROXY").is_some_and(|hosts| hosts.split(',').any(|h| h.trim() == "*"));
        Ok(match has_star {
            true => Self { https: None, http: None, direct: Vec::new() },
            false => Self {
                https: proxy("HTTPS_PROXY")?,
                http: proxy("HTTP_PROXY")?,
                direct: direct.filter(|host| !host.is_empty()).collect(),
            },
        })
    }

    /// The proxy on the way to an address.
    pub fn on_the_way_to(&self, address: &Uri) -> Option<&Proxy> {
        let host = address.host().unwrap_or_default().to_lowercase();
        let is_direct = |entry: &String| {
            host.strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if self.direct.iter().any(is_direct) {
            return None;
        }
        if address.scheme_str() == Some("http") { self.http.as_ref() } else { self.https.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(vars: &[(&str, &str)], address: &str) -> Option<String> {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        let proxies = Proxies::read(&var).unwrap();
        proxies.on_the_way_to(&address.parse().unwrap()).map(|proxy| proxy.host().to_string())
    }

    #[test]
    fn by_scheme_and_host() {
        let vars = [("HTTPS_PROXY", "http://one:1"), ("http_proxy", "two:2"), ("NO_PROXY", "a.b, .c.d,*.e")];
        assert_eq!(used(&vars, "https://x.y/z").as_deref(), Some("one"));
        assert_eq!(used(&vars, "http://x.y/z").as_deref(), Some("two"));
        for direct in ["https://a.b/", "https://x.A.b/", "http://c.d:80/", "https://x.e/"] {
            assert_eq!(used(&vars, direct), None, "{direct}");
        }
        assert_eq!(used(&vars, "https://xa.b/").as_deref(), Some("one"));
        assert_eq!(used(&[("ALL_PROXY", "http://all:1")], "http://x/").as_deref(), Some("all"));
        assert_eq!(used(&[("ALL_PROXY", "http://all:1"), ("NO_PROXY", "*")], "http://x/"), None);
        assert_eq!(used(&[], "https://x/"), None);
    }

    #[test]
    fn what_is_no_proxy_is_said() {
        let var = |name: &str| (name == "HTTPS_PROXY").then(|| "ftp://x".to_string());
        assert!(Proxies::read(&var).unwrap_err().to_string().contains("HTTPS_PROXY"));
    }
}
