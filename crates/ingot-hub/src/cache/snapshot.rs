//! A repository's files at one commit, as far as somebody wanted them: links with
//! the files' names that lead to blobs.

use super::entries;
use crate::reference::is_commit;
use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders in folders that are looked into.
const DEPTH: usize = 8;

/// A snapshot that exists.
pub struct Snapshot {
    dir: PathBuf,
    commit: String,
    /// Names with slashes, and paths.
    files: Vec<(String, PathBuf)>,
}

impl Snapshot {
    /// The snapshot of a repository's folder; `None` if there is none, or a link
    /// where its folder should be.
    pub fn open(repo: &Path, commit: &str) -> Option<Self> {
        let dir = repo.join("snapshots").join(commit);
        let is_dir = is_commit(commit) && fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir());
        is_dir.then(|| Self { files: walk(&dir), commit: commit.into(), dir })
    }

    /// The commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of the files whose blobs are there.
    pub fn names(&self) -> Vec<&str> {
        let whole = self.files.iter().filter(|(_, path)| fs::metadata(path).is_ok_and(|m| m.is_file()));
        whole.map(|(name, _)| &**name).collect()
    }

    /// When a file was last added.
    pub fn changed(&self) -> Option<SystemTime> {
        fs::metadata(&self.dir).and_then(|dir| dir.modified()).ok()
    }

    /// Names of the blobs that it needs.
    pub fn blobs(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter_map(|(_, path)| blob_of(path))
    }

    /// Links a blob under a name, which is safe. Links in the place of folders are an
    /// error: they could lead anywhere.
    pub fn link(repo: &Path, commit: &str, name: &str, blob: &Path) -> Result<()> {
        let path = repo.join("snapshots").join(commit).join(name);
        let mut folder = repo.to_path_buf();
        let inside = name.rsplit_once('/').map_or("", |(folders, _)| folders);
        let inside = inside.split('/').filter(|part| !part.is_empty());
        for part in ["snapshots", commit].into_iter().chain(inside) {
            folder.push(part);
            match fs::symlink_metadata(&folder) {
                Ok(there) if there.is_dir() => {}
                Ok(_) => {
                    let source = io::Error::new(io::ErrorKind::NotADirectory, "expected a folder here");
                    return Err(Error::Io { path: folder, source });
                }
                Err(_) => fs::create_dir_all(&folder).map_err(Error::io(&folder))?,
            }
        }
        let hash = blob.file_name().unwrap_or_default();
        let target = PathBuf::from("../".repeat(2 + name.matches('/').count())).join("blobs").join(hash);
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        link_to(&target, blob, &path).map_err(Error::io(&path))
    }
}

/// Replaces what is at `path` in one go: others may be making the same link, or open it.
#[cfg(unix)]
fn link_to(target: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static LINKS: AtomicU32 = AtomicU32::new(0);
    let number = LINKS.fetch_add(1, Ordering::Relaxed);
    let temporary = blob.with_extension(format!("{}-{number}.link", std::process::id()));
    std::os::unix::fs::symlink(target, &temporary)?;
    fs::rename(&temporary, path)
}

/// Without links for everybody the file itself goes there, as it does for the hub's
/// own clients.
#[cfg(not(unix))]
fn link_to(_: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    fs::rename(blob, path)
}

/// The name of the blob that a link leads to, if it leads to one of its repository.
pub fn blob_of(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    let blobs = link.parent()?.join(target.parent()?).canonicalize().ok()?;
    let repo = link.ancestors().find(|dir| dir.file_name().is_some_and(|n| n == "snapshots"))?.parent()?;
    let is_blob = repo.join("blobs").canonicalize().is_ok_and(|there| there == blobs);
    is_blob.then(|| target.file_name()?.to_str().map(Into::into))?
}

/// Files and links in a folder and the folders in it, with their names from there.
/// Links to folders are not followed.
pub fn walk(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), dir.to_path_buf(), 0)];
    while let Some((prefix, dir, depth)) = open.pop() {
        for (name, path) in entries(&dir) {
            let name = format!("{prefix}{name}");
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() && depth < DEPTH => open.push((name + "/", path, depth + 1)),
                Ok(there) if !there.is_dir() => found.push((name, path)),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// What others have linked stays there while it is linked again.
    #[test]
    fn many_link_the_same_at_once() {
        let repo = tempfile::tempdir().unwrap();
        fs::create_dir(repo.path().join("blobs")).unwrap();
        let blob = repo.path().join("blobs").join("b10b");
        fs::write(&blob, "weights").unwrap();
        let commit = "1".repeat(40);
        let path = repo.path().join("snapshots").join(&commit).join("a.gguf");
        for _ in 0..50 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        Snapshot::link(repo.path(), &commit, "a.gguf", &blob).unwrap();
                        assert_eq!(fs::read(&path).unwrap(), b"weights");
                    });
                }
            });
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_dir(repo.path().join("blobs")).unwrap().count(), 1);
    }
}
