//! Reading memory without doing anything with it: the limit that decoding is held
//! against, in benchmarks.
//!
//! Looking up addresses costs something as well, in virtual machines most, and
//! less with huge pages; a file that is mapped has small ones. The loop is plain: one
//! by hand with 512-bit loads and prefetches reads 2 to 4 % more. The clock is that of
//! a thread that reads: one that only waits is woken late, and then everything seems
//! faster than it is.

use crate::pool::Pool;
use memmap2::MmapMut;
use std::hint::black_box;
use std::time::Instant;

/// A buffer, and threads to read it.
pub struct Reader {
    pool: Pool,
    buffer: MmapMut,
}

/// Bytes that a thread takes at a time.
const PIECE: usize = 1 << 20;

impl Reader {
    /// One of so many bytes, in huge pages or in those of the usual size; `None` if there
    /// is no such memory.
    pub fn new(threads: usize, bytes: usize, huge: bool) -> Option<Self> {
        let mut buffer = MmapMut::map_anon(bytes).ok()?;
        advise(&buffer, huge)?;
        // Pages that were never written are all the same one.
        std::thread::scope(|scope| {
            for part in buffer.chunks_mut(bytes.div_ceil(threads)) {
                scope.spawn(|| part.fill(1));
            }
        });
        Some(Self { pool: Pool::new(threads), buffer })
    }

    /// Reads everything once; bytes a second.
    pub fn rate(&self) -> f64 {
        let (words, _) = self.buffer.as_chunks::<WORD>();
        let start = Instant::now();
        self.pool.for_each_chunk(words.len(), PIECE / WORD, |piece| {
            black_box(sum(&words[piece]));
        });
        self.buffer.len() as f64 / start.elapsed().as_secs_f64()
    }
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
    buffer.advise(if huge { memmap2::Advice::HugePage } else { memmap2::Advice::NoHugePage }).ok()
}

#[cfg(not(target_os = "linux"))]
fn advise(_buffer: &MmapMut, huge: bool) -> Option<()> {
    (!huge).then_some(())
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
        // Between a very old computer's and a very new one's, and from caches.
        let rate = Reader::new(2, (3 << 20) + 5, false).expect("a little memory").rate();
        assert!((1e8..1e14).contains(&rate), "{rate} bytes a second");
    }
}
