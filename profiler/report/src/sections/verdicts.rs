//! The limit of each phase, in sentences, and the evidence.

use engine_api::Phase;

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, or_absent, percent};
use crate::table::Table;
use analyse::verdicts::name;
use record::figures::significant;
use record::{Advice, Confidence, GroupVerdict, Verdict};

/// A phase below this share of the latency is reported only in the evidence.
const MIN_SHARE: f64 = 0.05;
/// Phases that are reported even if they are short.
const ALWAYS: [Phase; 3] = [Phase::Load, Phase::Prefill, Phase::Decode];

/// The limit of each relevant phase: sentences for one summary, a table for several.
pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::short("What limits it");
    let relevant = || view.file.verdicts.iter().filter(|group| is_relevant(group));
    if groups(relevant()) > 1 {
        section.add_table(overview(view, relevant()));
        section.add_sentence("\"Evidence of the verdicts\" in the report has sentences, figures and advice.");
    } else {
        for group in relevant() {
            section.add_sentence(text(group));
        }
    }
    section
}

/// One row per phase and summary.
fn overview<'a>(view: &RunView<'_>, verdicts: impl Iterator<Item = &'a GroupVerdict>) -> Table {
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
        "Explains: the share of the phase's time that the limit accounts for; where no limit explains half of it, the nearest one is named. Headroom: how many times as fast the phase could be at most (measured time / shortest time that the ceilings allow); only where the limit is known and the times are not disturbed. Gain: how many times as fast the first advice can make the phase at most. Agree: the prompts with this limit.",
        &columns,
    );
    for group in verdicts {
        let verdict = &group.verdict;
        let gain = verdict.advice.first().and_then(|advice| advice.predicted_gain.value());
        table.rows.push(vec![
            view.model(&group.model),
            group.engine.clone(),
            group.threads.to_string(),
            group.depth.to_string(),
            verdict.phase.name().to_owned(),
            limit(verdict),
            percent(verdict.share),
            or_absent(verdict.headroom.value().and_then(factor)),
            confidence(verdict.confidence).to_owned(),
            or_absent(gain.map(|gain| format!("{gain:.2}x"))),
            format!("{} of {}", group.agree, group.cases),
        ]);
    }
    table.without_constant(&["model", "engine", "threads", "depth"])
}

/// Every verdict with its doubts and figures.
pub(super) fn evidence(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Evidence of the verdicts");
    section.add_table(overview(view, view.file.verdicts.iter()));
    let several = groups(view.file.verdicts.iter().filter(|group| is_relevant(group))) > 1;
    for group in view.file.verdicts.iter().filter(|group| is_relevant(group)) {
        let verdict = &group.verdict;
        if several {
            section.add_sentence(format!("{}: {}", subject(view, group), text(group)));
        }
        let nearest = if verdict.unexplained { "nearest limit" } else { "limit" };
        let (phase, name) = (verdict.phase.name(), name(verdict.limit));
        let caption = format!("{}, {phase}, {nearest}: {name}. Sources are fields of run.json.", subject(view, group));
        let mut table = Table::new(caption, &["<figure", "value", "<unit", "<source"]);
        for figure in &verdict.evidence {
            let unit = if figure.unit == "1" { String::new() } else { figure.unit.clone() };
            table.rows.push(vec![figure.name.clone(), value(figure.value), unit, figure.source.clone()]);
        }
        section.add_table(table);
        if !verdict.doubts.is_empty() {
            section.add_sentence(format!(
                "Confidence {}, because {}.",
                confidence(verdict.confidence),
                verdict.doubts.join("; ")
            ));
        }
        if let Some(reason) = verdict.headroom.stated_reason() {
            section.add_sentence(format!("Headroom of {}: not given, because {reason}.", verdict.phase.name()));
        }
    }
    section
}

/// The limit, marked where it is only the nearest one.
fn limit(verdict: &Verdict) -> String {
    let nearest = if verdict.unexplained { "nearest: " } else { "" };
    format!("{nearest}{}", name(verdict.limit))
}

fn text(group: &GroupVerdict) -> String {
    let verdict = &group.verdict;
    let mut text = verdict.sentence.clone();
    let mut facts = Vec::new();
    let headroom = verdict.headroom.value().and_then(factor);
    facts.extend(headroom.map(|factor| format!("Headroom {factor}")));
    let word = if facts.is_empty() { "Confidence" } else { "confidence" };
    facts.push(format!("{word} {}", confidence(verdict.confidence)));
    if group.cases > 1 {
        facts.push(format!(
            "the same limit for {} of {} prompts (the figures are those of the prompt {})",
            group.agree, group.cases, group.prompt
        ));
    }
    text.push_str(&format!(" {}.", facts.join(", ")));
    if let Some(first) = verdict.advice.first() {
        text.push_str(&format!(" {}.", advice(first)));
    }
    text
}

/// How many times as fast the phase could be. The field has the inverse: the share of the time that the ceilings need.
fn factor(headroom: f64) -> Option<String> {
    (headroom > 0.0).then(|| format!("{:.1}x", 1.0 / headroom))
}

fn advice(advice: &Advice) -> String {
    match advice.predicted_gain.value() {
        Some(gain) => format!("Advice (up to {gain:.2}x as fast): {}", advice.text),
        None => format!("Advice: {}", advice.text),
    }
}

fn is_relevant(group: &GroupVerdict) -> bool {
    if ALWAYS.contains(&group.verdict.phase) {
        return true;
    }
    let share = group.verdict.evidence.iter().find(|figure| figure.name == "share of the latency");
    share.is_none_or(|share| share.value >= MIN_SHARE)
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

fn subject(view: &RunView<'_>, group: &GroupVerdict) -> String {
    view.subject_of(&group.engine, &group.model, group.threads, group.depth)
}

fn groups<'a>(verdicts: impl Iterator<Item = &'a GroupVerdict>) -> usize {
    let keys = verdicts.map(|found| (&found.engine, &found.model, found.threads, found.depth));
    keys.collect::<std::collections::BTreeSet<_>>().len()
}

/// Four significant digits.
fn value(value: f64) -> String {
    if value.is_finite() { significant(value) } else { ABSENT.to_owned() }
}
