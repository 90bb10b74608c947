//! From cases to summaries: one per engine, model, thread count and depth.

use engine_api::Phase;
use statistics::{NoInterval, Quotient, combined, interval, median, percentile};

use super::intervals::itl;
use super::means::{clean_samples, quotients};
use record::{
    Case, Estimate, METRICS, PhaseOrOther, Reason, Reasons, Recorded, Sample, Setting, Summary, TokenGaps, Unit,
};

/// A time of one sample.
pub type PhaseTime = fn(&Sample) -> &Recorded<f64>;

/// The phases of a sample in the order of a request, with `other` at the end, and the time in seconds.
pub const PHASE_TIMES: &[(PhaseOrOther, PhaseTime)] = &[
    (PhaseOrOther::Phase(Phase::Tokenize), |s| &s.tokenize_s),
    (PhaseOrOther::Phase(Phase::Prefill), |s| &s.prefill_s),
    (PhaseOrOther::Phase(Phase::Decode), |s| &s.decode_s),
    (PhaseOrOther::Phase(Phase::Sample), |s| &s.sample_s),
    (PhaseOrOther::Phase(Phase::Detokenize), |s| &s.detokenize_s),
    (PhaseOrOther::Other, |s| &s.other_s),
];

/// A figure that a case has once; lower is better.
#[derive(Debug, Clone, Copy)]
pub struct CaseFigure {
    /// Name in files.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Reads it.
    pub value: fn(&Case) -> Option<f64>,
}

/// Figures that a case has once: those of its load and of the first request of a fresh session.
pub const CASE_FIGURES: &[CaseFigure] = &[
    CaseFigure {
        name: "first_delta_bytes",
        unit: Unit::Bytes,
        value: |c| c.memory.first_delta_bytes.value().map(|bytes| bytes as f64),
    },
    CaseFigure {
        name: "first_peak_delta_bytes",
        unit: Unit::Bytes,
        value: |c| c.memory.first_peak_delta_bytes.value().map(|bytes| bytes as f64),
    },
    CaseFigure {
        name: "first_peak_bytes",
        unit: Unit::Bytes,
        value: |c| first_peak_bytes(c).map(|bytes| bytes as f64),
    },
    CaseFigure { name: "load_s", unit: Unit::Seconds, value: |c| c.memory.load_s.value() },
    CaseFigure {
        name: "server_resident_bytes",
        unit: Unit::Bytes,
        value: |c| c.memory.server_resident_bytes.as_ref()?.value().map(|bytes| bytes as f64),
    },
];

/// The highest resident memory of the process during the first request of a fresh session; `None` where it was not measured.
#[must_use]
pub fn first_peak_bytes(case: &Case) -> Option<u64> {
    case.samples.iter().find(|sample| sample.fresh)?.memory_peak_bytes.value()
}

/// Why a metric is absent whose samples give no reason.
pub const NO_SAMPLE: &str = "no sample has it";
/// The field of a sample whose differences are the gaps.
const TOKEN_TIMES: &str = "token_times_s";

