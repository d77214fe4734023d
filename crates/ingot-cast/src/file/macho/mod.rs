//! Putting data into a Mach-O program, and signing it again.
//!
//! A Mach-O file must end with its last segment, `__LINKEDIT`, and that segment with
//! the signature, or macOS will not run it. So the data goes where linkers put names:
//! the string table is the last thing before the signature and is made longer. Nobody looks
//! at the end of it, as no symbol's name is there. The segment grows with it, and the signature
//! comes after it: one of no identity ("ad hoc"), as linkers write it, which is the checksum
//! of every page.
//!
//! Offsets into `__LINKEDIT` are numbers of 32 bits, so such a file has less than 4 GiB.

mod read;
mod signature;

pub(super) use read::MachO;
pub(super) use signature::{PAGE, Signature, page_hash};
use std::ops::Range;

/// What follows the data in a program that data is put into, and what changes in its
/// beginning.
#[derive(Debug)]
pub(super) struct Ending {
    /// Numbers in the load commands that change: where, and their bytes.
    pub patches: Vec<(usize, Vec<u8>)>,
    /// The signature, still without checksums.
    pub signature: Signature,
}

/// The largest file whose offsets are numbers of 32 bits.
pub(super) const LARGEST: u64 = u32::MAX as u64;

impl Ending {
    /// The end of a program whose string table goes on to `data_end`, under this name.
    /// `None` if it becomes too long.
    pub fn plan(program: &MachO, data_end: u64, name: &str) -> Option<Self> {
        // At least one zero at the end, as after every string.
        let start = (data_end + 1).next_multiple_of(16);
        let signature = Signature::new(start.try_into().ok()?, name, program.text.clone());
        let end = start + signature.len() as u64;
        if end > LARGEST {
            return None;
        }
        let mut patches = Vec::new();
        let mut set32 = |at: usize, value: u64| patches.push((at, (value as u32).to_le_bytes().to_vec()));
        set32(program.symtab + STRSIZE, start - program.strings.start);
        set32(program.code_signature + DATAOFF, start);
        set32(program.code_signature + DATASIZE, signature.len() as u64);
        let bytes = end - program.linkedit_start;
        patches.push((program.linkedit + FILESIZE, bytes.to_le_bytes().to_vec()));
        patches
            .push((program.linkedit + VMSIZE, bytes.next_multiple_of(SEGMENT_ALIGN).to_le_bytes().to_vec()));
        Some(Self { patches, signature })
    }

    /// Where in the file the signature is.
    pub fn range(&self) -> Range<u64> {
        let start = self.signature.start as u64;
        start..start + self.signature.len() as u64
    }
}

/// Pages of Apple's processors.
const SEGMENT_ALIGN: u64 = 1 << 14;

// Where in load commands numbers are, from the beginning of the command.
const STRSIZE: usize = 20;
const DATAOFF: usize = 8;
const DATASIZE: usize = 12;
const VMSIZE: usize = 32;
const FILESIZE: usize = 48;

#[cfg(test)]
mod tests;
