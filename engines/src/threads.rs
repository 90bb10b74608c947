//! The compute threads of the engines in this process, for measurements of what these threads can reach at most.

/// The environment variables that set the number of threads. They are read once, before the first use.
pub const VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Whether the threads are a pool; otherwise each call of [`run_on_each`] starts new ones.
pub const IS_POOL: bool = cfg!(feature = "candle");

/// The number of threads, including the calling thread.
#[must_use]
pub fn count() -> usize {
    imp::count()
}

/// Calls `work` once on each thread, with `0..count()`, the last number on the calling thread; returns when all are done.
pub fn run_on_each(work: impl Fn(usize) + Sync) {
    imp::each(work);
}

/// candle's barrier pool, which its kernels and those of this crate share.
#[cfg(feature = "candle")]
mod imp {
    use candle_core::utils::barrier_pool;

    pub(super) fn count() -> usize {
        barrier_pool().n_workers() + 1
    }

    pub(super) fn each(work: impl Fn(usize) + Sync) {
        barrier_pool().execute(work);
    }
}

/// Plain threads, for builds without an engine that has a pool.
#[cfg(not(feature = "candle"))]
mod imp {
    use std::num::NonZero;

    pub(super) fn count() -> usize {
        // Like candle, ignore a value that is not a positive number.
        let requested = std::env::var(super::VARIABLES[0]).ok().and_then(|text| text.parse().ok());
        requested.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
    }

    pub(super) fn each(work: impl Fn(usize) + Sync) {
        let last = count() - 1;
        std::thread::scope(|scope| {
            for index in 0..last {
                let work = &work;
                let started = std::thread::Builder::new()
                    .name(format!("compute-{index}"))
                    .spawn_scoped(scope, move || work(index));
                if started.is_err() {
                    // The system refused another thread: its part runs on this one.
                    work(index);
                }
            }
            work(last);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_thread_is_called_once() {
        let seen = Mutex::new(Vec::new());
        run_on_each(|index| seen.lock().unwrap().push((index, std::thread::current().id())));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable_by_key(|(index, _)| *index);
        let indices: Vec<_> = seen.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, (0..count()).collect::<Vec<_>>());
        assert_eq!(seen.last().unwrap().1, std::thread::current().id(), "the last one is the caller");
    }
}
