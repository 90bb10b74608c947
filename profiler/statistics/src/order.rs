//! Means and order statistics.

/// Arithmetic mean, in the unit of the values: (x_1 + ... + x_n) / n. `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The middle value, of an even number the mean of the two middle ones: [`percentile`] 50.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50.0)
}

/// The p-th percentile, 0 to 100, by linear interpolation between order statistics.
///
/// h = (n - 1) p / 100;  x\[floor h\] + (h - floor h) (x\[floor h + 1\] - x\[floor h\]), with x sorted and counted from 0.
/// Type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996); what R, NumPy and Excel do by default.
/// `None` without values or for a p outside 0..=100.
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    if values.is_empty() || !(0.0..=100.0).contains(&p) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let h = (sorted.len() - 1) as f64 * p / 100.0;
    let low = h.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    let part = h - low as f64;
    // Weighted and not as a + part * (b - a), which can leave the interval [a, b] by rounding.
    Some(sorted[low].mul_add(1.0 - part, sorted[high] * part).clamp(sorted[low], sorted[high]))
}

/// Median absolute deviation, in the unit of the values: median |x_i - median x|. Half of the values lie no further from
/// the median than this. Not scaled to a standard deviation.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    median(&distances)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-12)
    }

    #[test]
    fn percentiles_interpolate_as_numpy_does() {
        // numpy.percentile([1, 2, 4, 8], [0, 25, 50, 90, 100])
        let values = [8.0, 1.0, 4.0, 2.0];
        for (p, expected) in [(0.0, 1.0), (25.0, 1.75), (50.0, 3.0), (90.0, 6.8), (100.0, 8.0)] {
            assert!(close(percentile(&values, p), expected), "p{p}");
        }
    }

    #[test]
    fn nothing_comes_from_nothing() {
        assert_eq!(mean(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(mad(&[]), None);
        assert_eq!(percentile(&[1.0], 101.0), None);
        assert_eq!(percentile(&[1.0], -0.1), None);
    }

    #[test]
    fn deviation_is_from_the_median() {
        assert!(close(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), 1.0));
    }

    proptest! {
        #[test]
        fn percentiles_lie_between_the_ends_and_grow(values in prop::collection::vec(-1e9..1e9f64, 1..40), p in 0.0..100.0f64, q in 0.0..100.0f64) {
            let (p, q) = (p.min(q), p.max(q));
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (at_p, at_q) = (percentile(&values, p).unwrap(), percentile(&values, q).unwrap());
            prop_assert!(low <= at_p && at_q <= high);
            prop_assert!(at_p <= at_q + 1e-6 * at_q.abs());
        }

        #[test]
        fn order_does_not_matter(mut values in prop::collection::vec(-1e3..1e3f64, 1..20), p in 0.0..100.0f64) {
            let before = percentile(&values, p);
            values.reverse();
            prop_assert_eq!(before, percentile(&values, p));
        }

        #[test]
        fn the_mean_moves_with_the_values(values in prop::collection::vec(-1e3..1e3f64, 1..20), shift in -1e3..1e3f64) {
            let moved: Vec<f64> = values.iter().map(|value| value + shift).collect();
            prop_assert!((mean(&moved).unwrap() - mean(&values).unwrap() - shift).abs() < 1e-6);
            prop_assert!((mad(&moved).unwrap() - mad(&values).unwrap()).abs() < 1e-6);
        }
    }
}
