//! The compute threads of the engines in this process, for measurements of what these threads can reach at most.

use crate::worker_pool::pool;

/// The environment variables that set the number of threads. They are read once, before the first use.
pub const VARIABLES: [&str; 2] = crate::worker_pool::VARIABLES;

/// The number of threads, including the calling thread.
#[must_use]
pub fn count() -> usize {
    pool().threads()
}

/// Calls `work` once on each thread, with `0..count()`, the last number on the calling thread; returns when all are done.
pub fn run_on_each(work: impl Fn(usize) + Sync) {
    pool().on_each(work);
}
