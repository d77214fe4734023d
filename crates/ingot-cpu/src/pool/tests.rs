//! Tests of the pool.

use super::*;

/// Iterations: under Miri few, elsewhere enough to meet rare orders of events.
const MANY: usize = if cfg!(miri) { 20 } else { 20_000 };

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

#[test]
fn ranges_are_whole_grains_and_cover_everything() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads);
        for (items, grain) in [(0, 3), (1, 1), (64, 1), (1000, 7), (5, 8)] {
            let done: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            pool.for_each_range(items, grain, |range| {
                assert!(range.start % grain == 0 && (range.end % grain == 0 || range.end == items));
                range.for_each(|i| _ = done[i].fetch_add(1, SeqCst));
            });
            assert!(done.iter().all(|n| n.load(SeqCst) == 1), "{threads} threads, {items} items");
        }
    }
}

/// Jobs one right after the other, with more threads than processors: every
/// item is done exactly once and before the call returns, and no wake-up is lost.
#[test]
fn many_short_jobs() {
    for threads in [2, 3, 8] {
        let pool = Pool::new(threads);
        let mut sums = vec![0u64; 3 * threads];
        for n in 0..MANY {
            let items = 1 + n % sums.len();
            let out = Cells(sums.as_mut_ptr());
            pool.for_each_chunk(items, 1, |range| {
                for i in range {
                    // SAFETY: inside of the vector, and every item is one thread's alone.
                    // Unsynchronised, so that Miri would find a race.
                    unsafe { *out.at(i) += 1 };
                }
            });
            if n % 1024 == 1023 {
                thread::sleep(SPIN); // some workers are about to fall asleep
            }
        }
        let expected = |i: usize| (0..MANY).filter(|n| n % (3 * threads) >= i).count() as u64;
        assert!(sums.iter().enumerate().all(|(i, &sum)| sum == expected(i)));
    }
}

#[derive(Clone, Copy)]
struct Cells(*mut u64);
// SAFETY: the test gives every item to one thread.
unsafe impl Sync for Cells {}

impl Cells {
    fn at(self, i: usize) -> *mut u64 {
        self.0.wrapping_add(i)
    }
}

#[test]
fn numbers_of_jobs_begin_again() {
    let pool = Pool::new(3);
    sums_to(&pool, 100, 1);
    lock(&pool.caller).last = u32::MAX - 3;
    for _ in 0..6 {
        sums_to(&pool, 100, 1);
    }
    assert!(lock(&pool.caller).last < 10);
}

/// The caller does not wait for a worker that has not come yet.
#[test]
fn an_absent_worker_is_not_waited_for() {
    let pool = Pool::new(2);
    // As if its worker were never run: it ends now, its seat stays.
    pool.shared.board.state.store(STOP, SeqCst);
    while !pool.threads[0].is_finished() {
        pool.threads[0].thread().unpark();
        thread::yield_now();
    }
    sums_to(&pool, 1000, 7);
}

#[test]
fn workers_begin_with_their_share() {
    let pool = Pool::new(3);
    for (items, grain) in [(0, 1), (2, 1), (100, 1), (1000, 7)] {
        let shares: Vec<_> = (0..3).map(|worker| pool.share(items, grain, worker)).collect();
        assert!(shares.iter().cloned().flatten().eq(0..items), "{shares:?}");
        // Nobody takes from two shares at once.
        pool.for_each_range(items, grain, |range| {
            assert!(shares.iter().any(|s| s.start <= range.start && range.end <= s.end), "{range:?}");
        });
    }
}

#[test]
fn what_is_expected_changes_nothing() {
    let pool = Pool::new(3);
    let memory = vec![0; 1 << 20];
    for i in 0..MANY {
        // Also memory that is gone before anybody asks for it.
        let gone = vec![0; 100];
        pool.expect(|worker| if i % 2 == 0 { &memory[worker << 10..] } else { &gone });
        drop(gone);
        sums_to(&pool, 10, 1);
    }
}
