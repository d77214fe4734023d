//! Reading little-endian values off a byte range, every step checked.

use std::ops::Range;

use crate::{Error, Result, table::check_name};

/// A position in bytes that are not trusted. Knows what it is reading, so that
/// errors can say where the bytes ran out.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where the next `len` bytes are; steps over them.
    pub fn skip(&mut self, len: u64, what: &str) -> Result<Range<usize>> {
        let left = self.remaining();
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                let start = self.at;
                self.at += len;
                Ok(start..self.at)
            }
            _ => Err(Error::malformed(format!(
                "file ends inside {what}: {len} bytes expected at byte {}, {left} left",
                self.at
            ))),
        }
    }

    pub fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8]> {
        let range = self.skip(len, what)?;
        Ok(&self.bytes[range])
    }

    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        Ok(self.take(N as u64, what)?.try_into().expect("take gives what it was asked for"))
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Where the bytes of a length-prefixed string are.
    pub fn string(&mut self, what: &str) -> Result<Range<usize>> {
        let len = self.u64(what)?;
        self.skip(len, what)
    }

    /// A key or tensor name.
    pub fn name(&mut self, what: &str) -> Result<&'a str> {
        let range = self.string(what)?;
        let name = std::str::from_utf8(&self.bytes[range])
            .map_err(|e| Error::malformed(format!("{what} is not UTF-8 ({e})")))?;
        check_name(what, name)?;
        Ok(name)
    }
}
