//! The compute threads of this process: a pool that shares work in small pieces and leaves the processor to others while it waits.
//!
//! A call of [`WorkerPool::share`] publishes its work, wakes the workers, and takes pieces itself until none is left. It then waits
//! only for workers that took a piece, and not for one that the system has not scheduled because another program runs.
//! Waiting threads spin for a short time, because a wake-up by the system takes longer than most waits, and then sleep, so that their
//! processor is free for a worker that was interrupted, or for other programs.
#![allow(unsafe_code, reason = "work with borrowed data is published to threads that outlive the borrow")]
#![cfg_attr(
    not(feature = "candle"),
    allow(dead_code, reason = "without an engine that computes, only probes use the threads")
)]

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};

/// The environment variables that set the number of threads. They are read once, before the first use.
pub(crate) const VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// How often a worker looks for work before it sleeps: 100 to 400 microseconds, by the duration of the processor's pause. Between two
/// parallel parts of a token pass at most some tens of microseconds.
const LOOKS_FOR_WORK: u32 = 10_000;
/// How often a call looks for the end of the workers' last pieces before it sleeps: 10 to 40 microseconds.
const LOOKS_FOR_END: u32 = 1_000;
/// Pieces per thread of a call: few enough that taking them costs nothing, and enough that threads end together.
const PIECES_PER_THREAD: usize = 8;

/// The pool of this process.
pub(crate) fn pool() -> &'static WorkerPool {
    static POOL: OnceLock<&'static WorkerPool> = OnceLock::new();
    POOL.get_or_init(|| WorkerPool::start(wanted_threads()))
}

/// The number of threads that the environment asks for, else one for each processor.
fn wanted_threads() -> usize {
    let requested = VARIABLES.iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    requested.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// The items of one call, which threads take in pieces.
pub(crate) struct Pieces {
    items: usize,
    size: usize,
    next: AtomicUsize,
}

impl Pieces {
    fn new(items: usize, size: usize) -> Self {
        Self { items, size, next: AtomicUsize::new(0) }
    }

    /// All items in one piece.
    pub(crate) fn whole(items: usize) -> Self {
        Self::new(items, items)
    }

    /// Takes a piece.
    pub(crate) fn take(&self) -> Option<Range<usize>> {
        // Relaxed: entering and leaving the job orders memory.
        let start = self.next.fetch_add(self.size, Ordering::Relaxed);
        (start < self.items).then(|| start..self.items.min(start + self.size))
    }
}

/// Work of one call.
struct Job<'a> {
    /// Called once on each thread that takes part; it takes pieces until none is left.
    of_thread: &'a (dyn Fn(&Pieces) + Sync),
    pieces: Pieces,
    /// A panic of a worker.
    panicked: AtomicBool,
}

impl Job<'_> {
    fn run(&self) {
        (self.of_thread)(&self.pieces);
    }
}

/// The state of the pool in one word: the number of the job in the upper half; below, whether it is open, and how many workers are in it.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    const OPEN: u64 = 1 << 31;
    const INSIDE: u64 = Self::OPEN - 1;

    fn job(self) -> u64 {
        self.0 >> 32
    }

    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    fn inside(self) -> u64 {
        self.0 & Self::INSIDE
    }

    fn next_job(self) -> Self {
        Self((self.job() + 1) << 32 | Self::OPEN)
    }
}

/// A worker as the caller sees it.
struct Worker {
    thread: Thread,
    /// Whether it sleeps, or is about to.
    sleeps: &'static AtomicBool,
}

/// A caller that waits for workers.
#[derive(Default)]
struct Waiting {
    thread: Mutex<Option<Thread>>,
    sleeps: AtomicBool,
}

/// Threads that wait for work. The calling thread takes part in each call.
pub(crate) struct WorkerPool {
    workers: Vec<Worker>,
    shared: &'static Shared,
    /// One call at a time.
    call: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    /// The open job; valid while the state is open or workers are in it.
    job: AtomicUsize,
    caller: Waiting,
}

