//! Numbers as text: four significant digits, no exponent.

/// Four significant digits, never more than nine decimals, no exponent: 0.01234, 12.35, 1235.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        // A sum may end at the negative zero.
        return "0".to_owned();
    }
    if !value.is_finite() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_and_no_exponent() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
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
}
