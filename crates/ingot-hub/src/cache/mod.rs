//! The folder that all clients of the hub share; the crate's documentation shows
//! what is where in it.

mod remove;
mod snapshot;

use crate::checksum::Checksum;
use crate::choice::{Variant, choose, variants};
use crate::download::incomplete;
use crate::reference::{MAIN, is_commit};
use crate::{Error, Pulled, Reference, Repo, Result};
use snapshot::Snapshot;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The cache of one computer.
pub struct Cache {
    root: PathBuf,
}

/// A model that is complete.
#[derive(Clone, Debug)]
pub struct CachedModel {
    /// How to ask for it.
    pub name: Reference,
    /// What to open: a file or a folder.
    pub path: PathBuf,
    /// `Q4_K_M` and the like, or `safetensors`, if the name tells.
    pub label: Option<String>,
    /// Bytes.
    pub size: u64,
    /// When it was last read, as far as the system notes that.
    pub used: Option<SystemTime>,
}

impl Cache {
    /// A cache in this folder, which need not exist.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The model, if it is complete.
    pub fn find(&self, wanted: &Reference) -> Option<PathBuf> {
        let (snapshot, variant) = self.complete(wanted)?;
        Some(self.opened(&wanted.repo, snapshot.commit(), &variant.main))
    }

    /// The model as a pull would leave it, if it is complete.
    pub(crate) fn pulled(&self, wanted: &Reference) -> Option<Pulled> {
        let (snapshot, variant) = self.complete(wanted)?;
        let size = |file: &String| fs::metadata(snapshot.dir().join(file)).map_or(0, |data| data.len());
        Some(Pulled {
            path: self.opened(&wanted.repo, snapshot.commit(), &variant.main),
            commit: snapshot.commit().into(),
            files: variant.files.len(),
            bytes: variant.files.iter().map(size).sum(),
            downloaded: 0,
            offline: true,
        })
    }

    /// The first snapshot in which the model is complete.
    fn complete(&self, wanted: &Reference) -> Option<(Snapshot, Variant)> {
        self.snapshots_for(&wanted.repo, &wanted.revision).into_iter().find_map(|snapshot| {
            let variant = choose(&snapshot.names(), wanted).ok().filter(|variant| variant.complete)?;
            Some((snapshot, variant))
        })
    }

    /// All models that are complete.
    pub fn models(&self) -> Vec<CachedModel> {
        self.repos().iter().flat_map(|repo| self.models_of(repo)).collect()
    }

    fn models_of(&self, repo: &Repo) -> Vec<CachedModel> {
        let mut seen = BTreeSet::new();
        let mut models = Vec::new();
        for revision in self.revisions(repo) {
            for snapshot in self.snapshots_for(repo, &revision) {
                let all = variants(&snapshot.names());
                for variant in all.iter().filter(|variant| variant.complete) {
                    let name = Reference {
                        repo: repo.clone(),
                        revision: revision.clone(),
                        pick: variant.pick(&all),
                    };
                    if seen.insert(name.to_string()) {
                        models.push(self.model(name, &snapshot, variant));
                    }
                }
            }
        }
        models
    }

    fn model(&self, name: Reference, snapshot: &Snapshot, variant: &Variant) -> CachedModel {
        let data = |file: &String| fs::metadata(snapshot.dir().join(file)).ok();
        let data: Vec<_> = variant.files.iter().filter_map(data).collect();
        CachedModel {
            path: self.opened(&name.repo, snapshot.commit(), &variant.main),
            label: variant.label.clone(),
            size: data.iter().map(|file| file.len()).sum(),
            used: data.iter().filter_map(|file| file.accessed().ok()).max(),
            name,
        }
    }

