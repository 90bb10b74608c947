//! Gates: how much worse a metric may be than the baseline.

use super::comparison::{Comparability, Comparison, Contrast, FigureRow, GateRow, Outcome};
use super::figures;
use record::{Error, Reason, Reasons, Recorded, nearest};

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

/// Checks every gate on every contrast.
pub(super) fn check(contrasts: &[Contrast], gates: &[Gate]) -> Vec<GateRow> {
    gates.iter().flat_map(|gate| contrasts.iter().map(move |contrast| judge(contrast, gate))).collect()
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

/// Fails where the whole interval is beyond the allowed change:
///
/// ```text
/// higher is better    high < 1 - allowed
/// lower is better     low > 1 + allowed
/// ```
fn judge(contrast: &Contrast, gate: &Gate) -> GateRow {
    let found = contrast.figures.iter().find(|row| row.metric == gate.metric);
    let (outcome, text) = match found {
        _ if contrast.work.label == Comparability::NotComparable => {
            let checks = contrast.work.checks.iter().map(|check| check.because.as_str());
            let why: Vec<&str> = checks.filter(|text| !text.is_empty()).collect();
            (Outcome::NotJudged, format!("not the same work ({})", why.join("; ")))
        }
        None => (Outcome::NotJudged, NO_SAMPLE.to_owned()),
        Some(figure) => match interval(figure) {
            Ok(interval) => judge_interval(contrast, figure, interval, gate.allowed),
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
    allowed: f64,
) -> (Outcome, String) {
    let beyond = if figure.higher_is_better { high < 1.0 - allowed } else { low > 1.0 + allowed };
    let change = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    let on_word = match contrast.work.label {
        Comparability::EqualOnWord => "; the work is equal as you state",
        _ => "",
    };
    let estimate = figure.estimated.values().next();
    let estimate = estimate.map_or_else(String::new, |reason| format!("; it is an estimate: {reason}"));
    let text = format!("{} [{}, {}]", change(ratio), change(low), change(high));
    let limit = if figure.higher_is_better { change(1.0 - allowed) } else { change(1.0 + allowed) };
    match beyond {
        true => (Outcome::Failed, format!("{text}: the whole interval is worse than {limit}{on_word}{estimate}")),
        false => (Outcome::Passed, format!("{text}: not all of the interval is worse than {limit}{on_word}{estimate}")),
    }
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
            judge(&contrast("decode_tps", true, (ratio, low, high), Comparability::Equal), &gate).outcome
        };
        assert_eq!(of(0.90, 0.88, 0.92), Outcome::Failed);
        assert_eq!(of(0.90, 0.84, 0.96), Outcome::Passed);
        assert_eq!(of(1.20, 1.10, 1.30), Outcome::Passed);
        let gate: Gate = "memory_peak_bytes=10%".parse().unwrap();
        let found = judge(&contrast("memory_peak_bytes", false, (1.2, 1.11, 1.3), Comparability::Equal), &gate);
        assert_eq!(found.outcome, Outcome::Failed);
        assert!(found.text.contains("+20.0 %") && found.text.contains("+10.0 %"), "{}", found.text);
        let on_word = contrast("memory_peak_bytes", false, (1.0, 0.98, 1.02), Comparability::EqualOnWord);
        let found = judge(&on_word, &gate);
        assert_eq!(found.outcome, Outcome::Passed);
        assert!(found.text.ends_with("equal as you state"), "{}", found.text);
    }

    #[test]
    fn a_gate_that_cannot_be_judged_has_not_passed() {
        let gate: Gate = "decode_tps=5".parse().unwrap();
        let found = judge(&contrast("decode_tps", true, (0.5, 0.4, 0.6), Comparability::NotComparable), &gate);
        assert_eq!(found.outcome, Outcome::NotJudged);
        assert_eq!(
            judge(
                &Contrast {
                    work: Work { label: Comparability::Equal, ..Work::absent("not compared") },
                    ..Contrast::absent("not compared")
                },
                &gate
            )
            .outcome,
            Outcome::NotJudged
        );
    }

    #[test]
    fn invalid_gates_are_refused_with_advice() {
        let message = |text: &str| text.parse::<Gate>().unwrap_err().with_advice();
        insta::assert_snapshot!(message("decode_tps"), @"gate decode_tps: expected METRIC=PERCENT; give one such as decode_tps=5");
        insta::assert_snapshot!(message("decode_tps=x"), @"gate decode_tps=x: `x` is not a percentage; give a number of 0 or more, such as decode_tps=5");
        assert!(message("decode_tp=5").contains("did you mean `decode_tps`?"));
    }
}
