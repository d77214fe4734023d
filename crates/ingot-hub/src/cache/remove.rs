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
    /// Links and files to remove; `None` if it is the whole repository.
    files: Option<Vec<PathBuf>>,
    /// Blobs that nothing needs any more then.
    blobs: Vec<PathBuf>,
    /// Bytes that become free.
    pub bytes: u64,
}

impl Cache {
    /// Looks at what belongs to a model: everything of the repository if nothing else
    /// is named, else the files of one model, of all commits unless one is named.
    pub fn removal(&self, of: &Reference) -> Result<Removal> {
        let repo = of.repo.clone();
        let missing = || Error::NotCached { name: of.to_string() };
        let folder = self.folder(&repo);
        match fs::symlink_metadata(&folder) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                let source = io::Error::new(io::ErrorKind::NotADirectory, "expected a folder, not a link");
                return Err(Error::Io { path: folder, source });
            }
            Err(_) => return Err(missing()),
        }
        if entries(&self.locks(&repo)).any(|(_, lock)| Lock::is_held(&lock)) {
            return Err(Error::InUse { name: of.to_string() });
        }
        let files = if of.is_whole_repo() { None } else { Some(self.files_of(of)?) };
        if files.as_ref().is_some_and(|files| files.is_empty()) {
            return Err(missing());
        }
        let snapshots = self.snapshots(&repo);
        let whole = snapshots.iter().flat_map(|s| snapshot::walk(s.dir())).map(|(_, path)| path);
        let whole: BTreeSet<PathBuf> = whole.collect();
        // Without any other model, what is beside models is not needed either.
        let files = files.filter(|files| files.iter().collect::<BTreeSet<_>>() != whole.iter().collect());
        let blobs = match &files {
            None => self.blobs(&repo).into_iter().map(|(name, _)| name).collect(),
            Some(files) => {
                let of = |path: &PathBuf| snapshot::blob_of(path);
                let kept: BTreeSet<String> =
                    whole.iter().filter(|path| !files.contains(path)).filter_map(of).collect();
                let freed: BTreeSet<String> = files.iter().filter_map(of).collect();
                freed.difference(&kept).cloned().collect::<Vec<_>>()
            }
        };
        let blobs: Vec<PathBuf> = blobs.iter().map(|name| folder.join("blobs").join(name)).collect();
        let copies = files.iter().flatten().chain(whole.iter().filter(|_| files.is_none()));
        let size =
            |path: &PathBuf| fs::symlink_metadata(path).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
        let bytes = blobs.iter().chain(copies).map(size).sum();
        Ok(Removal { repo, files, blobs, bytes })
    }

    /// Paths in snapshots that are part of a model.
    fn files_of(&self, of: &Reference) -> Result<Vec<PathBuf>> {
        let all = match of.revision == crate::reference::MAIN {
            true => self.snapshots(&of.repo),
            false => self.snapshots_for(&of.repo, &of.revision),
        };
        let mut files = Vec::new();
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
        let folder = self.folder(&removal.repo);
        let Some(files) = &removal.files else {
            // Names first, so that what is left if this is killed is nothing that could be found.
            for part in ["refs", "snapshots"] {
                remove_folder(&folder.join(part))?;
            }
            remove_folder(&folder)?;
            return remove_folder(&self.locks(&removal.repo));
        };
        for path in files.iter().chain(&removal.blobs) {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(path)(e)),
                _ => {}
            }
        }
        for file in files {
            remove_empty(file, &folder.join("snapshots"));
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
