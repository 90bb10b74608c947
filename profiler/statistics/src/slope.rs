//! A line through points, and the growth of a thing per step, with their intervals.

use serde::{Deserialize, Serialize};

use super::mean;

/// A growth per step with its 95 % interval: a least-squares slope, or a mean of differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// The growth.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Points.
    pub n: usize,
}

/// 97.5th percentiles of Student's t for 1 to 30 degrees of freedom (Fisher and Yates, "Statistical Tables", 1963, table III).
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The 97.5th percentile of Student's t. Beyond the table by the expansion of Cornish and Fisher (Abramowitz and Stegun, 26.7.5),
/// with z the percentile of the normal distribution: `z + (z^3 + z) / 4n + (5 z^5 + 16 z^3 + 3 z) / 96 n^2`.
pub(super) fn student(degrees: usize) -> f64 {
    const Z: f64 = 1.959_964;
    match T.get(degrees.saturating_sub(1)) {
        Some(&value) => value,
        None => {
            let n = degrees as f64;
            Z + (Z.powi(3) + Z) / (4.0 * n) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * n * n)
        }
    }
}

/// The least-squares slope of points (x, y) with its 95 % interval, in the unit of y over that of x:
///
/// ```text
/// b = Sxy / Sxx    Sxy = sum (x - mean x)(y - mean y),  Sxx = sum (x - mean x)^2
/// interval b -+ t(n - 2) sqrt(SSE / (n - 2) / Sxx)    SSE = sum of the squared residuals
/// ```
/// Draper and Smith, "Applied Regression Analysis", 1998, section 1.4. The interval holds for independent residuals; those of
/// neighbouring measurements are rarely so, and then it is too narrow. `None` with fewer than three points or a single x.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let n = points.len();
    if n < 3 {
        return None;
    }
    let x = mean(&points.iter().map(|point| point.0).collect::<Vec<_>>())?;
    let y = mean(&points.iter().map(|point| point.1).collect::<Vec<_>>())?;
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(px, py)| of(px - x, py - y)).sum::<f64>();
    let sxx = sum(&|dx, _| dx * dx);
    if sxx <= 0.0 {
        return None;
    }
    let value = sum(&|dx, dy| dx * dy) / sxx;
    let residuals = sum(&|dx, dy| (dy - value * dx).powi(2));
    let half = student(n - 2) * (residuals / (n - 2) as f64 / sxx).sqrt();
    Some(Slope { value, low: value - half, high: value + half, n })
}

/// The least-squares slope of points (x, y) alone: `Sxy / Sxx` as in [`slope`]. `None` with a single x.
#[must_use]
pub fn line_slope(points: &[(f64, f64)]) -> Option<f64> {
    let x = mean(&points.iter().map(|point| point.0).collect::<Vec<_>>())?;
    let y = mean(&points.iter().map(|point| point.1).collect::<Vec<_>>())?;
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(px, py)| of(px - x, py - y)).sum::<f64>();
    let sxx = sum(&|dx, _| dx * dx);
    (sxx > 0.0).then(|| sum(&|dx, dy| dx * dy) / sxx)
}

/// The mean of values with its 95 % interval, in their unit:
///
/// ```text
/// mean -+ t(n - 1) s / sqrt(n)    s^2 = sum of (x - mean)^2 / (n - 1)
/// ```
/// Student, "The Probable Error of a Mean", Biometrika 6(1), 1908. `None` with fewer than two values.
#[must_use]
pub fn mean_interval(values: &[f64]) -> Option<Slope> {
    let n = values.len();
    let value = mean(values).filter(|_| n > 1)?;
    let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
    let half = student(n - 1) * (squares / (n - 1) as f64 / n as f64).sqrt();
    Some(Slope { value, low: value - half, high: value + half, n })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_textbook_example() {
        // x 1..5, y 2 4 5 4 5: b = 0.6, SSE = 2.4, Sxx = 10; 3.182 x sqrt(0.8 / 10) = 0.9.
        let found = slope(&[(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)]).unwrap();
        assert!((found.value - 0.6).abs() < 1e-12 && found.n == 5);
        assert!((found.low + 0.3).abs() < 1e-3 && (found.high - 1.5).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn a_mean_by_hand() {
        // 1 2 3 4 5: mean 3, s^2 = 2.5; 2.776 x sqrt(2.5 / 5) = 1.963.
        let found = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!(
            (found.value - 3.0).abs() < 1e-12 && (found.low - 1.037).abs() < 1e-3 && (found.high - 4.963).abs() < 1e-3
        );
        assert_eq!(mean_interval(&[1.0]), None);
    }

    #[test]
    fn too_little_has_no_slope() {
        assert_eq!(slope(&[(1.0, 2.0), (2.0, 3.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]), None);
        assert_eq!((line_slope(&[(1.0, 2.0), (3.0, 3.0)]), line_slope(&[(1.0, 2.0), (1.0, 3.0)])), (Some(0.5), None));
    }

    #[test]
    fn the_expansion_goes_on_where_the_table_ends() {
        assert!((student(30) - 2.042).abs() < 1e-9);
        assert!((student(31) - 2.0395).abs() < 2e-4 && (student(60) - 2.0003).abs() < 2e-4);
        assert!((student(100_000) - 1.96).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn a_line_is_found_and_lies_in_its_interval(slope_of in -5.0..5.0f64, start in -100.0..100.0f64, n in 3usize..40) {
            let points: Vec<_> = (0..n).map(|i| (i as f64, start + slope_of * i as f64)).collect();
            let found = slope(&points).unwrap();
            prop_assert!((found.value - slope_of).abs() < 1e-9);
            prop_assert!(found.low <= found.value && found.value <= found.high);
        }
    }
}