/// Summaries in the order of their first case in the run. A case without a sample that counts is left out; a case that failed later
/// counts with its samples.
pub fn summarise(cases: &[Case], seed: u64) -> Vec<Summary> {
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases.iter().filter(|case| case.clean_samples().next().is_some()) {
        match groups.iter_mut().find(|group| key(group[0]) == key(case)) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups.iter().map(|group| summary(group, seed)).collect()
}

fn key(case: &Case) -> (&str, &str, usize, usize) {
    (&case.engine, &case.model, case.threads, case.depth)
}

fn summary(cases: &[&Case], seed: u64) -> Summary {
    let samples = || cases.iter().flat_map(|case| case.clean_samples());
    let of_cases = clean_samples(cases.iter().copied());
    let per_sample = METRICS.iter().map(|metric| {
        let values: Vec<f64> = of_cases.iter().flatten().filter_map(|sample| (metric.value)(sample)).collect();
        (metric.name, values, quotients(metric, &of_cases))
    });
    let once = CASE_FIGURES.iter().map(|once| {
        let values: Vec<f64> = cases.iter().filter_map(|case| (once.value)(case)).collect();
        let groups = values.iter().map(|&value| vec![Quotient::from(value)]).collect();
        (once.name, values, groups)
    });
    let metrics = per_sample.chain(once).map(|(name, values, groups): (&str, Vec<f64>, Vec<Vec<Quotient>>)| {
        let without =
            || samples().find_map(|sample| sample.reasons().remove(name)).map_or(NO_SAMPLE.into(), Reason::new);
        (name.to_owned(), Recorded::from(estimate(&values, &groups, seed).ok_or_else(without)))
    });
    let metrics = metrics.collect();
    let without_gaps = samples().find_map(|sample| sample.token_times_s.stated_reason());
    let itl_s = TokenGaps::new(itl(samples()), without_gaps.map_or(NO_SAMPLE, Reason::as_str));
    let mut estimated = Reasons::new();
    for (field, why) in samples().flat_map(|sample| &sample.estimated) {
        let name = if field == TOKEN_TIMES { "itl_s" } else { field };
        estimated.entry(name.to_owned()).or_insert_with(|| why.clone());
    }
    Summary {
        engine: cases[0].engine.clone(),
        model: cases[0].model.clone(),
        threads: cases[0].threads,
        depth: cases[0].depth,
        cases: cases.len(),
        samples: samples().count(),
        metrics,
        itl_s,
        estimated,
        notes: Reasons::new(),
    }
}

/// The [`combined`] mean of the groups with its [`interval`]; extremes and median over all values.
fn estimate(values: &[f64], groups: &[Vec<Quotient>], seed: u64) -> Option<Estimate> {
    let interval = interval(groups, seed).map_err(|why| Reason::new(no_interval(why)));
    let estimate = Estimate {
        mean: combined(groups)?,
        low: interval.as_ref().map(|interval| interval.low).map_err(Reason::clone).into(),
        high: interval.map(|interval| interval.high).into(),
        min: percentile(values, 0.0)?,
        median: median(values)?,
        max: percentile(values, 100.0)?,
        n: values.len(),
    };
    Some(estimate)
}

/// Why there is no interval, with what would give one.
pub(crate) fn no_interval(why: NoInterval) -> String {
    if why.needs_more_rounds() { format!("{why} ({} 2)", Setting::Runs) } else { why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(latency: f64, warmup: bool) -> Sample {
        Sample {
            latency_s: latency.into(),
            output_tokens: 10.into(),
            tps: (10.0 / latency).into(),
            warmup,
            ..Sample::absent("not measured")
        }
    }

    fn case(model: &str, prompt: &str, latencies: &[f64]) -> Case {
        let samples = latencies.iter().map(|&latency| sample(latency, false)).chain([sample(99.0, true)]).collect();
        Case {
            id: format!("{model}/{prompt}"),
            model: model.to_owned(),
            prompt: prompt.to_owned(),
            samples,
            ..Case::default()
        }
    }

    #[test]
    fn prompts_weigh_alike_and_warm_up_is_left_out() {
        let found = summarise(&[case("a", "p", &[1.0, 1.0, 1.0]), case("b", "p", &[5.0]), case("a", "q", &[3.0])], 1);
        assert_eq!(
            found.iter().map(|s| (s.model.as_str(), s.cases, s.samples)).collect::<Vec<_>>(),
            [("a", 2, 4), ("b", 1, 1)]
        );
        let latency = found[0].metrics.get("latency_s").unwrap();
        assert!((latency.mean - 2.0).abs() < 1e-12, "mean of 1 and 3, not of 1, 1, 1 and 3");
        assert!((latency.max - 3.0).abs() < 1e-12);
        assert_eq!(latency.n, 4);
        assert!(latency.interval().is_some());
    }

    #[test]
    fn a_rate_is_tokens_by_time_with_an_interval_around_it() {
        let found = summarise(&[case("a", "p", &[1.0, 1.0, 7.0])], 1);
        let metrics = &found[0].metrics;
        let (tps, latency) = (metrics.get("tps").unwrap(), metrics.get("latency_s").unwrap());
        assert!((tps.mean - 10.0 / latency.mean).abs() < 1e-12, "10 tokens / 3 s, not the mean of 10, 10 and 1.4");
        let (low, high) = tps.interval().unwrap();
        assert!(low < tps.mean && tps.mean < high);
        assert!((tps.median - 10.0).abs() < 1e-12, "of the samples");
    }

    #[test]
    fn what_is_absent_has_a_reason() {
        let found = summarise(&[case("b", "p", &[5.0])], 1);
        let low = &found[0].metrics.get("latency_s").unwrap().low;
        assert!(low.reason().unwrap().as_str().contains("one sample"), "{low:?}");
        assert_eq!(found[0].reasons()["latency_s.low"], low.reason().unwrap().as_str());
        assert_eq!(found[0].metrics.reason("ttft_s").unwrap(), &"not measured", "as its samples say");
        assert!(found[0].metrics.get("ttft_s").is_none());
        assert_eq!(found[0].itl_s.reason().unwrap(), &"not measured");
    }

    #[test]
    fn estimates_and_the_reasons_of_samples_are_kept() {
        let mut case = case("b", "p", &[5.0, 6.0]);
        let first = &mut case.samples[0];
        first.estimated.insert("tps".to_owned(), "pieces stand in".to_owned());
        first.estimated.insert("token_times_s".to_owned(), "pieces stand in".to_owned());
        first.decode_tps = Recorded::absent("held back");
        let found = summarise(&[case], 1);
        assert_eq!(found[0].estimated.keys().collect::<Vec<_>>(), ["itl_s", "tps"]);
        assert_eq!(found[0].metrics.reason("decode_tps").unwrap(), &"held back");
    }

    #[test]
    fn the_resident_total_is_that_of_the_first_request() {
        let mut case = case("a", "p", &[1.0, 1.0]);
        case.samples[2] = Sample { fresh: true, memory_peak_bytes: 7_000_000.into(), ..sample(9.0, true) };
        case.samples[0].memory_peak_bytes = 9_000_000.into();
        let found = summarise(&[case], 1);
        assert!(
            (found[0].metrics.get("first_peak_bytes").unwrap().mean - 7e6).abs() < 1e-3,
            "not that of a later request"
        );
    }

    #[test]
    fn a_case_without_samples_is_left_out() {
        assert!(summarise(&[case("a", "p", &[])], 1).is_empty());
    }
}