impl WorkerPool {
    /// Starts `threads - 1` workers, or fewer if the system refuses one. They run until the process ends.
    fn start(threads: usize) -> &'static Self {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            state: AtomicU64::new(0),
            job: AtomicUsize::new(0),
            caller: Waiting::default(),
        }));
        let start = |index: usize| {
            let sleeps: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
            let worker = thread::Builder::new().name(format!("compute-{index}"));
            let handle = worker.spawn(move || shared.serve(sleeps)).ok()?;
            Some(Worker { thread: handle.thread().clone(), sleeps })
        };
        let workers = (1..threads).map_while(start).collect();
        Box::leak(Box::new(Self { workers, shared, call: Mutex::new(()) }))
    }

    /// The threads that compute, with the calling thread.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `of_thread` on the threads that take part, at least the calling one. Together they take `items` in pieces. Returns when all
    /// is done. A call inside of a call, or beside one of another thread, runs on the calling thread alone.
    pub(crate) fn share(&self, items: usize, of_thread: impl Fn(&Pieces) + Sync) {
        let size = items.div_ceil(self.threads() * PIECES_PER_THREAD).max(1);
        let job = Job { of_thread: &of_thread, pieces: Pieces::new(items, size), panicked: AtomicBool::new(false) };
        let is_shared = items > size && !self.workers.is_empty();
        match self.call.try_lock() {
            Ok(_one_at_a_time) if is_shared => self.run(&job),
            Err(TryLockError::Poisoned(_one_at_a_time)) if is_shared => self.run(&job),
            Ok(_) | Err(_) => job.run(),
        }
    }

    /// Calls `work` once on each thread, with `0..threads()`, the last number on the calling thread. Returns when all are done.
    pub(crate) fn on_each(&self, work: impl Fn(usize) + Sync) {
        let last = self.workers.len();
        let left = AtomicUsize::new(0);
        let of_worker = |pieces: &Pieces| {
            let Some(index) = pieces.take() else { return };
            let _leaving = Leaving(&left);
            work(index.start);
        };
        let job = Job { of_thread: &of_worker, pieces: Pieces::new(last, 1), panicked: AtomicBool::new(false) };
        let _one_at_a_time = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        self.open(&job);
        let closing = Closing { pool: self, job: &job };
        work(last);
        while !spin_until(LOOKS_FOR_END, || left.load(Ordering::Acquire) >= last) {
            thread::yield_now();
        }
        drop(closing);
    }

    fn run(&self, job: &Job<'_>) {
        self.open(job);
        // Workers must have left before the job is dropped, also if the caller's part panics.
        let _closing = Closing { pool: self, job };
        job.run();
    }

    /// Publishes a job and wakes the workers that sleep.
    fn open(&self, job: &Job<'_>) {
        let shared = self.shared;
        shared.job.store(std::ptr::from_ref(job).expose_provenance(), Ordering::Relaxed);
        let state = State(shared.state.load(Ordering::Relaxed)).next_job();
        // SeqCst: a worker announces its sleep, then looks for work; this publishes work, then looks for sleepers.
        shared.state.store(state.0, Ordering::SeqCst);
        for worker in &self.workers {
            if worker.sleeps.load(Ordering::SeqCst) && worker.sleeps.swap(false, Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
    }

    /// Lets no more workers in, and waits until those inside have left.
    fn close(&self, job: &Job<'_>) {
        let shared = self.shared;
        let state = State(shared.state.fetch_and(!State::OPEN, Ordering::AcqRel));
        if state.inside() > 0 {
            let is_empty = || State(shared.state.load(Ordering::SeqCst)).inside() == 0;
            if !spin_until(LOOKS_FOR_END, is_empty) {
                *shared.caller.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
                loop {
                    shared.caller.sleeps.store(true, Ordering::SeqCst);
                    if is_empty() {
                        break;
                    }
                    thread::park();
                }
                shared.caller.sleeps.store(false, Ordering::SeqCst);
            }
        }
        assert!(!job.panicked.load(Ordering::Relaxed) || thread::panicking(), "a compute thread panicked");
    }
}

/// Counts a worker as done when it is dropped.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Closes a job when it is dropped.
struct Closing<'a> {
    pool: &'a WorkerPool,
    job: &'a Job<'a>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.pool.close(self.job);
    }
}

impl Shared {
    /// The loop of a worker.
    fn serve(&self, sleeps: &AtomicBool) {
        let mut last = 0;
        loop {
            self.wait_for_job(last, sleeps);
            let state = State(self.state.load(Ordering::Acquire));
            if !state.is_open() || state.job() == last {
                continue;
            }
            let entered = self.state.compare_exchange(state.0, state.0 + 1, Ordering::AcqRel, Ordering::Relaxed);
            if entered.is_err() {
                continue; // another worker entered or left, or the job was closed
            }
            last = state.job();
            self.work();
            let before = State(self.state.fetch_sub(1, Ordering::SeqCst));
            if before.inside() == 1
                && !before.is_open()
                && self.caller.sleeps.load(Ordering::SeqCst)
                && let Some(thread) = &*self.caller.thread.lock().unwrap_or_else(PoisonError::into_inner)
            {
                thread.unpark();
            }
        }
    }

