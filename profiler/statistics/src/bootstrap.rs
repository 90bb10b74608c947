//! Intervals of a mean over prompts, by resampling.

use super::combined::Quotient;
use super::no_interval::NoInterval;
use super::percentile;
use super::split_mix::SplitMix64;

/// Resamples per interval.
pub const RESAMPLES: usize = 10_000;

/// Ends of a 95 % interval, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The 2.5th percentile of the resampled means.
    pub low: f64,
    /// The 97.5th.
    pub high: f64,
}

/// 95 % interval of [`combined`](super::combined()), the mean over groups (prompts) of their values (samples): a hierarchical bootstrap.
///
/// Each resample draws as many groups as there are, with replacement, and from each drawn group as many values as it
/// has, with replacement; its figure is the combined mean of what was drawn. The interval runs from the 2.5th to the
/// 97.5th percentile of the figures ("percentile interval"; Efron and Tibshirani, "An Introduction to the Bootstrap",
/// 1993, chapter 13; resampling at every level: Davison and Hinkley, "Bootstrap Methods and their Application", 1997,
/// section 3.8). With one group it is the ordinary bootstrap over its values. With few groups it is narrower than it
/// should be: five prompts are a small sample of all prompts.
///
/// # Errors
/// The reason, where there is nothing to resample.
pub fn interval(groups: &[Vec<Quotient>], seed: u64) -> Result<Interval, NoInterval> {
    let groups: Vec<&[Quotient]> = groups.iter().map(Vec::as_slice).filter(|group| !group.is_empty()).collect();
    match groups.as_slice() {
        [] => return Err(NoInterval::NoSample),
        [only] if only.len() < 2 => return Err(NoInterval::OneSample),
        _ => {}
    }
    let mut random = SplitMix64::new(seed);
    let figures: Vec<f64> = (0..RESAMPLES).map(|_| resample(&groups, &mut random)).collect();
    match (percentile(&figures, 2.5), percentile(&figures, 97.5)) {
        (Some(low), Some(high)) => Ok(Interval { low, high }),
        _ => Err(NoInterval::NoSample),
    }
}

fn resample(groups: &[&[Quotient]], random: &mut SplitMix64) -> f64 {
    let (mut numerator, mut denominator) = (0.0, 0.0);
    for _ in 0..groups.len() {
        let group = groups[random.below(groups.len())];
        let (mut counted, mut time) = (0.0, 0.0);
        for _ in 0..group.len() {
            let drawn = group[random.below(group.len())];
            counted += drawn.numerator;
            time += drawn.denominator;
        }
        numerator += counted / group.len() as f64;
        denominator += time / group.len() as f64;
    }
    numerator / denominator
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(groups: &[Vec<f64>], seed: u64) -> Result<Interval, NoInterval> {
        let groups: Vec<Vec<Quotient>> =
            groups.iter().map(|group| group.iter().copied().map(Quotient::from).collect()).collect();
        super::interval(&groups, seed)
    }

    #[test]
    fn one_sample_has_no_interval() {
        assert!(interval(&[], 1).is_err());
        assert!(interval(&[vec![]], 1).is_err());
        assert!(interval(&[vec![1.0], vec![]], 1).unwrap_err().needs_more_rounds());
        assert!(interval(&[vec![1.0], vec![2.0]], 1).is_ok());
        assert!(interval(&[vec![1.0, 2.0]], 1).is_ok());
    }

    #[test]
    fn the_width_is_that_of_the_normal_approximation() {
        // 100 values 0..99: standard error of the mean 28.87 / 10, so the interval is about 49.5 +- 1.96 x 2.87.
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let Interval { low, high } = interval(&[values], 7).unwrap();
        assert!((low - 43.9).abs() < 0.4 && (high - 55.1).abs() < 0.4, "{low} {high}");
    }

    #[test]
    fn prompts_that_differ_widen_it() {
        let same = interval(&[vec![1.0, 3.0], vec![1.0, 3.0], vec![1.0, 3.0]], 7).unwrap();
        let apart = interval(&[vec![1.0, 3.0], vec![11.0, 13.0], vec![21.0, 23.0]], 7).unwrap();
        assert!(apart.high - apart.low > 3.0 * (same.high - same.low));
    }

    #[test]
    fn the_interval_of_a_rate_surrounds_its_mean() {
        // 16 tokens in 1, 1 and 7 s: 48 tokens in 9 s are 5.33/s. The mean of the rates, 11.4/s, is far above.
        let slow = [1.0, 1.0, 7.0].map(|time| Quotient { numerator: 16.0, denominator: time });
        let found = super::interval(&[slow.to_vec()], 3).unwrap();
        assert!(found.low < 5.33 && 5.33 < found.high, "{found:?}");
        assert!(
            (found.low - 16.0 / 7.0).abs() < 1e-9 && (found.high - 16.0).abs() < 1e-9,
            "all slow, all fast: {found:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn it_lies_within_the_values_and_repeats(groups in prop::collection::vec(prop::collection::vec(0.0..1e6f64, 2..6), 1..5), seed: u64) {
            let found = interval(&groups, seed).unwrap();
            prop_assert_eq!(found, interval(&groups, seed).unwrap());
            let all: Vec<f64> = groups.concat();
            let (low, high) = (percentile(&all, 0.0).unwrap(), percentile(&all, 100.0).unwrap());
            prop_assert!(low <= found.low + 1e-6 && found.low <= found.high && found.high <= high + 1e-6);
        }
    }
}
