//! Every metric of a contrast: both means, their ratio with its interval, and what can be said of it.

use super::comparison::{Assessment, FigureRow, PairRow, PromptRatio, Shift};
use super::pairing::GroupPair;
use crate::summary::{CASE_FIGURES, NO_SAMPLE, mean_of, no_interval};
use record::{Case, METRICS, Reason, Reasons, Recorded, Unit};
use statistics::{NoInterval, Ratio, mad, mean, median, more_rounds, ratio, ratio_apart};

/// A ratio is an outlier where the distance of its logarithm from the median of its prompt exceeds this multiple of the median
/// distance: 3.5 standard deviations of a normal distribution (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993).
const OUTLIER: f64 = 3.5 * 1.4826;

/// Why a figure that a case has once has no interval with one prompt.
const ONE_VALUE: &str = "measured once for each prompt: an interval needs at least two prompts";
/// Why the number of further rounds is unknown.
const NO_WIDTH: &str = "the width of the interval is unknown";

/// Values with the round that each is of.
type Rounds = Vec<(usize, f64)>;

/// A mean over cases.
type MeanOf = dyn Fn(&[&Case]) -> Option<f64>;

/// A metric with its values in a case.
struct Compared {
    name: &'static str,
    unit: Unit,
    higher_is_better: bool,
    /// A case has one value, not one per round.
    once: bool,
    values: Box<dyn Fn(&Case) -> Rounds>,
    /// The mean over cases, as in summaries.
    mean: Box<MeanOf>,
}

/// The values of a prompt on both sides.
struct Values<'a> {
    prompt: &'a str,
    baseline: Rounds,
    other: Rounds,
}

/// The names of all metrics that are compared, which are those of gates.
pub fn names() -> Vec<&'static str> {
    compared().iter().map(|metric| metric.name).collect()
}

/// Whether a case has one value of a metric, however many rounds there are.
pub(super) fn is_once(metric: &str) -> bool {
    CASE_FIGURES.iter().any(|once| once.name == metric)
}

fn compared() -> Vec<Compared> {
    let of_samples = METRICS.iter().map(|metric| Compared {
        name: metric.name,
        unit: metric.unit,
        higher_is_better: metric.higher_is_better,
        once: false,
        values: Box::new(|case| {
            case.clean_samples().filter_map(|sample| Some((sample.round, (metric.value)(sample)?))).collect()
        }),
        mean: Box::new(|cases| mean_of(metric, cases.iter().copied())),
    });
    let once = CASE_FIGURES.iter().map(|once| Compared {
        name: once.name,
        unit: once.unit,
        higher_is_better: false,
        once: true,
        values: Box::new(|case| (once.value)(case).map(|value| (0, value)).into_iter().collect()),
        mean: Box::new(|cases| mean(&cases.iter().filter_map(|case| (once.value)(case)).collect::<Vec<_>>())),
    });
    of_samples.chain(once).collect()
}

/// The rows of a contrast: those metrics that at least one side has.
pub(super) fn rows(pair: &GroupPair<'_>, shift: Option<&Shift>, threshold: f64) -> Vec<FigureRow> {
    let rows = compared().into_iter().map(|metric| row(pair, &metric, shift, threshold));
    rows.filter(|row| row.baseline.is_present() || row.other.is_present()).collect()
}

