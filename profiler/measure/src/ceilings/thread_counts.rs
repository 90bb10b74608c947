//! The thread counts for which ceilings are measured.

/// Thread counts that describe a machine: powers of two, the physical cores, and all hardware threads.
pub fn thread_counts(cores: usize, threads: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1_usize), |count| count.checked_mul(2)).take_while(|count| *count < cores);
    let mut counts: Vec<usize> = powers.chain([cores.max(1), threads.max(1)]).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_powers_of_two_and_the_sizes_of_the_machine() {
        assert_eq!(thread_counts(1, 1), [1]);
        assert_eq!(thread_counts(2, 2), [1, 2]);
        assert_eq!(thread_counts(6, 12), [1, 2, 4, 6, 12]);
        assert_eq!(thread_counts(64, 128), [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(thread_counts(0, 0), [1]);
    }
}
