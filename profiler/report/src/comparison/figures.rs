//! Tables of all metrics, of each prompt, and of figures normalised by bytes per token.

use super::headline::{cells, value};
use super::ratio_text::{change, detectable};
use crate::content::Section;
use crate::figures::{ABSENT, marked, or_absent};
use crate::table::Table;
use analyse::compare::{Comparison, PromptRatio};

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::new("All metrics");
    for contrast in &found.contrasts {
        let (baseline, other) = (contrast.baseline.name.as_str(), contrast.other.name.as_str());
        let caption = format!("{other} against {baseline}; same work: {}.", contrast.work.label.text());
        let columns = ["<metric", baseline, other, "other / baseline", "detectable %", "pairs", "<finding"];
        let mut table = Table::new(caption, &columns);
        for row in &contrast.figures {
            let mut shown = cells(contrast, row, found.threshold);
            let finding = shown.pop().unwrap_or_default();
            let outliers = row.prompts.iter().flat_map(|prompt| &prompt.pairs).filter(|pair| pair.outlier).count();
            shown.push(or_absent(row.detectable.value().map(detectable)));
            let marked = if outliers == 0 { String::new() } else { format!("\n{outliers} outliers") };
            shown.push(format!("{}{marked}", row.pairs));
            shown.push(row.ratio.reason().map_or(finding, ToString::to_string));
            table.rows.push(shown);
        }
        section.add_table(table);
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Detectable: the smallest difference in percent that a comparison of this precision detects with 90 % power.");
    }
    section
}

/// The ratio of each prompt.
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
                let interval = prompt.low.value().zip(prompt.high.value());
                let interval =
                    interval.map_or_else(String::new, |(low, high)| format!("\n[{}, {}]", change(low), change(high)));
                let ratio = marked(format!("{}{interval}", change(prompt.ratio)), !row.estimated.is_empty());
                vec![prompt.prompt.clone(), ratio, pairs(prompt)]
            }));
            section.add_table(table);
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence("An asterisk marks an outlier: a pair that is more than 3.5 standard deviations (estimated from the median absolute deviation) from the median of its prompt. Outliers are included in the means.");
    }
    section
}

/// The metrics that are listed by prompt.
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
    let mut section = Section::new("Normalised by bytes per token");
    for contrast in found.contrasts.iter().filter(|contrast| !contrast.normalised.is_empty()) {
        let (baseline, other) = (contrast.baseline.name.as_str(), contrast.other.name.as_str());
        let mut table = Table::new(format!("{other} against {baseline}."), &["<phase", "<figure", baseline, other]);
        table.rows.extend(contrast.normalised.iter().map(|row| {
            vec![
                row.phase.to_string(),
                row.metric.replace('_', " "),
                value(row.baseline.value(), &row.unit),
                value(row.other.value(), &row.unit),
            ]
        }));
        section.add_table(table);
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Bytes per token are the weights and the KV cache that the cost model counts. Effective bytes per second are bytes per token times the tokens per second of the clean pass. Roofline is the shortest time that the measured ceilings allow / the measured time. Use these figures to compare models or quantisations of different sizes.");
    }
    section
}
