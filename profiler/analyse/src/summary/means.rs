//! Means of a metric over samples: one rule for summaries, tables and comparisons.

use record::{Case, Metric, Sample};
use statistics::{Quotient, combined};

/// The values of a metric in the samples of each group, as quotients for [`combined`]: of a rate of tokens, the tokens and their time.
///
/// Where a sample has a rate and no number of tokens, every sample counts as one token: the mean is then the harmonic mean of the rates.
pub fn quotients<'s>(metric: &Metric, groups: &[Vec<&'s Sample>]) -> Vec<Vec<Quotient>> {
    let value = |sample: &&'s Sample| Some((*sample, (metric.value)(sample)?));
    let Some(tokens) = metric.tokens else {
        let plain =
            |group: &Vec<&'s Sample>| group.iter().filter_map(value).map(|(_, value)| Quotient::from(value)).collect();
        return groups.iter().map(plain).collect();
    };
    let counted = |sample: &Sample| tokens(sample).filter(|tokens| *tokens > 0);
    let all_known = groups.iter().flatten().filter_map(value).all(|(sample, _)| counted(sample).is_some());
    let of_sample = |(sample, rate): (&Sample, f64)| {
        let tokens = counted(sample).filter(|_| all_known).map_or(1.0, |tokens| tokens as f64);
        Quotient::of_rate(tokens, rate)
    };
    groups.iter().map(|group| group.iter().filter_map(value).map(of_sample).collect()).collect()
}

/// The clean samples of each case.
pub(super) fn clean_samples<'c>(cases: impl IntoIterator<Item = &'c Case>) -> Vec<Vec<&'c Sample>> {
    cases.into_iter().map(|case| case.clean_samples().collect()).collect()
}

/// The mean of a metric over the clean samples of cases, which weigh alike; `None` where no sample has it.
pub fn mean_of<'c>(metric: &Metric, cases: impl IntoIterator<Item = &'c Case>) -> Option<f64> {
    combined(&quotients(metric, &clean_samples(cases)))
}

#[cfg(test)]
mod tests {
    use record::METRICS;

    use super::*;

    fn metric(name: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.name == name).unwrap()
    }

    /// A request with 10 prompt tokens and 17 output tokens.
    fn sample(latency_s: f64, ttft_s: f64) -> Sample {
        Sample {
            latency_s: latency_s.into(),
            ttft_s: ttft_s.into(),
            prefill_s: ttft_s.into(),
            prompt_tokens: 10.into(),
            output_tokens: 17.into(),
            tps: (17.0 / latency_s).into(),
            prefill_tps: (10.0 / ttft_s).into(),
            decode_tps: (16.0 / (latency_s - ttft_s)).into(),
            ..Sample::absent("not measured")
        }
    }

    #[test]
    fn rows_that_follow_from_each_other_agree() {
        let case = |samples: Vec<Sample>| Case { samples, ..Case::default() };
        let cases = [case(vec![sample(1.0, 0.2), sample(7.0, 3.0), sample(1.5, 0.1)]), case(vec![sample(2.0, 0.5)])];
        let of = |name: &str| mean_of(metric(name), &cases).unwrap();
        assert!((of("tps") - 17.0 / of("latency_s")).abs() < 1e-12);
        assert!((of("prefill_tps") - 10.0 / of("prefill_s")).abs() < 1e-12);
        assert!((of("decode_tps") - 16.0 / (of("latency_s") - of("ttft_s"))).abs() < 1e-12);
    }

    #[test]
    fn without_a_number_of_tokens_it_is_the_harmonic_mean() {
        let unknown = Sample { output_tokens: record::Recorded::absent("not counted"), ..sample(1.0, 0.5) };
        let case = Case { samples: vec![unknown, sample(3.0, 0.5)], ..Case::default() };
        let found = mean_of(metric("tps"), [&case]).unwrap();
        assert!((found - 2.0 / (1.0 / 17.0 + 3.0 / 17.0)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn a_metric_that_no_sample_has_has_no_mean() {
        let case = Case { samples: vec![Sample::absent("not measured")], ..Case::default() };
        assert_eq!(mean_of(metric("tps"), [&case]), None);
        assert_eq!(mean_of(metric("latency_s"), [&case]), None);
    }
}
