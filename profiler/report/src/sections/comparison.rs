//! Models, engines and settings side by side: latency, memory and speed with intervals.

use super::RunView;
use crate::chart::{Bar, Bars, Chart, Figure};
use crate::content::Section;
use crate::figures::{marked, megabytes};
use record::figures::significant;
use record::{Estimate, Summary};

/// Title, metric, unit, scale of the axis, and format of a value.
type Compared = (&'static str, &'static str, &'static str, f64, fn(f64) -> String);

const CHARTS: &[Compared] = &[
    ("Latency (lower is better)", "latency_s", "s", 1.0, significant),
    ("Resident memory, highest in the first request (lower is better)", "first_peak_bytes", "MB", 1e-6, megabytes),
    ("Growth of memory in the first request (lower is better)", "first_peak_delta_bytes", "MB", 1e-6, megabytes),
    ("Tokens per second of latency, TPS (higher is better)", "tps", "tokens/s", 1.0, significant),
    ("Decode speed (higher is better)", "decode_tps", "tokens/s", 1.0, significant),
    ("Prefill speed (higher is better)", "prefill_tps", "tokens/s", 1.0, significant),
];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Comparison");
    if view.file.summaries.len() < 2 {
        return section;
    }
    for (title, metric, unit, scale, show) in CHARTS {
        let bar = |summary: &Summary| {
            let found: &Estimate = summary.metrics.get(metric)?;
            let interval = found.interval().map(|(low, high)| (low * scale, high * scale));
            let range =
                found.interval().map(|(low, high)| format!(" [{}, {}]", show(low), show(high))).unwrap_or_default();
            Some(Bar {
                label: view.subject(summary),
                value: found.mean * scale,
                interval,
                text: format!("{} {unit}{range}", marked(show(found.mean), summary.estimated.contains_key(*metric))),
            })
        };
        let rows: Vec<Bar> = view.file.summaries.iter().filter_map(bar).collect();
        if rows.len() < 2 {
            continue;
        }
        let by_value = |a: &&Bar, b: &&Bar| a.value.total_cmp(&b.value);
        let (Some(least), Some(most)) = (rows.iter().min_by(by_value), rows.iter().max_by(by_value)) else { continue };
        section.add_chart(Chart {
            title: (*title).to_owned(),
            summary: format!("{title}: from {} ({}) to {} ({}).", least.text, least.label, most.text, most.label),
            figure: Figure::Bars(Bars { axis: (*unit).to_owned(), rows }),
            numbers: None,
        });
    }
    if !section.blocks.is_empty() {
        section.add_chart_note("Bars show means over the prompts, thin lines their bootstrap 95 % intervals.");
        section.add_sentence("Clean pass. All cases of one model were measured interleaved; different models were measured one after the other.");
    }
    section
}
