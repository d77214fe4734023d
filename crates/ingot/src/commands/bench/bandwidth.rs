//! What the processor's memory can do: a buffer much larger than all caches is
//! read by all threads, as decoding reads weights. Where others use the memory too,
//! that changes from moment to moment, so it is read and written in turns.
//!
//! Looking up addresses costs something as well, in virtual machines most, and
//! less with huge pages; a file that is mapped has small ones. So both kinds are
//! measured, in alternation. The loop is plain: one by hand with 512-bit loads and
//! prefetches reads 2 to 4 % more. The clock is that of a thread that reads: one
//! that only waits is woken late, and then everything seems faster than it is.

use ingot_cpu::Pool;
use memmap2::{Advice, MmapMut};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// Buffers to read.
pub struct Reader {
    pool: Pool,
    small: MmapMut,
    huge: Option<MmapMut>,
}

/// Bytes read in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// From pages of the usual size.
    pub small_pages: f64,
    /// From huge pages, where the system has them.
    pub huge_pages: Option<f64>,
}

/// Bytes of a buffer: no processor keeps a noticeable part of it.
const SIZE: usize = 512 << 20;

/// Bytes that a thread takes at a time.
const PIECE: usize = 1 << 20;

impl Reader {
    /// One with so many threads; `None` if there is no memory for that.
    pub fn new(threads: usize) -> Option<Self> {
        if ingot::available_memory() < 3 * SIZE as u64 {
            return None;
        }
        let pool = Pool::new(threads);
        let small = buffer(&pool, false)?;
        let huge = if cfg!(target_os = "linux") { buffer(&pool, true) } else { None };
        Some(Self { pool, small, huge })
    }

    /// Reads everything once.
    pub fn read(&self) -> Bandwidth {
        let rate = |buffer: &MmapMut| SIZE as f64 / seconds(&self.pool, buffer);
        Bandwidth { small_pages: rate(&self.small), huge_pages: self.huge.as_ref().map(rate) }
    }
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

/// A buffer in huge pages or not; `None` if there is none.
fn buffer(pool: &Pool, huge: bool) -> Option<MmapMut> {
    let mut buffer = MmapMut::map_anon(SIZE).ok()?;
    advise(&buffer, huge)?;
    // Pages that were never written are all the same one.
    std::thread::scope(|scope| {
        for part in buffer.chunks_mut(SIZE.div_ceil(pool.workers())) {
            scope.spawn(|| part.fill(1));
        }
    });
    Some(buffer)
}

/// Seconds to read all of a buffer.
fn seconds(pool: &Pool, buffer: &[u8]) -> f64 {
    let (words, _) = buffer.as_chunks::<WORD>();
    let start = Instant::now();
    pool.for_each_chunk(SIZE / PIECE, 1, |pieces| {
        for piece in pieces {
            black_box(sum(&words[piece * (PIECE / WORD)..][..PIECE / WORD]));
        }
    });
    start.elapsed().as_secs_f64()
}

/// Bytes that are added at once: several vectors, so that no sum waits for the
/// one before, and few enough for registers.
const WORD: usize = 128;

/// Some number that all of the bytes have a part in. (Iterators side by side are
/// not always inlined here, and then they are what takes the time.)
#[allow(clippy::needless_range_loop)]
fn sum(words: &[[u8; WORD]]) -> u64 {
    let mut sums = [0u64; WORD / 8];
    for word in words {
        let (parts, _) = word.as_chunks::<8>();
        for i in 0..WORD / 8 {
            sums[i] = sums[i].wrapping_add(u64::from_le_bytes(parts[i]));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(target_os = "linux")]
fn advise(buffer: &MmapMut, huge: bool) -> Option<()> {
    buffer.advise(if huge { Advice::HugePage } else { Advice::NoHugePage }).ok()
}

#[cfg(not(target_os = "linux"))]
fn advise(buffer: &MmapMut, _huge: bool) -> Option<()> {
    buffer.advise(Advice::Normal).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_part() {
        let mut words = vec![[0u8; WORD]; 5];
        for at in [0, 7, 100, WORD - 1] {
            for word in 0..words.len() {
                words[word][at] = 3;
                assert_eq!(sum(&words), 3 << (8 * (at % 8)), "byte {at} of {word}");
                words[word][at] = 0;
            }
        }
    }

    #[test]
    fn memory_is_read_at_some_speed() {
        let Some(reader) = Reader::new(2) else { return };
        let bandwidth = reader.read();
        // Between a very old computer's and a very new one's.
        for rate in [Some(bandwidth.small_pages), bandwidth.huge_pages].into_iter().flatten() {
            assert!((1e8..1e13).contains(&rate), "{rate} bytes a second");
        }
        assert!(bandwidth.best() >= bandwidth.small_pages);
    }
}
