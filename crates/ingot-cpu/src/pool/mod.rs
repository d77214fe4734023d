//! A fork-join thread pool for work that comes in bursts of microseconds.
//!
//! A decode step is hundreds of short parallel sections with short sequential
//! ones between them. Waking a sleeping thread costs more than many of these
//! sections, so idle workers spin for a moment before they sleep; when nothing
//! runs they use no processor time. A job is for those workers that come while
//! it lasts: one that the system does not run is not waited for, and its
//! [share](shares) is done by the others.
//!
//! # Why it is sound
//! Whether a worker may touch a job is decided between two values: the caller
//! writes [`state`](Board::state), worker `i` writes its [`at`](Seat::at). All
//! accesses to both by which something is decided are sequentially consistent,
//! and the writes are exchanges: on x86 both are the same instruction, and QEMU,
//! in which the Arm code is tested, lets a load pass an Arm `stlr` before it.
//!
//! * A worker joins job n by writing `at = working(n)` and then reading `state`.
//!   Only if that still is job n, open, does it read the job.
//! * The caller ends job n by writing `state = closed(n)` and then reading `at` of
//!   every worker. One of the two reads comes last: either the worker sees that
//!   the job is closed, or the caller sees the worker and waits until it has
//!   written `at = left(n)`.
//! * A worker joins a job once. So if all workers are seen to have come (or to
//!   have left again) nobody else can, and the caller need not close the job.
//!
//! Sleeping goes by the same pattern. A worker counts itself among the `sleepers`
//! and then reads `state`; the caller writes `state` and then reads `sleepers`.
//! Only the worker takes itself off: were it done by the caller, late, after
//! the worker had gone back to sleep, nobody would wake it again. The caller
//! says `caller_sleeps` and then reads `at`; a worker writes `at` and then reads
//! `caller_sleeps`. A thread that is woken for nothing looks again and sleeps on.
//!
//! A thread that spins asks memory for what it will read [later](ahead).

mod ahead;
mod cores;
mod shares;
#[cfg(test)]
mod tests;

use ahead::{Ahead, Asking};
use shares::{Cursor, Cut, MOST_GRAINS};
use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
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
    caller: Mutex<Caller>,
}

/// What callers leave to each other.
#[derive(Default)]
struct Caller {
    /// The number of the last job.
    last: u32,
    asking: Asking,
}

struct Shared {
    board: Board,
    sleep: Sleep,
    /// The caller's, then the workers'.
    seats: Vec<Seat>,
}

/// What the caller writes and workers watch: all that they need to begin is in
/// the cache line that they wait for. (Lines are fetched in pairs.)
#[repr(align(128))]
struct Board {
    /// Number of the job in the upper half; in the lower how many may be at it,
    /// those with the first seats, or none: it is closed. [`STOP`]: end.
    state: AtomicU64,
    /// Written by the caller while no worker can be at it.
    job: UnsafeCell<Job>,
}

/// The [`Board::state`] that ends all workers.
const STOP: u64 = u64::MAX;

/// What belongs to one thread.
#[derive(Default)]
#[repr(align(128))]
struct Seat {
    /// [`working`] or [`left`] of the last job the worker tried to join.
    at: AtomicU64,
    /// What is taken of this worker's share.
    cursor: Cursor,
    /// The worker sleeps, or is about to.
    sleeps: AtomicBool,
    /// What the worker will read in a later job.
    ahead: Ahead,
}

fn working(number: u32) -> u64 {
    u64::from(number) << 1 | 1
}

fn left(number: u32) -> u64 {
    u64::from(number) << 1
}

/// What is seldom written.
#[repr(align(128))]
struct Sleep {
    /// Number of workers that sleep.
    sleepers: AtomicUsize,
    /// The caller sleeps until no worker is at its job.
    caller_sleeps: AtomicBool,
    /// Who that is.
    caller: Mutex<Option<Thread>>,
    /// There is a panic.
    panicked: AtomicBool,
    /// The first panic of a worker.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A borrowed closure whose type and lifetime are erased, and its items.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), Range<usize>),
    closure: *const (),
    cut: Cut,
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

/// Spins until `done` and asks memory for something meanwhile; false if that takes too
/// long.
#[inline]
fn spin_until(asking: &mut Asking, mut done: impl FnMut() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            if !asking.next_line() {
                spin_loop();
            }
        }
        // The clock is not looked at in waits of a microsecond.
        if start.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return false;
        }
    }
}

