//! Readings of counters, and the differences between them.

use super::Counter;
use super::intervals::Intervals;
use record::Reason;

/// The most counters that one reading holds; a reading lives on the stack.
pub const MAX_COUNTERS: usize = 32;

/// One counter at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterReading {
    /// The raw value.
    pub value: u64,
    /// How long it was enabled, in ns; 0 for a counter that always counts.
    pub enabled: u64,
    /// How long it counted: less than `enabled` where events share a register.
    pub running: u64,
    /// Whether the reading succeeded.
    pub valid: bool,
}

/// All counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the order of [`crate::Meter::counters`].
    pub counters: [CounterReading; MAX_COUNTERS],
}

/// The counters of a phase, summed over its occurrences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    value: [i128; MAX_COUNTERS],
    enabled: [u64; MAX_COUNTERS],
    running: [u64; MAX_COUNTERS],
    /// Whether it has times, as events do; process accounting always counts.
    timed: [bool; MAX_COUNTERS],
    failed: [bool; MAX_COUNTERS],
    backwards: [bool; MAX_COUNTERS],
    intervals: [Intervals; MAX_COUNTERS],
}

/// A counter's value over a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterValue {
    /// In the counter's unit.
    pub value: f64,
    /// Share of the time in which it counted. Below 1 the value is extrapolated.
    pub counted_share: f64,
}

impl Tally {
    /// Adds the difference of two readings.
    pub fn add(&mut self, before: &Reading, after: &Reading) {
        for (index, (before, after)) in before.counters.iter().zip(&after.counters).enumerate() {
            self.value[index] += i128::from(after.value) - i128::from(before.value);
            self.enabled[index] += after.enabled.saturating_sub(before.enabled);
            self.running[index] += after.running.saturating_sub(before.running);
            self.timed[index] |= after.enabled > 0;
            self.failed[index] |= !(before.valid && after.valid);
            self.backwards[index] |= after.value < before.value;
            self.intervals[index].add(before.enabled, after.enabled);
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        for index in 0..MAX_COUNTERS {
            self.value[index] += other.value[index];
            self.enabled[index] += other.enabled[index];
            self.running[index] += other.running[index];
            self.timed[index] |= other.timed[index];
            self.failed[index] |= other.failed[index];
            self.backwards[index] |= other.backwards[index];
            self.intervals[index].merge(&other.intervals[index]);
        }
    }

    /// The value of one counter: raw x enabled / running / per unit (perf_event_open(2), "Multiplexing").
    ///
    /// # Errors
    /// When there is no value. An event that never had a register was not counted; its value is not zero.
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn value(&self, index: usize, counter: &Counter) -> Result<CounterValue, Reason> {
        let (Some(&value), Some(&enabled), Some(&running)) =
            (self.value.get(index), self.enabled.get(index), self.running.get(index))
        else {
            return Err(reason!("{} was not read", counter.name));
        };
        if self.failed[index] {
            return Err(reason!("reading {} failed", counter.name));
        }
        if self.backwards[index] && !counter.is_level() {
            return Err(reason!("{} went backwards: the counter wrapped or was reset", counter.name));
        }
        if let Some(shortest) = counter.coarse() {
            self.intervals[index].resolve(shortest, value, counter.name)?;
        }
        let raw = value as f64 / counter.per_unit as f64;
        if !self.timed[index] {
            return Ok(CounterValue { value: raw, counted_share: 1.0 });
        }
        if running == 0 {
            return Err(reason!(
                "{} was not counted because other programs used the processor's registers: end other profilers, or switch the watchdog off (`sysctl kernel.nmi_watchdog=0`)",
                counter.name
            ));
        }
        let share = running as f64 / enabled as f64;
        Ok(CounterValue { value: raw / share.min(1.0), counted_share: share.min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::registered_counter;
    use super::*;

    fn reading(value: u64, enabled: u64, running: u64) -> Reading {
        let mut reading = Reading::default();
        reading.counters[0] = CounterReading { value, enabled, running, valid: true };
        reading
    }

    #[test]
    fn multiplexed_counts_are_extrapolated_and_marked() {
        let cycles = registered_counter("cycles").unwrap();
        let mut tally = Tally::default();
        tally.add(&reading(100, 1000, 1000), &reading(150, 3000, 2000));
        let counted = tally.value(0, cycles).unwrap();
        assert!((counted.value - 100.0).abs() < 1e-9, "{counted:?}");
        assert!((counted.counted_share - 0.5).abs() < 1e-9);
    }

    #[test]
    fn an_event_that_never_ran_is_absent_not_zero() {
        let mut tally = Tally::default();
        tally.add(&reading(0, 1000, 0), &reading(0, 2000, 0));
        assert!(tally.value(0, registered_counter("cycles").unwrap()).unwrap_err().as_str().contains("not counted"));
    }

    #[test]
    fn a_failed_reading_is_absent() {
        let mut tally = Tally::default();
        tally.add(&Reading::default(), &reading(5, 0, 0));
        assert!(tally.value(0, registered_counter("cycles").unwrap()).unwrap_err().as_str().contains("failed"));
    }

    #[test]
    fn resident_memory_may_fall_counts_may_not() {
        let mut tally = Tally::default();
        tally.add(&reading(500, 0, 0), &reading(200, 0, 0));
        assert!((tally.value(0, registered_counter("resident_bytes").unwrap()).unwrap().value + 300.0).abs() < 1e-9);
        assert!(
            tally.value(0, registered_counter("minor_faults").unwrap()).unwrap_err().as_str().contains("backwards")
        );
    }

    #[test]
    fn seconds_come_from_microseconds() {
        let mut tally = Tally::default();
        tally.add(&reading(0, 0, 0), &reading(2_500_000, 0, 0));
        tally.merge(&tally.clone());
        assert!((tally.value(0, registered_counter("cpu_user_s").unwrap()).unwrap().value - 5.0).abs() < 1e-9);
    }
}
