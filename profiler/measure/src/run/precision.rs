//! [`StopRule`]: when the rounds of a model end: by their number, by the precision, or by the time.
//!
//! The precision is reached when a comparison would detect a difference of the share `wanted` nine times out of ten
//! ([`statistics::ratio`]). This depends on the width of the interval only and not on the ratio itself, because rounds that ended as
//! soon as a difference appears would find differences too often.

use std::collections::{BTreeMap, BTreeSet};

use record::{Case, METRICS, Metric, PrecisionReached, Reason, Reasons, Status, StoppedBy};
use statistics::{mean, more_rounds, ratio};
use traces::Nanos;

/// The metrics whose precision counts.
const COMPARED: [&str; 2] = ["prefill_tps", "decode_tps"];
/// Rounds that are run whatever the budget: one round alone has no interval.
const FEWEST: usize = 2;

/// Why the number of further rounds is unknown.
const NO_WIDTH: &str = "the width of the interval is unknown";

/// Metric values of one case: round to logarithm.
type Logs = BTreeMap<usize, f64>;

/// When the rounds of a model end.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopRule {
    /// `-r`: without a precision the number of rounds, with one the fewest.
    pub(super) rounds: usize,
    /// The share of a difference that should be detected.
    pub(super) wanted: Option<f64>,
    /// When the time for the model ends, from the begin of the run.
    pub(super) deadline: Option<Nanos>,
}

impl StopRule {
    /// What ends the rounds after so many of them; `None` if they continue. `found` is their precision.
    pub(super) fn stops_after(&self, rounds: usize, elapsed: Nanos, found: &[PrecisionReached]) -> Option<StoppedBy> {
        let is_late = self.deadline.is_some_and(|deadline| elapsed >= deadline);
        if is_late && rounds >= FEWEST.min(self.rounds) {
            // The precision may be reached at the same time.
            let done = rounds >= self.rounds && self.wanted.is_some() && is_reached(found);
            return Some(if done { StoppedBy::Precision } else { StoppedBy::Budget });
        }
        if rounds < self.rounds {
            return None;
        }
        if self.wanted.is_none() || found.is_empty() {
            return Some(StoppedBy::Rounds);
        }
        is_reached(found).then_some(StoppedBy::Precision)
    }
}

fn is_reached(found: &[PrecisionReached]) -> bool {
    !found.is_empty() && found.iter().all(|one| one.reached)
}

/// The deadline of the next of `left` models: time that a model does not use is divided among the later ones.
pub(super) fn deadline(budget: Nanos, elapsed: Nanos, left: usize) -> Nanos {
    let share = budget.saturating_sub(elapsed).as_secs_f64() / left.max(1) as f64;
    elapsed + Nanos::from_secs_f64(share)
}

