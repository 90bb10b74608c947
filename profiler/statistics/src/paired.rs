//! Ratios of paired measurements with their intervals.
//!
//! A pair is two requests of the same prompt in the same round, one after the other in random order. A disturbance of both (drift, a
//! slower period of the machine) does not change the logarithm of their ratio. A disturbance of one of them affects either with equal
//! probability, because their order is random. Under "no difference" the sign of each logarithm is therefore random. The interval
//! follows from this symmetry and needs no assumption on the distribution of the noise.

use super::no_interval::NoInterval;
use super::slope::student;
use super::split_mix::SplitMix64;
use super::{mean, percentile};

/// Random halves per interval.
const HALVES: usize = 4_000;
/// With fewer pairs, a 95 % interval from halves is impossible or too coarse: 5 pairs have only 16 splits.
const FEWEST: usize = 6;
/// Prompts count as different where their means vary more than the rounds explain: by this multiple of the expected variance.
const APART: f64 = 3.0;
/// 97.5th and 90th percentiles of the normal distribution.
const Z_975: f64 = 1.959_964;
const Z_90: f64 = 1.281_552;

/// A ratio with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Other / baseline: the geometric mean over the prompts of the geometric means over their pairs.
    pub ratio: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The smallest difference, as a share, that is detectable with 90 % power.
    pub detectable: f64,
    /// Pairs; of measurements that are not paired the smaller number of rounds.
    pub pairs: usize,
}

impl Ratio {
    /// From the mean of the logarithms and the ends of its interval.
    fn of_logs(middle: f64, low: f64, high: f64, pairs: usize) -> Self {
        let half = (high - low) / 2.0;
        Self {
            ratio: middle.exp(),
            low: low.exp(),
            high: high.exp(),
            detectable: (half * (Z_975 + Z_90) / Z_975).exp_m1(),
            pairs,
        }
    }

