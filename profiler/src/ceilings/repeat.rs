//! Repeating a piece of work for a given time, and the seconds that each pass of it took.

use traces::{Nanos, clock};

/// Repetitions of a full measurement.
pub(super) const REPETITIONS: usize = 7;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// What one repetition is to take.
    pub(super) each: Nanos,
    /// Repetitions that count.
    pub(super) repetitions: usize,
}

impl Effort {
    pub(super) const fn millis(each: u64) -> Self {
        Self { each: Nanos::from_millis(each), repetitions: REPETITIONS }
    }
}

/// Calls `work(passes)` again and again; returns seconds per pass, one value per repetition.
///
/// Before the repetitions that count, the number of passes is doubled until they take a quarter of the time: that warms up
/// caches and frequency too.
pub(super) fn repeat(effort: Effort, mut work: impl FnMut(u64)) -> Vec<f64> {
    let mut timed = |passes: u64| {
        let start = clock::now();
        work(passes);
        clock::now().saturating_sub(start)
    };
    let mut passes = 1_u64;
    let took = loop {
        let took = timed(passes);
        if took * 4 >= effort.each || passes >= 1 << 40 {
            break took;
        }
        passes *= 2;
    };
    // Where a pass takes longer than a repetition should, a repetition is one pass.
    let passes = passes.saturating_mul(effort.each.as_nanos()).checked_div(took.as_nanos()).unwrap_or(passes).max(1);
    (0..effort.repetitions).map(|_| timed(passes).as_secs_f64() / passes as f64).collect()
}

/// `amount / seconds` of each repetition: bytes or operations of a pass over its time.
pub(super) fn rates(amount: u64, seconds: &[f64]) -> Vec<f64> {
    seconds.iter().filter(|&&seconds| seconds > 0.0).map(|seconds| amount as f64 / seconds).collect()
}

#[cfg(test)]
mod tests {
    use traces::clock::VirtualClock;

    use super::*;

    #[test]
    fn seconds_are_those_of_a_pass() {
        let _clock = VirtualClock::install();
        let mut calls = Vec::new();
        let seconds = repeat(Effort::millis(10), |passes| {
            calls.push(passes);
            clock::advance(Nanos::from_micros(3) * passes);
        });
        assert_eq!(seconds.len(), REPETITIONS);
        assert!(seconds.iter().all(|seconds| (seconds - 3e-6).abs() < 1e-15), "{seconds:?}");
        let last = *calls.last().unwrap();
        assert!((3333..=3334).contains(&last), "ten milliseconds of 3 µs each: {last}");
        assert!(rates(6, &seconds).iter().all(|rate| (rate - 2e6).abs() < 1.0));
    }

    #[test]
    fn slow_work_is_done_once_a_repetition() {
        let _clock = VirtualClock::install();
        let mut calls = 0;
        let seconds = repeat(Effort::millis(1), |passes| {
            calls += passes;
            clock::advance(Nanos::from_secs(2) * passes);
        });
        assert_eq!((calls, seconds.len()), (1 + REPETITIONS as u64, REPETITIONS));
    }
}
