//! Means of times and of rates over samples of several groups, by one rule.

use super::mean;

/// A value as a quotient, so that several of them have one mean: of a rate, what was counted and how long it took; of any other value,
/// the value and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quotient {
    /// What was counted, or the value.
    pub numerator: f64,
    /// The time in seconds that it took, or 1.
    pub denominator: f64,
}

impl Quotient {
    /// A rate: so many of what is counted per second. A rate of zero takes an infinite time.
    #[must_use]
    pub const fn of_rate(counted: f64, per_second: f64) -> Self {
        Self { numerator: counted, denominator: counted / per_second }
    }
}

impl From<f64> for Quotient {
    fn from(value: f64) -> Self {
        Self { numerator: value, denominator: 1.0 }
    }
}

/// The mean over groups (prompts) of their values (samples), in the unit of the values:
///
/// ```text
/// sum over the groups of the mean numerator / sum over the groups of the mean denominator
/// ```
/// Of plain values it is the mean of the groups' means. Of rates it is what was counted by the time that it took, so that rows that
/// follow from each other agree: mean tokens / mean seconds = mean rate. The arithmetic mean of rates does not: a slow sample takes more
/// time and would count no more than a fast one. ("Combined ratio estimate": Cochran, "Sampling Techniques", 3rd edition, 1977,
/// section 6.11.) `None` without values.
#[must_use]
pub fn combined(groups: &[Vec<Quotient>]) -> Option<f64> {
    let sums: Vec<Quotient> = groups.iter().filter_map(|group| mean_quotient(group)).collect();
    let Quotient { numerator, denominator } = mean_quotient(&sums)?;
    Some(numerator / denominator)
}

/// Means of the numerators and of the denominators.
fn mean_quotient(quotients: &[Quotient]) -> Option<Quotient> {
    let of = |part: fn(&Quotient) -> f64| mean(&quotients.iter().map(part).collect::<Vec<_>>());
    Some(Quotient { numerator: of(|one| one.numerator)?, denominator: of(|one| one.denominator)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_have_the_mean_of_the_means() {
        let groups = [vec![1.0.into(), 1.0.into(), 1.0.into()], vec![3.0.into()], vec![]];
        assert_eq!(combined(&groups), Some(2.0));
        assert_eq!(combined(&[]), None);
        assert_eq!(combined(&[vec![]]), None);
    }

    #[test]
    fn a_rate_is_what_was_counted_by_the_time_that_it_took() {
        // 16 tokens in 1 s and in 7 s: 32 tokens in 8 s. The mean of 16 and 16/7 is 9.14.
        let found = combined(&[vec![Quotient::of_rate(16.0, 16.0), Quotient::of_rate(16.0, 16.0 / 7.0)]]).unwrap();
        assert!((found - 4.0).abs() < 1e-12, "{found}");
        // Prompts of other lengths: 10 tokens in 1 s, 90 in 3 s.
        let found = combined(&[vec![Quotient::of_rate(10.0, 10.0)], vec![Quotient::of_rate(90.0, 30.0); 2]]).unwrap();
        assert!((found - 25.0).abs() < 1e-12, "{found}");
    }

    #[test]
    fn a_rate_of_zero_has_no_other_mean() {
        assert_eq!(combined(&[vec![Quotient::of_rate(4.0, 0.0), Quotient::of_rate(4.0, 2.0)]]), Some(0.0));
    }
}