fn row<'a>(pair: &GroupPair<'a>, metric: &Compared, shift: Option<&Shift>, threshold: f64) -> FigureRow {
    let of_prompt = |(b, o): (&'a Case, &'a Case)| Values {
        prompt: &b.prompt,
        baseline: (metric.values)(b),
        other: (metric.values)(o),
    };
    let values: Vec<Values<'_>> = pair.prompts().map(of_prompt).collect();
    let (cases_of_baseline, cases_of_other) = (cases(pair, |(b, _)| b), cases(pair, |(_, o)| o));
    let (baseline, other) = ((metric.mean)(&cases_of_baseline), (metric.mean)(&cases_of_other));
    let sides = [("baseline", baseline, cases_of_baseline), ("other", other, cases_of_other)];
    let estimated = sides.into_iter().filter_map(|(side, value, cases)| {
        value?;
        Some((side.to_owned(), estimated(&cases, metric)?.clone()))
    });
    let estimated: Reasons = estimated.collect();
    let without_ratio = |reason: &str| FigureRow {
        metric: metric.name.to_owned(),
        unit: metric.unit.symbol().to_owned(),
        higher_is_better: metric.higher_is_better,
        baseline: Recorded::of(baseline, NO_SAMPLE),
        other: Recorded::of(other, NO_SAMPLE),
        estimated: estimated.clone(),
        ..FigureRow::absent(reason)
    };
    if baseline.is_none() || other.is_none() {
        return without_ratio("only one side has it");
    }
    let negative =
        values.iter().flat_map(|values| values.baseline.iter().chain(&values.other)).any(|(_, value)| *value <= 0.0);
    if negative {
        return without_ratio("a value is zero or below: there is no ratio");
    }
    let seed = pair.baseline.file().plan.seed;
    let (prompts, pairs, found) = if pair.interleaved { paired(&values, seed) } else { apart(&values) };
    let found = match found {
        Ok(found) => widened(found, metric, shift),
        Err(why) => {
            let reason = if metric.once { ONE_VALUE.to_owned() } else { no_interval(why) };
            let ratio = Recorded::of(overall(&values), reason.as_str());
            return FigureRow { ratio, pairs, prompts, ..without_ratio(&reason) };
        }
    };
    let finding = assess(found.low, found.high, metric.higher_is_better, threshold);
    let more_rounds = match finding {
        Assessment::Unknown => Recorded::of(more_rounds(found.detectable, rounds(&values), threshold), NO_WIDTH),
        _ => Recorded::absent("the interval shows a finding already"),
    };
    FigureRow {
        ratio: found.ratio.into(),
        low: found.low.into(),
        high: found.high.into(),
        detectable: found.detectable.into(),
        pairs,
        finding,
        more_rounds,
        prompts,
        ..without_ratio("")
    }
}

/// The cases of one side whose prompts both sides have.
fn cases<'a>(pair: &GroupPair<'a>, side: fn((&'a Case, &'a Case)) -> &'a Case) -> Vec<&'a Case> {
    pair.prompts().map(side).collect()
}

/// Why the metric is an estimate in one of the samples, if it is in any.
fn estimated<'a>(cases: &[&'a Case], metric: &Compared) -> Option<&'a String> {
    cases.iter().flat_map(|case| case.clean_samples()).find_map(|sample| sample.estimated.get(metric.name))
}

