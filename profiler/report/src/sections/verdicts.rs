//! Which limit binds each phase, in sentences; and the figures that they rest on.

use super::View;
use crate::content::{Section, Table};
use crate::figures::{ABSENT, or_absent, percent};
use analyse::verdicts::name;
use record::figures::significant;
use record::{Advice, Confidence, Judgement};

/// A phase below this share of the latency is told in the evidence alone.
const WEIGHTY: f64 = 0.05;
/// Phases that are told however short they are.
const ALWAYS: [&str; 3] = ["load", "prefill", "decode"];

/// What limits each phase that has weight: in sentences where one thing was measured, else in a table to compare.
pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::short("What limits it");
    let weighty = || view.file.verdicts.iter().filter(|judgement| is_weighty(judgement));
    if groups(weighty()) > 1 {
        section.show(overview(view, weighty()));
        section.say("Figures, sentences and what would help stand under \"What the verdicts rest on\" in the report.");
    } else {
        for judgement in weighty() {
            section.say(told(judgement));
        }
    }
    section
}

/// One row per phase and thing that was measured.
fn overview<'a>(view: &View<'_>, judgements: impl Iterator<Item = &'a Judgement>) -> Table {
    let columns = [
        "<model",
        "<engine",
        "threads",
        "depth",
        "<phase",
        "<limit",
        "explains",
        "headroom",
        "<confidence",
        "gain",
        "agree",
    ];
    let mut table = Table::new(
        "Explains: share of the phase's time that the limit accounts for; where it is little, the limit is the nearest one and no explanation. Headroom: least time that the ceilings allow / measured time. Gain: how many times as fast the first advice would make the phase, at most.",
        &columns,
    );
    for judgement in judgements {
        let verdict = &judgement.verdict;
        let gain = verdict.advice.first().and_then(|advice| advice.predicted_gain);
        table.rows.push(vec![
            view.model(&judgement.model),
            judgement.engine.clone(),
            judgement.threads.to_string(),
            judgement.depth.to_string(),
            verdict.phase.clone(),
            name(verdict.limit).to_owned(),
            percent(verdict.share),
            or_absent(verdict.headroom.map(|headroom| format!("{headroom:.2}"))),
            confidence(verdict.confidence).to_owned(),
            or_absent(gain.map(|gain| format!("{gain:.2}"))),
            format!("{} of {}", judgement.agree, judgement.cases),
        ]);
    }
    table.without_constant(&["model", "engine", "threads", "depth"])
}

/// Every verdict with its doubts, and every figure.
pub(super) fn evidence(view: &View<'_>) -> Section {
    let mut section = Section::new("What the verdicts rest on");
    section.show(overview(view, view.file.verdicts.iter()));
    let several = groups(view.file.verdicts.iter().filter(|judgement| is_weighty(judgement))) > 1;
    for judgement in view.file.verdicts.iter().filter(|judgement| is_weighty(judgement)) {
        let verdict = &judgement.verdict;
        if several {
            section.say(format!("{}: {}", subject(view, judgement), told(judgement)));
        }
        let caption = format!("{}, {}: {}.", subject(view, judgement), verdict.phase, name(verdict.limit));
        let mut table = Table::new(caption, &["<figure", "value", "<unit", "<from"]);
        for figure in &verdict.evidence {
            let unit = if figure.unit == "1" { String::new() } else { figure.unit.clone() };
            table.rows.push(vec![figure.name.clone(), value(figure.value), unit, figure.source.clone()]);
        }
        section.show(table);
        if !verdict.doubts.is_empty() {
            section.say(format!(
                "Confidence {}, because {}.",
                confidence(verdict.confidence),
                verdict.doubts.join("; ")
            ));
        }
    }
    section
}

fn told(judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let mut text = verdict.sentence.clone();
    let mut facts = Vec::new();
    facts.extend(verdict.headroom.map(|headroom| format!("Headroom {headroom:.2}")));
    let sure = if facts.is_empty() { "Confidence" } else { "confidence" };
    facts.push(format!("{sure} {}", confidence(verdict.confidence)));
    if judgement.cases > 1 {
        facts.push(format!(
            "{} of {} prompts agree; the figures are those of {}",
            judgement.agree, judgement.cases, judgement.prompt
        ));
    }
    text.push_str(&format!(" {}.", facts.join(", ")));
    if let Some(first) = verdict.advice.first() {
        text.push_str(&format!(" What would help: {}.", advice(first)));
    }
    text
}

fn advice(advice: &Advice) -> String {
    match advice.predicted_gain {
        Some(gain) => format!("{} (up to {gain:.2} times as fast)", advice.text),
        None => advice.text.clone(),
    }
}

fn is_weighty(judgement: &Judgement) -> bool {
    if ALWAYS.contains(&judgement.verdict.phase.as_str()) {
        return true;
    }
    let share = judgement.verdict.evidence.iter().find(|figure| figure.name == "share of the latency");
    share.is_none_or(|share| share.value >= WEIGHTY)
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

fn subject(view: &View<'_>, judgement: &Judgement) -> String {
    let depth = if judgement.depth == 0 { String::new() } else { format!(", depth {}", judgement.depth) };
    let threads = if judgement.threads == 1 { "thread" } else { "threads" };
    format!("{} on {}, {} {threads}{depth}", view.model(&judgement.model), judgement.engine, judgement.threads)
}

fn groups<'a>(judgements: impl Iterator<Item = &'a Judgement>) -> usize {
    let keys = judgements.map(|found| (&found.engine, &found.model, found.threads, found.depth));
    keys.collect::<std::collections::BTreeSet<_>>().len()
}

/// Four digits; rates and counts that would be long have none behind the point.
fn value(value: f64) -> String {
    if value.is_finite() { significant(value) } else { ABSENT.to_owned() }
}
