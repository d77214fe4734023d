//! What the hub says about a repository: which commit a branch is, and its files
//! with their sizes and checksums. One request tells all of it.

use crate::checksum::Checksum;
use crate::http::Http;
use crate::reference::{encoded, is_commit};
use crate::{Error, Reference, Result};
use serde::Deserialize;

/// The files of a repository at one commit.
pub struct Listing {
    /// The commit.
    pub commit: String,
    /// All files.
    pub files: Vec<RemoteFile>,
}

/// A file of a repository.
pub struct RemoteFile {
    /// Path in the repository, as the server has it: to be checked before use.
    pub name: String,
    /// Bytes, and what they add up to; `None` if the server does not tell.
    pub content: Option<(u64, Checksum)>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// Of files that are not kept in git itself.
#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Asks the hub.
    pub fn ask(http: &Http, of: &Reference) -> Result<Self> {
        let Reference { repo, revision, .. } = of;
        let path = format!("/api/models/{repo}/revision/{}?blobs=true", encoded(revision, false));
        let text = http.text(&path, of)?;
        Self::read(&text).map_err(|what| Error::BadAnswer { host: http.host(), what })
    }

    fn read(text: &str) -> Result<Self, String> {
        let answer: Answer = serde_json::from_str(text)
            .map_err(|e| format!("expected the list of a repository's files ({e})"))?;
        if !is_commit(&answer.sha) {
            return Err("the commit is no commit".into());
        }
        let files = answer.siblings.into_iter().map(Sibling::file).collect();
        Ok(Self { commit: answer.sha, files })
    }
}

impl Sibling {
    fn file(self) -> RemoteFile {
        let content = match (self.lfs, self.size, self.blob_id) {
            (Some(lfs), ..) => Checksum::sha256(&lfs.sha256).map(|sum| (lfs.size, sum)),
            (None, Some(size), Some(id)) => Checksum::git(&id).map(|sum| (size, sum)),
            _ => None,
        };
        RemoteFile { name: self.rfilename, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_hub() {
        let (commit, git, sha) = ("c".repeat(40), "a".repeat(40), "b".repeat(64));
        let text = format!(
            r#"{{"_id": "1", "id": "o/r", "private": false, "gated": "auto", "sha": "{commit}", "siblings": [
                {{"rfilename": "config.json", "size": 12, "blobId": "{git}"}},
                {{"rfilename": "m.gguf", "size": 7, "blobId": "{git}",
                  "lfs": {{"sha256": "{sha}", "size": 1234567890123, "pointerSize": 134}}}},
                {{"rfilename": "x", "size": 5}},
                {{"rfilename": "y", "size": 5, "blobId": "../../z"}}]}}"#
        );
        let listing = Listing::read(&text).unwrap();
        assert_eq!(listing.commit, commit);
        let [small, large, unknown, strange] = &listing.files[..] else { panic!() };
        assert_eq!(small.content, Some((12, Checksum::git(&git).unwrap())));
        assert_eq!(large.content, Some((1_234_567_890_123, Checksum::sha256(&sha).unwrap())));
        assert!(unknown.content.is_none() && strange.content.is_none());
    }

    #[test]
    fn other_answers() {
        for text in ["", "<html>", "{}", "[]", r#"{"sha": "../..", "siblings": []}"#, r#"{"sha": 1}"#] {
            assert!(Listing::read(text).is_err(), "{text}");
        }
    }
}
