//! Ratios as text.

use analyse::compare::{Assessment, Contrast, FigureRow, Split, SplitPart};
use record::figures::{milliseconds, significant};

use crate::figures::marked;

/// Changes from this ratio on are given as a factor instead of a percentage.
const FACTOR: f64 = 1.5;

/// A detectable difference above this share is no finding: the interval says nothing about the sides.
const WIDEST: f64 = 1.0;

/// The detectable difference in percent; above [`WIDEST`] only that it is.
pub(super) fn detectable(share: f64) -> String {
    if share > WIDEST { format!("over {}", plain(WIDEST)) } else { plain(share) }
}

/// A share in percent, as short as it goes: `2`, `0.5`, `4.1`.
pub(super) fn plain(share: f64) -> String {
    let rounded = (share * 1000.0).round() / 10.0;
    if share > 0.0 && rounded == 0.0 { "less than 0.1".to_owned() } else { rounded.to_string() }
}

/// `+3.2 %`, `-0.4 %`.
pub(super) fn change(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// `1.032` and below it `[1.025, 1.039]`.
pub(super) fn interval(row: &FigureRow) -> Option<String> {
    let ratio = significant(row.ratio.value()?);
    Some(match row.low.value().zip(row.high.value()) {
        Some((low, high)) => format!("{ratio}\n[{}, {}]", significant(low), significant(high)),
        None => ratio,
    })
}

/// The finding of a figure, in a few words.
pub(super) fn finding(row: &FigureRow, threshold: f64) -> String {
    let matters = format!("{} %", plain(threshold));
    match row.finding {
        _ if row.low.is_absent() => "no interval".to_owned(),
        Assessment::Better => "better".to_owned(),
        Assessment::Worse => "worse".to_owned(),
        Assessment::Small => format!("differs, perhaps by less than {matters}"),
        Assessment::Same => format!("equal within {matters}"),
        Assessment::Unknown => "no difference detectable".to_owned(),
    }
}

/// The verb and the noun of each rate.
const VERBS: &[(&str, &str, &str)] = &[
    ("decode_tps", "decodes", "decode speed"),
    ("prefill_tps", "prefills", "prefill speed"),
    ("tps", "answers", "speed of answers"),
];

/// One sentence about a rate; `None` for other metrics and without a ratio.
pub(super) fn sentence(contrast: &Contrast, row: &FigureRow, threshold: f64) -> Option<String> {
    let (_, verb, noun) = VERBS.iter().find(|(metric, ..)| *metric == row.metric)?;
    let (ratio, low, high) = (row.ratio.value()?, row.low.value()?, row.high.value()?);
    let (other, baseline) = (&contrast.other.name, &contrast.baseline.name);
    let is_estimate = !row.estimated.is_empty();
    let text = match row.finding {
        Assessment::Unknown => {
            if row.detectable.value().is_some_and(|share| share > WIDEST) {
                return Some(format!(
                    "The {noun} of {other} and {baseline} cannot be compared: the measurements are too few or vary too much to detect even a factor of {}. Use more rounds.",
                    1.0 + WIDEST
                ));
            }
            let found = row.detectable.value().map_or_else(String::new, |share| {
                format!("; differences of {} % or more are detectable", plain(share))
            });
            let more = row.more_rounds.value().filter(|rounds| *rounds > 0).map_or_else(String::new, |rounds| {
                format!("; about {rounds} more rounds are needed to detect {} %", plain(threshold))
            });
            return Some(format!(
                "No difference in {noun} between {other} and {baseline} is detectable: {} [{}, {}]{found}{more}.",
                marked(change(ratio), is_estimate),
                change(low),
                change(high)
            ));
        }
        Assessment::Same => {
            return Some(format!(
                "{other} {verb} as fast as {baseline} within {} %: {} [{}, {}].",
                plain(threshold),
                marked(change(ratio), is_estimate),
                change(low),
                change(high)
            ));
        }
        _ => faster(other, verb, baseline, (ratio, low, high), is_estimate),
    };
    let small = match row.finding {
        Assessment::Small => format!(", perhaps by less than the relevant {} %", plain(threshold)),
        _ => String::new(),
    };
    Some(format!("{text}{small}{}.", largest_part(contrast, row)))
}

/// `B decodes 4.0 % faster than A [3.0 %, 5.0 %]`, `10.0 % slower`: by the change of the rate, as in the tables; `at 1.902 times the
/// speed of A [1.850, 1.960]` where it is large.
fn faster(other: &str, verb: &str, baseline: &str, (ratio, low, high): (f64, f64, f64), is_estimate: bool) -> String {
    if !(1.0 / FACTOR..=FACTOR).contains(&ratio) {
        let show = significant;
        return format!(
            "{other} {verb} at {} times the speed of {baseline} [{}, {}]",
            marked(show(ratio), is_estimate),
            show(low),
            show(high)
        );
    }
    let (word, sign) = if ratio >= 1.0 { ("faster", 1.0) } else { ("slower", -1.0) };
    let show = |ratio: f64| format!("{:.1} %", (ratio - 1.0) * 100.0 * sign);
    let (low, high) = if ratio >= 1.0 { (low, high) } else { (high, low) };
    let change = marked(show(ratio), is_estimate);
    format!("{other} {verb} {change} {word} than {baseline} [{}, {}]", show(low), show(high))
}

/// The part with most of the difference: `; 81 % of the difference is in gate/up/down projections`.
fn largest_part(contrast: &Contrast, row: &FigureRow) -> String {
    let whole = match row.metric.as_str() {
        "decode_tps" => "decode",
        "prefill_tps" => "prefill",
        _ => "latency",
    };
    let split = contrast.splits.iter().find(|split| split.whole == whole);
    let largest = split.and_then(|split| {
        split.parts.iter().filter_map(|part| Some((part.share.value()?, part))).max_by(|a, b| a.0.total_cmp(&b.0))
    });
    match (largest, split) {
        (Some((share, part)), _) => format!("; {:.0} % of the difference is in {}", share * 100.0, part.name),
        (None, Some(split)) => cancelled_parts(split),
        (None, None) => String::new(),
    }
}

/// Of parts that change in both directions, the largest change each way: `; +5.100 ms in attention, -4.000 ms in projections`.
fn cancelled_parts(split: &Split) -> String {
    let change = |part: &SplitPart| part.other_s - part.baseline_s;
    let by_change = |a: &&SplitPart, b: &&SplitPart| change(a).total_cmp(&change(b));
    let ends = [split.parts.iter().max_by(by_change), split.parts.iter().min_by(by_change)];
    let [Some(most), Some(least)] = ends else { return String::new() };
    if change(most) <= 0.0 || change(least) >= 0.0 {
        return String::new();
    }
    let shown = |part: &SplitPart| {
        let sign = if change(part) > 0.0 { "+" } else { "" };
        format!("{sign}{} ms in {}", milliseconds(change(part)), part.name)
    };
    format!("; parts change in both directions: {}, {} per {}", shown(most), shown(least), split.per)
}

#[cfg(test)]
mod tests {
    use super::*;
    use analyse::compare::ContrastSide;

    fn contrast() -> Contrast {
        let name = |name: &str| ContrastSide { name: name.to_owned(), ..ContrastSide::default() };
        let part = |name: &str, share: f64| SplitPart {
            name: name.to_owned(),
            share: share.into(),
            ..SplitPart::absent("unused")
        };
        let parts = vec![part("attention", 0.19), part("gate/up/down projections", 0.81)];
        let split = Split { whole: "decode".to_owned(), parts, ..Split::default() };
        Contrast { baseline: name("A"), other: name("B"), splits: vec![split], ..Contrast::absent("not compared") }
    }

    fn row(interval: (f64, f64, f64), finding: Assessment) -> FigureRow {
        FigureRow {
            metric: "decode_tps".to_owned(),
            higher_is_better: true,
            ratio: interval.0.into(),
            low: interval.1.into(),
            high: interval.2.into(),
            detectable: 0.04.into(),
            more_rounds: 15.into(),
            finding,
            ..FigureRow::absent("not compared")
        }
    }

    #[test]
    fn parts_that_cancel_are_named_with_their_changes() {
        let part = |name: &str, baseline_s, other_s| SplitPart {
            name: name.to_owned(),
            baseline_s,
            other_s,
            ..SplitPart::absent("they cancel")
        };
        let mut contrast = contrast();
        contrast.splits[0].per = "output token".to_owned();
        contrast.splits[0].parts = vec![part("attention", 0.001, 0.006), part("lm_head", 0.005, 0.001)];
        insta::assert_snapshot!(sentence(&contrast, &row((0.9, 0.89, 0.91), Assessment::Worse), 0.02).unwrap(), @"B decodes 10.0 % slower than A [9.0 %, 11.0 %]; parts change in both directions: +5.000 ms in attention, -4.000 ms in lm_head per output token.");
    }

    #[test]
    fn an_estimate_is_marked_in_sentences() {
        let estimated: record::Reasons = [("other".to_owned(), "from pieces".to_owned())].into();
        for (interval, finding, shown) in [
            ((1.9, 1.85, 1.96), Assessment::Better, "at ~1.900 times"),
            ((1.04, 1.03, 1.05), Assessment::Better, "decodes ~4.0 % faster"),
            ((0.999, 0.99, 1.008), Assessment::Same, ": ~-0.1 % ["),
            ((1.008, 0.984, 1.032), Assessment::Unknown, ": ~+0.8 % ["),
        ] {
            let row = FigureRow { estimated: estimated.clone(), ..row(interval, finding) };
            let text = sentence(&contrast(), &row, 0.02).unwrap();
            assert!(text.contains(shown) && text.matches('~').count() == 1, "{text}");
        }
    }

    #[test]
    fn every_finding_has_its_sentence() {
        let text = |interval, finding| sentence(&contrast(), &row(interval, finding), 0.02).unwrap();
        insta::assert_snapshot!(text((1.9, 1.85, 1.96), Assessment::Better), @"B decodes at 1.900 times the speed of A [1.850, 1.960]; 81 % of the difference is in gate/up/down projections.");
        insta::assert_snapshot!(text((0.5, 0.4, 0.6), Assessment::Worse), @"B decodes at 0.5000 times the speed of A [0.4000, 0.6000]; 81 % of the difference is in gate/up/down projections.");
        insta::assert_snapshot!(text((1.04, 1.03, 1.05), Assessment::Better), @"B decodes 4.0 % faster than A [3.0 %, 5.0 %]; 81 % of the difference is in gate/up/down projections.");
        insta::assert_snapshot!(text((1.012, 1.003, 1.021), Assessment::Small), @"B decodes 1.2 % faster than A [0.3 %, 2.1 %], perhaps by less than the relevant 2 %; 81 % of the difference is in gate/up/down projections.");
        insta::assert_snapshot!(text((0.999, 0.99, 1.008), Assessment::Same), @"B decodes as fast as A within 2 %: -0.1 % [-1.0 %, +0.8 %].");
        let wide = FigureRow { detectable: 5.6e5.into(), ..row((1.17, 4e-4, 3336.0), Assessment::Unknown) };
        insta::assert_snapshot!(sentence(&contrast(), &wide, 0.02).unwrap(), @"The decode speed of B and A cannot be compared: the measurements are too few or vary too much to detect even a factor of 2. Use more rounds.");
        assert_eq!((detectable(5.6e5), detectable(0.04)), ("over 100".to_owned(), "4".to_owned()));
        insta::assert_snapshot!(text((1.008, 0.984, 1.032), Assessment::Unknown), @"No difference in decode speed between B and A is detectable: +0.8 % [-1.6 %, +3.2 %]; differences of 4 % or more are detectable; about 15 more rounds are needed to detect 2 %.");
    }
}
