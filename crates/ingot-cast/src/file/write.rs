//! Making a cast file: in one go from the beginning to the end, never much of it in
//! memory, and back once to fill the seal.

use super::checks::PIECE;
use super::error::{Error, Result};
use super::executable::{Format, Runtime};
use super::index::{Contents, Index};
use super::macho::{Ending, LARGEST, MachO, PAGE, page_hash};
use super::open::hex;
use super::seal::{self, Written};
use crc32fast::Hasher;
use ingot_format::{Bytes, NewFile};
use sha2::{Digest, Sha256};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// The model begins on a page, of whatever size the system's are.
const ALIGN: usize = 1 << 14;

/// What a file is to be made of.
pub struct Casting<'a> {
    /// The program.
    pub runtime: &'a Runtime,
    /// The model: a GGUF file.
    pub model: &'a Bytes,
    /// What the file says of itself.
    pub contents: Contents,
}

/// Bytes of a file that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the program alone.
    pub runtime: u64,
    /// Of the model alone.
    pub model: u64,
    /// Of the file.
    pub file: u64,
}

/// Makes the file, which appears under its name when it is complete. `watch` is told how
/// many bytes of how many are written, and says whether to go on.
///
/// # Errors
/// If it cannot be written, or becomes too large for its format; [`Error::Stopped`]. Then nothing
/// is left of it.
pub fn write(casting: &Casting, path: &Path, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<Sizes> {
    let mut plan = Plan::new(casting, path)?;
    let io = |e| Error::io(path, e);
    let file = NewFile::create(path).map_err(io)?;
    file.make_executable().map_err(io)?;
    let mut out = Output {
        file,
        path,
        written: 0,
        total: plan.file,
        pieces: Pieces::new(plan.seal.clone()),
        pages: plan.ending.is_some().then(|| Pages::new(plan.image.len())),
        watch,
    };
    out.write(&plan.image)?;
    let mut sha256 = Sha256::new();
    for part in casting.model.chunks(PIECE) {
        sha256.update(part);
        out.write(part)?;
    }
    if !casting.model.is_intact() {
        return Err(Error::damaged(path, "the model's file was cut while it was read"));
    }
    plan.index.model_sha256 = hex(&sha256.finalize());
    plan.index.piece_crc32 = std::mem::take(&mut out.pieces).finish();
    let index = json(&plan.index);
    let at = out.written..out.written + index.len() as u64;
    out.write(&index)?;

    let index_sha256 = Sha256::digest(&index).into();
    let blank = seal::at(&plan.image, plan.seal.start).expect("found by the runtime");
    let seal = seal::fill(&blank, &Written { index: at, index_sha256, file: plan.file });
    plan.image[plan.seal.clone()].copy_from_slice(&seal);
    if let Some(ending) = &plan.ending {
        out.write(&vec![0; (ending.range().start - out.written) as usize])?;
        let behind = out.pages.take().expect("begun above").finish();
        let pages: Vec<_> = plan.image.chunks(PAGE).map(page_hash).chain(behind).collect();
        out.write(&ending.signature.to_bytes(&pages))?;
    }
    let Output { mut file, written, .. } = out;
    assert_eq!(written, plan.file, "the length that the seal says");
    let seek = file.seek(SeekFrom::Start(plan.seal.start as u64));
    seek.and_then(|_| file.write_all(&seal)).and_then(|()| file.finish()).map_err(io)?;
    Ok(Sizes { runtime: plan.index.runtime_bytes, model: plan.index.model_bytes, file: plan.file })
}

/// A file to be made, of which all sizes are known.
struct Plan {
    /// The program with a blank seal, and the padding behind it.
    image: Vec<u8>,
    seal: Range<usize>,
    /// With zeros for the checksums.
    index: Index,
    /// What comes behind the index; `None` if that is the end.
    ending: Option<Ending>,
    /// Bytes of the file.
    file: u64,
}

impl Plan {
    fn new(casting: &Casting, path: &Path) -> Result<Self> {
        let Runtime { image, format, machine, version, .. } = casting.runtime;
        let program = match format {
            Format::Elf => None,
            Format::MachO => Some(MachO::parse(image, &casting.runtime.path)?),
        };
        let runtime_bytes = program.as_ref().map_or(image.len(), |p| p.strings.end as usize);
        let seal = casting.runtime.seal..casting.runtime.seal + seal::LEN;
        if seal.end > runtime_bytes {
            let what = "its seal is not in its code";
            return Err(Error::no_runtime(&casting.runtime.path, what, "use an ingot as it was linked"));
        }
        let mut image = image[..runtime_bytes].to_vec();
        image.resize(runtime_bytes.next_multiple_of(ALIGN), 0);
        let model_start = image.len() as u64;
        let model_end = model_start + casting.model.len() as u64;
        let index = Index {
            contents: casting.contents.clone(),
            ingot: version.clone(),
            format: *format,
            machine: *machine,
            runtime_bytes: runtime_bytes as u64,
            seal: seal.start as u64,
            model_start,
            model_bytes: casting.model.len() as u64,
            model_sha256: "0".repeat(64),
            piece_bytes: PIECE as u64,
            piece_crc32: "0".repeat(8 * model_end.div_ceil(PIECE as u64) as usize),
        };
        let index_end = model_end + json(&index).len() as u64;
        let ending = match &program {
            None => None,
            Some(program) => {
                let name = identifier(&casting.contents.name);
                Some(Ending::plan(program, index_end, &name).ok_or_else(|| too_large(path, index_end))?)
            }
        };
        if let Some(ending) = &ending {
            ending.patches.iter().for_each(|(at, bytes)| image[*at..][..bytes.len()].copy_from_slice(bytes));
        }
        let blank = seal::erase(&seal::at(&image, seal.start).expect("found by the runtime"));
        image[seal.clone()].copy_from_slice(&blank);
        let file = ending.as_ref().map_or(index_end, |ending| ending.range().end);
        Ok(Self { image, seal, index, ending, file })
    }
}

fn json(index: &Index) -> Vec<u8> {
    serde_json::to_vec(index).expect("an index is JSON")
}

fn too_large(path: &Path, bytes: u64) -> Error {
    let what =
        format!("{bytes} bytes and their signature are too many for a macOS program: at most {LARGEST}");
    Error::no_runtime(path, what, "a smaller type makes the model fit: --quantize q4_k_m, for example")
}

/// The name as identifiers of signatures are.
fn identifier(name: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.chars().filter(allowed).collect();
    if name.is_empty() { "ingot".into() } else { name }
}

/// The file, and the checksums of what has gone into it.
struct Output<'a> {
    file: NewFile,
    path: &'a Path,
    written: u64,
    total: u64,
    pieces: Pieces,
    pages: Option<Pages>,
    watch: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(PIECE) {
            self.file.write_all(part).map_err(|e| Error::io(self.path, e))?;
            self.written += part.len() as u64;
            self.pieces.add(part);
            if let Some(pages) = &mut self.pages {
                pages.add(part);
            }
            if !(self.watch)(self.written, self.total) {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}

/// The checksums of pieces that come bit by bit.
#[derive(Default)]
struct Pieces {
    seal: Range<usize>,
    /// Bytes that have come.
    done: usize,
    hasher: Hasher,
    digits: String,
}

impl Pieces {
    fn new(seal: Range<usize>) -> Self {
        Self { seal, ..Self::default() }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let ends = [self.seal.start, self.seal.end, (self.done / PIECE + 1) * PIECE];
            let end = ends.into_iter().filter(|end| *end > self.done).min().expect("a piece ends");
            let (part, rest) = bytes.split_at(bytes.len().min(end - self.done));
            if !self.seal.contains(&self.done) {
                self.hasher.update(part);
            }
            self.done += part.len();
            bytes = rest;
            if self.done.is_multiple_of(PIECE) {
                self.end_piece();
            }
        }
    }

    fn end_piece(&mut self) {
        let crc32 = std::mem::take(&mut self.hasher).finalize();
        self.digits += &format!("{crc32:08x}");
    }

    /// The digits of all of them.
    fn finish(mut self) -> String {
        if !self.done.is_multiple_of(PIECE) {
            self.end_piece();
        }
        self.digits
    }
}

/// The checksums of pages that come bit by bit, from a page on.
struct Pages {
    /// Bytes that are still left out.
    skip: usize,
    page: Vec<u8>,
    hashes: Vec<[u8; 32]>,
}

impl Pages {
    fn new(skip: usize) -> Self {
        Self { skip, page: Vec::with_capacity(PAGE), hashes: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE - self.page.len()));
            self.page.extend(part);
            bytes = rest;
            if self.page.len() == PAGE {
                self.end_page();
            }
        }
    }

    fn end_page(&mut self) {
        self.hashes.push(page_hash(&self.page));
        self.page.clear();
    }

    fn finish(mut self) -> Vec<[u8; 32]> {
        if !self.page.is_empty() {
            self.end_page();
        }
        self.hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::checks::crc32;

    #[test]
    fn pieces_are_those_that_are_verified() {
        let file: Vec<u8> = (0..2 * PIECE + 77).map(|i| (i / 5) as u8).collect();
        for seal in [1000..1128, PIECE - 64..PIECE + 64, PIECE - 128..PIECE, 2 * PIECE..2 * PIECE + 10] {
            let mut pieces = Pieces::new(seal.clone());
            file.chunks(1_000_003).for_each(|part| pieces.add(part));
            let expected = [0..PIECE, PIECE..2 * PIECE, 2 * PIECE..file.len()];
            let expected: String =
                expected.into_iter().map(|piece| format!("{:08x}", crc32(&file, piece, &seal))).collect();
            assert_eq!(pieces.finish(), expected, "{seal:?}");
        }
    }

    #[test]
    fn pages_begin_where_they_should() {
        let file: Vec<u8> = (0..5 * PAGE + 9).map(|i| (i / 3) as u8).collect();
        let mut pages = Pages::new(2 * PAGE);
        file.chunks(1000).for_each(|part| pages.add(part));
        let expected: Vec<_> = file[2 * PAGE..].chunks(PAGE).map(page_hash).collect();
        assert_eq!(pages.finish(), expected);
    }

    #[test]
    fn identifiers() {
        assert_eq!(identifier("my fable/../x 1.0"), "myfable..x1.0");
        assert_eq!(identifier("寓言"), "ingot");
    }
}
