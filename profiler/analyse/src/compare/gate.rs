//! Gates: how much worse a metric may be than the baseline.

use super::comparison::{Comparability, Comparison, Contrast, FigureRow, GateRow, Outcome};
use super::figures;
use record::{Error, Reason, Reasons, Recorded, Setting, nearest, short_percent};
use statistics::more_rounds;

/// Why a metric has no ratio in a contrast without a row of it.
const NO_SAMPLE: &str = "no sample of either side has this metric";

/// A gate as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The metric.
    pub metric: String,
    /// How much worse it may be, as a share.
    pub allowed: f64,
}

impl std::str::FromStr for Gate {
    type Err = Error;

    /// `METRIC=PERCENT`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String, advice: String| Err(Error::usage(format!("gate {text}: {problem}"), advice));
        let Some((metric, percent)) = text.split_once('=') else {
            return wrong("expected METRIC=PERCENT".to_owned(), "give one such as decode_tps=5".to_owned());
        };
        let names = figures::names();
        if !names.contains(&metric) {
            let near = nearest(metric, &names);
            let advice = format!("choose one of {}", names.join(", "));
            return wrong(format!("there is no metric `{metric}`{near}"), advice);
        }
        match percent.trim_end_matches('%').trim().parse::<f64>() {
            Ok(percent) if percent >= 0.0 && percent.is_finite() => {
                Ok(Self { metric: metric.to_owned(), allowed: percent / 100.0 })
            }
            _ => wrong(
                format!("`{percent}` is not a percentage"),
                format!("give a number of 0 or more, such as {metric}=5"),
            ),
        }
    }
}

/// Checks every gate on every contrast. `threshold` is the smallest difference that matters, as a share.
pub(super) fn check(contrasts: &[Contrast], gates: &[Gate], threshold: f64) -> Vec<GateRow> {
    gates.iter().flat_map(|gate| contrasts.iter().map(move |contrast| judge(contrast, gate, threshold))).collect()
}

/// The worst outcome: failed, else not judged, else passed.
pub fn outcome(comparison: &Comparison) -> Outcome {
    let any = |wanted: Outcome| comparison.gates.iter().any(|row| row.outcome == wanted);
    match (any(Outcome::Failed), any(Outcome::NotJudged)) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::NotJudged,
        (false, false) => Outcome::Passed,
    }
}

/// Fails where the whole interval is beyond the allowed change, passes where all of it is within:
///
/// ```text
///                     failed                passed
/// higher is better    high < 1 - allowed    low  >= 1 - allowed
/// lower is better     low  > 1 + allowed    high <= 1 + allowed
/// ```
/// An interval with the limit inside passes if the comparison was precise enough: `detectable <= max(allowed, threshold)`. Else a change
/// beyond the limit could have gone unnoticed, and the gate is not judged.
fn judge(contrast: &Contrast, gate: &Gate, threshold: f64) -> GateRow {
    let found = contrast.figures.iter().find(|row| row.metric == gate.metric);
    let (outcome, text) = match found {
        _ if contrast.work.label == Comparability::NotComparable => {
            let checks = contrast.work.checks.iter().map(|check| check.because.as_str());
            let why: Vec<&str> = checks.filter(|text| !text.is_empty()).collect();
            (Outcome::NotJudged, format!("not the same work ({})", why.join("; ")))
        }
        None => (Outcome::NotJudged, NO_SAMPLE.to_owned()),
        Some(figure) => match interval(figure) {
            Ok(interval) => judge_interval(contrast, figure, interval, (gate.allowed, threshold)),
            Err(reason) => (Outcome::NotJudged, reason.to_string()),
        },
    };
    let of = |value: fn(&FigureRow) -> &Recorded<f64>| {
        found.map_or_else(|| Recorded::absent(NO_SAMPLE), |figure| value(figure).clone())
    };
    GateRow {
        metric: gate.metric.clone(),
        allowed: gate.allowed,
        subject: format!("{} against {}", contrast.other.name, contrast.baseline.name),
        outcome,
        ratio: of(|figure| &figure.ratio),
        low: of(|figure| &figure.low),
        high: of(|figure| &figure.high),
        text,
        notes: Reasons::new(),
    }
}

