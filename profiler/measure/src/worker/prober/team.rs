//! [`Team`]: some of the threads that engines compute on.

use engines::threads;

/// The last `size` threads of this process; the calling thread is one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Team {
    first: usize,
    size: usize,
}

impl Team {
    /// All threads.
    pub(super) fn whole() -> Self {
        Self::of(threads::count())
    }

    /// `size` threads: at least one, at most all.
    pub(super) fn of(size: usize) -> Self {
        let all = threads::count();
        let size = size.clamp(1, all);
        Self { first: all - size, size }
    }

    pub(super) fn size(self) -> usize {
        self.size
    }

    /// Calls `work` with each number in `0..size`, on a thread of its own; returns when all calls have returned.
    pub(super) fn run(self, work: impl Fn(usize) + Sync) {
        threads::run_on_each(|index| {
            if let Some(member) = index.checked_sub(self.first) {
                work(member);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn members_are_numbered_from_zero() {
        for team in [Team::whole(), Team::of(1), Team::of(usize::MAX), Team::of(0)] {
            let seen = Mutex::new(Vec::new());
            team.run(|member| seen.lock().unwrap().push(member));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, (0..team.size()).collect::<Vec<_>>());
        }
    }
}