/// The precision of the differences between the engines of one model: every engine compared with the first one. For a single engine it is
/// the precision of its mean over the rounds. Metrics that a side lacks and cases that failed are left out.
///
/// ```text
/// pairs   strata[p]  = ln(other / baseline) of prompt p in each round
/// alone   one stratum: mean over p of (ln x - mean over the rounds of ln x) of each round, since a round is fast or slow as a whole
/// ```
pub(super) fn reached<'a>(
    cases: impl Iterator<Item = &'a Case>,
    engines: &[String],
    wanted: f64,
    seed: u64,
) -> Vec<PrecisionReached> {
    let alive: Vec<&Case> = cases.filter(|case| !matches!(case.status, Status::Failed | Status::Timeout)).collect();
    let settings: BTreeSet<(usize, usize)> = alive.iter().map(|case| (case.threads, case.depth)).collect();
    let pairs: Vec<(&String, Option<&String>)> = match engines {
        [only] => vec![(only, None)],
        [baseline, others @ ..] => others.iter().map(|other| (other, Some(baseline))).collect(),
        [] => Vec::new(),
    };
    let mut found = Vec::new();
    for (threads, depth) in settings {
        for (engine, baseline) in &pairs {
            for metric in METRICS.iter().filter(|metric| COMPARED.contains(&metric.name)) {
                let of = |engine: &str| -> Vec<&Case> {
                    let is_it =
                        |case: &&&Case| (case.engine.as_str(), case.threads, case.depth) == (engine, threads, depth);
                    alive.iter().filter(is_it).copied().collect()
                };
                let strata = match baseline {
                    Some(baseline) => paired(&of(baseline), &of(engine), metric),
                    None => vec![alone(&of(engine), metric)],
                };
                let rounds = strata.iter().map(Vec::len).max().unwrap_or(0);
                // An engine without samples of this metric has no precision.
                let Some(first) = of(engine).first().copied().filter(|_| rounds > 0) else { continue };
                let ratio = ratio(&strata, seed).map_err(|reason| Reason::new(reason.to_string()));
                let detectable = ratio.clone().map(|ratio| ratio.detectable);
                let reached = detectable.as_ref().is_ok_and(|detectable| *detectable <= wanted);
                let more = ratio.and_then(|ratio| match reached {
                    true => Ok(0),
                    false => more_rounds(ratio.detectable, rounds, wanted).ok_or_else(|| Reason::new(NO_WIDTH)),
                });
                found.push(PrecisionReached {
                    model: first.model.clone(),
                    engine: (*engine).clone(),
                    baseline: baseline.cloned(),
                    threads,
                    depth,
                    metric: metric.name.to_owned(),
                    rounds,
                    detectable: detectable.into(),
                    reached,
                    more_rounds: more.into(),
                    stopped_by: StoppedBy::default(),
                    notes: Reasons::new(),
                });
            }
        }
    }
    found
}

/// The logarithms of the ratios of each prompt, one per round that both sides have.
fn paired(baseline: &[&Case], other: &[&Case], metric: &Metric) -> Vec<Vec<f64>> {
    let partner = |case: &&&Case| other.iter().find(|other| other.prompt == case.prompt);
    let pairs = baseline.iter().filter_map(|case| Some((logs(case, metric), logs(partner(&case)?, metric))));
    pairs.map(|(one, two)| one.iter().filter_map(|(round, log)| Some(two.get(round)? - log)).collect()).collect()
}

/// For each round the mean over the prompts of the difference from the prompt's mean.
fn alone(cases: &[&Case], metric: &Metric) -> Vec<f64> {
    let mut rounds: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for logs in cases.iter().map(|case| logs(case, metric)) {
        let Some(middle) = mean(&logs.values().copied().collect::<Vec<_>>()) else { continue };
        for (round, log) in logs {
            rounds.entry(round).or_default().push(log - middle);
        }
    }
    rounds.into_values().filter_map(|logs| mean(&logs)).collect()
}

