//! Repeats work for a given time, and measures the seconds per pass.

use traces::{Nanos, clock};

/// Repetitions of a full measurement.
pub(super) const REPETITIONS: usize = 7;

/// The most passes of one call, in case the clock does not advance.
const MOST: u64 = 1 << 40;

/// How long and how often work is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// The duration of one repetition.
    pub(super) each: Nanos,
    /// The number of repetitions.
    pub(super) repetitions: usize,
}

impl Effort {
    pub(super) const fn millis(each: u64) -> Self {
        Self { each: Nanos::from_millis(each), repetitions: REPETITIONS }
    }
}

/// Calls `work(passes)` again and again; returns seconds per pass, one value per repetition.
///
/// The first call warms up caches and frequency. A call that takes less than half of the duration is not counted, because so few passes
/// cannot be timed: the number of passes grows, and earlier calls are discarded. An interruption could make a single call of few passes
/// look long enough, but not several calls in a row.
pub(super) fn repeat(effort: Effort, mut work: impl FnMut(u64)) -> Vec<f64> {
    let mut timed = |passes: u64| {
        let start = clock::now();
        work(passes);
        clock::now().saturating_sub(start)
    };
    let mut passes = 1_u64;
    let mut seconds = Vec::with_capacity(effort.repetitions);
    timed(passes);
    while seconds.len() < effort.repetitions {
        let took = timed(passes);
        if took * 2 < effort.each && passes < MOST {
            let wanted = passes.saturating_mul(effort.each.as_nanos()).checked_div(took.as_nanos());
            passes = wanted.unwrap_or(u64::MAX).clamp(passes * 2, passes * 8);
            seconds.clear();
        } else {
            seconds.push(took.as_secs_f64() / passes as f64);
        }
    }
    seconds
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
    fn an_interruption_does_not_hide_that_there_are_too_few_passes() {
        let _clock = VirtualClock::install();
        let mut calls = 0;
        let seconds = repeat(Effort::millis(10), |passes| {
            calls += 1;
            // The second and third call, still of one pass each, are interrupted for as long as a repetition.
            let interruption = if calls == 2 || calls == 3 { 10_000 } else { 0 };
            clock::advance(Nanos::from_micros(interruption + 3 * passes));
        });
        assert!(seconds.iter().all(|seconds| (seconds - 3e-6).abs() < 1e-15), "{seconds:?}");
    }

    #[test]
    fn slow_work_runs_once_per_repetition() {
        let _clock = VirtualClock::install();
        let mut calls = 0;
        let seconds = repeat(Effort::millis(1), |passes| {
            calls += passes;
            clock::advance(Nanos::from_secs(2) * passes);
        });
        assert_eq!((calls, seconds.len()), (1 + REPETITIONS as u64, REPETITIONS));
    }
}
