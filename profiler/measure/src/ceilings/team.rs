//! So many of the threads that engines compute on.

use engines::threads;

/// The last so many threads of this process, the calling one among them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Team {
    first: usize,
    size: usize,
}

impl Team {
    /// All of them.
    pub(super) fn whole() -> Self {
        Self::of(threads::count())
    }

    /// At most all of them, at least one.
    pub(super) fn of(size: usize) -> Self {
        let all = threads::count();
        let size = size.clamp(1, all);
        Self { first: all - size, size }
    }

    pub(super) fn size(self) -> usize {
        self.size
    }

    /// Calls `work` with `0..size`, each on a thread of its own; returns when all are done.
    pub(super) fn run(self, work: impl Fn(usize) + Sync) {
        threads::each(|index| {
            if let Some(member) = index.checked_sub(self.first) {
                work(member);
            }
        });
    }
}

/// The thread counts that describe a machine: 1, 2, 4 and so on, the physical cores, and all hardware threads.
pub fn thread_counts(cores: usize, threads: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1_usize), |count| count.checked_mul(2)).take_while(|count| *count < cores);
    let mut counts: Vec<usize> = powers.chain([cores.max(1), threads.max(1)]).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
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

    #[test]
    fn machines_are_described_by_few_counts() {
        assert_eq!(thread_counts(1, 1), [1]);
        assert_eq!(thread_counts(2, 2), [1, 2]);
        assert_eq!(thread_counts(6, 12), [1, 2, 4, 6, 12]);
        assert_eq!(thread_counts(64, 128), [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(thread_counts(0, 0), [1]);
    }
}
