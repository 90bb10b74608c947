//! The results: one row per engine, model, thread count and depth.

use super::{RunView, prompts};
use crate::content::{Block, Card, CardFigure, Section};
use crate::figures::{ABSENT, count, estimate, megabytes, or_absent};
use crate::table::Table;
use record::Summary;
use record::figures::{milliseconds, significant};

/// With fewer samples than this, an interval is too narrow.
const FEW: usize = 5;

/// Maximal number of cards of the overview.
const MOST_CARDS: usize = 6;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Results");
    let summaries = &view.file.summaries;
    if summaries.is_empty() {
        section.add_sentence("No case has a sample.");
        return section;
    }
    section.blocks.push(Block::Cards(summaries.iter().take(MOST_CARDS).map(|summary| card(view, summary)).collect()));
    let columns = [
        "<model",
        "<engine",
        "threads",
        "depth",
        "latency s",
        "memory MB",
        "TPS 1/s",
        "TTFT ms",
        "prefill 1/s",
        "decode 1/s",
        "samples",
    ];
    let mut table = Table::new("", &columns);
    for summary in summaries {
        let metric = |name: &str, show: fn(f64) -> String| estimate(summary.metrics.get(name), show);
        table.rows.push(vec![
            view.model(&summary.model),
            summary.engine.clone(),
            summary.threads.to_string(),
            summary.depth.to_string(),
            metric("latency_s", significant),
            metric("first_peak_delta_bytes", megabytes),
            metric("tps", significant),
            metric("ttft_s", milliseconds),
            metric("prefill_tps", significant),
            metric("decode_tps", significant),
            summary.samples.to_string(),
        ]);
    }
    section.add_table(table.without_constant(&["engine", "threads", "depth"]));
    section.add_sentence(
        "Means over the prompts, each the mean over its samples; brackets contain the bootstrap 95 % interval. Latency runs from the start of encoding the prompt to the end of \
         decoding the response, without loading. TPS is output tokens / latency. Memory is the peak during the first request of a fresh session minus the resident memory before it (MB = 10^6 bytes).",
    );
    if view.file.summaries.iter().any(|summary| (1..FEW).contains(&summary.samples)) {
        section.add_sentence("With so few samples, an interval is hardly wider than their range. Use a larger -r.");
    }
    if prompts::differ_in_length(view) {
        section.add_sentence(
            "The prompts differ in length by design, so a mean over them is not meaningful. See \"Prompt by prompt\".",
        );
    }
    let synthetic: Vec<&str> =
        view.file.plan.models.iter().filter(|model| model.synthetic).map(|model| model.name.as_str()).collect();
    if !synthetic.is_empty() {
        section.add_sentence(format!(
            "Synthetic weights: {}. Speed depends on shapes and types, not on values. The outputs are meaningless.",
            synthetic.join(", ")
        ));
    }
    section
}

/// The main figures of a summary, decode speed first.
fn card(view: &RunView<'_>, summary: &Summary) -> Card {
    let figure = |name: &str, field: &str, unit: &str, show: fn(f64) -> String| {
        let shown = estimate(summary.metrics.get(field), show);
        let (value, interval) = shown.split_once('\n').unwrap_or((&shown, ""));
        CardFigure {
            name: name.to_owned(),
            value: value.to_owned(),
            unit: if value == ABSENT { String::new() } else { unit.to_owned() },
            interval: interval.to_owned(),
        }
    };
    let depth = if summary.depth == 0 { String::new() } else { format!(", depth {}", summary.depth) };
    Card {
        title: view.model(&summary.model),
        subtitle: format!(
            "{}, {}{depth}, {}",
            summary.engine,
            count(summary.threads, "thread"),
            count(summary.samples, "sample")
        ),
        figures: vec![
            figure("decode", "decode_tps", "tokens/s", significant),
            figure("prefill", "prefill_tps", "tokens/s", significant),
            figure("time to first token", "ttft_s", "ms", milliseconds),
            figure("latency", "latency_s", "s", significant),
            figure("memory of a request", "first_peak_delta_bytes", "MB", megabytes),
        ],
    }
}

/// Gaps between output tokens.
pub(super) fn gaps(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Gaps between output tokens (ITL)");
    let names = ["p50", "p90", "p99", "max"];
    let mut table = Table::new(
        "Milliseconds, over all gaps of all clean samples.",
        &["<model", "<engine", "threads", "depth", "p50", "p90", "p99", "max", "max / p50"],
    );
    for summary in view.file.summaries.iter().filter(|summary| !summary.itl_s.is_empty()) {
        let value = |name: &str| summary.itl_s.get(name).copied();
        let mut row = vec![
            view.model(&summary.model),
            summary.engine.clone(),
            summary.threads.to_string(),
            summary.depth.to_string(),
        ];
        row.extend(names.map(|name| or_absent(value(name).map(milliseconds))));
        let ratio =
            value("max").zip(value("p50")).filter(|(_, middle)| *middle > 0.0).map(|(max, middle)| max / middle);
        row.push(ratio.map_or(ABSENT.to_owned(), |ratio| format!("{ratio:.1}")));
        table.rows.push(row);
    }
    section.add_table(table.without_constant(&["engine", "threads", "depth"]));
    section
}
