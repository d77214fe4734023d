//! The signature of a Mach-O program that nobody signs for: a directory of the checksums
//! of its pages. The layout is that of LLVM's linker, to the byte. Numbers are
//! big-endian.

use sha2::{Digest, Sha256};
use std::ops::Range;

/// Bytes of the file under one checksum.
pub const PAGE: usize = 1 << PAGE_SHIFT;

const PAGE_SHIFT: u8 = 12;
const HASH: usize = 32;
/// The list of blobs, which has one entry, and what aligns the blob.
const LIST: usize = 24;
const DIRECTORY: usize = 88;

const EMBEDDED_SIGNATURE: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// The version that knows which part of the file is code.
const VERSION: u32 = 0x2_0400;
/// Signed by nobody, and by the linker: so that `codesign` replaces it without being forced to.
const ADHOC_LINKER_SIGNED: u32 = 0x2_0002;
const SHA256: u8 = 2;
const MAIN_BINARY: u64 = 1;

/// A signature, but for the checksums.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Where it begins, which is where what it signs ends.
    pub start: u32,
    name: String,
    text: Range<u64>,
}

impl Signature {
    /// The signature at `start` of a program with this name and this code.
    pub fn new(start: u32, name: &str, text: Range<u64>) -> Self {
        Self { start, name: name.into(), text }
    }

    /// Number of pages it signs.
    pub fn pages(&self) -> usize {
        (self.start as usize).div_ceil(PAGE)
    }

    /// Everything before the checksums.
    fn headers(&self) -> usize {
        (LIST + DIRECTORY + self.name.len() + 1).next_multiple_of(16)
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.headers() + self.pages() * HASH
    }

    /// The bytes, with the checksums of all pages, the last of which may be shorter.
    pub fn to_bytes(&self, pages: &[[u8; HASH]]) -> Vec<u8> {
        assert_eq!(pages.len(), self.pages(), "a checksum for every page");
        let mut out = Vec::with_capacity(self.len());
        let mut words = |words: &[u32]| out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        let first_blob = LIST as u32;
        words(&[EMBEDDED_SIGNATURE, self.len() as u32, 1, 0, first_blob, 0]);
        words(&[CODE_DIRECTORY, (self.len() - LIST) as u32, VERSION, ADHOC_LINKER_SIGNED]);
        words(&[(self.headers() - LIST) as u32, DIRECTORY as u32]); // where checksums and name are
        words(&[0, self.pages() as u32, self.start]); // no special slots
        out.extend([HASH as u8, SHA256, 0, PAGE_SHIFT]);
        out.extend([0; 4 * 4 + 8]); // not used; the limit in 64 bits, which counts if it is not 0
        for number in [self.text.start, self.text.end - self.text.start, MAIN_BINARY] {
            out.extend(number.to_be_bytes());
        }
        out.extend(self.name.as_bytes());
        out.resize(self.headers(), 0);
        pages.iter().for_each(|hash| out.extend(hash));
        out
    }
}

/// The checksum of a page.
pub fn page_hash(page: &[u8]) -> [u8; HASH] {
    Sha256::digest(page).into()
}
