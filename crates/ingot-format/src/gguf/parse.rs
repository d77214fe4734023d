//! One GGUF file: header, metadata, tensor list. The only place that knows the
//! layout of the format.
//!
//! Nothing is trusted: a count is compared with the bytes left before anything
//! is allocated for it, and offsets and sizes are checked to lie inside the file,
//! aligned and apart from each other.

use std::{collections::HashMap, ops::Range};

use super::{cursor::Cursor, value::Value};
use crate::{Bytes, DType, Error, Result, Tensor, tensor::byte_len};

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
pub(super) const DEFAULT_ALIGNMENT: usize = 32;
/// The format asks for multiples of 8; a power of two up to this covers every file
/// there is, and keeps the padding negligible.
const MAX_ALIGNMENT: u64 = 1 << 20;
const MAX_DIMS: u32 = 4;

/// Smallest sizes in the file: of a metadata entry (key length, type, one byte)
/// and of a tensor (name length, one dimension and their count, type, offset).
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// A parsed file; `index` finds an entry by its key.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub version: u32,
    pub entries: Vec<(String, Value)>,
    pub index: HashMap<String, usize>,
    pub tensors: Vec<Tensor>,
}

impl Part {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }
}

pub(super) fn parse(bytes: &Bytes) -> Result<Part> {
    let cursor = &mut Cursor::new(bytes);
    let version = read_version(cursor)?;
    let n_tensors = cursor.u64("the header")?;
    let n_entries = cursor.u64("the header")?;
    check_count("metadata entries", n_entries, MIN_ENTRY_BYTES, cursor)?;
    check_count("tensors", n_tensors, MIN_TENSOR_BYTES, cursor)?;

    let mut part = Part { version, entries: Vec::new(), index: HashMap::new(), tensors: Vec::new() };
    for i in 0..n_entries {
        let key = cursor.name("a metadata key")?;
        let value =
            Value::read(bytes, cursor).map_err(|e| in_context(e, format_args!("metadata key '{key}'")))?;
        if part.index.insert(key.into(), i as usize).is_some() {
            return Err(Error::malformed(format!("metadata key '{key}' appears twice")));
        }
        part.entries.push((key.into(), value));
    }

    check_count("tensors", n_tensors, MIN_TENSOR_BYTES, cursor)?;
    let infos = (0..n_tensors).map(|_| TensorInfo::read(cursor)).collect::<Result<Vec<_>>>()?;
    let alignment = alignment(part.get("general.alignment"))?;
    let data_start = cursor.at().next_multiple_of(alignment);
    part.tensors = place(infos, bytes, data_start, alignment)?;
    Ok(part)
}

fn read_version(cursor: &mut Cursor) -> Result<u32> {
    let magic: [u8; 4] = cursor.array("the magic number")?;
    if magic == *b"FUGG" {
        return Err(Error::unsupported("big-endian GGUF is not read, convert it to little endian"));
    }
    if magic != *MAGIC {
        return Err(Error::malformed(format!("not a GGUF file: it begins with {}", magic.escape_ascii())));
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(Error::unsupported("GGUF version 1 is not read, only 2 and 3; convert the model again")),
        v if (1..=3).contains(&v.swap_bytes()) => {
            Err(Error::unsupported("big-endian GGUF is not read, convert it to little endian"))
        }
        v => Err(Error::unsupported(format!("GGUF version {v} is not read, only 2 and 3"))),
    }
}

fn check_count(what: &str, count: u64, least_bytes: u64, cursor: &Cursor) -> Result<()> {
    if count > cursor.remaining() as u64 / least_bytes {
        return Err(Error::malformed(format!(
            "{count} {what} declared, but only {} bytes are left in the file",
            cursor.remaining()
        )));
    }
    Ok(())
}

fn alignment(value: Option<&Value>) -> Result<usize> {
    let Some(value) = value else { return Ok(DEFAULT_ALIGNMENT) };
    match value.as_uint() {
        Some(n) if n.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&n) => Ok(n as usize),
        _ => Err(Error::malformed(format!(
            "general.alignment is {value}, expected a power of two from 8 to {MAX_ALIGNMENT}"
        ))),
    }
}

/// The list entry of a tensor. The offset counts from the start of the data section.
struct TensorInfo {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    offset: u64,
}

