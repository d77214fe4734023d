//! What can go wrong, said so that a person knows what happened, and for most of
//! it what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be found, brought or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was typed cannot be a model of the hub.
    #[error("'{name}' does not name a model of the hub: {reason}")]
    BadName {
        /// What was typed.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An environment variable, or the file that it names, cannot be used.
    #[error("{name}: {reason}")]
    BadSetting {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The network would be needed and must not be used.
    #[error("{name} is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub for it")]
    Offline {
        /// The model.
        name: String,
    },
    /// Nobody answers at all.
    #[error("cannot reach {host}: {cause}")]
    Unreachable {
        /// Who should have answered.
        host: String,
        /// The system's words.
        cause: String,
    },
    /// The answer stopped, or came too slowly.
    #[error("the connection to {host} broke: {cause}")]
    Broken {
        /// Who answered.
        host: String,
        /// How it ended.
        cause: String,
    },
    /// Encryption failed, most likely for want of a trusted certificate.
    #[error("no safe connection to {host}: {cause}")]
    Untrusted {
        /// Who answered.
        host: String,
        /// What TLS says.
        cause: String,
    },
    /// The owner lets in only those who accepted some terms.
    #[error("{repo} is gated: it is there for those who have accepted its terms")]
    Gated {
        /// The repository.
        repo: String,
        /// Where the terms are.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub does not say whether there is such a thing.
    #[error("there is no {what}, or it is private")]
    Refused {
        /// What was asked for.
        what: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub says that there is no such thing.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The server has too much to do, or this client asks too often.
    #[error("{host} is busy (status {status})")]
    Busy {
        /// Who answered.
        host: String,
        /// The HTTP status, 429 or 500 and up.
        status: u16,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// Something that the hub does not answer.
    #[error("{host} answered with status {status}")]
    Status {
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// What came is not what the hub's interface says.
    #[error("{host} sent something unexpected: {what}")]
    BadAnswer {
        /// Who answered.
        host: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// There is nothing that ingot reads.
    #[error("{repo} has no model that ingot reads: {what}")]
    NoModel {
        /// The repository.
        repo: String,
        /// What there is instead.
        what: String,
    },
    /// There are models, but not this one.
    #[error("{repo} has no {wanted}")]
    NoSuchChoice {
        /// The repository.
        repo: String,
        /// The part of the name after the repository.
        wanted: String,
        /// What could have been meant.
        choices: Vec<String>,
    },
    /// Several models could be meant.
    #[error("{repo} has several models")]
    Ambiguous {
        /// The repository.
        repo: String,
        /// What could be meant.
        choices: Vec<String>,
    },
    /// Some files of one model are not there.
    #[error("{repo} has only some parts of {model}")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The first part.
        model: String,
    },
    /// All bytes came, but they are others.
    #[error("{file}: what came is damaged, its checksum is wrong")]
    BadChecksum {
        /// The file.
        file: String,
    },
    /// The server has more or fewer bytes than it said.
    #[error("{file}: the hub says {expected} bytes, but {host} sends {found}")]
    BadSize {
        /// The file.
        file: String,
        /// Who sends it.
        host: String,
        /// Bytes in the list of files.
        expected: u64,
        /// Bytes in the download.
        found: String,
    },
    /// The disk is too small.
    #[error("not enough space in {}: {} more are needed{}", .path.display(), mb(*.needed), free_space(*.free))]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes that are still to be written.
        needed: u64,
        /// Bytes that are free, if that was asked.
        free: Option<u64>,
    },
    /// Nothing of that name is in the cache.
    #[error("{name} is not in the cache")]
    NotCached {
        /// The model.
        name: String,
    },
    /// Somebody downloads into what should be removed.
    #[error("{name} is being pulled")]
    InUse {
        /// The model.
        name: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn free_space(free: Option<u64>) -> String {
    free.map_or(String::new(), |free| format!(", {} are free", mb(free)))
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl Error {
    /// An error of the file system at this path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// An error while writing a file that still needs so many bytes.
    pub(crate) fn writing(path: &Path, needed: u64) -> impl FnOnce(io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_path_buf();
        move |source| match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                let path = path.parent().map(Path::to_path_buf).unwrap_or_default();
                Self::NoSpace { path, needed, free: None }
            }
            _ => Self::Io { path, source },
        }
    }

    /// True if the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::Busy { .. })
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        const TOKENS: &str = "https://huggingface.co/settings/tokens";
        let listed = |choices: &[String]| {
            let shown: Vec<&str> = choices.iter().take(20).map(String::as_str).collect();
            let more = choices.len() - shown.len();
            shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
        };
        Some(match self {
            Self::BadName { .. } => {
                "ORG/REPO, ORG/REPO:QUANT, ORG/REPO/FILE.gguf, or the address of its page".into()
            }
            Self::Offline { .. } => "`ingot list` shows what is there".into(),
            Self::Unreachable { .. } => "check the network; HTTPS_PROXY names a proxy, HF_ENDPOINT a \
                 mirror, and what `ingot list` shows works without either"
                .into(),
            Self::Broken { .. } | Self::Busy { .. } => {
                "the same command goes on where this one stopped".into()
            }
            Self::Untrusted { .. } => "if a proxy encrypts anew, its certificate must be among the \
                 system's, or in the file that SSL_CERT_FILE names"
                .into(),
            Self::Gated { page, token: false, .. } => {
                format!("accept the terms at {page}, then set HF_TOKEN to a token from {TOKENS}")
            }
            Self::Gated { page, token: true, .. } => {
                format!("accept the terms at {page} as the owner of the token that is set")
            }
            Self::Refused { token: false, .. } => {
                format!("check the name; if it is private, set HF_TOKEN to a token from {TOKENS}")
            }
            Self::Refused { token: true, .. } => {
                "check the name, and that the token that is set is valid and may read it".into()
            }
            Self::NoSuchChoice { choices, .. } | Self::Ambiguous { choices, .. } if !choices.is_empty() => {
                format!("name one of {}", listed(choices))
            }
            Self::BadChecksum { .. } | Self::BadSize { .. } => {
                "pulling again may help; if not, the server or something before it is at fault".into()
            }
            Self::NoSpace { .. } => "`ingot list` and `ingot rm` make room, HF_HOME puts the cache on \
                 another disk; what has come stays, and the same command goes on"
                .into(),
            Self::NotCached { .. } => "`ingot list` shows what is".into(),
            Self::InUse { .. } => "wait until it is there, or stop the other command".into(),
            _ => return None,
        })
    }
}
