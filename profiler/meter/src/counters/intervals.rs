//! [`Intervals`]: whether the intervals between readings were long enough for a coarse counter.
//!
//! The kernel updates some counters, such as macOS's energy, only now and then. Over a shorter interval the difference of two
//! readings depends on the time of the update, not on what was used.

use record::Reason;
/// The intervals between the readings of one counter, from the times in its readings, in ns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intervals {
    first: u64,
    last: u64,
    total: u64,
    count: u64,
}

impl Intervals {
    pub(super) fn add(&mut self, begin: u64, end: u64) {
        self.merge(&Self { first: begin, last: end, total: end.saturating_sub(begin), count: 1 });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.first = if self.count == 0 { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.total += other.total;
        self.count += other.count;
    }

    /// The interval over which the counter's resolution matters, in ns.
    ///
    /// ```text
    /// last - first      if the intervals cover at least 95 % of it: the gaps are small, and the errors at inner edges cancel
    /// total / count     elsewhere
    /// ```
    fn interval(&self) -> u64 {
        let span = self.last.saturating_sub(self.first);
        let is_whole = u128::from(self.total) * 100 >= u128::from(span) * 95;
        if is_whole { span } else { self.total / self.count.max(1) }
    }

    /// Rejects values over intervals that are shorter than the counter's resolution.
    ///
    /// # Errors
    /// When the intervals are too short, or the counter does not move.
    pub(super) fn resolve(&self, shortest: u64, value: i128, name: &str) -> Result<(), Reason> {
        let interval = self.interval();
        if interval < shortest {
            return Err(reason!(
                "{name} is updated about every {} ms, and the interval was {:.1} ms: generate more tokens",
                shortest / 1_000_000,
                interval as f64 / 1e6
            ));
        }
        if value == 0 {
            return Err(reason!(
                "{name} did not change in {:.1} ms: this machine does not estimate it (virtual machines do not)",
                interval as f64 / 1e6
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_short_interval_has_no_energy() {
        let mut intervals = Intervals::default();
        intervals.add(100 * MS, 112 * MS);
        insta::assert_snapshot!(intervals.resolve(20 * MS, 7, "energy_j").unwrap_err(), @"energy_j is updated about every 20 ms, and the interval was 12.0 ms: generate more tokens");
        intervals.add(112 * MS, 130 * MS);
        assert_eq!(intervals.resolve(20 * MS, 7, "energy_j"), Ok(()), "consecutive intervals are one interval");
    }

    #[test]
    fn short_intervals_with_gaps_do_not_add_up() {
        let mut intervals = Intervals::default();
        for step in 0..100 {
            intervals.add(step * 10 * MS, (step * 10 + 2) * MS);
        }
        assert_eq!(intervals.interval(), 2 * MS);
        let mut others = Intervals::default();
        for step in 0..100 {
            others.add((step * 10 + 2) * MS, (step * 10 + 10) * MS);
        }
        assert_eq!(others.interval(), 8 * MS);
        intervals.merge(&others);
        assert_eq!(intervals.interval(), 1000 * MS, "together they are the whole request");
        assert_eq!(intervals.resolve(20 * MS, 7, "energy_j"), Ok(()));
    }

    #[test]
    fn a_counter_that_does_not_change_is_not_zero() {
        let mut intervals = Intervals::default();
        intervals.add(0, 50 * MS);
        insta::assert_snapshot!(intervals.resolve(20 * MS, 0, "energy_j").unwrap_err(), @"energy_j did not change in 50.0 ms: this machine does not estimate it (virtual machines do not)");
    }
}
