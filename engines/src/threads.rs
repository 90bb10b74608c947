//! The threads that engines compute on in this process, lent to whoever measures what they can do at most.

/// The environment variables that set how many there are. They are read once, before the first use.
pub const VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Whether they wait in a pool for work; else each piece of work starts them anew.
pub const IS_POOL: bool = cfg!(feature = "candle");

/// How many there are, the calling thread counted.
#[must_use]
pub fn count() -> usize {
    imp::count()
}

/// Calls `work` once on each of them, with `0..count()`, the last number on the calling thread; returns when all are done.
pub fn each(work: impl Fn(usize) + Sync) {
    imp::each(work);
}

/// Candle's barrier pool, which its kernels and ours share.
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

/// Without an engine that has a pool: plain threads.
#[cfg(not(feature = "candle"))]
mod imp {
    use std::num::NonZero;

    pub(super) fn count() -> usize {
        let asked = std::env::var(super::VARIABLES[0]).ok().and_then(|text| text.parse().ok());
        asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
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
                    // The system has no thread left: its part is done here.
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
        each(|index| seen.lock().unwrap().push((index, std::thread::current().id())));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable_by_key(|(index, _)| *index);
        let indices: Vec<_> = seen.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, (0..count()).collect::<Vec<_>>());
        assert_eq!(seen.last().unwrap().1, std::thread::current().id(), "the last one is the caller");
    }
}