    /// Whether the interval excludes "no difference".
    pub fn is_difference(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// The ratio of paired measurements. `strata[p]` holds `ln(other / baseline)` of prompt p, one for each round.
///
/// ```text
/// middle      = mean over p of the mean of strata[p]
/// interval    = 2.5th to 97.5th percentile of the mean of a random subset of all pairs (each pair in it or not with equal chance)
/// detectable  = exp(half width x (z_97.5 + z_90) / z_97.5) - 1
/// ```
/// Random subsets: Hartigan, "Using subsample values as typical values", Journal of the American Statistical Association 64,
/// 1969; the interval holds all values that Fisher's randomisation test ("The Design of Experiments", 1935, section 21) does not
/// reject at 5 %. It is exact for independent differences whose distribution is symmetric, whatever its form: bursts do not spoil
/// it. Both a subset and the rest of it are used, the wider one of the two on each side.
///
/// The prompts are those of the set and no sample of others: where their means differ by more than the rounds explain
/// (`F = variance of the means / (s^2 / n) > 3`), the share `1 - 1 / F` of what sets them apart is taken out before, and the
/// differences within the prompts are widened by `sqrt(n / (n - share))` for the degrees of freedom that this takes.
///
/// With 2 to 5 pairs Student's t takes the place of the subsets.
///
/// # Errors
/// The reason, where fewer than two pairs exist.
pub fn ratio(strata: &[Vec<f64>], seed: u64) -> Result<Ratio, NoInterval> {
    let strata: Vec<&[f64]> = strata.iter().map(Vec::as_slice).filter(|stratum| !stratum.is_empty()).collect();
    let pairs = strata.iter().map(|stratum| stratum.len()).sum();
    let means: Vec<f64> = strata.iter().filter_map(|stratum| mean(stratum)).collect();
    let Some(middle) = mean(&means) else { return Err(NoInterval::NoPair) };
    if pairs < 2 {
        return Err(NoInterval::OnePair);
    }
    let evened = evened(&strata, &means, middle);
    if pairs < FEWEST {
        let all: Vec<f64> = evened.iter().map(|(value, _)| *value).collect();
        let half = half_width(&all);
        return Ok(Ratio::of_logs(middle, middle - half, middle + half, pairs));
    }
    let mut random = SplitMix64::new(seed);
    let (mut least, mut most) = (Vec::with_capacity(HALVES), Vec::with_capacity(HALVES));
    while least.len() < HALVES {
        let (inside, outside) = split(&evened, &mut random);
        // A subset of none or of all has no other half.
        if let Some((inside, outside)) = inside.zip(outside) {
            least.push(inside.min(outside));
            most.push(inside.max(outside));
        }
    }
    let ends = percentile(&least, 5.0).zip(percentile(&most, 95.0));
    ends.map(|(low, high)| Ratio::of_logs(middle, low, high, pairs)).ok_or(NoInterval::NoPair)
}

/// The pairs with their weights (the prompts weigh alike), brought nearer to each other where the prompts differ.
fn evened(strata: &[&[f64]], means: &[f64], middle: f64) -> Vec<(f64, f64)> {
    let prompts = strata.len() as f64;
    let rounds = strata.iter().map(|stratum| stratum.len()).sum::<usize>() as f64 / prompts;
    let within: f64 =
        strata.iter().zip(means).flat_map(|(stratum, mean)| stratum.iter().map(move |x| (x - mean).powi(2))).sum();
    let between: f64 = means.iter().map(|mean| (mean - middle).powi(2)).sum();
    let freedom = strata.iter().map(|stratum| stratum.len()).sum::<usize>() as f64 - prompts;
    let expected = if freedom > 0.0 { within / freedom / rounds } else { f64::INFINITY };
    let times = if prompts > 1.0 { between / (prompts - 1.0) / expected } else { 0.0 };
    // Of equal values nothing remains to compare with: all that differs are the prompts.
    let share = if times.is_nan() || times <= APART { 0.0 } else { 1.0 - 1.0 / times };
    let mut found = Vec::new();
    for (stratum, mean) in strata.iter().zip(means) {
        let n = stratum.len() as f64;
        let wider = (n / (n - share)).sqrt();
        let place = middle + (1.0 - share) * (mean - middle);
        // Without a share taken out this is the value itself.
        found.extend(stratum.iter().map(|value| (place + (value - mean) * wider, 1.0 / (n * prompts))));
    }
    found
}

/// Weighted means of a random subset and of the rest.
fn split(pairs: &[(f64, f64)], random: &mut SplitMix64) -> (Option<f64>, Option<f64>) {
    let mut sums = [(0.0, 0.0); 2];
    let mut bits = 0;
    for (place, (value, weight)) in pairs.iter().enumerate() {
        if place % 64 == 0 {
            bits = random.next();
        }
        let sum = &mut sums[(bits & 1) as usize];
        sum.0 += value * weight;
        sum.1 += weight;
        bits >>= 1;
    }
    let [inside, outside] = sums.map(|(sum, weight)| (weight > 0.0).then(|| sum / weight));
    (inside, outside)
}

/// Half of the width of Student's interval of a mean: `t(n - 1) s / sqrt(n)`.
fn half_width(values: &[f64]) -> f64 {
    let (variance, n) = variance(values);
    student(n - 1) * (variance / n as f64).sqrt()
}

fn variance(values: &[f64]) -> (f64, usize) {
    let n = values.len();
    let middle = mean(values).unwrap_or_default();
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (n.max(2) - 1) as f64, n)
}

/// The ratio of measurements that were not made side by side: logarithms of the values of each prompt with their rounds, of either
/// side.
///
/// ```text
/// middle   = mean over p of (mean of other[p] - mean of baseline[p])
/// interval = middle -+ t sqrt(s_b^2 / n_b + s_o^2 / n_o)
/// ```
/// with s^2 the variance of a side's n round means (each prompt's mean taken out first: what the requests of a round share does not
/// average out over them), and t of Welch's degrees of freedom ("The generalization of Student's problem", Biometrika 34, 1947).
/// It does not include changes of the machine between the two measurements.
///
/// # Errors
/// The reason, where a side has fewer than two rounds or no prompt is on both.
pub fn ratio_apart(baseline: &[Vec<(usize, f64)>], other: &[Vec<(usize, f64)>]) -> Result<Ratio, NoInterval> {
    let both: Vec<_> = baseline.iter().zip(other).filter(|(b, o)| !b.is_empty() && !o.is_empty()).collect();
    let of = |values: &[(usize, f64)]| mean(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    let differences: Vec<f64> = both.iter().filter_map(|(b, o)| Some(of(o)? - of(b)?)).collect();
    let Some(middle) = mean(&differences) else { return Err(NoInterval::NoCommonPrompt) };
    let sides = [both.iter().map(|(b, _)| b.as_slice()).collect(), both.iter().map(|(_, o)| o.as_slice()).collect()];
    let [(b, n_b), (o, n_o)] = sides.map(|side: Vec<&[(usize, f64)]>| {
        let (variance, n) = variance(&rounds(&side));
        (variance / n.max(1) as f64, n)
    });
    if n_b < 2 || n_o < 2 {
        return Err(NoInterval::OneRound);
    }
    let parts = b.powi(2) / (n_b - 1) as f64 + o.powi(2) / (n_o - 1) as f64;
    // Equal values leave nothing to divide: the interval has no width then.
    let freedom = if parts > 0.0 { ((b + o).powi(2) / parts).floor() as usize } else { n_b.min(n_o) - 1 };
    let half = student(freedom.max(1)) * (b + o).sqrt();
    Ok(Ratio::of_logs(middle, middle - half, middle + half, n_b.min(n_o)))
}

/// Means over the prompts of the values of each round, less the prompts' means.
fn rounds(side: &[&[(usize, f64)]]) -> Vec<f64> {
    let mut found: std::collections::BTreeMap<usize, Vec<f64>> = std::collections::BTreeMap::new();
    for values in side {
        let middle = values.iter().map(|(_, value)| value).sum::<f64>() / values.len().max(1) as f64;
        for (round, value) in *values {
            found.entry(*round).or_default().push(value - middle);
        }
    }
    found.into_values().filter_map(|values| mean(&values)).collect()
}

/// The number of further rounds until a difference of the share `wanted` is detectable with 90 % power, where one of `detectable` is after
/// so many rounds; 0 where it already is, `None` where the width of the interval is unknown.
///
/// The width shrinks with the root of the number: `rounds x ((ln(1 + detectable) / ln(1 + wanted))^2 - 1)`, rounded up.
pub fn more_rounds(detectable: f64, rounds: usize, wanted: f64) -> Option<usize> {
    let times = (detectable.ln_1p() / wanted.ln_1p()).powi(2) - 1.0;
    times.is_finite().then(|| (rounds as f64 * times).ceil().max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn eight_pairs_by_hand() {
        // All subsets of 1..8 in tenths: their means run from 0.1 to 0.8, symmetric about 0.45.
        let values: Vec<f64> = (1..=8).map(|x| f64::from(x) / 10.0).collect();
        let found = ratio(&[values], 1).unwrap();
        assert!((found.ratio.ln() - 0.45).abs() < 1e-12 && found.pairs == 8);
        // Enumerating all 254 splits gives 0.25 and 0.65 (5th percentile of the lower means, 95th of the upper ones).
        assert!((found.low.ln() - 0.25).abs() < 0.02 && (found.high.ln() - 0.65).abs() < 0.02, "{found:?}");
    }

    #[test]
    fn five_pairs_are_students() {
        // 1 2 3 4 5: 3 -+ 2.776 x sqrt(2.5 / 5).
        let found = ratio(&[vec![0.01, 0.02, 0.03, 0.04, 0.05]], 1).unwrap();
        assert!((found.low.ln() - 0.010_37).abs() < 1e-4 && (found.high.ln() - 0.049_63).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn too_few_values_are_an_error() {
        assert!(ratio(&[], 1).is_err() && ratio(&[vec![]], 1).is_err());
        assert!(ratio(&[vec![0.1]], 1).unwrap_err().needs_more_rounds());
        assert!(ratio_apart(&[vec![(0, 0.1)]], &[vec![(0, 0.1), (1, 0.1)]]).unwrap_err().needs_more_rounds());
    }

    #[test]
    fn prompts_that_differ_do_not_widen_it() {
        let noise = [-0.02, 0.01, 0.0, 0.02, -0.01, 0.005];
        let strata = |step: f64| -> Vec<Vec<f64>> {
            (0..4).map(|p| noise.iter().map(|x| x + step * f64::from(p)).collect()).collect()
        };
        let (alike, apart) = (ratio(&strata(0.0), 3).unwrap(), ratio(&strata(0.5), 3).unwrap());
        let width = |found: &Ratio| found.high.ln() - found.low.ln();
        assert!(width(&apart) < 1.2 * width(&alike), "{alike:?} {apart:?}");
        assert!((apart.ratio.ln() - 0.75 - alike.ratio.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_was_measured_apart_widens_with_its_rounds() {
        // Both prompts of a round are slow together: 3 rounds are 3 values, not 6.
        let side = |shift: f64| -> Vec<Vec<(usize, f64)>> {
            (0..2).map(|_| [0.0, 0.1, 0.2].iter().enumerate().map(|(r, x)| (r, x + shift)).collect()).collect()
        };
        let found = ratio_apart(&side(0.0), &side(0.05)).unwrap();
        assert!((found.ratio.ln() - 0.05).abs() < 1e-12 && found.pairs == 3);
        // s^2 = 0.01 on either side: 2.776 x sqrt(2 x 0.01 / 3).
        assert!((found.high.ln() - 0.05 - 2.776 * (0.02f64 / 3.0).sqrt()).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn more_rounds_shrink_it_by_the_root() {
        let detectable = 0.04f64.exp_m1();
        assert_eq!(more_rounds(detectable, 5, 0.02f64.exp_m1()), Some(15));
        assert_eq!(more_rounds(detectable, 5, 0.05), Some(0));
        assert_eq!(more_rounds(detectable, 5, 0.0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_repeats_and_turns_with_the_sides(strata in prop::collection::vec(prop::collection::vec(-0.5..0.5f64, 1..7), 1..5), seed: u64) {
            let Ok(found) = ratio(&strata, seed) else { return Ok(()) };
            prop_assert_eq!(found, ratio(&strata, seed).unwrap());
            prop_assert!(found.low <= found.ratio * 1.000_001 && found.ratio <= found.high * 1.000_001);
            let turned: Vec<Vec<f64>> = strata.iter().map(|stratum| stratum.iter().map(|x| -x).collect()).collect();
            let turned = ratio(&turned, seed).unwrap();
            prop_assert!((turned.low * found.high - 1.0).abs() < 1e-9 && (turned.ratio * found.ratio - 1.0).abs() < 1e-9);
        }
    }
}
