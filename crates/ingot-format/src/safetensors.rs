//! safetensors files: a JSON header that says where each tensor's bytes are.

use std::{collections::HashSet, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::{
    Bytes, DType, Error, Result, Tensor,
    table::{check_apart, check_name},
    tensor::byte_len,
};

/// Length of the field in front that holds the header's length.
const PREFIX: usize = 8;
/// The limit of the format's own library.
const MAX_HEADER: usize = 100_000_000;
const MAX_DIMS: usize = 8;

/// Reads the tensors of a file, in the order of the header. Their data stays in
/// `bytes`, and need not be aligned to the size of its elements.
pub fn read(bytes: &Bytes) -> Result<Vec<Tensor>> {
    let (header, data_start) = header(bytes)?;
    let data_len = bytes.len() - data_start;
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(header.0.len());
    let mut ranges = Vec::with_capacity(header.0.len());
    for (name, entry) in header.0 {
        let (dtype, range) = entry.check(&name, data_len)?;
        if !names.insert(name.clone()) {
            return Err(Error::malformed(format!("tensor '{name}' appears twice")));
        }
        let data = bytes.slice(data_start + range.start..data_start + range.end);
        let data = data.expect("check compared it with the length");
        tensors.push(Tensor::new(name, dtype, entry.shape, data)?);
        ranges.push(range);
    }
    check_apart(&tensors, &ranges)?;
    Ok(tensors)
}

/// True if these bytes, the beginning of a file, look like a safetensors file.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    let Some((prefix, rest)) = start.split_first_chunk::<PREFIX>() else { return false };
    u64::from_le_bytes(*prefix) <= MAX_HEADER as u64 && rest.first() == Some(&b'{')
}

/// The parsed header and the position of the data section.
fn header(bytes: &[u8]) -> Result<(Header, usize)> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(Error::malformed("not a safetensors file: it ends before the length of its header"));
    };
    let declared = u64::from_le_bytes(*prefix);
    let len = usize::try_from(declared).ok().filter(|&n| n <= MAX_HEADER).ok_or_else(|| {
        Error::malformed(format!("safetensors header of {declared} bytes, at most {MAX_HEADER} are allowed"))
    })?;
    let json = rest.get(..len).ok_or_else(|| {
        Error::malformed(format!(
            "safetensors header of {len} bytes, but only {} are left in the file",
            rest.len()
        ))
    })?;
    let header = serde_json::from_slice(json).map_err(|e| Error::json("safetensors header", &e))?;
    Ok((header, PREFIX + len))
}

/// The header's tensors in its order, duplicates included, so that they can be
/// refused.
struct Header(Vec<(String, Entry)>);

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with the tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Entry {
    /// The type and the place in the data section of `data_len` bytes.
    fn check(&self, name: &str, data_len: usize) -> Result<(DType, Range<usize>)> {
        check_name("tensor name", name)?;
        check_name("tensor type", &self.dtype)?;
        let dtype = match self.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            other => {
                return Err(Error::unsupported(format!(
                    "tensor '{name}' has type {other}; of safetensors, ingot reads F32, F16 and BF16 \
                     (for quantized models use GGUF)"
                )));
            }
        };
        if self.shape.len() > MAX_DIMS || self.shape.contains(&0) {
            return Err(Error::malformed(format!(
                "tensor '{name}': expected at most {MAX_DIMS} dimensions, none of them zero"
            )));
        }
        let (start, end) = self.data_offsets;
        if start > end || end > data_len {
            return Err(Error::malformed(format!(
                "tensor '{name}': bytes {start}..{end} are outside the {data_len} bytes of data; is the download \
                 complete?"
            )));
        }
        if byte_len(dtype, &self.shape) != Some(end - start) {
            return Err(Error::malformed(format!(
                "tensor '{name}': {dtype} {:?} does not take {} bytes",
                self.shape,
                end - start
            )));
        }
        Ok((dtype, start..end))
    }
}
