//! The few things of a Mach-O file that matter when it is made longer.

use crate::file::error::{Error, Result};
use crate::file::executable::Machine;
use std::ops::Range;
use std::path::Path;

/// A Mach-O program of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachO {
    /// The processor it is for.
    pub machine: Machine,
    /// Where the load command of `__LINKEDIT` is.
    pub linkedit: usize,
    /// Where the segment itself begins.
    pub linkedit_start: u64,
    /// Where the load command of the symbol table is.
    pub symtab: usize,
    /// Where its names are.
    pub strings: Range<u64>,
    /// Where the load command of the signature is.
    pub code_signature: usize,
    /// Where the signature is, which the file ends with.
    pub signature: Range<u64>,
    /// Where the program's code is: the segment `__TEXT`.
    pub text: Range<u64>,
}

const HEADER: usize = 32;
const MH_EXECUTE: u32 = 2;
const LC_SYMTAB: u32 = 0x2;
const LC_SEGMENT_64: u32 = 0x19;
const LC_CODE_SIGNATURE: u32 = 0x1d;

/// What a program that cannot be understood may be replaced with.
const USUAL: &str = "--runtime takes an ingot as it was linked for macOS";
const SIGN: &str = "sign it first: `codesign -s - FILE` on a Mac, or a linker that does so (lld, Apple's)";

struct Segment {
    at: usize,
    name: [u8; 16],
    memory: Range<u64>,
    file: Range<u64>,
}

impl MachO {
    /// Looks at a file that begins with the magic number of Mach-O of 64 bits.
    ///
    /// # Errors
    /// If it is not a whole program in the usual order: `__LINKEDIT` last, in which the signature
    /// is last and the names of symbols are before it.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let odd = |what: &str| Error::no_runtime(path, format!("a Mach-O file {what}"), USUAL);
        let word = |at: usize| word(bytes, at).ok_or_else(|| odd("that ends in its load commands"));
        let machine = match word(4)? {
            0x0100_0007 => Machine::X86_64,
            0x0100_000c => Machine::Aarch64,
            _ => return Err(odd("for another processor")),
        };
        if word(12)? != MH_EXECUTE {
            return Err(odd("that is no program"));
        }
        let (count, end) = (word(16)?, HEADER + word(20)? as usize);
        let (mut segments, mut symtab, mut code_signature) = (Vec::new(), None, None);
        let mut at = HEADER;
        for _ in 0..count {
            let (command, size) = (word(at)?, word(at + 4)? as usize);
            // In a program nothing has less than 8 bytes; so there are no more commands than bytes.
            if size < 8 || size > end.saturating_sub(at) {
                return Err(odd("whose load commands have impossible sizes"));
            }
            match command {
                LC_SEGMENT_64 if size >= 72 => segments.extend(segment(bytes, at)),
                LC_SYMTAB if size >= 24 => symtab = Some(at),
                LC_CODE_SIGNATURE if size >= 16 => code_signature = Some(at),
                _ => {}
            }
            at += size;
        }
        let named =
            |name: &[u8]| segments.iter().find(|s| s.name.starts_with(name) && s.name[name.len()] == 0);
        let linkedit = named(b"__LINKEDIT").ok_or_else(|| odd("without a segment __LINKEDIT"))?;
        let text = named(b"__TEXT").ok_or_else(|| odd("without a segment __TEXT"))?;
        let symtab = symtab.ok_or_else(|| odd("without a symbol table"))?;
        let code_signature = code_signature
            .ok_or_else(|| Error::no_runtime(path, "a program for macOS without a signature", SIGN))?;
        let range = |at: usize| -> Result<Range<u64>> {
            let start = u64::from(word(at)?);
            Ok(start..start + u64::from(word(at + 4)?))
        };
        let (strings, signature) = (range(symtab + 16)?, range(code_signature + 8)?);

        let file = bytes.len() as u64;
        let last = segments.iter().all(|s| s.at == linkedit.at || s.memory.end <= linkedit.memory.start);
        if linkedit.file.end != file || signature.end != file || !last {
            return Err(odd("that does not end with its signature, or has a segment after __LINKEDIT"));
        }
        // Linkers leave a few bytes so that the signature is aligned.
        let gap = signature.start.checked_sub(strings.end);
        if strings.start < linkedit.file.start || gap.is_none_or(|gap| gap >= 16) {
            return Err(odd("whose string table is not right before its signature"));
        }
        if text.file.end > linkedit.file.start || text.file.start != 0 || (text.file.end as usize) < end {
            return Err(odd("whose segment __TEXT is not its beginning"));
        }
        Ok(Self {
            machine,
            linkedit: linkedit.at,
            linkedit_start: linkedit.file.start,
            symtab,
            strings,
            code_signature,
            signature,
            text: text.file.clone(),
        })
    }
}

/// The segment of the load command at `at`, whose 72 bytes are there.
fn segment(bytes: &[u8], at: usize) -> Option<Segment> {
    let number = |offset: usize| Some(u64::from_le_bytes(*bytes.get(at + offset..)?.first_chunk()?));
    let range = |start: u64, len: u64| Some(start..start.checked_add(len)?);
    Some(Segment {
        at,
        name: *bytes.get(at + 8..)?.first_chunk()?,
        memory: range(number(24)?, number(32)?)?,
        file: range(number(40)?, number(48)?)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
