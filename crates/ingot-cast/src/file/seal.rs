//! The place in a program where it is written down that a model lies behind it.
//!
//! It is found in a file by its magic, of which there must be no second copy: so
//! whoever needs the magic reads it from the seal itself, with reads the compiler has to leave
//! as they are, and compares it with its complement.

use super::error::{Error, Result};
use memchr::memmem;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;

/// Version of the whole container: of the seal, the index, and what is between them.
pub(super) const VERSION: u32 = 1;

/// Bytes of a seal.
pub(super) const LEN: usize = 128;

const MAGIC: Range<usize> = 0..16;
/// The version of ingot that the program is, padded with zeros. Never changed.
const PROGRAM: Range<usize> = 16..40;
/// From here on zeros until the program is cast.
const CONTAINER: Range<usize> = 40..44;
const INDEX_START: Range<usize> = 48..56;
const INDEX_LEN: Range<usize> = 56..64;
const FILE_LEN: Range<usize> = 64..72;
const INDEX_SHA256: Range<usize> = 72..104;

/// The magic with all bits turned over.
const COMPLEMENT: [u8; 16] =
    [0x76, 0xf1, 0x98, 0x90, 0x8b, 0x72, 0x8c, 0x9a, 0x9e, 0x93, 0x60, 0xe3, 0x1d, 0x4a, 0xd5, 0x39];

#[used]
static SEAL: [u8; LEN] = blank();

const fn blank() -> [u8; LEN] {
    let mut seal = [0; LEN];
    let mut i = 0;
    while i < COMPLEMENT.len() {
        seal[i] = !COMPLEMENT[i];
        i += 1;
    }
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    assert!(version.len() <= PROGRAM.end - PROGRAM.start);
    let mut i = 0;
    while i < version.len() {
        seal[PROGRAM.start + i] = version[i];
        i += 1;
    }
    seal
}

/// The seal of the running program, as it is in its file.
pub(super) fn own() -> [u8; LEN] {
    // SAFETY: a static is always readable. The compiler must not believe that it
    // knows what is there.
    unsafe { std::ptr::read_volatile(&SEAL) }
}

/// Where the first seal in a file is: that of its program, which comes before anything else.
pub(super) fn find(image: &[u8]) -> Option<usize> {
    memmem::find(image, &own()[MAGIC]).filter(|at| at + LEN <= image.len())
}

/// The seal that [`find`] has found there.
pub(super) fn at(image: &[u8], at: usize) -> Option<[u8; LEN]> {
    image.get(at..)?.first_chunk().copied()
}

/// True if there is another seal in the rest of the image.
pub(super) fn has_another(image: &[u8], at: usize) -> bool {
    image.get(at + LEN..).is_some_and(|rest| find(rest).is_some())
}

/// The version of ingot that the program with this seal is.
pub(super) fn program(seal: &[u8; LEN]) -> String {
    let text = seal[PROGRAM].split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).replace(char::is_control, "\u{fffd}")
}

/// What is written into a program when it is cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Where the index is in the file.
    pub index: Range<u64>,
    /// What its checksum must be.
    pub index_sha256: [u8; 32],
    /// Bytes of the file.
    pub file: u64,
}

/// What is written in a seal; `None` if it is blank.
///
/// # Errors
/// If it contradicts itself, or is of another version.
pub(super) fn read(seal: &[u8; LEN], path: &Path) -> Result<Option<Written>> {
    let magic_is_right = seal[MAGIC].iter().zip(black_box(&COMPLEMENT)).all(|(a, b)| *a == !b);
    let bad = |what: &str| Error::damaged(path, what);
    let padding = seal[PROGRAM].iter().skip_while(|&&b| b != 0);
    if !magic_is_right || padding.into_iter().any(|&b| b != 0) {
        return Err(bad("the program's seal is not one"));
    }
    if seal[CONTAINER.start..].iter().all(|&b| b == 0) {
        return Ok(None);
    }
    let number = |range: Range<usize>| u64::from_le_bytes(seal[range].try_into().expect("8 bytes"));
    let container = u32::from_le_bytes(seal[CONTAINER].try_into().expect("4 bytes"));
    if container != VERSION {
        return Err(Error::Version { path: path.into(), found: container, known: VERSION });
    }
    let (start, len, file) = (number(INDEX_START), number(INDEX_LEN), number(FILE_LEN));
    let end = start.checked_add(len).filter(|end| *end <= file);
    let index = start..end.ok_or_else(|| bad("the program's seal contradicts itself"))?;
    let index_sha256 = seal[INDEX_SHA256].try_into().expect("32 bytes");
    let written = Written { index, index_sha256, file };
    match fill(seal, &written) == *seal {
        true => Ok(Some(written)),
        false => Err(bad("the program's seal has something in it that does not belong there")),
    }
}

/// A seal without what was written into it.
pub(super) fn erase(seal: &[u8; LEN]) -> [u8; LEN] {
    let mut blank = *seal;
    blank[CONTAINER.start..].fill(0);
    blank
}

/// A seal with this written into it.
pub(super) fn fill(seal: &[u8; LEN], written: &Written) -> [u8; LEN] {
    let mut filled = erase(seal);
    filled[CONTAINER].copy_from_slice(&VERSION.to_le_bytes());
    filled[INDEX_START].copy_from_slice(&written.index.start.to_le_bytes());
    filled[INDEX_LEN].copy_from_slice(&(written.index.end - written.index.start).to_le_bytes());
    filled[FILE_LEN].copy_from_slice(&written.file.to_le_bytes());
    filled[INDEX_SHA256].copy_from_slice(&written.index_sha256);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Written {
        Written { index: 1000..1234, index_sha256: [7; 32], file: 5000 }
    }

    #[test]
    fn a_program_that_was_not_cast_has_a_blank_one() {
        assert_eq!(read(&own(), Path::new("x")).unwrap(), None);
        assert_eq!(program(&own()), env!("CARGO_PKG_VERSION"));
        assert_eq!(erase(&own()), own());
    }

    #[test]
    fn what_is_written_is_read() {
        let seal = fill(&own(), &written());
        assert_eq!(read(&seal, Path::new("x")).unwrap(), Some(written()));
        assert_eq!(erase(&seal), own());
    }

    #[test]
    fn no_bit_of_a_filled_one_can_change_unnoticed() {
        let seal = fill(&own(), &written());
        for bit in (0..LEN * 8).filter(|bit| !PROGRAM.contains(&(bit / 8))) {
            let mut flipped = seal;
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Refused, or other numbers, which will not fit the file.
            assert_ne!(read(&flipped, Path::new("x")).ok(), Some(Some(written())), "bit {bit}");
            assert_ne!(read(&flipped, Path::new("x")).ok(), Some(None), "bit {bit}: seems blank");
        }
    }

    #[test]
    fn there_is_exactly_one_in_a_program() {
        let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let at = find(&image).unwrap();
        assert_eq!(image[at..at + LEN], own());
        assert!(!has_another(&image, at));
    }
}