fn logs(case: &Case, metric: &Metric) -> Logs {
    let log = |value: f64| (value > 0.0).then(|| value.ln());
    case.clean_samples().filter_map(|sample| Some((sample.round, log((metric.value)(sample)?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Sample;

    fn case(engine: &str, prompt: &str, rates: &[f64]) -> Case {
        let sample = |(round, rate): (usize, &f64)| Sample {
            round,
            decode_tps: (*rate).into(),
            ..Sample::absent("not measured")
        };
        Case {
            engine: engine.to_owned(),
            model: "m".to_owned(),
            prompt: prompt.to_owned(),
            threads: 2,
            status: Status::Skipped,
            samples: rates.iter().enumerate().map(sample).collect(),
            ..Case::default()
        }
    }

    fn precision_of(cases: &[Case], engines: &[&str], wanted: f64) -> Vec<PrecisionReached> {
        let engines: Vec<String> = engines.iter().map(|&engine| engine.to_owned()).collect();
        reached(cases.iter(), &engines, wanted, 1)
    }

    /// Rates that drift to half; the second engine is 10 % slower, give or take the noise.
    fn drifting(noise: f64, rounds: usize) -> Vec<Case> {
        let rate = |round: usize| 100.0 / (1.0 + round as f64 / rounds as f64);
        let swing = |round: usize| 1.0 + noise * [1.0, -1.0, 0.5, -0.5][round % 4];
        let of = |engine: &str, prompt: &str, times: f64| {
            let rates: Vec<f64> =
                (0..rounds).map(|round| rate(round) * if times < 1.0 { times * swing(round) } else { 1.0 }).collect();
            case(engine, prompt, &rates)
        };
        vec![of("a", "p", 1.0), of("a", "q", 1.0), of("b", "p", 0.9), of("b", "q", 0.9)]
    }

    #[test]
    fn drift_of_both_engines_does_not_affect_a_pair() {
        let found = precision_of(&drifting(0.01, 8), &["a", "b"], 0.02);
        assert_eq!(found.len(), 1, "no sample has prefill_tps");
        let one = &found[0];
        assert_eq!((one.engine.as_str(), one.baseline.as_deref(), one.rounds, one.threads), ("b", Some("a"), 8, 2));
        assert!(one.reached && one.detectable.value().unwrap() < 0.02 && one.more_rounds.value() == Some(0), "{one:?}");
        let noisy = &precision_of(&drifting(0.2, 8), &["a", "b"], 0.02)[0];
        assert!(!noisy.reached && noisy.more_rounds.value().unwrap() > 50, "{noisy:?}");
        let alone = &precision_of(&drifting(0.01, 8)[..2], &["a"], 0.02)[0];
        assert!(!alone.reached && alone.baseline.is_none(), "the drift is its own: {alone:?}");
    }

    #[test]
    fn one_round_has_no_precision_and_failed_cases_are_left_out() {
        let short = &precision_of(&[case("a", "p", &[1.0])], &["a"], 0.02)[0];
        assert!(!short.reached);
        assert!(short.detectable.reason().unwrap().as_str().starts_with("one pair: "), "{short:?}");
        assert_eq!(short.more_rounds.reason(), short.detectable.reason());
        let mut cases = drifting(0.01, 8);
        for case in &mut cases[2..] {
            case.status = Status::Failed;
        }
        assert!(precision_of(&cases, &["a", "b"], 0.02).is_empty());
    }

    #[test]
    fn rounds_end_by_number_by_precision_or_by_time() {
        let rule = StopRule { rounds: 5, wanted: Some(0.02), deadline: Some(Nanos::from_secs(9)) };
        let (soon, late) = (Nanos::from_secs(1), Nanos::from_secs(9));
        let of = |reached| [PrecisionReached { reached, ..PrecisionReached::absent("not computed") }];
        let (yes, no) = (of(true), of(false));
        assert_eq!(rule.stops_after(4, soon, &yes), None, "-r is the fewest rounds");
        assert_eq!(rule.stops_after(5, soon, &yes), Some(StoppedBy::Precision));
        assert_eq!(rule.stops_after(50, soon, &no), None);
        assert_eq!(rule.stops_after(50, late, &no), Some(StoppedBy::Budget));
        assert_eq!(rule.stops_after(50, late, &yes), Some(StoppedBy::Precision));
        assert_eq!(rule.stops_after(1, late, &no), None, "at least two rounds are run");
        assert_eq!(rule.stops_after(2, late, &no), Some(StoppedBy::Budget));
        assert_eq!(rule.stops_after(5, soon, &[]), Some(StoppedBy::Rounds), "there is nothing to compare");
        let plain = StopRule { rounds: 3, wanted: None, deadline: None };
        assert_eq!((plain.stops_after(2, late, &[]), plain.stops_after(3, soon, &[])), (None, Some(StoppedBy::Rounds)));
    }

    #[test]
    fn models_share_the_remaining_time() {
        let second = Nanos::from_secs(1);
        assert_eq!(deadline(second * 12, Nanos::ZERO, 3), second * 4);
        assert_eq!(deadline(second * 12, second * 2, 2), second * 7, "the first one left two seconds of its share");
        assert_eq!(deadline(second * 12, second * 20, 2), second * 20);
    }
}
