//! Removing models. Nothing outside of the cache is touched: links are removed, not
//! followed, and of blobs only those that the cache itself has.

use super::{Cache, entries, snapshot};
use crate::choice::choose;
use crate::lock::Lock;
use crate::{Error, Pick, Reference, Repo, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What removing a model would do.
pub struct Removal {
    repo: Repo,
    /// Whether nothing of the repository would be left.
    everything: bool,
    /// What would be removed from snapshots.
    files: BTreeSet<PathBuf>,
    /// Names of the blobs that nothing would need any more.
    blobs: BTreeSet<String>,
    /// Bytes that would become free.
    pub bytes: u64,
}

impl Cache {
    /// Looks at what belongs to a model: everything of the repository if nothing else
    /// is named, else the files of one model, of all commits unless one is named.
    pub fn removal(&self, of: &Reference) -> Result<Removal> {
        let repo = of.repo.clone();
        let missing = || Error::NotCached { name: of.to_string() };
        let folder = self.folder(&repo);
        // A link would lead out of the cache.
        let parts = ["refs", "snapshots", "blobs"].map(|part| folder.join(part));
        for path in std::iter::once(folder.clone()).chain(parts) {
            match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() => {}
                Ok(_) => {
                    let source =
                        io::Error::new(io::ErrorKind::NotADirectory, "expected a folder, not a link");
                    return Err(Error::Io { path, source });
                }
                Err(_) if path == folder => return Err(missing()),
                Err(_) => {}
            }
        }
        if entries(&self.locks(&repo)).any(|(_, lock)| Lock::is_held(&lock)) {
            return Err(Error::InUse { name: of.to_string() });
        }
        let there = self.snapshots(&repo);
        let there = there.iter().flat_map(|snapshot| snapshot::walk(snapshot.dir())).map(|(_, path)| path);
        let there: BTreeSet<PathBuf> = there.collect();
        let stored: BTreeSet<String> = self.blobs(&repo).into_iter().map(|(name, _)| name).collect();

        let whole = of.is_whole_repo();
        let files = if whole { there.clone() } else { self.files_of(of)? };
        if files.is_empty() && !whole {
            return Err(missing());
        }
        let linked = |paths: &BTreeSet<PathBuf>| -> BTreeSet<String> {
            paths.iter().filter_map(|path| snapshot::blob_of(path)).collect()
        };
        let blobs = if whole { stored.clone() } else { &linked(&files) - &linked(&(&there - &files)) };
        // Parts of other models may still be on their way.
        let everything = whole || files == there && blobs.is_superset(&stored);

        let blob = |name: &String| folder.join("blobs").join(name);
        let size =
            |path: PathBuf| fs::symlink_metadata(path).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
        let bytes = blobs.iter().map(blob).chain(files.iter().cloned()).map(size).sum();
        Ok(Removal { repo, everything, files, blobs, bytes })
    }

    /// Paths in snapshots that are part of a model.
    fn files_of(&self, of: &Reference) -> Result<BTreeSet<PathBuf>> {
        let all = match of.revision == crate::reference::MAIN {
            true => self.snapshots(&of.repo),
            false => self.snapshots_for(&of.repo, &of.revision),
        };
        let mut files = BTreeSet::new();
        for snapshot in all {
            let names = snapshot.names();
            let path = |name: &String| snapshot.dir().join(name);
            match choose(&names, of) {
                _ if of.pick == Pick::Default => {
                    files.extend(snapshot::walk(snapshot.dir()).into_iter().map(|(_, path)| path));
                }
                Ok(variant) => files.extend(variant.files.iter().map(path)),
                Err(error @ Error::Ambiguous { .. }) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(files)
    }

    /// Does it.
    pub fn remove(&self, removal: &Removal) -> Result<()> {
        let Removal { repo, everything, files, blobs, .. } = removal;
        let folder = self.folder(repo);
        if *everything {
            // Names first, so that what is left if this is killed is nothing that could be found.
            for part in ["refs", "snapshots"] {
                remove_folder(&folder.join(part))?;
            }
            remove_folder(&folder)?;
            return remove_folder(&self.locks(repo));
        }
        let blobs = blobs.iter().map(|name| folder.join("blobs").join(name));
        for path in files.iter().cloned().chain(blobs) {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(&path)(e)),
                _ => {}
            }
        }
        let snapshots = folder.join("snapshots");
        for file in files {
            remove_empty(file, &snapshots);
        }
        for (name, commit) in self.refs(repo) {
            if !snapshots.join(commit).exists() {
                let path = folder.join("refs").join(name);
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

/// Removes a folder and all in it. Links in it are removed, not followed.
fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(e)),
        _ => Ok(()),
    }
}

/// Removes the folders above `file` that are empty now, up to `end`.
fn remove_empty(file: &Path, end: &Path) {
    for folder in file.ancestors().skip(1).take_while(|folder| *folder != end) {
        if fs::remove_dir(folder).is_err() {
            return; // something else is in it
        }
    }
}