impl Pool {
    /// A pool of this many threads, of which the caller is one; fewer if the
    /// system does not give them.
    pub fn new(threads: usize) -> Self {
        let others = threads.max(1) - 1;
        let nothing = Job { call: erased::<fn(Range<usize>)>, closure: std::ptr::null(), cut: Cut::NOTHING };
        let shared = Arc::new(Shared {
            board: Board { state: AtomicU64::new(0), job: UnsafeCell::new(nothing) },
            sleep: Sleep {
                sleepers: AtomicUsize::new(0),
                caller_sleeps: AtomicBool::new(false),
                caller: Mutex::new(None),
                panicked: AtomicBool::new(false),
                panic: Mutex::new(None),
            },
            seats: (0..=others).map(|_| Seat::default()).collect(),
        });
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("ingot-cpu-{i}")).spawn(move || shared.work(i)).ok()
        };
        let threads = (1..=others).map_while(spawn).collect();
        Self { shared, threads, caller: Mutex::default() }
    }

    /// As many threads as this process may run at the same time, each on a
    /// core of its own: two threads of one core share its way to memory and
    /// its arithmetic, and only get into each other's way.
    pub fn default_threads() -> usize {
        let may = thread::available_parallelism().map_or(1, |n| n.get());
        cores::cores().map_or(may, |cores| cores.clamp(1, may))
    }

    /// Number of workers, the caller included.
    pub fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// Says what each worker, by its number, will read in a later job: it may begin to
    /// ask memory for it while it waits.
    pub(crate) fn expect<'a>(&self, of: impl Fn(usize) -> &'a [u8]) {
        self.shared.seats.iter().enumerate().for_each(|(i, seat)| seat.ahead.set(of(i)));
    }

    /// Calls `f` for ranges of at most `chunk` items that together are
    /// `0..items`, on whichever workers are free. If one panics so does this,
    /// after all are done. `f` must not call into the same pool.
    pub fn for_each_chunk<F: Fn(Range<usize>) + Sync>(&self, items: usize, chunk: usize, f: F) {
        self.for_each(items, chunk, usize::MAX, f);
    }

    /// Like [`for_each_chunk`](Self::for_each_chunk), with ranges as long as is
    /// good for balance: long ones first, those at the end of `grain` items. All
    /// but the last one are whole grains.
    pub fn for_each_range<F: Fn(Range<usize>) + Sync>(&self, items: usize, grain: usize, f: F) {
        // A quarter of what is left: a share of 64 grains is a dozen ranges.
        self.for_each(items, grain, 4, f);
    }

    /// The items with which a worker begins in
    /// [`for_each_range`](Self::for_each_range).
    pub(crate) fn share(&self, items: usize, grain: usize, worker: usize) -> Range<usize> {
        let cut = self.cut(items, grain, 1);
        if worker < cut.shares { cut.items_of(cut.share(worker)) } else { 0..0 }
    }

    fn cut(&self, items: usize, grain: usize, portion: usize) -> Cut {
        let grain = grain.max(1).max(items.div_ceil(MOST_GRAINS));
        Cut { items, grain, portion, shares: self.workers().min(items.div_ceil(grain)) }
    }

    fn for_each<F: Fn(Range<usize>) + Sync>(&self, items: usize, grain: usize, portion: usize, f: F) {
        let cut = self.cut(items, grain, portion);
        let grain = cut.grain;
        if cut.shares > 1 {
            self.run(cut, &f);
        } else if portion == usize::MAX {
            (0..items).step_by(grain).for_each(|start| f(start..items.min(start + grain)));
        } else if items > 0 {
            f(0..items);
        }
    }

    /// Calls `f` on this thread and on at most as many as there are shares,
    /// namely those that come before this thread is done.
    fn run<F: Fn(Range<usize>) + Sync>(&self, cut: Cut, f: &F) {
        let mut caller = lock(&self.caller);
        let shared = &*self.shared;
        if caller.last == u32::MAX - 1 {
            // Numbers begin again; no worker is at a job.
            caller.last = 0;
            shared.seats.iter().for_each(|seat| seat.cursor.reset());
        }
        caller.last += 1;
        let number = caller.last;
        let job = Job { call: erased::<F>, closure: (&raw const *f).cast(), cut };
        // SAFETY: the last job is left by all workers, and nobody can join it.
        unsafe { *shared.board.job.get() = job };
        shared.board.state.swap(u64::from(number) << 32 | cut.shares as u64, SeqCst);
        if shared.sleep.sleepers.load(SeqCst) > 0 {
            for (thread, seat) in self.threads.iter().zip(&shared.seats[1..]).take(cut.shares - 1) {
                if seat.sleeps.load(SeqCst) {
                    thread.thread().unpark();
                }
            }
        }
        // SAFETY: the closure is borrowed for the whole function.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { shared.help(number, &job, 0) }));
        shared.end(number, &shared.seats[1..cut.shares], &mut caller.asking);
        let theirs = shared.panic();
        drop(caller);
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

/// # Safety
/// The pointer is to a live `F`.
unsafe fn erased<F: Fn(Range<usize>)>(closure: *const (), range: Range<usize>) {
    // SAFETY: by the caller's promise.
    (unsafe { &*closure.cast::<F>() })(range);
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.board.state.store(STOP, SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker catches the panics of its jobs; it has none of its own.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Ends the job: no worker comes any more, and those that came have left.
    fn end(&self, number: u32, seats: &[Seat], asking: &mut Asking) {
        let came = |seat: &Seat| seat.at.load(SeqCst) >> 1 == u64::from(number);
        if !seats.iter().all(came) {
            self.board.state.swap(u64::from(number) << 32, SeqCst);
        }
        let gone = || seats.iter().all(|seat| seat.at.load(SeqCst) & 1 == 0);
        asking.look_at(&self.seats[0].ahead);
        if spin_until(asking, gone) {
            return;
        }
        *lock(&self.sleep.caller) = Some(thread::current());
        self.sleep.caller_sleeps.swap(true, SeqCst);
        while !gone() {
            thread::park();
        }
        self.sleep.caller_sleeps.store(false, SeqCst);
    }

    /// The first panic of a worker in this job.
    fn panic(&self) -> Option<Box<dyn Any + Send>> {
        // A worker's panic is written before the worker leaves.
        if !self.sleep.panicked.load(Relaxed) {
            return None;
        }
        self.sleep.panicked.store(false, Relaxed);
        lock(&self.sleep.panic).take()
    }

    /// The life of worker `i`.
    fn work(&self, i: usize) {
        let (seat, mut last, mut asking) = (&self.seats[i], 0, Asking::default());
        loop {
            asking.look_at(&seat.ahead);
            let state = self.next_state(i, last, &mut asking);
            if state == STOP {
                return;
            }
            last = (state >> 32) as u32;
            seat.at.swap(working(last), SeqCst);
            if self.board.state.load(SeqCst) == state {
                // SAFETY: the job is open and this worker is seen to be at it, so
                // it stays, and so does what its closure borrows.
                let result = catch_unwind(AssertUnwindSafe(|| unsafe {
                    self.help(last, &*self.board.job.get(), i);
                }));
                if let Err(panic) = result {
                    lock(&self.sleep.panic).get_or_insert(panic);
                    self.sleep.panicked.store(true, Relaxed);
                }
            }
            seat.at.swap(left(last), SeqCst);
            if self.sleep.caller_sleeps.load(SeqCst)
                && let Some(caller) = &*lock(&self.sleep.caller)
            {
                caller.unpark();
            }
        }
    }

    /// Waits for a job after number `last` that worker `i` may join, or the end.
    fn next_state(&self, i: usize, last: u32, asking: &mut Asking) -> u64 {
        let mut state = 0;
        let mut wanted = || {
            state = self.board.state.load(SeqCst);
            state as u32 as usize > i && (state >> 32) as u32 != last
        };
        if !spin_until(asking, &mut wanted) {
            self.seats[i].sleeps.store(true, SeqCst);
            self.sleep.sleepers.fetch_add(1, SeqCst);
            while !wanted() {
                thread::park();
            }
            self.sleep.sleepers.fetch_sub(1, SeqCst);
            self.seats[i].sleeps.store(false, SeqCst);
        }
        state
    }

    /// Works on a job: first on share `i`, then on those after it.
    ///
    /// # Safety
    /// The job's closure is alive.
    unsafe fn help(&self, number: u32, job: &Job, i: usize) {
        let shares = job.cut.shares;
        for share in (i..shares).chain(0..i) {
            while let Some(range) = self.seats[share].cursor.take(number, &job.cut, share) {
                // SAFETY: by the caller's promise.
                unsafe { (job.call)(job.closure, range) };
            }
        }
    }
}
