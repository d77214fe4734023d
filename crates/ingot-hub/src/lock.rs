//! One at a time, among processes. The hub's own clients lock the same files in the
//! same way, so they wait for us and we for them.

use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// A locked file; dropping it unlocks, and so does the end of the process. The file
/// itself stays: removing it would let two in at once.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock; `waiting` is called first if somebody has it.
    pub fn wait(path: &Path, waiting: impl FnOnce()) -> Result<Self> {
        let mut waiting = Some(waiting);
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    accept(file.lock(), path)?;
                }
                Err(TryLockError::Error(e)) => accept(Err(e), path)?,
                Ok(()) => {}
            }
            // Other programs remove the file when they are done with it: then this is
            // the lock of nothing.
            if is_there(&file) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// True if somebody has the lock.
    pub fn is_held(path: &Path) -> bool {
        let file = File::options().read(true).open(path);
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(Error::io(path))
}

/// Some file systems have no locks. Then two that download the same file at the same
/// time spoil it for each other, which the checksum finds out.
fn accept(locked: io::Result<()>, path: &Path) -> Result<()> {
    match locked {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        locked => locked.map_err(Error::io(path)),
    }
}

#[cfg(unix)]
fn is_there(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

#[cfg(not(unix))]
fn is_there(_: &File) -> bool {
    true // an open file cannot be removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("b.lock");
        let first = Lock::wait(&path, || panic!("nobody has it")).unwrap();
        assert!(Lock::is_held(&path));
        let (waits, told) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::wait(&path, || waits.send(()).unwrap()).map(drop)
        });
        told.recv().unwrap();
        // Whoever removes the file lets nobody in with a lock of nothing.
        fs::remove_file(&path).unwrap();
        drop(first);
        second.join().unwrap().unwrap();
        assert!(path.exists() && !Lock::is_held(&path));
    }
}
