//! Numbers as text: four significant digits, units in the column's heading.

use crate::results::Estimate;

/// What stands for a value that was not measured.
pub(super) const ABSENT: &str = "–";

/// Four significant digits, never more than nine decimals, no exponent: 0.01234, 12.35, 1235.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    // Rounding may carry into another digit: 99.999 has the places of 100.
    let rounded = format!("{value:.3e}").parse().unwrap_or(value);
    let magnitude = f64::abs(rounded).log10().floor() as i32;
    let decimals = usize::try_from((3 - magnitude).clamp(0, 9)).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// Seconds as milliseconds.
pub fn milliseconds(seconds: f64) -> String {
    significant(seconds * 1e3)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Bytes as MB = 10^6 bytes.
pub(super) fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

pub(super) fn or_absent(value: Option<String>) -> String {
    value.unwrap_or_else(|| ABSENT.to_owned())
}

/// A mean, and under it the interval where there is one.
pub(super) fn estimate(found: Option<&Estimate>, show: impl Fn(f64) -> String) -> String {
    let Some(found) = found else { return ABSENT.to_owned() };
    match (found.low, found.high) {
        (Some(low), Some(high)) => format!("{}\n[{}, {}]", show(found.mean), show(low), show(high)),
        _ => show(found.mean),
    }
}

/// `1 case`, `2 cases`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_and_no_exponent() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_344, "0.01234"),
            (12.345_6, "12.35"),
            (1_234.56, "1235"),
            (-2.0, "-2.000"),
            (1e-9, "0.000000001"),
            (123_456.0, "123456"),
            (99.999_9, "100.0"),
        ] {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn an_interval_stands_under_its_mean() {
        let whole = Estimate { mean: 2.0, low: Some(1.0), high: Some(3.0), ..Estimate::default() };
        assert_eq!(estimate(Some(&whole), significant), "2.000\n[1.000, 3.000]");
        assert_eq!(estimate(Some(&Estimate { low: None, ..whole }), significant), "2.000");
        assert_eq!(estimate(None, significant), "–");
    }
}
