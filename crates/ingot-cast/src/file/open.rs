//! Opening a cast file: the one that runs, or any other.

use super::error::{Error, Result};
use super::executable::{self, Format, Machine};
use super::index::Index;
use super::{Verification, seal};
use ingot_format::{Bytes, map_file};
use sha2::{Digest, Sha256};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A cast file. Its index is verified, the rest is not yet.
#[derive(Clone, Debug)]
pub struct CastFile {
    path: PathBuf,
    bytes: Bytes,
    index: Index,
    at: Range<usize>,
}

impl CastFile {
    /// The file of the program that runs, if it was cast.
    ///
    /// # Errors
    /// If it was, and its file cannot be read or is not what it was.
    pub fn own() -> Result<Option<Self>> {
        let own = seal::own();
        let path = std::env::current_exe().unwrap_or_else(|_| own_path());
        if seal::read(&own, &path)?.is_none() {
            return Ok(None);
        }
        let unreadable = |e: ingot_format::Error| match e {
            ingot_format::Error::Io { source, .. } => Error::Unreadable(source),
            other => Error::Unreadable(io::Error::other(other.to_string())),
        };
        let bytes = map_file(&own_path()).map_err(unreadable)?;
        let cast = Self::read(&path, bytes, &own)?;
        let in_file = seal::at(&cast.bytes, cast.seal().start);
        match in_file == Some(own) {
            true => Ok(Some(cast)),
            false => Err(Error::damaged(&path, "its program is not the one that runs")),
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, is no ingot, or is damaged. `None` if it is an ingot without a model.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let bytes =
            map_file(path).map_err(|e| Error::no_runtime(path, without_path(path, &e), NAME_ANOTHER))?;
        Self::from_bytes(path, bytes)
    }

    /// Opens a file that is in memory; `path` is for messages. As [`CastFile::open`].
    pub fn from_bytes(path: &Path, bytes: Bytes) -> Result<Option<Self>> {
        executable::recognize(&bytes, path)?;
        match seal::find(&bytes) {
            Some(at) => Self::with_seal(path, bytes, at),
            None => Ok(None),
        }
    }

    /// The cast file in these bytes, whose seal was found at `seal`.
    pub(super) fn with_seal(path: &Path, bytes: Bytes, seal: usize) -> Result<Option<Self>> {
        let Some(found) = seal::at(&bytes, seal) else { return Ok(None) };
        if seal::read(&found, path)?.is_none() {
            return Ok(None);
        }
        let cast = Self::read(path, bytes, &found)?;
        match cast.seal().start == seal {
            true => Ok(Some(cast)),
            false => Err(Error::damaged(path, "its seal is not where the index says")),
        }
    }

    /// What a seal with something in it leads to.
    fn read(path: &Path, bytes: Bytes, seal: &[u8; seal::LEN]) -> Result<Self> {
        let damaged = |what: String| Error::damaged(path, what);
        let written = seal::read(seal, path)?.ok_or_else(|| damaged("its seal is blank".into()))?;
        if written.file != bytes.len() as u64 {
            return Err(damaged(format!(
                "it should have {} bytes, and has {}: the model is not complete",
                written.file,
                bytes.len()
            )));
        }
        // Inside of the file, whose length is a usize.
        let at = written.index.start as usize..written.index.end as usize;
        let text = bytes.get(at.clone()).ok_or_else(|| damaged("its index is outside of it".into()))?;
        if Sha256::digest(text)[..] != written.index_sha256 {
            return Err(damaged("the checksum of its index is wrong".into()));
        }
        let index = Index::parse(text, &written.index, path)?;
        if index.ingot != seal::program(seal) {
            return Err(damaged("program and index are of different versions".into()));
        }
        Ok(Self { path: path.into(), bytes, index, at })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Bytes of the whole file.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a program has bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True if this computer can run it.
    pub fn runs_here(&self) -> bool {
        let (format, machine): (Format, Machine) = (self.index.format, self.index.machine);
        executable::runs_here(format, machine)
    }

    /// The model, a GGUF file, mapped.
    pub fn model(&self) -> Bytes {
        self.bytes.slice(self.model_range()).expect("before the index")
    }

    /// Verifies all of the file's checksums, that of the model as well. `watch` is told how
    /// many bytes of how many are done, and says whether to go on.
    ///
    /// # Errors
    /// If one is wrong; [`Error::Stopped`].
    pub fn verify(&self, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Verification::start_all(self, threads - 1).finish()?;
        self.copy_model(&mut io::sink(), watch)
    }

    /// Writes the model somewhere, and verifies it meanwhile.
    ///
    /// # Errors
    /// If it cannot be written, or is not what it was: then what was written is worth nothing.
    /// [`Error::Stopped`].
    pub fn copy_model(&self, out: &mut dyn io::Write, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<()> {
        const STEP: usize = 1 << 22;
        let model = self.model();
        let mut sha256 = Sha256::new();
        let mut done = 0;
        for part in model.chunks(STEP) {
            out.write_all(part).map_err(|e| Error::io(Path::new("the model's file"), e))?;
            sha256.update(part);
            done += part.len() as u64;
            if !watch(done, self.index.model_bytes) {
                return Err(Error::Stopped);
            }
        }
        match hex(&sha256.finalize()) == self.index.model_sha256 && model.is_intact() {
            true => Ok(()),
            false => Err(Error::damaged(&self.path, "the SHA-256 of its model is wrong")),
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The program alone.
    pub(super) fn runtime(&self) -> Bytes {
        self.bytes.slice(0..self.index.runtime_bytes as usize).expect("before the model")
    }

    /// Where the seal is.
    pub(super) fn seal(&self) -> Range<usize> {
        let start = self.index.seal as usize;
        start..start + seal::LEN
    }

    /// Where the model is.
    pub(super) fn model_range(&self) -> Range<usize> {
        let Range { start, end } = self.index.model();
        debug_assert_eq!(end as usize, self.at.start);
        start as usize..end as usize
    }
}

/// What to do about a path that leads to nothing of use.
const NAME_ANOTHER: &str = "name a file that `ingot cast` made";

/// What the error says beside the path, which our own names already.
pub(super) fn without_path(path: &Path, e: &ingot_format::Error) -> String {
    let text = e.to_string();
    match text.strip_prefix(&format!("{}: ", path.display())) {
        Some(rest) => rest.into(),
        None => text,
    }
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The file of the program that runs, as the system knows it even if it has been moved
/// or replaced since.
pub(super) fn own_path() -> PathBuf {
    match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe().unwrap_or_default(),
    }
}
