//! Memory that a thread will read in a later job, asked for while it waits.
//!
//! Between two products a thread waits for others or for what only one of them does,
//! and memory would do nothing. So whoever hands out the jobs says what each thread will
//! read next, and the thread brings the beginning of that into its second-level cache.

use std::ptr::without_provenance;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a thread will read: addresses only, which may be asked for whatever is there. So
/// it does not matter if the start of one range is seen with the length of another.
#[derive(Default)]
pub(super) struct Ahead {
    start: AtomicUsize,
    len: AtomicUsize,
}

impl Ahead {
    pub(super) fn set(&self, bytes: &[u8]) {
        self.start.store(bytes.as_ptr().addr(), Relaxed);
        self.len.store(bytes.len(), Relaxed);
    }
}

/// How far a thread is with that.
#[derive(Default)]
pub(super) struct Asking {
    /// Where what it asks for begins.
    start: usize,
    /// Lines of it that have been asked for.
    asked: usize,
    /// Lines that are worth it.
    wanted: usize,
}

const LINE: usize = 64;

/// Lines that are asked for at most: a part of what a second-level cache keeps.
const MOST: usize = (256 << 10) / LINE;

impl Asking {
    /// Goes over to what is said there, if that is something else.
    pub(super) fn look_at(&mut self, ahead: &Ahead) {
        let start = ahead.start.load(Relaxed);
        if start != self.start {
            *self = Self { start, asked: 0, wanted: (ahead.len.load(Relaxed) / LINE).min(MOST) };
        }
    }

    /// Asks for the next line; false if there is nothing left to ask for.
    #[inline]
    pub(super) fn next_line(&mut self) -> bool {
        let more = self.asked < self.wanted;
        if more {
            prefetch(without_provenance(self.start.wrapping_add(self.asked * LINE)));
            self.asked += 1;
        }
        more
    }
}

/// Asks for a line for the second-level cache.
#[inline(always)]
fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: of the base instruction set, and without effect on what is seen of memory.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are asked for one after the other.
    fn lines(asking: &mut Asking) -> usize {
        std::iter::from_fn(|| asking.next_line().then_some(())).count()
    }

    #[test]
    fn everything_is_asked_for_once_and_not_too_much() {
        let memory = vec![0; 2 * MOST * LINE];
        let (ahead, mut asking) = (Ahead::default(), Asking::default());
        asking.look_at(&ahead);
        assert_eq!(lines(&mut asking), 0, "nothing was said");
        for (bytes, want) in [(&memory[LINE..][..5 * LINE], 5), (&memory[..], MOST), (&[], 0)] {
            ahead.set(bytes);
            asking.look_at(&ahead);
            assert_eq!(lines(&mut asking), want);
            asking.look_at(&ahead);
            assert_eq!(lines(&mut asking), 0, "once");
        }
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let memory = [0; 4 * LINE];
        let (ahead, mut asking) = (Ahead::default(), Asking::default());
        ahead.set(&memory);
        asking.look_at(&ahead);
        assert!(asking.next_line());
        asking.look_at(&ahead);
        assert_eq!(lines(&mut asking), 3);
    }
}
