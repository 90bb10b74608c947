//! All metrics, the prompts one by one, and what allows for the bytes of a token.

use super::headline::{cells, value};
use super::words::{change, plain};
use crate::content::{Section, Table};
use crate::figures::{ABSENT, or_absent};
use analyse::compare::{Comparison, PromptRatio};

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::new("All metrics");
    for contrast in &found.contrasts {
        let (baseline, other) = (contrast.baseline.name.as_str(), contrast.other.name.as_str());
        let caption = format!("{other} against {baseline}; same work: {}.", contrast.work.label.text());
        let columns = ["<metric", baseline, other, "other / baseline", "finds from %", "pairs", "<finding"];
        let mut table = Table::new(caption, &columns);
        for row in &contrast.figures {
            let mut shown = cells(contrast, row, found.threshold);
            let finding = shown.pop().unwrap_or_default();
            let outliers = row.prompts.iter().flat_map(|prompt| &prompt.pairs).filter(|pair| pair.outlier).count();
            shown.push(or_absent(row.detectable.map(plain)));
            let marked = if outliers == 0 { String::new() } else { format!("\n{outliers} outlying") };
            shown.push(format!("{}{marked}", row.pairs));
            shown.push(match row.reasons.get("ratio") {
                Some(reason) => reason.clone(),
                None => finding,
            });
            table.rows.push(shown);
        }
        section.show(table);
    }
    if !section.blocks.is_empty() {
        section.say("Finds from: the smallest difference in percent that a comparison of this precision finds nine times out of ten.");
    }
    section
}

/// The ratio in each prompt.
pub(super) fn prompts(found: &Comparison) -> Section {
    let mut section = Section::new("Prompt by prompt");
    for contrast in &found.contrasts {
        for row in contrast.figures.iter().filter(|row| row.prompts.len() > 1 && shown(&row.metric)) {
            let caption = format!(
                "{} of {} against {}; same work: {}.",
                row.metric,
                contrast.other.name,
                contrast.baseline.name,
                contrast.work.label.text()
            );
            let mut table = Table::new(caption, &["<prompt", "other / baseline", "<pairs, in the order of the rounds"]);
            table.rows.extend(row.prompts.iter().map(|prompt| {
                let interval = prompt.low.zip(prompt.high);
                let interval =
                    interval.map_or_else(String::new, |(low, high)| format!("\n[{}, {}]", change(low), change(high)));
                vec![prompt.prompt.clone(), format!("{}{interval}", change(prompt.ratio)), pairs(prompt)]
            }));
            section.show(table);
        }
    }
    if !section.blocks.is_empty() {
        section.say("An asterisk marks an outlier: further from the middle of its prompt than 3.5 standard deviations, as the median of the distances tells them. It counts like the others.");
    }
    section
}

/// Rates and memory; the other metrics follow from them.
fn shown(metric: &str) -> bool {
    ["decode_tps", "prefill_tps", "latency_s"].contains(&metric)
}

fn pairs(prompt: &PromptRatio) -> String {
    if prompt.pairs.is_empty() {
        return ABSENT.to_owned();
    }
    let pair = |ratio: f64, outlier: bool| format!("{}{}", change(ratio), if outlier { "*" } else { "" });
    prompt.pairs.iter().map(|row| pair(row.ratio, row.outlier)).collect::<Vec<_>>().join("  ")
}

pub(super) fn normalised(found: &Comparison) -> Section {
    let mut section = Section::new("Allowing for the bytes of a token");
    for contrast in found.contrasts.iter().filter(|contrast| !contrast.normalised.is_empty()) {
        let (baseline, other) = (contrast.baseline.name.as_str(), contrast.other.name.as_str());
        let mut table = Table::new(format!("{other} against {baseline}."), &["<phase", "<figure", baseline, other]);
        table.rows.extend(contrast.normalised.iter().map(|row| {
            vec![
                row.phase.clone(),
                row.metric.replace('_', " "),
                value(row.baseline, &row.unit),
                value(row.other, &row.unit),
            ]
        }));
        section.show(table);
    }
    if !section.blocks.is_empty() {
        section.say("Bytes per token are weights and cache as the cost model counts them; effective bytes per second are those times the tokens per second of the clean pass; roofline is the least time that the measured ceilings allow over the time that it took. They are what can be put side by side where the weights differ.");
    }
    section
}
