//! Sessions as files.
//!
//! ```text
//! "INGOTSES"  version u32  model u32  cache type u32
//! notes: u64 length, UTF-8        tokens: u64 count, u32 each
//! logits: u64 count, f32 each     pages: u64 count, each as the executor reads it
//! slot: u64 length, bytes         checksum u32 of everything before
//! ```
//!
//! Little endian throughout. A file is read like any other untrusted one: a
//! length is believed only after as many bytes were found.

use crate::{Error, Memory, Model, Result, Session};
use ingot_format::{NewFile, map_file};
use ingot_plan::{PAGE, Place};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"INGOTSES";
const VERSION: u32 = 1;

pub(crate) fn save(session: &Session, path: &Path, notes: &str) -> Result<()> {
    let model = session.model();
    let runtime = model.runtime();
    let executor = &runtime.executor;
    let lease = session.lease();
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    for word in [VERSION, model.fingerprint(), executor.cache_type().gguf_id()] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    section(&mut out, notes.len(), notes.bytes());
    section(&mut out, session.tokens().len(), session.tokens().iter().flat_map(|t| t.to_le_bytes()));
    section(&mut out, session.logits().len(), session.logits().iter().flat_map(|x| x.to_le_bytes()));
    section(&mut out, lease.pages.len(), []);
    for &page in &lease.pages {
        out.extend(executor.read(Place::Page(page))?);
    }
    let slot = lease.slot.map(|slot| executor.read(Place::Slot(slot))).transpose()?.unwrap_or_default();
    section(&mut out, slot.len(), slot);
    drop(runtime);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    NewFile::create(path)
        .and_then(|mut file| file.write_all(&out).and_then(|()| file.finish()))
        .map_err(|source| Error::File { path: path.into(), source })
}

fn section(out: &mut Vec<u8>, count: usize, bytes: impl IntoIterator<Item = u8>) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
    out.extend(bytes);
}

pub(crate) fn load(model: &Model, path: &Path) -> Result<(Session, String)> {
    fs::metadata(path).map_err(|source| Error::File { path: path.into(), source })?;
    let bytes = map_file(path).map_err(|e| bad(path, e))?; // a file of any size takes no memory
    let contents = parse(&bytes, model).map_err(|what| bad(path, what))?;
    let mut session = model.session()?;
    let mut runtime = model.runtime();
    let mut lease = runtime.lease()?;
    let restored = (|| {
        runtime.extend(&mut lease, contents.tokens.len())?;
        for (&page, bytes) in lease.pages.iter().zip(&contents.pages) {
            runtime.executor.write(Place::Page(page), bytes)?;
        }
        if let Some(slot) = lease.slot {
            runtime.executor.write(Place::Slot(slot), contents.slot)?;
        }
        Ok(())
    })();
    if let Err(e) = restored {
        runtime.release(&mut lease);
        return Err(e);
    }
    drop(runtime);
    session.restore(lease, contents.tokens, contents.logits);
    Ok((session, contents.notes))
}

fn bad(path: &Path, what: impl ToString) -> Error {
    Error::BadSession { path: PathBuf::from(path), what: what.to_string() }
}

/// What a file holds, its sizes checked against the model's.
struct Contents<'a> {
    notes: String,
    tokens: Vec<u32>,
    logits: Vec<f32>,
    pages: Vec<&'a [u8]>,
    slot: &'a [u8],
}

fn parse<'a>(bytes: &'a [u8], model: &Model) -> Result<Contents<'a>, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("this is not a saved session".into());
    }
    let Some((body, checksum)) = bytes.split_last_chunk::<4>() else { return Err(cut_short()) };
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err("the file is damaged or was cut short".into());
    }
    let mut rest = &body[MAGIC.len()..];
    let version = word(&mut rest)?;
    if version != VERSION {
        return Err(format!(
            "saved by another version of ingot (format {version}, this one reads {VERSION})"
        ));
    }
    if word(&mut rest)? != model.fingerprint() {
        return Err("saved with another model".into());
    }
    let cache = model.runtime().executor.cache_type();
    if word(&mut rest)? != cache.gguf_id() {
        return Err(format!("saved with another type of cache than {cache}"));
    }
    let memory = Memory::of(model.plan(), cache);
    let (vocab, page_bytes) = (model.info().vocab, memory.page_bytes as usize);

    let notes = String::from_utf8(list(&mut rest, 1)?.to_vec()).map_err(|_| "notes are not UTF-8")?;
    let tokens: Vec<u32> = words(list(&mut rest, 4)?).map(u32::from_le_bytes).collect();
    let logits: Vec<f32> = words(list(&mut rest, 4)?).map(f32::from_le_bytes).collect();
    if tokens.iter().any(|&t| t as usize >= vocab) || ![0, vocab].contains(&logits.len()) {
        return Err("tokens or logits do not fit the model's vocabulary".into());
    }
    if tokens.len() > model.context() {
        return Err(format!("{} tokens do not fit into a context of {}", tokens.len(), model.context()));
    }
    let count = if page_bytes == 0 { 0 } else { tokens.len().div_ceil(PAGE) };
    if usize::try_from(long(&mut rest)?) != Ok(count) {
        return Err("the number of pages does not fit the number of tokens".into());
    }
    let pages = (0..count).map(|_| take(&mut rest, page_bytes)).collect::<Result<_, _>>()?;
    let slot = list(&mut rest, 1)?;
    if slot.len() as u64 != memory.slot_bytes || !rest.is_empty() {
        return Err("the state does not fit the model".into());
    }
    Ok(Contents { notes, tokens, logits, pages, slot })
}

fn cut_short() -> String {
    "the file was cut short".into()
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    rest.split_off(..n).ok_or_else(cut_short)
}

fn word(rest: &mut &[u8]) -> Result<u32, String> {
    Ok(u32::from_le_bytes(take(rest, 4)?.try_into().expect("4 bytes")))
}

fn long(rest: &mut &[u8]) -> Result<u64, String> {
    Ok(u64::from_le_bytes(take(rest, 8)?.try_into().expect("8 bytes")))
}

/// A count followed by so many elements.
fn list<'a>(rest: &mut &'a [u8], element: usize) -> Result<&'a [u8], String> {
    let bytes = usize::try_from(long(rest)?).ok().and_then(|n| n.checked_mul(element));
    take(rest, bytes.ok_or_else(cut_short)?)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks::<4>().0.iter().copied()
}
