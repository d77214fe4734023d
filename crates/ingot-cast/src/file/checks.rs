//! Checksums of the pieces of a cast file.
//!
//! They have to be computed whenever a program starts, before the first token: so
//! each thread takes the next piece that nobody has, at the speed of memory, while the
//! model is being opened. A CRC-32 finds what disks, networks and careless tools do
//! to files. Who changes a file on purpose can change its checksums as well.

use super::error::{Error, Result};
use super::open::CastFile;
use crc32fast::Hasher;
use ingot_format::Bytes;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Bytes of a piece: enough that threads rarely ask for the next, and little enough
/// that all of them have something to do to the end.
pub(super) const PIECE: usize = 1 << 22;

/// The checksum of a piece, which leaves out the bytes of the seal.
pub(super) fn crc32(file: &[u8], piece: Range<usize>, seal: &Range<usize>) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&file[piece.start..piece.end.min(seal.start).max(piece.start)]);
    hasher.update(&file[piece.start.max(seal.end).min(piece.end)..piece.end]);
    hasher.finalize()
}

/// Checksums that are being computed.
pub struct Verification {
    work: Arc<Work>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Work {
    path: PathBuf,
    file: Bytes,
    seal: Range<usize>,
    /// Bytes that have checksums.
    end: usize,
    piece: usize,
    expected: Vec<u32>,
    /// The first piece that nobody has taken.
    next: AtomicUsize,
    /// The first piece that is not what it was; their number if there is none.
    bad: AtomicUsize,
}

impl Verification {
    /// Begins to verify the model, on so many threads beside the one that waits for the end.
    /// (A program that is damaged cannot vouch for itself, and its own bytes would take
    /// longer than a small model's.)
    pub fn start(cast: &CastFile, threads: usize) -> Self {
        Self::from(cast, cast.model_range().start, threads)
    }

    /// The same for everything before the index.
    pub(super) fn start_all(cast: &CastFile, threads: usize) -> Self {
        Self::from(cast, 0, threads)
    }

    /// Verifies the pieces that have bytes from `first` on.
    fn from(cast: &CastFile, first: usize, threads: usize) -> Self {
        let work = Work::new(cast);
        work.next.store(first / work.piece, Ordering::Relaxed);
        let work = Arc::new(work);
        let start = |_| {
            let work = Arc::clone(&work);
            // Without threads, whoever waits does all of it.
            std::thread::Builder::new().name("ingot-verify".into()).spawn(move || work.run()).ok()
        };
        let threads = (0..threads).filter_map(start).collect();
        Self { work, threads: Mutex::new(threads) }
    }

    /// Helps to verify what is left, and waits for the others.
    ///
    /// # Errors
    /// If anything is not what it was. Every time somebody asks.
    pub fn finish(&self) -> Result<()> {
        self.work.run();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            thread.join().expect("verifying does not panic");
        }
        self.work.result()
    }
}

impl Work {
    fn new(cast: &CastFile) -> Self {
        let expected = cast.index().crc32s().expect("checked when it was parsed");
        Self {
            path: cast.path().into(),
            file: cast.bytes().clone(),
            seal: cast.seal(),
            end: cast.model_range().end,
            piece: cast.index().piece_bytes.try_into().unwrap_or(usize::MAX),
            next: AtomicUsize::new(0),
            bad: AtomicUsize::new(expected.len()),
            expected,
        }
    }

    /// Takes pieces until there are none, or one is bad.
    fn run(&self) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.expected.len() || self.bad.load(Ordering::Relaxed) < i {
                return;
            }
            if crc32(&self.file, self.range(i), &self.seal) != self.expected[i] {
                self.bad.fetch_min(i, Ordering::Relaxed);
            }
        }
    }

    fn range(&self, i: usize) -> Range<usize> {
        let start = i * self.piece;
        start..start.saturating_add(self.piece).min(self.end)
    }

    fn result(&self) -> Result<()> {
        let bad = self.bad.load(Ordering::Relaxed);
        if bad == self.expected.len() && self.file.is_intact() {
            return Ok(());
        }
        let what = match bad < self.expected.len() {
            true => {
                let Range { start, end } = self.range(bad);
                format!("the checksum of bytes {start} to {end} is wrong")
            }
            false => "it became shorter while it was read".into(),
        };
        Err(Error::damaged(&self.path, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_left_out_and_nothing_else() {
        let file: Vec<u8> = (0..100).collect();
        let of = |bytes: &[&[u8]]| crc32fast::hash(&bytes.concat());
        let seal = 40..60;
        assert_eq!(crc32(&file, 0..30, &seal), of(&[&file[..30]]));
        assert_eq!(crc32(&file, 0..50, &seal), of(&[&file[..40]]));
        assert_eq!(crc32(&file, 10..90, &seal), of(&[&file[10..40], &file[60..90]]));
        assert_eq!(crc32(&file, 45..55, &seal), 0);
        assert_eq!(crc32(&file, 50..100, &seal), of(&[&file[60..]]));
        assert_eq!(crc32(&file, 70..100, &seal), of(&[&file[70..]]));
    }
}