    /// Returns when there is an open job other than `last`; it may be closed already.
    fn wait_for_job(&self, last: u64, sleeps: &AtomicBool) {
        let is_new = || {
            let state = State(self.state.load(Ordering::SeqCst));
            state.is_open() && state.job() != last
        };
        if spin_until(LOOKS_FOR_WORK, is_new) {
            return;
        }
        loop {
            sleeps.store(true, Ordering::SeqCst);
            if is_new() {
                sleeps.store(false, Ordering::SeqCst);
                return;
            }
            thread::park();
        }
    }

    /// Takes pieces of the open job. The calling worker is inside.
    fn work(&self) {
        let job = std::ptr::with_exposed_provenance::<Job<'static>>(self.job.load(Ordering::Relaxed));
        // SAFETY: the caller of the job waits in `close` until this worker has left, so that the job and all that it borrows live.
        let job = unsafe { &*job };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run()));
        if result.is_err() {
            job.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Looks at most `looks` times, without sleeping; returns whether `is_done` became true. It counts instead of reading the clock, which may be
/// virtual.
fn spin_until(looks: u32, is_done: impl Fn() -> bool) -> bool {
    for _ in 0..looks {
        if is_done() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sum(pool: &WorkerPool, items: usize) -> usize {
        let sum = AtomicUsize::new(0);
        pool.share(items, |pieces| {
            while let Some(range) = pieces.take() {
                sum.fetch_add(range.sum::<usize>(), Ordering::Relaxed);
            }
        });
        sum.into_inner()
    }

    #[test]
    fn every_item_is_taken_once_after_short_and_long_pauses() {
        for threads in [1, 2, 3, 8] {
            let pool = WorkerPool::start(threads);
            assert_eq!(pool.threads(), threads);
            for round in 0..200 {
                for items in [0, 1, 2, 63, 1000] {
                    assert_eq!(
                        sum(pool, items),
                        items * items.saturating_sub(1) / 2,
                        "{threads} threads, {items} items"
                    );
                }
                if round % 50 == 0 {
                    thread::sleep(Duration::from_millis(2)); // longer than workers spin
                }
            }
        }
    }

    #[test]
    fn every_thread_is_called_once() {
        let pool = WorkerPool::start(4);
        for _ in 0..50 {
            let seen = Mutex::new(Vec::new());
            pool.on_each(|index| seen.lock().unwrap().push((index, thread::current().id())));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable_by_key(|(index, _)| *index);
            assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
            assert_eq!(seen[3].1, thread::current().id(), "the last one is the caller");
        }
    }

    #[test]
    fn a_call_inside_of_a_call_and_calls_of_several_threads_are_done_too() {
        let pool = WorkerPool::start(3);
        let total = AtomicUsize::new(0);
        pool.share(24, |pieces| {
            while let Some(range) = pieces.take() {
                for _ in range {
                    total.fetch_add(sum(pool, 100), Ordering::Relaxed);
                }
            }
        });
        assert_eq!(total.into_inner(), 24 * 4950);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| assert_eq!(sum(pool, 500), 500 * 499 / 2)));
            }
        });
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_the_pool_works_on() {
        let pool = WorkerPool::start(3);
        for bad in [0, 11, 23] {
            let result = std::panic::catch_unwind(|| {
                pool.share(24, |pieces| {
                    while let Some(range) = pieces.take() {
                        assert!(!range.contains(&bad), "a test's panic");
                    }
                });
            });
            assert!(result.is_err(), "item {bad}");
            assert_eq!(sum(pool, 1000), 1000 * 999 / 2);
        }
    }

    /// The call does not wait for workers that are not scheduled: here none of them ever runs.
    #[test]
    fn the_caller_does_all_work_if_no_worker_comes() {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            state: AtomicU64::new(0),
            job: AtomicUsize::new(0),
            caller: Waiting::default(),
        }));
        let asleep = Worker { thread: thread::current(), sleeps: Box::leak(Box::new(AtomicBool::new(false))) };
        let pool = WorkerPool { workers: vec![asleep], shared, call: Mutex::new(()) };
        assert_eq!(sum(&pool, 1000), 1000 * 999 / 2);
    }
}
