//! A fork-join thread pool for work that comes in bursts of microseconds.
//!
//! A decode step is hundreds of short parallel sections with short sequential
//! ones between them. Waking a sleeping thread costs more than many of these
//! sections, so idle workers spin for a moment before they sleep; when nothing
//! runs they use no processor time. Work is handed out through a counter, so
//! that a worker delayed by the rest of the system does not hold up the others
//! by more than one chunk.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle thread spins before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Threads that work through ranges of items together with the caller.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held while a job runs: one at a time.
    busy: Mutex<()>,
}

struct Shared {
    /// Number of the job in the upper half, then whether it takes workers
    /// ([`OPEN`]), then how many are at it.
    state: AtomicU64,
    /// Written by the caller while no worker can be at it.
    job: UnsafeCell<Option<Job>>,
    /// The caller sleeps until no worker is at its job.
    caller_sleeps: AtomicBool,
    /// Worker `i` sleeps until there is a new job.
    sleeps: Vec<AtomicBool>,
    /// Workers are to end.
    stop: AtomicBool,
    /// The first panic of a worker.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

const OPEN: u64 = 1 << 31;
const WORKERS: u64 = OPEN - 1;

/// A borrowed closure whose type and lifetime are erased.
struct Job {
    call: unsafe fn(*const ()),
    closure: *const (),
    caller: Thread,
}

// SAFETY: the closure behind a job is `Sync`, and `job` is written only while no
// worker is at it; everything else synchronises itself.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spins until `done`; false if that takes too long.
fn spin_until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}

