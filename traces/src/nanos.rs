//! [`Nanos`]: a duration, or an instant of the monotonic clock, in whole nanoseconds.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds: a duration, or an instant since the clock's arbitrary origin.
///
/// Arithmetic saturates (a difference that would be negative is zero): a measurement must not panic. 64 bits hold 584
/// years. In JSON it is a plain number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// The largest value.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// From seconds, rounded to the nearest nanosecond; negative numbers and NaN become zero.
    pub fn from_secs_f64(seconds: f64) -> Self {
        // A float-to-integer `as` saturates at both ends and turns NaN into 0.
        Self((seconds * 1e9).round() as u64)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds.
    pub fn as_micros_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// Milliseconds.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The difference, or zero if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, or [`Nanos::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or `None` if `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl SubAssign for Nanos {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Mul<u64> for Nanos {
    type Output = Self;
    fn mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Div<u64> for Nanos {
    type Output = Self;
    /// The quotient, rounded down. Division by zero gives zero, so that the mean of no samples is zero.
    fn div(self, parts: u64) -> Self {
        Self(self.0.checked_div(parts).unwrap_or(0))
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Self> for Nanos {
    fn sum<I: Iterator<Item = &'a Self>>(times: I) -> Self {
        times.copied().sum()
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

/// Three significant digits and a suitable unit: `870 ns`, `12.4 µs`, `1.24 ms`, `3.1 s`, `12 min 5 s`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&readable(self.0))
    }
}

fn readable(nanos: u64) -> String {
    if nanos < 1_000 {
        return format!("{nanos} ns");
    }
    for (unit, size) in [("µs", 1e3), ("ms", 1e6)] {
        let value = nanos as f64 / size;
        // 999.5 and more would be printed as 1000, which is 1 of the next unit.
        if value < 999.5 {
            return format!("{} {unit}", three_digits(value));
        }
    }
    let seconds = nanos as f64 / 1e9;
    if seconds < 599.5 {
        return format!("{} s", three_digits(seconds));
    }
    let seconds = seconds.round() as u64;
    format!("{} min {} s", seconds / 60, seconds % 60)
}

/// `1.24`, `12.4`, `124`; without trailing zeros after the point.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => return format!("{value:.0}"),
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_three_digits_and_a_suitable_unit() {
        let shown: Vec<String> = [
            0,
            1,
            870,
            999,
            1_000,
            1_234,
            12_440,
            999_499,
            999_500,
            1_240_000,
            99_949_999,
            999_499_999,
            999_500_000,
            3_100_000_000,
            75_230_000_000,
            725_000_000_000,
        ]
        .iter()
        .map(|&n| Nanos(n).to_string())
        .collect();
        assert_eq!(
            shown,
            [
                "0 ns",
                "1 ns",
                "870 ns",
                "999 ns",
                "1 µs",
                "1.23 µs",
                "12.4 µs",
                "999 µs",
                "1 ms",
                "1.24 ms",
                "99.9 ms",
                "999 ms",
                "1 s",
                "3.1 s",
                "75.2 s",
                "12 min 5 s"
            ]
        );
        assert_eq!(format!("[{:>9}]", Nanos(870)), "[   870 ns]");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Nanos(3) - Nanos(5), Nanos::ZERO);
        assert_eq!(Nanos::MAX + Nanos(1), Nanos::MAX);
        assert_eq!(Nanos(3).checked_sub(Nanos(5)), None);
        assert_eq!(Nanos(7) / 0, Nanos::ZERO);
        assert_eq!([Nanos(1), Nanos(2)].iter().sum::<Nanos>(), Nanos(3));
    }

    #[test]
    fn seconds_round_to_the_nearest_nanosecond() {
        assert_eq!(Nanos::from_secs_f64(0.1), Nanos(100_000_000));
        assert_eq!(Nanos::from_secs_f64(-1.0), Nanos::ZERO);
        assert_eq!(Nanos::from_secs_f64(f64::NAN), Nanos::ZERO);
        assert_eq!(Nanos::from_secs_f64(f64::INFINITY), Nanos::MAX);
    }

    #[test]
    fn json_is_a_plain_number() {
        assert_eq!(serde_json::to_string(&Nanos(12)).unwrap(), "12");
        assert_eq!(serde_json::from_str::<Nanos>("12").unwrap(), Nanos(12));
    }
}
