//! What people type to mean a model of the hub.

use crate::checksum::is_hex;
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A repository: `ORG/REPO`, or for a few old ones `REPO`. Its letters are safe in
/// paths and addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repo(String);

impl Repo {
    /// Checks a name.
    pub fn new(name: &str) -> Option<Self> {
        let is_part = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            (1..=96).contains(&part.len())
                && part.chars().all(allowed)
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                && !part.contains("..")
                && !part.contains("--")
        };
        let mut parts = name.split('/');
        let is_one = parts.next().is_some_and(is_part) && parts.next().is_none_or(is_part);
        (is_one && parts.next().is_none()).then(|| Self(name.into()))
    }

    /// The name of its folder in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repository whose folder this is.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        Self::new(&name.strip_prefix("models--")?.replacen("--", "/", 1))
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which model of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The usual one.
    Default,
    /// The one with this word in its name, or `safetensors`.
    Quant(String),
    /// This file.
    File(String),
}

/// The branch that is meant when none is named.
pub const MAIN: &str = "main";

/// A model of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where it is.
    pub repo: Repo,
    /// Branch, tag or commit.
    pub revision: String,
    /// Which of the models there.
    pub pick: Pick,
}

impl Reference {
    /// What `hf:` stands before, if that is what was typed. Paths never do.
    pub fn with_prefix(word: &str) -> Option<Result<Self>> {
        (word.starts_with("hf:") || word.starts_with("https://")).then(|| word.parse())
    }

    /// True if nothing but the repository was named.
    pub fn is_whole_repo(&self) -> bool {
        self.pick == Pick::Default && self.revision == MAIN
    }
}

/// `ORG/REPO[@REVISION]`, then `:QUANT` or `/FILE.gguf` or nothing; all of it may
/// have `hf:` or the hub's address before it. In an address the revision is where
/// the hub has it: `ORG/REPO/blob/REVISION/FILE`.
impl FromStr for Reference {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let bad = |reason| Error::BadName { name: word.into(), reason };
        let rest = word.strip_prefix("hf:").map_or(word, |rest| rest.trim_start_matches('/'));
        let (rest, is_address) = without_host(rest).ok_or_else(|| bad("it is an address elsewhere"))?;
        if is_address {
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            return of_address(path).map_err(bad);
        }
        let (place, pick) = match rest.split_once(':') {
            Some((_, "")) => return Err(bad("nothing comes after the colon")),
            Some((place, quant)) => (place, Pick::Quant(quant.into())),
            None => match rest.match_indices('/').nth(1) {
                Some((at, _)) => (&rest[..at], Pick::File(rest[at + 1..].into())),
                None => (rest, Pick::Default),
            },
        };
        let (repo, revision) = match place.split_once('@') {
            Some((repo, revision)) => (repo, decoded(revision).ok_or_else(|| bad(REVISION))?),
            None => (place, MAIN.into()),
        };
        Self::checked(repo, revision, pick).map_err(bad)
    }
}

const REVISION: &str = "the revision has letters that no branch, tag or commit has";

impl Reference {
    fn checked(repo: &str, revision: String, pick: Pick) -> Result<Self, &'static str> {
        let repo = Repo::new(repo).ok_or("expected ORG/REPO")?;
        if !is_revision(&revision) {
            return Err(REVISION);
        }
        match &pick {
            Pick::File(name) if !is_safe_path(name) => Err("the file has a name that no file should have"),
            Pick::File(name) if !name.to_ascii_lowercase().ends_with(".gguf") => {
                Err("only .gguf files can be pulled alone; ORG/REPO:safetensors is all that belongs together")
            }
            Pick::Quant(word) if word.len() > 64 || word.chars().any(|c| c.is_control() || c == '/') => {
                Err("expected a word such as Q4_K_M after the colon")
            }
            _ => Ok(Self { repo, revision, pick }),
        }
    }
}

/// What comes after the hub's name, and whether it was written as an address.
/// `None` for addresses of others.
fn without_host(text: &str) -> Option<(&str, bool)> {
    const HOSTS: [&str; 3] = ["huggingface.co/", "www.huggingface.co/", "hf.co/"];
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = HOSTS.iter().find_map(|host| bare.unwrap_or(text).strip_prefix(host));
    match (bare, host) {
        (Some(_), None) => None,
        (Some(_), Some(rest)) => Some((rest, true)),
        (None, Some(rest)) => Some((rest, false)),
        (None, None) => Some((text, false)),
    }
}

/// `ORG/REPO`, with `blob`, `resolve`, `raw` or `tree`, a revision and a file after it.
fn of_address(path: &str) -> Result<Reference, &'static str> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let (repo, rest) = match parts[..] {
        [org, repo, ref rest @ ..] => (format!("{org}/{repo}"), rest),
        _ => return Err("expected the page of a repository or a file"),
    };
    let (revision, file) = match rest {
        [] => (MAIN.into(), String::new()),
        ["blob" | "resolve" | "raw" | "tree", revision, file @ ..] => {
            (decoded(revision).ok_or(REVISION)?, decoded(&file.join("/")).ok_or("the file's name is broken")?)
        }
        _ => return Err("expected the page of a repository or a file"),
    };
    let pick = match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("gguf") => Pick::File(file),
        Some("safetensors") => Pick::Quant(crate::SAFETENSORS.into()),
        _ => Pick::Default,
    };
    Reference::checked(&repo, revision, pick)
}