impl TensorInfo {
    fn read(cursor: &mut Cursor) -> Result<Self> {
        let name = cursor.name("a tensor name")?.to_string();
        let context = |e| in_context(e, format_args!("tensor '{name}'"));
        let (dtype, shape, offset) = Self::read_rest(cursor).map_err(context)?;
        Ok(Self { name, dtype, shape, offset })
    }

    fn read_rest(cursor: &mut Cursor) -> Result<(DType, Vec<usize>, u64)> {
        let what = "a tensor's description";
        let n_dims = cursor.u32(what)?;
        if n_dims == 0 || n_dims > MAX_DIMS {
            return Err(Error::malformed(format!("{n_dims} dimensions, expected 1 to {MAX_DIMS}")));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dims {
            let dim = cursor.u64(what)?;
            let dim = usize::try_from(dim).ok().filter(|&d| d > 0);
            shape.push(dim.ok_or_else(|| Error::malformed("a dimension is zero or too large"))?);
        }
        shape.reverse(); // the file has the innermost first
        let dtype = dtype(cursor.u32(what)?)?;
        Ok((dtype, shape, cursor.u64(what)?))
    }

    /// Where the tensor's bytes are in the file.
    fn range(&self, data_start: usize, alignment: usize, file_len: usize) -> Result<Range<usize>> {
        let Self { name, dtype, shape, offset } = self;
        let len = byte_len(*dtype, shape).ok_or_else(|| {
            let (cols, block) = (shape.last().copied().unwrap_or(1), dtype.block_len());
            Error::malformed(match cols.is_multiple_of(block) {
                true => format!("tensor '{name}': shape {shape:?} is too large"),
                false => format!("tensor '{name}': rows of {cols} are not whole {dtype} blocks of {block}"),
            })
        })?;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(Error::malformed(format!(
                "tensor '{name}': offset {offset} is not a multiple of the alignment {alignment}"
            )));
        }
        let start = usize::try_from(*offset).ok().and_then(|offset| data_start.checked_add(offset));
        match start.and_then(|start| Some(start..start.checked_add(len)?)) {
            Some(range) if range.end <= file_len => Ok(range),
            _ => Err(Error::malformed(format!(
                "tensor '{name}': {len} bytes at offset {offset} of the data section reach past the end of the \
                 file ({file_len} bytes); is the download complete?"
            ))),
        }
    }
}

/// Turns the tensor list into tensors over the file's bytes.
fn place(infos: Vec<TensorInfo>, bytes: &Bytes, data_start: usize, alignment: usize) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::with_capacity(infos.len());
    let mut ranges = Vec::with_capacity(infos.len());
    for info in infos {
        let range = info.range(data_start, alignment, bytes.len())?;
        let data = bytes.slice(range.clone()).expect("range checked that it is inside");
        ranges.push(range);
        tensors.push(Tensor::new(info.name, info.dtype, info.shape, data)?);
    }
    crate::table::check_apart(&tensors, &ranges)?;
    Ok(tensors)
}

/// The type with this number, or an error that names what it is.
fn dtype(id: u32) -> Result<DType> {
    DType::from_gguf_id(id).ok_or_else(|| {
        let what = match id {
            4 => "Q4_2 (removed from the format)",
            5 => "Q4_3 (removed from the format)",
            9 => "Q8_1",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            21 => "IQ3_S",
            22 => "IQ2_S",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            29 => "IQ1_M",
            31..=33 => "Q4_0 repacked (removed from the format)",
            34 => "TQ1_0",
            35 => "TQ2_0",
            36..=38 => "IQ4_NL repacked (removed from the format)",
            40 => "NVFP4",
            _ => return Error::malformed(format!("type {id} does not exist")),
        };
        let known = DType::ALL.map(DType::name).join(", ");
        Error::unsupported(format!("type {what} is not read; ingot reads {known}"))
    })
}

/// The same error, saying where it happened.
fn in_context(error: Error, context: std::fmt::Arguments) -> Error {
    match error {
        Error::Malformed(message) => Error::Malformed(format!("{context}: {message}")),
        Error::Unsupported(message) => Error::Unsupported(format!("{context}: {message}")),
        other => other,
    }
}
