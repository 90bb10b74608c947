//! Conclusions and the main figures.

use super::ratio_text::{finding, interval, sentence};
use crate::content::{Block, Section};
use crate::figures::{ESTIMATED, marked, or_absent};
use crate::table::Table;
use analyse::compare::{Comparability, Comparison, Contrast, FigureRow};
use record::figures::significant;

/// The metrics of the short table.
const MAIN: &[&str] = &[
    "decode_tps",
    "prefill_tps",
    "ttft_s",
    "latency_s",
    "tps",
    "first_peak_delta_bytes",
    "server_resident_bytes",
    "memory_peak_bytes",
    "load_s",
];
/// The metrics with a sentence.
const IN_SENTENCES: &[&str] = &["decode_tps", "prefill_tps"];

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::short("Conclusions");
    for contrast in &found.contrasts {
        conclude(&mut section, contrast, found.threshold);
        section.add_table(table(contrast, found.threshold));
    }
    for row in &found.unmatched {
        section.blocks.push(Block::Warning(format!("{}: not compared: {}", row.subject, row.reason)));
    }
    if found.contrasts.is_empty() {
        section.add_sentence("The sides have no measurements in common.");
    }
    section
}

fn conclude(section: &mut Section, contrast: &Contrast, threshold: f64) {
    let label = contrast.work.label;
    let because: Vec<&str> =
        contrast.work.checks.iter().map(|check| check.because.as_str()).filter(|text| !text.is_empty()).collect();
    let because = if because.is_empty() { String::new() } else { format!(": {}", because.join("; ")) };
    let how = if contrast.interleaved {
        "measured interleaved, in the same rounds of one run"
    } else {
        "measured one after the other, so changes of the machine between the two measurements are part of the difference"
    };
    // The texts already name engines and models of one run.
    let side = &contrast.baseline.side;
    let of = if *side == contrast.baseline.engine || *side == contrast.baseline.model {
        String::new()
    } else {
        format!(" ({side})")
    };
    // If both sides have the same text, the side follows it.
    let of_other = if contrast.other.text == contrast.baseline.text {
        format!(" ({})", contrast.other.side)
    } else {
        String::new()
    };
    section.add_sentence(format!(
        "{}{of_other} against {}{of}. Same work: {}{because}. {}.",
        contrast.other.text,
        contrast.baseline.text,
        label.text(),
        capital(how)
    ));
    if label == Comparability::NotComparable {
        section.blocks.push(Block::Warning(
            "the sides did different work, or it is unknown whether they did the same, so the ratios below do not show which side is faster; \"Same work\" lists what differs or is unknown".to_owned(),
        ));
        return;
    }
    for metric in IN_SENTENCES {
        let row = contrast.figures.iter().find(|row| row.metric == *metric);
        if let Some(sentence) = row.and_then(|row| sentence(contrast, row, threshold)) {
            section.add_sentence(sentence);
        }
    }
    estimates(contrast).into_iter().for_each(|text| section.add_sentence(text));
}

/// Which figures are estimates: one sentence for each side and reason.
fn estimates(contrast: &Contrast) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for row in &contrast.figures {
        for (side, name) in [("baseline", &contrast.baseline.name), ("other", &contrast.other.name)] {
            let Some(reason) = row.estimated.get(side) else { continue };
            let end = format!("of {name} is an estimate: {reason}.");
            match found.iter_mut().find(|(known, _)| *known == end) {
                Some((_, metrics)) => metrics.push(&row.metric),
                None => found.push((end, vec![&row.metric])),
            }
        }
    }
    found.into_iter().map(|(end, metrics)| format!("{ESTIMATED} {} {end}", metrics.join(", "))).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A value with its unit: bytes as MB.
pub(super) fn value(value: Option<f64>, unit: &str) -> String {
    or_absent(value.map(|value| match unit {
        "B" => format!("{} MB", significant(value / 1e6)),
        "B/s" => format!("{} GB/s", significant(value / 1e9)),
        "share" => format!("{:.1} %", value * 100.0),
        // Every metric per second counts tokens.
        "1/s" => format!("{} tokens/s", significant(value)),
        _ => format!("{} {unit}", significant(value)),
    }))
}

fn table(contrast: &Contrast, threshold: f64) -> Table {
    let caption = format!(
        "{} against {}; same work: {}.",
        contrast.other.name,
        contrast.baseline.name,
        contrast.work.label.text()
    );
    let columns =
        ["<metric", contrast.baseline.name.as_str(), contrast.other.name.as_str(), "other / baseline", "<finding"];
    let mut table = Table::new(caption, &columns);
    let main = MAIN.iter().filter_map(|metric| contrast.figures.iter().find(|row| row.metric == *metric));
    table.rows.extend(main.map(|row| cells(contrast, row, threshold)));
    table
}

/// A row of a table of figures.
pub(super) fn cells(contrast: &Contrast, row: &FigureRow, threshold: f64) -> Vec<String> {
    // Every table with the ratio says that the work was different.
    let finding_text = match contrast.work.label {
        Comparability::NotComparable => "not comparable".to_owned(),
        _ => finding(row, threshold),
    };
    vec![
        row.metric.clone(),
        marked(value(row.baseline.value(), &row.unit), row.estimated.contains_key("baseline")),
        marked(value(row.other.value(), &row.unit), row.estimated.contains_key("other")),
        marked(or_absent(interval(row)), !row.estimated.is_empty()),
        finding_text,
    ]
}