impl Pool {
    /// A pool of this many threads, of which the caller is one; fewer if the
    /// system does not give them.
    pub fn new(threads: usize) -> Self {
        let others = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            caller_sleeps: AtomicBool::new(false),
            sleeps: (0..others).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("ingot-cpu-{}", i + 1)).spawn(move || shared.work(i)).ok()
        };
        let threads = (0..others).map_while(spawn).collect();
        Self { shared, threads, busy: Mutex::new(()) }
    }

    /// As many threads as this process may run at the same time.
    pub fn default_threads() -> usize {
        thread::available_parallelism().map_or(1, |n| n.get())
    }

    /// Number of workers, the caller included.
    pub fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `f` for ranges of at most `chunk` items that together are
    /// `0..items`, on whichever workers are free. If one panics so does this,
    /// after all are done. `f` must not call into the same pool.
    pub fn for_each_chunk<F: Fn(Range<usize>) + Sync>(&self, items: usize, chunk: usize, f: F) {
        let chunk = chunk.max(1);
        let next = AtomicUsize::new(0);
        let drain = || {
            loop {
                let start = next.fetch_add(chunk, SeqCst);
                if start >= items {
                    return;
                }
                f(start..items.min(start + chunk));
            }
        };
        if items <= chunk || self.threads.is_empty() {
            drain();
        } else {
            self.share(items.div_ceil(chunk) - 1, &drain);
        }
    }

    /// Calls `f` on this thread and on at most `helpers` others, namely those
    /// that come before this thread is done: one that the system does not let
    /// run is not waited for.
    fn share<F: Fn() + Sync>(&self, helpers: usize, f: &F) {
        let busy = lock(&self.busy);
        let shared = &*self.shared;
        let job = Job { call: erased::<F>, closure: (&raw const *f).cast(), caller: thread::current() };
        // SAFETY: the last job is closed and left by all workers.
        unsafe { *shared.job.get() = Some(job) };
        let number = (shared.state.load(SeqCst) >> 32) + 1;
        shared.state.store(number << 32 | OPEN, SeqCst);
        for (thread, sleeps) in self.threads.iter().zip(&shared.sleeps).take(helpers) {
            // Only the worker clears its flag: were it cleared here, late, after the
            // worker had gone back to sleep, nobody would wake it again.
            if sleeps.load(SeqCst) {
                thread.thread().unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(f));
        shared.close();
        let theirs = lock(&shared.panic).take();
        drop(busy);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

/// # Safety
/// The pointer is to a live `F`.
unsafe fn erased<F: Fn()>(closure: *const ()) {
    // SAFETY: by the caller's promise.
    (unsafe { &*closure.cast::<F>() })();
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker catches the panics of its jobs; it has none of its own.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Ends the job: no worker comes any more, and those that came have left.
    fn close(&self) {
        self.state.fetch_and(!OPEN, SeqCst);
        let left = || self.state.load(SeqCst) & WORKERS == 0;
        if spin_until(left) {
            return;
        }
        // Either this sees the last worker leave or that worker sees the flag.
        self.caller_sleeps.store(true, SeqCst);
        while !left() {
            thread::park();
        }
        self.caller_sleeps.store(false, SeqCst);
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        let mut last = 0;
        loop {
            let state = || self.state.load(SeqCst);
            let wanted = || state() & OPEN != 0 && state() >> 32 != last || self.stop.load(SeqCst);
            if !spin_until(wanted) {
                // Either this sees the new job or its giver sees the flag.
                self.sleeps[index].store(true, SeqCst);
                while !wanted() {
                    thread::park();
                }
                self.sleeps[index].store(false, SeqCst);
            }
            if self.stop.load(SeqCst) {
                return;
            }
            let now = state();
            let join = || self.state.compare_exchange(now, now + 1, SeqCst, SeqCst).is_ok();
            if now & OPEN != 0 && now >> 32 != last && join() {
                last = now >> 32;
                self.help();
            }
        }
    }

    /// Does a worker's share of the job it has joined, and leaves.
    fn help(&self) {
        // SAFETY: the job stays while a worker is at it.
        let job = unsafe { (*self.job.get()).as_ref() }.expect("an open job");
        let caller = job.caller.clone();
        // SAFETY: the caller keeps the closure alive while a worker is at it.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.closure) }));
        if let Err(panic) = result {
            lock(&self.panic).get_or_insert(panic);
        }
        let left = self.state.fetch_sub(1, SeqCst) - 1;
        if left & (OPEN | WORKERS) == 0 && self.caller_sleeps.load(SeqCst) {
            caller.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_to(pool: &Pool, items: usize, chunk: usize) {
        let sum = AtomicUsize::new(0);
        let ranges = AtomicUsize::new(0);
        pool.for_each_chunk(items, chunk, |range| {
            assert!(range.len() <= chunk.max(1));
            ranges.fetch_add(1, SeqCst);
            sum.fetch_add(range.sum::<usize>(), SeqCst);
        });
        assert_eq!(sum.into_inner(), (0..items).sum::<usize>());
        assert_eq!(ranges.into_inner(), items.div_ceil(chunk.max(1)));
    }

    #[test]
    fn every_item_once() {
        for threads in [0, 1, 2, 3, 9] {
            let pool = Pool::new(threads);
            assert_eq!(pool.workers(), threads.max(1));
            for (items, chunk) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 7), (10, 0)] {
                sums_to(&pool, items, chunk);
            }
        }
    }

    #[test]
    fn workers_share_the_work() {
        let pool = Pool::new(4);
        // Each of four items waits for the others: only four threads get through.
        for _ in 0..50 {
            let barrier = std::sync::Barrier::new(4);
            pool.for_each_chunk(4, 1, |_| _ = barrier.wait());
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = Pool::new(3);
        for _ in 0..5 {
            thread::sleep(4 * SPIN);
            let barrier = std::sync::Barrier::new(3);
            pool.for_each_chunk(3, 1, |_| {
                // The caller sleeps too while it waits for the slowest.
                if !barrier.wait().is_leader() {
                    thread::sleep(4 * SPIN);
                }
            });
        }
    }

    #[test]
    fn callers_take_turns() {
        let pool = Pool::new(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| sums_to(&pool, 64, 4)));
            }
        });
    }

    #[test]
    fn panics_come_out_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for guilty in 0..3 {
            let barrier = std::sync::Barrier::new(3);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each_chunk(3, 1, |range| {
                    barrier.wait();
                    assert!(range.start != guilty, "item {guilty}");
                });
            }));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("item {guilty}"));
            sums_to(&pool, 100, 3);
        }
    }
}
