//! What the environment says, in the variables that all clients of the hub obey.

use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A secret. It is not shown in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Checks that it can be part of a request.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The header that shows it to the hub.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where the hub and the cache are, and how patient to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub, without a slash at its end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Who asks (`HF_TOKEN`, or the file that `hf auth login` writes).
    pub token: Option<Token>,
    /// Folder of the cache (`HF_HUB_CACHE`, or `hub` in `HF_HOME`).
    pub cache: PathBuf,
    /// Whether the network must not be used (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// How long a connection may be silent (`HF_HUB_DOWNLOAD_TIMEOUT`, in seconds).
    pub timeout: Duration,
    /// The first pause before a request is tried again; each further one is twice as long.
    pub pause: Duration,
}

/// A slow proxy that looks for viruses may need as long before the first byte comes.
const TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

impl Settings {
    /// Reads the environment and the token's file.
    pub fn from_env() -> Result<Self> {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let any = |names: &[&str]| names.iter().find_map(|name| var(name));
        let path = |names: &[&str]| any(names).map(|value| expanded(&value, var));
        let home = || -> Result<PathBuf> {
            if let Some(home) = path(&["HF_HOME"]) {
                return Ok(home);
            }
            let cache = path(&["XDG_CACHE_HOME"]).or_else(|| Some(user_home(var)?.join(".cache")));
            let cache =
                cache.ok_or_else(|| bad("HF_HOME", "there is no home folder: name one for the cache"))?;
            Ok(cache.join("huggingface"))
        };
        let cache = match path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]) {
            Some(cache) => cache,
            None => home()?.join("hub"),
        };
        let token = match any(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
            Some(text) => Some(
                Token::new(&text).ok_or_else(|| bad("HF_TOKEN", "has characters that are in no token"))?,
            ),
            None => match path(&["HF_TOKEN_PATH"]).or_else(|| home().ok().map(|home| home.join("token"))) {
                Some(path) => token_of(&path)?,
                None => None,
            },
        };
        let is_true = |value: String| matches!(&*value.to_uppercase(), "1" | "ON" | "YES" | "TRUE");
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(bad("HF_ENDPOINT", "expected an address such as https://huggingface.co"));
        }
        let timeout = match var("HF_HUB_DOWNLOAD_TIMEOUT").map(|text| text.parse::<u32>()) {
            None => TIMEOUT,
            Some(Ok(seconds @ 1..)) => Duration::from_secs(seconds.into()),
            Some(_) => return Err(bad("HF_HUB_DOWNLOAD_TIMEOUT", "expected seconds, 1 or more")),
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            token,
            cache,
            offline: any(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).is_some_and(is_true),
            timeout,
            pause: PAUSE,
        })
    }
}

/// The token in a file; `None` if there is no file or nothing in it.
fn token_of(path: &Path) -> Result<Option<Token>> {
    let at = || path.display().to_string();
    let text = match std::fs::metadata(path) {
        Ok(file) if file.is_file() && file.len() < 4096 => std::fs::read_to_string(path),
        Ok(_) => return Err(bad(&at(), "expected a file with a token")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => Err(e),
    };
    let text = text.map_err(Error::io(path))?;
    match text.trim() {
        "" => Ok(None),
        text => Token::new(text).map(Some).ok_or_else(|| bad(&at(), "has characters that are in no token")),
    }
}

/// A path, with `~` for the user's folder.
fn expanded(path: &str, var: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    match (path.strip_prefix('~'), user_home(var)) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => path.into(),
    }
}

fn user_home(var: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    var("HOME").map(PathBuf::from).or_else(std::env::home_dir).filter(|home| home.is_absolute())
}

fn bad(name: &str, reason: &str) -> Error {
    Error::BadSetting { name: name.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Settings> {
        let home = ("HOME", "/home/nobody-here");
        let all: Vec<_> = vars.iter().copied().chain([home]).collect();
        Settings::read(&|name| all.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn where_the_cache_is() {
        let cache = |vars: &[(&str, &str)]| read(vars).unwrap().cache.display().to_string();
        assert_eq!(cache(&[]), "/home/nobody-here/.cache/huggingface/hub");
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")]), "/home/nobody-here/hf/hub");
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")]), "/c");
    }

    #[test]
    fn tokens() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let token = |vars: &[(&str, &str)]| read(vars).unwrap().token.map(|token| token.header());
        assert_eq!(token(&[("HF_HOME", home)]), None);
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(token(&[("HF_HOME", home)]).unwrap(), "Bearer hf_file");
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", " hf_env ")]).unwrap(), "Bearer hf_env");
        let path = dir.path().join("token");
        assert_eq!(token(&[("HF_TOKEN_PATH", path.to_str().unwrap())]).unwrap(), "Bearer hf_file");
        assert!(read(&[("HF_TOKEN", "a\r\nb: c")]).is_err());
        assert!(read(&[("HF_TOKEN_PATH", home)]).is_err());
        let shown = format!("{:?}", read(&[("HF_TOKEN", "hf_secret")]).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_rest() {
        let settings = read(&[("HF_ENDPOINT", "http://x:1/"), ("HF_HUB_OFFLINE", "on")]).unwrap();
        assert_eq!((&*settings.endpoint, settings.offline), ("http://x:1", true));
        assert!(!read(&[("HF_HUB_OFFLINE", "0")]).unwrap().offline);
        assert!(read(&[("HF_ENDPOINT", "file:///etc")]).is_err());
        assert!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "0")]).is_err());
    }
}