/// Undoes percent encoding; `None` if that gives no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// Percent encoding of everything that is not a plain letter; slashes stay if they
/// separate folders.
pub(crate) fn encoded(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b'/' if slashes => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// True for what may be a branch, a tag or a commit, and is safe below `refs`.
fn is_revision(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    name.len() <= 200 && is_safe_path(name) && name.chars().all(allowed) && !name.starts_with('-')
}

/// True if a revision is a commit already.
pub(crate) fn is_commit(name: &str) -> bool {
    is_hex(name, 40) || is_hex(name, 64)
}

/// True for a relative path that leads downwards on every system.
pub(crate) fn is_safe_path(path: &str) -> bool {
    let is_safe_part = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']) && part.len() <= 255
    };
    path.len() <= 1024 && path.split('/').all(is_safe_part) && !path.chars().any(char::is_control)
}

/// As it can be typed, without `hf:`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if self.revision != MAIN {
            write!(f, "@{}", encoded(&self.revision, false))?;
        }
        match &self.pick {
            Pick::Default => Ok(()),
            Pick::Quant(quant) => write!(f, ":{quant}"),
            Pick::File(file) => write!(f, "/{file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(word: &str) -> (String, String, Pick) {
        let reference: Reference = word.parse().unwrap_or_else(|e| panic!("{word}: {e}"));
        (reference.repo.to_string(), reference.revision, reference.pick)
    }

    #[test]
    fn all_the_ways_to_name_a_model() {
        let is = |word: &str, revision: &str, pick: Pick| {
            assert_eq!(parsed(word), ("org/re.po-1".into(), revision.into(), pick), "{word}");
        };
        let (quant, file) = (|q: &str| Pick::Quant(q.into()), |f: &str| Pick::File(f.into()));
        is("org/re.po-1", "main", Pick::Default);
        is("hf:org/re.po-1", "main", Pick::Default);
        is("hf://org/re.po-1:q4_k_m", "main", quant("q4_k_m"));
        is("hf.co/org/re.po-1:Q8_0", "main", quant("Q8_0"));
        is("org/re.po-1@v1.0:UD-Q4_K_XL", "v1.0", quant("UD-Q4_K_XL"));
        is("org/re.po-1@refs%2Fpr%2F7", "refs/pr/7", Pick::Default);
        is("org/re.po-1/a b.gguf", "main", file("a b.gguf"));
        is("org/re.po-1@dev/sub/x-00001-of-00002.GGUF", "dev", file("sub/x-00001-of-00002.GGUF"));
        let page = "https://huggingface.co/org/re.po-1";
        is(page, "main", Pick::Default);
        is(&format!("{page}/"), "main", Pick::Default);
        is(&format!("{page}/tree/refs%2Fpr%2F1"), "refs/pr/1", Pick::Default);
        is(&format!("{page}/blob/main/a%20b.gguf?download=true#x"), "main", file("a b.gguf"));
        is(&format!("{page}/resolve/0a/sub/x.gguf"), "0a", file("sub/x.gguf"));
        is(&format!("{page}/blob/main/model.safetensors"), "main", quant("safetensors"));
        assert_eq!(parsed("gpt2").0, "gpt2");
    }

    #[test]
    fn written_as_it_was_read() {
        for word in ["a/b", "a/b:Q4_0", "a/b@v1:Q4_0", "a/b@refs%2Fpr%2F7", "a/b@v1/x/y.gguf"] {
            assert_eq!(word.parse::<Reference>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("a/{}", "b".repeat(97));
        let bad = [
            "",
            "/",
            "a/",
            "/a/b",
            "a//b",
            "../b",
            "a/..",
            "a/b/../c.gguf",
            "a/b//c.gguf",
            "a/b/c.txt",
            "a/b/.gguf/..",
            "a/b:",
            "a/b:x/y",
            "a b/c",
            "a/b@",
            "a/b@../x",
            "a/b@-x",
            "a/b@%zz",
            "a/b@%",
            "a/b@x%00",
            "a--b/c",
            "a/b\n",
            "a/b/x\u{1b}.gguf",
            "a/b/x\\y.gguf",
            "a/b/C:x.gguf",
            "https://example.com/a/b",
            "https://huggingface.co/a",
            "https://huggingface.co/a/b/blob",
            "https://huggingface.co/a/b/blob/main/%2e%2e/%2e%2e/x.gguf",
            "hf:",
            ".a/b",
            "a/-b",
            &long,
        ];
        for word in bad {
            assert!(word.parse::<Reference>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn folders_and_back() {
        let repo = Repo::new("org/re-po").unwrap();
        assert_eq!(repo.folder(), "models--org--re-po");
        assert_eq!(Repo::of_folder("models--org--re-po"), Some(repo));
        assert_eq!(Repo::of_folder("models--gpt2").unwrap().to_string(), "gpt2");
        assert!(Repo::of_folder("datasets--a--b").is_none() && Repo::of_folder("models--..").is_none());
    }
}