/// The ratio and the ends of its interval.
fn interval(figure: &FigureRow) -> Result<[f64; 3], &Reason> {
    Ok([*figure.ratio.as_result()?, *figure.low.as_result()?, *figure.high.as_result()?])
}

/// The outcome for an interval, and its text.
fn judge_interval(
    contrast: &Contrast,
    figure: &FigureRow,
    [ratio, low, high]: [f64; 3],
    (allowed, threshold): (f64, f64),
) -> (Outcome, String) {
    let (beyond, within) = match figure.higher_is_better {
        true => (high < 1.0 - allowed, low >= 1.0 - allowed),
        false => (low > 1.0 + allowed, high <= 1.0 + allowed),
    };
    let too_wide = (!beyond && !within).then(|| too_wide(figure, allowed.max(threshold))).flatten();
    let change = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    let on_word = match contrast.work.label {
        Comparability::EqualOnWord => "; the work is equal as you state",
        _ => "",
    };
    let estimate = figure.estimated.values().next();
    let estimate = estimate.map_or_else(String::new, |reason| format!("; it is an estimate: {reason}"));
    let text = format!("{} [{}, {}]", change(ratio), change(low), change(high));
    let limit = if figure.higher_is_better { change(1.0 - allowed) } else { change(1.0 + allowed) };
    let (outcome, why) = match too_wide {
        _ if beyond => (Outcome::Failed, format!("the whole interval is worse than {limit}")),
        Some(why) => (Outcome::NotJudged, format!("cannot be judged: {limit} is within the interval, and {why}")),
        None if within => (Outcome::Passed, format!("none of the interval is worse than {limit}")),
        None => (Outcome::Passed, format!("not all of the interval is worse than {limit}")),
    };
    (outcome, format!("{text}: {why}{on_word}{estimate}"))
}

