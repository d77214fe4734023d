//! Read-only memory maps of model files that survive the file's truncation.
//!
//! Weights are used straight from the map, so every kernel may touch any page at
//! any time. If somebody shortens the file meanwhile (a download restarted over
//! a running model), the next touch of a page past the new end raises SIGBUS on
//! Unix and would kill the process, with every session in it. [`guard`] turns
//! that into zeros plus a flag, which the engine asks for after a step
//! ([`Bytes::is_intact`]) and reports as an ordinary error.
//!
//! A file changed in place is not detected. Its weights are plain numbers, so the
//! harm is wrong logits. Names, shapes and ranges are checked and copied when the
//! file is opened; strings and arrays in the metadata are checked whenever they
//! are decoded, and should be copied by who keeps them.

mod guard;

use std::{fs, ops::Range, path::Path};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::{Bytes, Error, Result};

/// Maps a whole file read-only. Directories, devices, pipes and empty files are
/// errors that say so.
pub fn map_file(path: &Path) -> Result<Bytes> {
    // Before opening: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        return Err(Error::malformed("is a directory, expected a file").in_file(path));
    }
    if !metadata.is_file() {
        return Err(Error::malformed("is not a regular file, so it cannot be mapped").in_file(path));
    }
    let file = fs::File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().map_err(|e| Error::io(path, e))?.len() == 0 {
        return Err(Error::malformed("is empty (0 bytes)").in_file(path));
    }
    // SAFETY: the map is only ever read as plain bytes. Another process can still
    // change or truncate the file; the module header says what happens then.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
    let guard = guard::Guard::new(map.as_ptr().addr(), map.len())
        .ok_or_else(|| Error::unsupported("too many files are mapped at the same time").in_file(path))?;
    Ok(Bytes::from_mapping(Mapping { guard, map }))
}

/// A mapped file and its entry in the table of guarded ranges. The order of the
/// fields matters: the range must leave the table before it is unmapped.
pub(crate) struct Mapping {
    guard: guard::Guard,
    map: Mmap,
}

impl Mapping {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.guard.is_intact()
    }

    /// Gives a range's pages back to the system.
    pub(crate) fn forget_pages(&self, range: Range<usize>) {
        // SAFETY: nobody writes to the map, so all that goes away can be read again:
        // from the file, or as zeros where the guard has put zeros.
        #[cfg(unix)]
        let _ =
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        #[cfg(not(unix))]
        let _ = range;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_mapped() {
        let dir = std::env::temp_dir();
        assert!(map_file(&dir).unwrap_err().to_string().contains("is a directory"));
        let missing = dir.join("ingot-no-such-file");
        assert_eq!(
            map_file(&missing).unwrap_err().to_string(),
            format!("no such file: {}", missing.display())
        );
        let empty = dir.join(format!("ingot-empty-{}", std::process::id()));
        fs::write(&empty, []).unwrap();
        let error = map_file(&empty).unwrap_err().to_string();
        fs::remove_file(&empty).unwrap();
        assert!(error.contains("is empty"), "{error}");
    }

    #[test]
    fn forgotten_pages_come_back() {
        let path = std::env::temp_dir().join(format!("ingot-forgotten-{}", std::process::id()));
        let data: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
        fs::write(&path, &data).unwrap();
        let bytes = map_file(&path).unwrap();
        assert_eq!(bytes[..], data[..]);
        bytes.slice(5000..200_001).unwrap().forget_pages();
        bytes.slice(7..7).unwrap().forget_pages();
        assert_eq!(bytes[..], data[..]);
        assert!(bytes.is_intact());
        fs::remove_file(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_truncated_file_reads_as_zeros_and_is_reported() {
        const LEN: usize = 5 << 16; // whole pages for every page size in use
        let path = std::env::temp_dir().join(format!("ingot-truncated-{}", std::process::id()));
        fs::write(&path, vec![7u8; LEN]).unwrap();
        let (cut, whole) = (map_file(&path).unwrap(), map_file(&path).unwrap());
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 16).unwrap();

        assert_eq!(cut[0], 7);
        assert!(cut.is_intact());
        let tail = cut.slice(3 << 16..LEN).unwrap();
        assert!(tail.iter().all(|&b| b == 0));
        assert!(!cut.is_intact() && !tail.is_intact());
        assert!(whole.is_intact(), "the flag belongs to one mapping");
        assert!(Bytes::from(vec![1, 2]).is_intact());
        drop((cut, tail));

        let again = map_file(&path).unwrap();
        assert!(again.is_intact(), "a reused table entry starts clean");
        fs::remove_file(&path).unwrap();
    }
}