    /// Repositories with something that no snapshot has: parts of files, and whole
    /// files of models that are not complete. With their bytes.
    pub fn unfinished(&self) -> Vec<(Repo, u64)> {
        let of = |repo: Repo| {
            let linked: BTreeSet<String> =
                self.snapshots(&repo).iter().flat_map(|snapshot| snapshot.blobs()).collect();
            let loose = self.blobs(&repo).into_iter().filter(|(name, _)| !linked.contains(name));
            (repo, loose.map(|(_, size)| size).sum::<u64>())
        };
        self.repos().into_iter().map(of).filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Repositories with a folder here.
    fn repos(&self) -> Vec<Repo> {
        let mut repos: Vec<Repo> =
            entries(&self.root).filter_map(|(name, _)| Repo::of_folder(&name)).collect();
        repos.sort();
        repos
    }

    /// Names under which snapshots can be asked for: the main branch first, last the
    /// commits that have no other name.
    fn revisions(&self, repo: &Repo) -> Vec<String> {
        let mut revisions: Vec<String> = self.refs(repo).into_iter().map(|(name, _)| name).collect();
        revisions.sort_by_key(|name| name != MAIN);
        if !revisions.iter().any(|name| name == MAIN) {
            revisions.extend(self.nameless(repo).iter().map(|snapshot| snapshot.commit().to_string()));
        }
        revisions
    }

    /// Where a revision's models are looked for. A model that was pulled before the
    /// main branch went on is still a model of the main branch.
    fn snapshots_for(&self, repo: &Repo, revision: &str) -> Vec<Snapshot> {
        let commit = self.refs(repo).into_iter().find(|(name, _)| name == revision).map(|(_, commit)| commit);
        let Some(commit) = commit.or_else(|| is_commit(revision).then(|| revision.into())) else {
            return Vec::new();
        };
        let earlier = if revision == MAIN { self.nameless(repo) } else { Vec::new() };
        Snapshot::open(&self.folder(repo), &commit).into_iter().chain(earlier).collect()
    }

    /// Snapshots of commits that no branch or tag is now, the newest first.
    fn nameless(&self, repo: &Repo) -> Vec<Snapshot> {
        let named: Vec<String> = self.refs(repo).into_iter().map(|(_, commit)| commit).collect();
        let mut snapshots = self.snapshots(repo);
        snapshots.retain(|snapshot| !named.iter().any(|commit| commit == snapshot.commit()));
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.changed()));
        snapshots
    }

    fn snapshots(&self, repo: &Repo) -> Vec<Snapshot> {
        let folder = self.folder(repo);
        let commits = entries(&folder.join("snapshots")).map(|(name, _)| name);
        commits.filter_map(|commit| Snapshot::open(&folder, &commit)).collect()
    }

    /// Branches and tags, and the commits that they are.
    fn refs(&self, repo: &Repo) -> Vec<(String, String)> {
        let files = snapshot::walk(&self.folder(repo).join("refs"));
        let read = |(name, path): (String, PathBuf)| {
            let file = fs::metadata(&path).ok().filter(|file| file.len() < 1024)?;
            let commit = file.is_file().then(|| fs::read_to_string(&path).ok())??;
            let commit = commit.trim();
            is_commit(commit).then(|| (name, commit.to_string()))
        };
        files.into_iter().filter_map(read).collect()
    }

    /// Names and sizes of blobs, parts as well.
    fn blobs(&self, repo: &Repo) -> Vec<(String, u64)> {
        let blobs = entries(&self.folder(repo).join("blobs"));
        blobs.filter_map(|(name, path)| Some((name, fs::symlink_metadata(path).ok()?.len()))).collect()
    }

    fn folder(&self, repo: &Repo) -> PathBuf {
        self.root.join(repo.folder())
    }

    fn locks(&self, repo: &Repo) -> PathBuf {
        self.root.join(".locks").join(repo.folder())
    }

    fn blob(&self, repo: &Repo, checksum: &Checksum) -> PathBuf {
        self.folder(repo).join("blobs").join(checksum.hex())
    }

    /// The file that is locked while a blob is brought.
    pub(crate) fn lock_of(&self, repo: &Repo, checksum: &Checksum) -> PathBuf {
        self.locks(repo).join(format!("{}.lock", checksum.hex()))
    }

    /// Where a blob is or will be, in a folder that exists.
    pub(crate) fn prepare_blob(&self, repo: &Repo, checksum: &Checksum) -> Result<PathBuf> {
        let blob = self.blob(repo, checksum);
        let folder = self.folder(repo).join("blobs");
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(blob)
    }

    /// True if a blob is there. Blobs get their names when they are complete, so
    /// another size is the doing of something else, and the blob is brought again.
    pub(crate) fn has_blob(&self, repo: &Repo, checksum: &Checksum, size: u64) -> bool {
        fs::metadata(self.blob(repo, checksum)).is_ok_and(|blob| blob.is_file() && blob.len() == size)
    }

    /// Bytes that need not be brought any more.
    pub(crate) fn bytes_of(&self, repo: &Repo, checksum: &Checksum, size: u64) -> u64 {
        match self.has_blob(repo, checksum, size) {
            true => size,
            false => fs::symlink_metadata(incomplete(&self.blob(repo, checksum)))
                .map_or(0, |part| if part.is_file() && part.len() <= size { part.len() } else { 0 }),
        }
    }

    /// What to open of a snapshot: a file, or all of it if `main` is empty.
    pub(crate) fn opened(&self, repo: &Repo, commit: &str, main: &str) -> PathBuf {
        let snapshot = self.folder(repo).join("snapshots").join(commit);
        if main.is_empty() { snapshot } else { snapshot.join(main) }
    }

    /// Puts a blob into a snapshot under its name.
    pub(crate) fn link(&self, repo: &Repo, commit: &str, name: &str, checksum: &Checksum) -> Result<()> {
        Snapshot::link(&self.folder(repo), commit, name, &self.blob(repo, checksum))
    }

    /// Remembers which commit a branch or tag is now.
    pub(crate) fn set_ref(&self, of: &Reference, commit: &str) -> Result<()> {
        if of.revision == commit {
            return Ok(());
        }
        let path = self.folder(&of.repo).join("refs").join(&of.revision);
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = self.folder(&of.repo).join(format!("ref.{}.partial", std::process::id()));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        fs::write(&temporary, commit).map_err(Error::writing(&temporary, commit.len() as u64))?;
        fs::rename(&temporary, &path).map_err(Error::io(&path))
    }
}

/// Names and paths in a folder; nothing if there is none.
fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}
