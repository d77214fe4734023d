//! What the processor's memory can do: a buffer much larger than all caches is
//! read by all threads, as decoding reads weights. Where others use the memory too,
//! that changes from moment to moment, so it is read and written in turns. Small
//! and huge pages are measured in alternation.

use crate::spread::Spread;
use ingot_cpu::Reader;
use serde_json::{Value, json};

/// Buffers to read.
pub struct Buffers {
    small: Reader,
    huge: Option<Reader>,
}

/// Bytes read in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// From pages of the usual size.
    pub small_pages: f64,
    /// From huge pages, where the system has them.
    pub huge_pages: Option<f64>,
}

/// Models of no more bytes may live in the processor's caches, and what the memory
/// can do says nothing about them.
pub const CACHED: u64 = 64 << 20;

/// Bytes of a buffer: no processor keeps a noticeable part of it.
const SIZE: usize = 512 << 20;

impl Buffers {
    /// For so many threads; `None` if there is no memory for that.
    pub fn new(threads: usize) -> Option<Self> {
        if ingot::available_memory() < 3 * SIZE as u64 {
            return None;
        }
        let small = Reader::new(threads, SIZE, false)?;
        Some(Self { small, huge: Reader::new(threads, SIZE, true) })
    }

    /// Reads everything once.
    pub fn read(&self) -> Bandwidth {
        Bandwidth { small_pages: self.small.rate(), huge_pages: self.huge.as_ref().map(Reader::rate) }
    }
}

/// What the fastest of several reads has, from huge pages where there are any: bytes a
/// second. It is a limit, so that reads which others disturbed say nothing.
/// `None` if there is no memory to read.
pub fn limit(threads: usize) -> Option<f64> {
    const READS: usize = 9;
    if ingot::available_memory() < 2 * SIZE as u64 {
        return None;
    }
    let reader = Reader::new(threads, SIZE, true).or_else(|| Reader::new(threads, SIZE, false))?;
    Some(Spread::of((0..READS).map(|_| reader.rate())).max)
}

impl Bandwidth {
    /// The better of both.
    pub fn best(&self) -> f64 {
        self.huge_pages.map_or(self.small_pages, |huge| huge.max(self.small_pages))
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "small_pages": self.small_pages, "huge_pages": self.huge_pages })
    }
}
