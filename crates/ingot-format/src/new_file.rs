//! Files that appear under their name only when they are complete and on the
//! disk, so that an earlier file of that name is never lost to half a new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is being written under a temporary name beside its own.
///
/// Dropping it without [`NewFile::finish`] leaves nothing behind. What exists
/// and is no regular file (a device, a pipe) cannot be replaced and is written
/// to directly; of a symbolic link the file it leads to is replaced.
pub struct NewFile {
    out: BufWriter<File>,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Begins a file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let special = fs::metadata(&path).is_ok_and(|m| !m.is_file());
        let (file, temporary) = if special {
            (File::options().write(true).open(&path)?, None)
        } else {
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(format!(".{}.partial", std::process::id()));
            let temporary = path.with_file_name(name);
            (File::create(&temporary)?, Some(temporary))
        };
        Ok(Self { out: BufWriter::with_capacity(1 << 20, file), path, temporary })
    }

    /// Lets everybody run the file who may read it, as far as the system knows of that.
    pub fn make_executable(&self) -> io::Result<()> {
        #[cfg(unix)]
        if self.temporary.is_some() {
            use std::os::unix::fs::PermissionsExt;
            let mut permissions = self.out.get_ref().metadata()?.permissions();
            let readable = permissions.mode() & 0o444;
            permissions.set_mode(permissions.mode() | readable >> 2);
            self.out.get_ref().set_permissions(permissions)?;
        }
        Ok(())
    }

    /// Puts the file in place.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.out.get_ref().sync_all()?;
        fs::rename(temporary, &self.path)?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// To go back to a place whose bytes depend on what comes later.
impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Whatever went wrong has been reported to whoever was writing.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_when_finished_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let write = |text: &str, finish| {
            let mut file = NewFile::create(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            if finish { file.finish() } else { Ok(()) }
        };
        write("one", true).unwrap();
        write("two", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write("three", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");
        assert!(NewFile::create(dir.path()).is_err(), "a folder");
        assert!(NewFile::create(&dir.path().join("no/such/folder")).is_err());
    }

    #[test]
    fn places_can_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        file.seek(SeekFrom::Start(3)).unwrap();
        file.write_all(b"xyz").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "012xyz6789");
    }

    #[cfg(unix)]
    #[test]
    fn who_may_read_may_run() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = NewFile::create(&path).unwrap();
        file.make_executable().unwrap();
        file.finish().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, (mode & 0o444) >> 2, "{mode:o}");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_devices_devices() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = NewFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&path).unwrap() == "new");

        let mut null = NewFile::create(Path::new("/dev/null")).unwrap();
        null.write_all(b"gone").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
