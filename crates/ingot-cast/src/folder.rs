//! Folders that appear under their name only when they are complete.

use crate::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// By what a folder of ours is known: a file in it, and a text in that.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The file.
    pub file: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// A folder that is being filled under a temporary name beside its own. Dropping it without
/// [`NewFolder::finish`] leaves nothing behind.
pub struct NewFolder {
    temporary: PathBuf,
    path: PathBuf,
    mark: Mark,
    force: bool,
}

impl NewFolder {
    /// Begins a folder. What is there may be replaced if it is empty, or with `force` if it has
    /// the mark of ours.
    pub fn create(path: &Path, mark: Mark, force: bool) -> Result<Self, Error> {
        let in_path = |source| Error::Io { path: path.into(), source };
        let path = std::path::absolute(path).map_err(in_path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::Exists { path, ours: false });
        };
        check(&path, mark, force)?;
        let temporary = parent.join(format!(".{}.{}.partial", name.display(), std::process::id()));
        fs::create_dir_all(parent).and_then(|()| fs::create_dir(&temporary)).map_err(in_path)?;
        Ok(Self { temporary, path, mark, force })
    }

    /// Where its files are until it is finished.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.temporary.join(name);
        let folder = path.parent().unwrap_or(&self.temporary);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.map_err(|source| Error::Io { path, source })
    }

    /// Puts the folder in place. What a replaced project has built is kept.
    pub fn finish(self) -> Result<(), Error> {
        let in_path = |source| Error::Io { path: self.path.clone(), source };
        check(&self.path, self.mark, self.force)?; // it took a while
        if !self.path.exists() {
            return fs::rename(&self.temporary, &self.path).map_err(in_path);
        }
        let old = self.temporary.with_extension("old");
        fs::rename(&self.path, &old).map_err(in_path)?;
        if let Err(e) = fs::rename(&self.temporary, &self.path) {
            let _ = fs::rename(&old, &self.path); // back to what was; the first error counts
            return Err(in_path(e));
        }
        let _ = fs::rename(old.join("target"), self.path.join("target")); // there may be none
        fs::remove_dir_all(&old).map_err(in_path)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Whatever went wrong has been reported; after `finish` there is nothing left.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Refuses a path that something else has.
fn check(path: &Path, mark: Mark, force: bool) -> Result<(), Error> {
    if !path.exists() && !path.is_symlink() {
        return Ok(());
    }
    let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let ours = fs::read_to_string(path.join(mark.file)).is_ok_and(|text| text.contains(mark.text));
    match !path.is_symlink() && (is_empty() || ours && force) {
        true => Ok(()),
        false => Err(Error::Exists { path: path.into(), ours }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { file: "Cargo.toml", text: "mark" };

    #[test]
    fn appears_when_finished_and_replaces_only_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("project");
        let make = |force, finish| -> Result<(), Error> {
            let folder = NewFolder::create(&path, MARK, force)?;
            folder.write("src/a.rs", "a")?;
            folder.write("Cargo.toml", "mark")?;
            if finish { folder.finish() } else { Ok(()) }
        };
        make(false, false).unwrap();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap(); // an empty folder is as good as none
        make(false, true).unwrap();
        fs::create_dir(path.join("target")).unwrap();
        fs::write(path.join("note"), "").unwrap();
        assert!(matches!(make(false, true), Err(Error::Exists { ours: true, .. })));
        make(true, true).unwrap();
        assert!(path.join("target").exists() && !path.join("note").exists());
        fs::write(path.join("Cargo.toml"), "[package]").unwrap();
        assert!(matches!(make(true, true), Err(Error::Exists { ours: false, .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary folder is left");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(NewFolder::create(&link, MARK, true), Err(Error::Exists { .. })));
    }
}
