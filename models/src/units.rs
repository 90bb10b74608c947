//! Types for bytes, floating-point operations and parameters. Display is decimal with a unit prefix (MB = 10^6 B).

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Bytes(pub u64);

/// A number of floating-point operations; a multiply-add counts as two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Flops(pub u64);

/// A number of model parameters (weights), independent of their type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Params(pub u64);

/// Sums, multiples and conversions of all units. Arithmetic saturates, so that a size from an untrusted file cannot wrap.
macro_rules! amount {
    ($unit:ident) => {
        impl $unit {
            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number as `f64`, for ratios (exact below 2^53).
            #[must_use]
            #[allow(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
            pub const fn as_f64(self) -> f64 {
                self.0 as f64
            }
        }

        impl Add for $unit {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $unit {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl Sub for $unit {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Mul<u64> for $unit {
            type Output = Self;
            fn mul(self, times: u64) -> Self {
                Self(self.0.saturating_mul(times))
            }
        }

        impl Sum for $unit {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self(0), Add::add)
            }
        }
    };
}

amount!(Bytes);
amount!(Flops);
amount!(Params);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&with_prefix(self.0, &[" B", " kB", " MB", " GB", " TB", " PB"]))
    }
}

impl fmt::Display for Flops {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&with_prefix(self.0, &[" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP"]))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&with_prefix(self.0, &["", "K", "M", "B", "T"]))
    }
}

/// Three significant digits and the largest suffix for which the number is at least one.
fn with_prefix(number: u64, suffixes: &[&str]) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut shown = number as f64;
    let mut step = 0;
    // 999.5 would be rounded up to "1000".
    while shown >= 999.5 && step + 1 < suffixes.len() {
        shown /= 1000.0;
        step += 1;
    }
    let decimals = match (step, shown) {
        (0, _) | (_, 99.95..) => 0,
        (_, 9.995..) => 1,
        _ => 2,
    };
    format!("{shown:.decimals$}{}", suffixes[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_decimal_with_three_digits() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes(999).to_string(), "999 B");
        assert_eq!(Bytes(1_000).to_string(), "1.00 kB");
        assert_eq!(Bytes(98_123_456).to_string(), "98.1 MB");
        assert_eq!(Bytes(999_999).to_string(), "1.00 MB");
        assert_eq!(Bytes(16_060_522_496).to_string(), "16.1 GB");
        assert_eq!(Flops(2_471_000_000).to_string(), "2.47 GFLOP");
        assert_eq!(Params(134_515_008).to_string(), "135M");
        assert_eq!(Params(8_030_261_248).to_string(), "8.03B");
        assert_eq!(format!("{:>8}", Bytes(12)), "    12 B");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Bytes(u64::MAX) + Bytes(1), Bytes(u64::MAX));
        assert_eq!(Bytes(1) - Bytes(2), Bytes(0));
        assert_eq!(Bytes(u64::MAX) * 3, Bytes(u64::MAX));
        assert_eq!([Flops(1), Flops(2)].into_iter().sum::<Flops>(), Flops(3));
    }
}