/// Rounds of the prompt that has the most of them.
fn rounds(values: &[Values<'_>]) -> usize {
    values.iter().map(|values| values.baseline.len().max(values.other.len())).max().unwrap_or(0)
}

/// Logarithms of the values of one side.
fn logs(values: &[(usize, f64)]) -> Rounds {
    values.iter().map(|(round, value)| (*round, value.ln())).collect()
}

fn overall(values: &[Values<'_>]) -> Option<f64> {
    let of = |values: &[(usize, f64)]| mean(&logs(values).into_iter().map(|(_, value)| value).collect::<Vec<_>>());
    let ratios: Vec<f64> =
        values.iter().filter_map(|values| Some(of(&values.other)? - of(&values.baseline)?)).collect();
    mean(&ratios).map(f64::exp)
}

/// The ratios of the prompts, the number of pairs, and the ratio over all of them.
type Ratios = (Vec<PromptRatio>, usize, Result<Ratio, NoInterval>);

/// By the pairs of each round.
fn paired(values: &[Values<'_>], seed: u64) -> Ratios {
    let (mut prompts, mut strata) = (Vec::new(), Vec::new());
    for Values { prompt, baseline, other } in values {
        let of_round = |round: usize| other.iter().find(|(other, _)| *other == round).map(|(_, value)| value);
        let pairs: Vec<(usize, f64)> =
            baseline.iter().filter_map(|(round, value)| Some((*round, (of_round(*round)? / value).ln()))).collect();
        let stratum: Vec<f64> = pairs.iter().map(|(_, log)| *log).collect();
        if let Some(prompt) = of_prompt(prompt, ratio(std::slice::from_ref(&stratum), seed), &stratum, &pairs) {
            prompts.push(prompt);
        }
        strata.push(stratum);
    }
    mark_outliers(&mut prompts);
    (prompts, strata.iter().map(Vec::len).sum(), ratio(&strata, seed))
}

fn of_prompt(
    prompt: &str,
    found: Result<Ratio, NoInterval>,
    logs: &[f64],
    pairs: &[(usize, f64)],
) -> Option<PromptRatio> {
    let end = |end: fn(Ratio) -> f64| Recorded::from(found.map(end).map_err(|why| Reason::new(no_interval(why))));
    Some(PromptRatio {
        prompt: prompt.to_owned(),
        ratio: mean(logs)?.exp(),
        low: end(|found| found.low),
        high: end(|found| found.high),
        pairs: pairs.iter().map(|(round, log)| PairRow { round: *round, ratio: log.exp(), outlier: false }).collect(),
        notes: Reasons::new(),
    })
}

/// Marks the pairs that are far from the median of their prompt, by the distances in all prompts.
fn mark_outliers(prompts: &mut [PromptRatio]) {
    let middle = |prompt: &PromptRatio| median(&prompt.pairs.iter().map(|pair| pair.ratio.ln()).collect::<Vec<_>>());
    let middles: Vec<f64> = prompts.iter().map(|prompt| middle(prompt).unwrap_or_default()).collect();
    let distances = prompts
        .iter()
        .zip(&middles)
        .flat_map(|(prompt, middle)| prompt.pairs.iter().map(move |pair| pair.ratio.ln() - middle));
    let usual = mad(&distances.collect::<Vec<_>>()).unwrap_or_default();
    for (prompt, middle) in prompts.iter_mut().zip(middles) {
        for pair in &mut prompt.pairs {
            pair.outlier = usual > 0.0 && (pair.ratio.ln() - middle).abs() > OUTLIER * usual;
        }
    }
}

/// By the rounds of either side.
fn apart(values: &[Values<'_>]) -> Ratios {
    let mut prompts = Vec::new();
    let baseline: Vec<Rounds> = values.iter().map(|values| logs(&values.baseline)).collect();
    let other: Vec<Rounds> = values.iter().map(|values| logs(&values.other)).collect();
    for (Values { prompt, .. }, (b, o)) in values.iter().zip(baseline.iter().zip(&other)) {
        let found = ratio_apart(std::slice::from_ref(b), std::slice::from_ref(o));
        let of = |values: &[(usize, f64)]| mean(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        let difference: Vec<f64> = of(o).zip(of(b)).map(|(o, b)| o - b).into_iter().collect();
        prompts.extend(of_prompt(prompt, found, &difference, &[]));
    }
    let found = ratio_apart(&baseline, &other);
    (prompts, found.map_or(0, |found| found.pairs), found)
}

/// The interval, widened to include the difference with and without the shift of the machine itself:
///
/// ```text
/// low', high' = the outer ends of [low, high] and of [low, high] / shift     (times: x shift)
/// ```
/// Prefill and time to the first token follow the shift of arithmetic, decoding that of the memory, whole requests either.
fn widened(found: Ratio, metric: &Compared, shift: Option<&Shift>) -> Ratio {
    let Some(shift) = shift else { return found };
    let (memory, compute) = (shift.memory_read.value(), shift.compute.value());
    let candidates = match metric.name {
        "prefill_tps" | "prefill_s" | "ttft_s" => vec![compute],
        "decode_tps" | "decode_s" => vec![memory],
        _ if matches!(metric.unit, Unit::Seconds | Unit::PerSecond) => vec![compute, memory],
        _ => Vec::new(),
    };
    let mut wide = found;
    for shift in candidates.into_iter().flatten().filter(|shift| *shift > 0.0) {
        let times = if metric.higher_is_better { 1.0 / shift } else { shift };
        wide.low = wide.low.min(found.low * times);
        wide.high = wide.high.max(found.high * times);
    }
    let wider = (wide.high / wide.low).ln() / (found.high / found.low).ln();
    if wider.is_finite() {
        wide.detectable = (found.detectable.ln_1p() * wider).exp_m1();
    }
    wide
}

/// The assessment of an interval, where `threshold` (a share) is the least difference that matters.
pub fn assess(low: f64, high: f64, higher_is_better: bool, threshold: f64) -> Assessment {
    let edge = 1.0 + threshold;
    let (more, less) = if higher_is_better {
        (Assessment::Better, Assessment::Worse)
    } else {
        (Assessment::Worse, Assessment::Better)
    };
    if low > edge {
        more
    } else if high < 1.0 / edge {
        less
    } else if low >= 1.0 / edge && high <= edge {
        Assessment::Same
    } else if low > 1.0 || high < 1.0 {
        Assessment::Small
    } else {
        Assessment::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use record::{RunFile, Sample};

    use super::super::pairing::Group;
    use super::super::side::ComparedRun;
    use super::*;

    #[test]
    fn the_assessment_follows_from_the_interval() {
        for (low, high, expected) in [
            (1.03, 1.10, Assessment::Better),
            (0.90, 0.97, Assessment::Worse),
            (1.01, 1.10, Assessment::Small),
            (0.99, 1.01, Assessment::Same),
            (1.005, 1.015, Assessment::Same),
            (0.95, 1.05, Assessment::Unknown),
        ] {
            assert_eq!(assess(low, high, true, 0.02), expected, "{low} {high}");
        }
        assert_eq!(assess(1.03, 1.10, false, 0.02), Assessment::Worse);
    }

    #[test]
    fn estimates_of_a_side_are_said() {
        let sample = |estimated: &[(&str, &str)]| Sample {
            latency_s: 1.0.into(),
            decode_tps: 50.0.into(),
            estimated: estimated.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect(),
            ..Sample::absent("not measured")
        };
        let case = |samples| Case { prompt: "p".to_owned(), samples, ..Case::default() };
        let run = |cases| {
            let file = RunFile { cases, ..RunFile::default() };
            ComparedRun { path: PathBuf::new(), file, foreign: false, notes: Vec::new() }
        };
        let exact = run(vec![case(vec![sample(&[])])]);
        let server =
            run(vec![case(vec![sample(&[]), sample(&[("decode_tps", "from pieces"), ("tps", "from pieces")])])]);
        let group = |run| Group { label: "side", run, cases: run.file.cases.iter().collect() };
        let pair = GroupPair { baseline: group(&exact), other: group(&server), interleaved: false };
        let rows = rows(&pair, None, 0.02);
        let of = |name: &str| rows.iter().find(|row| row.metric == name).unwrap().estimated.clone();
        assert_eq!(of("decode_tps"), [("other".to_owned(), "from pieces".to_owned())].into());
        assert!(of("latency_s").is_empty());
        assert!(!rows.iter().any(|row| row.metric == "tps"), "no sample has it, so it is no estimate");
    }

    #[test]
    fn a_shift_of_the_machine_widens_to_both_sides() {
        let found = Ratio { ratio: 1.2, low: 1.18, high: 1.22, detectable: 0.03, pairs: 9 };
        let metric = |name: &str| compared().into_iter().find(|metric| metric.name == name).unwrap();
        let shift = Shift { memory_read: 1.2.into(), compute: 1.0.into(), ..Shift::absent("not probed") };
        let wide = widened(found, &metric("decode_tps"), Some(&shift));
        assert!((wide.low - 1.18 / 1.2).abs() < 1e-12 && (wide.high - 1.22).abs() < 1e-12, "{wide:?}");
        assert!(wide.detectable > found.detectable);
        let time = widened(found, &metric("decode_s"), Some(&shift));
        assert!((time.high - 1.22 * 1.2).abs() < 1e-12);
        assert_eq!(widened(found, &metric("prefill_tps"), Some(&shift)), found);
        assert_eq!(widened(found, &metric("memory_peak_bytes"), Some(&shift)), found);
    }

    #[test]
    fn one_outlier_in_twenty_pairs_is_marked() {
        let pair = |round: usize, ratio: f64| PairRow { round, ratio, outlier: false };
        let mut pairs: Vec<PairRow> = (0..20).map(|round| pair(round, 1.0 + 0.002 * (round % 5) as f64)).collect();
        pairs.push(pair(20, 1.5));
        let mut prompts = [PromptRatio { pairs, ..PromptRatio::absent("not compared") }];
        mark_outliers(&mut prompts);
        let marked: Vec<usize> = prompts[0].pairs.iter().filter(|pair| pair.outlier).map(|pair| pair.round).collect();
        assert_eq!(marked, [20]);
    }
}