/// Why an interval is too wide to detect a change of the share `wanted`, and how many measurements would be enough; `None` where it is
/// not.
fn too_wide(figure: &FigureRow, wanted: f64) -> Option<String> {
    let detectable = match figure.detectable.as_result() {
        Ok(detectable) if *detectable <= wanted => return None,
        Ok(detectable) => *detectable,
        Err(reason) => return Some(format!("the detectable difference is unknown ({reason})")),
    };
    let what = format!(
        "only differences of {} or more are detectable, not {}",
        short_percent(detectable),
        short_percent(wanted)
    );
    if figures::is_once(&figure.metric) {
        return Some(format!("{what}: this figure is measured once for each prompt, so more prompts are needed"));
    }
    let rounds = figure.rounds();
    let more = more_rounds(detectable, rounds, wanted).map(|more| {
        format!(": about {more} more rounds are needed, {} in all ({} {})", rounds + more, Setting::Runs, rounds + more)
    });
    Some(format!("{what}{}", more.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use engine_api::Advice;

    use super::*;
    use crate::compare::comparison::Work;

    fn contrast(metric: &str, higher_is_better: bool, interval: (f64, f64, f64), label: Comparability) -> Contrast {
        let figure = FigureRow {
            metric: metric.to_owned(),
            higher_is_better,
            ratio: interval.0.into(),
            low: interval.1.into(),
            high: interval.2.into(),
            detectable: 0.03.into(),
            pairs: 5,
            ..FigureRow::absent("not compared")
        };
        Contrast {
            figures: vec![figure],
            work: Work { label, ..Work::absent("not compared") },
            ..Contrast::absent("not compared")
        }
    }

    #[test]
    fn only_a_whole_interval_beyond_it_fails() {
        let gate: Gate = "decode_tps=5".parse().unwrap();
        let of = |ratio, low, high| {
            judge(&contrast("decode_tps", true, (ratio, low, high), Comparability::Equal), &gate, 0.02).outcome
        };
        assert_eq!(of(0.90, 0.88, 0.92), Outcome::Failed);
        assert_eq!(of(0.90, 0.84, 0.96), Outcome::Passed);
        assert_eq!(of(1.20, 1.10, 1.30), Outcome::Passed);
        let gate: Gate = "memory_peak_bytes=10%".parse().unwrap();
        let found = judge(&contrast("memory_peak_bytes", false, (1.2, 1.11, 1.3), Comparability::Equal), &gate, 0.02);
        assert_eq!(found.outcome, Outcome::Failed);
        assert!(found.text.contains("+20.0 %") && found.text.contains("+10.0 %"), "{}", found.text);
        let on_word = contrast("memory_peak_bytes", false, (1.0, 0.98, 1.02), Comparability::EqualOnWord);
        let found = judge(&on_word, &gate, 0.02);
        assert_eq!(found.outcome, Outcome::Passed);
        assert!(found.text.ends_with("equal as you state"), "{}", found.text);
    }

    #[test]
    fn a_gate_that_cannot_be_judged_has_not_passed() {
        let gate: Gate = "decode_tps=5".parse().unwrap();
        let found = judge(&contrast("decode_tps", true, (0.5, 0.4, 0.6), Comparability::NotComparable), &gate, 0.02);
        assert_eq!(found.outcome, Outcome::NotJudged);
        assert_eq!(
            judge(
                &Contrast {
                    work: Work { label: Comparability::Equal, ..Work::absent("not compared") },
                    ..Contrast::absent("not compared")
                },
                &gate,
                0.02
            )
            .outcome,
            Outcome::NotJudged
        );
    }

    #[test]
    fn an_interval_that_is_too_wide_is_not_judged() {
        let wide = |metric: &str, interval, detectable: f64, allowed: f64| {
            let mut found = contrast(metric, true, interval, Comparability::Equal);
            found.figures[0].detectable = detectable.into();
            judge(&found, &Gate { metric: metric.to_owned(), allowed }, 0.02)
        };
        let found = wide("decode_tps", (1.01, 0.7, 1.4), 0.5, 0.05);
        assert_eq!(found.outcome, Outcome::NotJudged);
        insta::assert_snapshot!(found.text, @"+1.0 % [-30.0 %, +40.0 %]: cannot be judged: -5.0 % is within the interval, and only differences of 50 % or more are detectable, not 5 %: about 341 more rounds are needed, 346 in all (`runs` 346)");
        // All of it is on the good side, or the comparison was precise enough.
        assert_eq!(wide("decode_tps", (1.4, 0.96, 2.0), 0.5, 0.05).outcome, Outcome::Passed);
        assert_eq!(wide("decode_tps", (0.97, 0.94, 1.0), 0.05, 0.05).outcome, Outcome::Passed);
        // A gate that allows nothing needs the precision of the smallest difference that matters.
        assert_eq!(wide("decode_tps", (1.0, 0.99, 1.01), 0.02, 0.0).outcome, Outcome::Passed);
        assert_eq!(wide("decode_tps", (1.0, 0.98, 1.02), 0.03, 0.0).outcome, Outcome::NotJudged);
        let once = wide("first_peak_bytes", (1.01, 0.7, 1.4), 0.5, 0.05);
        assert!(once.text.contains("more prompts are needed"), "{}", once.text);
    }

    #[test]
    fn invalid_gates_are_refused_with_advice() {
        let message = |text: &str| text.parse::<Gate>().unwrap_err().with_advice();
        insta::assert_snapshot!(message("decode_tps"), @"gate decode_tps: expected METRIC=PERCENT; give one such as decode_tps=5");
        insta::assert_snapshot!(message("decode_tps=x"), @"gate decode_tps=x: `x` is not a percentage; give a number of 0 or more, such as decode_tps=5");
        assert!(message("decode_tp=5").contains("did you mean `decode_tps`?"));
    }
}
