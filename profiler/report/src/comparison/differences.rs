//! Paired differences as a chart: the change of each prompt and of all prompts, with intervals.

use super::ratio_text::{change, plain};
use crate::chart::{Bar, Chart, Differences, Figure};
use crate::content::Section;
use crate::table::Table;
use analyse::compare::{Comparability, Comparison, Contrast, FigureRow};

/// The metrics that are drawn.
const DRAWN: &[&str] = &["decode_tps", "prefill_tps", "latency_s"];

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::new("Differences by prompt");
    for contrast in &found.contrasts {
        let rows = DRAWN.iter().filter_map(|metric| contrast.figures.iter().find(|row| row.metric == *metric));
        for row in rows {
            if let Some(chart) = chart(contrast, row, found.threshold) {
                section.add_chart(chart);
            }
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence(format!(
            "Changes against the baseline with their 95 % intervals. Changes within ±{} % are irrelevant in practice.",
            plain(found.threshold)
        ));
        section.add_chart_note("Thin lines are the intervals; the grey band has the irrelevant changes.");
    }
    section
}

fn chart(contrast: &Contrast, row: &FigureRow, threshold: f64) -> Option<Chart> {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let bar = |label: &str, ratio: f64, interval: Option<(f64, f64)>| Bar {
        label: label.to_owned(),
        value: percent(ratio),
        interval: interval.map(|(low, high)| (percent(low), percent(high))),
        text: match interval {
            Some((low, high)) => format!("{} [{}, {}]", change(ratio), change(low), change(high)),
            None => change(ratio),
        },
    };
    let mut rows = vec![bar("all prompts", row.ratio.value()?, row.low.value().zip(row.high.value()))];
    if row.prompts.len() > 1 {
        rows.extend(
            row.prompts
                .iter()
                .map(|prompt| bar(&prompt.prompt, prompt.ratio, prompt.low.value().zip(prompt.high.value()))),
        );
    }
    let better = if row.higher_is_better { "higher" } else { "lower" };
    let label = match contrast.work.label {
        Comparability::Equal => String::new(),
        label => format!("; same work: {}", label.text()),
    };
    let mut numbers = Table::new("", &["<prompt", "other / baseline"]);
    numbers.rows.extend(rows.iter().map(|bar| vec![bar.label.clone(), bar.text.clone()]));
    let title = format!(
        "{} of {} against {} ({better} is better{label})",
        row.metric, contrast.other.name, contrast.baseline.name
    );
    Some(Chart {
        summary: format!(
            "{title}: {}.",
            rows.iter().map(|bar| format!("{} {}", bar.label, bar.text)).collect::<Vec<_>>().join(", ")
        ),
        title: title.clone(),
        figure: Figure::Differences(Differences { axis: "%".to_owned(), band: threshold * 100.0, rows }),
        numbers: Some(Table { caption: title.clone(), ..numbers }),
    })
}
