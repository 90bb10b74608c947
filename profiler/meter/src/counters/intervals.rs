//! How long the intervals were over which a coarse account was read.
//!
//! The kernel brings some accounts, such as macOS's energy, up to date now and then only. Over an interval shorter than that the
//! difference of two readings says when the account was written, not what the interval took.

use record::Reason;
/// The intervals of one counter, by the times that its readings carry, in ns.
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

    /// The interval that an error at the account's edges belongs to, in ns.
    ///
    /// ```text
    /// last - first      where the intervals cover at least 95 % of it: what lies between them is little, and inner edges cancel
    /// total / count     elsewhere
    /// ```
    fn interval(&self) -> u64 {
        let span = self.last.saturating_sub(self.first);
        let is_whole = u128::from(self.total) * 100 >= u128::from(span) * 95;
        if is_whole { span } else { self.total / self.count.max(1) }
    }

    /// Refuses a value over intervals that are shorter than the account resolves.
    ///
    /// # Errors
    /// The reason, with what to do.
    pub(super) fn resolve(&self, shortest: u64, value: i128, name: &str) -> Result<(), Reason> {
        let interval = self.interval();
        if interval < shortest {
            return Err(reason!(
                "{name} is brought up to date every {} ms or so, and this lasted {:.1} ms: ask for more tokens",
                shortest / 1_000_000,
                interval as f64 / 1e6
            ));
        }
        if value == 0 {
            return Err(reason!(
                "{name} did not move in {:.1} ms: this machine does not estimate it, as virtual machines do not",
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
        insta::assert_snapshot!(intervals.resolve(20 * MS, 7, "energy_j").unwrap_err(), @"energy_j is brought up to date every 20 ms or so, and this lasted 12.0 ms: ask for more tokens");
        intervals.add(112 * MS, 130 * MS);
        assert_eq!(intervals.resolve(20 * MS, 7, "energy_j"), Ok(()), "one behind the other is one interval");
    }

    #[test]
    fn short_intervals_with_others_between_do_not_add_up() {
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
    fn an_account_that_stands_still_is_not_zero() {
        let mut intervals = Intervals::default();
        intervals.add(0, 50 * MS);
        insta::assert_snapshot!(intervals.resolve(20 * MS, 0, "energy_j").unwrap_err(), @"energy_j did not move in 50.0 ms: this machine does not estimate it, as virtual machines do not");
    }
}
