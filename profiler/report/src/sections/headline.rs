//! The results: one row per engine, model, thread count and depth.

use super::{RunView, prompts};
use crate::content::{Block, Card, CardFigure, Section};
use crate::figures::{ABSENT, ESTIMATED, count, marked, megabytes, metric, or_absent};
use crate::table::Table;
use analyse::summary::{NO_SAMPLE, first_peak_bytes};
use record::figures::{milliseconds, significant};
use record::{Reason, Recorded, Setting, Summary};
use statistics::mean;

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
        "resident MB",
        "growth MB",
        "TPS tokens/s",
        "TTFT ms",
        "prefill tokens/s",
        "decode tokens/s",
        "samples",
    ];
    let is_server = |summary: &Summary| view.cases(summary).any(|case| case.server.is_some());
    let has_servers = summaries.iter().any(is_server);
    let mut table = Table::new("", &columns);
    for summary in summaries {
        let metric = |name: &str, show: fn(f64) -> String| metric(summary, name, show);
        let threads = view.threads(&summary.engine, summary.threads);
        let mut row = vec![
            view.model(&summary.model),
            summary.engine.clone(),
            if threads.starts_with("its") { "its own".to_owned() } else { summary.threads.to_string() },
            summary.depth.to_string(),
            metric("latency_s", significant),
        ];
        row.extend([
            if is_server(summary) { resident_of_server(view, summary).0 } else { resident(view, summary) },
            metric("first_peak_delta_bytes", megabytes),
            metric("tps", significant),
            metric("ttft_s", milliseconds),
            metric("prefill_tps", significant),
            metric("decode_tps", significant),
            summary.samples.to_string(),
        ]);
        table.rows.push(row);
    }
    section.add_table(table.without_constant(&["engine", "threads", "depth"]));
    section.add_sentence(
        "Clean pass: means over the prompts, each the mean over its samples; brackets contain the bootstrap 95 % interval. Latency runs from the start of encoding the prompt to the end of \
         decoding the response, without loading. TPS is output tokens / latency. Means of rates are mean tokens / mean time, so that they agree with the times.",
    );
    section.add_sentence(
        "Resident is the highest resident memory of the engine's process during the first request of a fresh session: program, weights, KV cache and buffers. Growth is what that request added to the resident memory before it (MB = 10^6 bytes).",
    );
    if has_servers {
        section.add_sentence(
            "Of a server, resident is the memory of its processes when it could answer, with shared pages counted once (PSS).",
        );
        let mut reasons: Vec<String> =
            summaries.iter().filter_map(|summary| resident_of_server(view, summary).1).collect();
        reasons.dedup();
        reasons.into_iter().for_each(|reason| section.add_sentence(reason));
    }
    for sentence in doubts(summaries) {
        section.add_sentence(sentence);
    }
    if view.file.summaries.iter().any(|summary| (1..FEW).contains(&summary.samples)) {
        section.add_sentence(format!(
            "Intervals over fewer than {FEW} samples are too narrow. Use more runs ({}).",
            Setting::Runs
        ));
    }
    if prompts::differ_in_length(view) {
        section.add_sentence(
            "The prompts differ in length by design, so a mean over them is not meaningful. See \"Prompt by prompt\".",
        );
    }
    section
}

/// The highest resident memory during the first request. Summaries of earlier versions do not have it.
fn resident(view: &RunView<'_>, summary: &Summary) -> String {
    if summary.metrics.get("first_peak_bytes").is_some() {
        return metric(summary, "first_peak_bytes", megabytes);
    }
    let of_cases: Vec<f64> = view.cases(summary).filter_map(|case| Some(first_peak_bytes(case)? as f64)).collect();
    mean(&of_cases).map_or(ABSENT.to_owned(), megabytes)
}

/// The resident memory of the server of a summary, and what has to be known about the figure.
fn resident_of_server(view: &RunView<'_>, summary: &Summary) -> (String, Option<String>) {
    if let Some(found) = summary.metrics.get("server_resident_bytes") {
        return (megabytes(found.mean), None);
    }
    let Some(memory) = view.cases(summary).find(|case| case.server.is_some()).map(|case| &case.memory) else {
        return (ABSENT.to_owned(), None);
    };
    let why = |value: Option<&Recorded<u64>>| {
        value.and_then(Recorded::stated_reason).map_or_else(|| "it was not measured".to_owned(), Reason::to_string)
    };
    match memory.after_load_bytes.value() {
        Some(bytes) => (
            format!("{} (RSS)", megabytes(bytes as f64)),
            Some(format!(
                "{}: resident is the sum of the processes' resident sizes (RSS), which counts shared pages more than once: {}.",
                summary.engine,
                why(memory.server_resident_bytes.as_ref())
            )),
        ),
        None => (
            ABSENT.to_owned(),
            Some(format!(
                "{}: the memory of the server is unknown: {}.",
                summary.engine,
                why(Some(&memory.after_load_bytes))
            )),
        ),
    }
}

/// The field of a summary with the gaps between tokens.
const GAPS: &str = "itl_s";

/// Metrics of the table that may be absent or estimated, by their names there.
const DOUBTFUL: [(&str, &str); 6] = [
    ("latency", "latency_s"),
    ("TPS", "tps"),
    ("TTFT", "ttft_s"),
    ("prefill", "prefill_tps"),
    ("decode", "decode_tps"),
    ("gaps between tokens", GAPS),
];

/// Which figures are estimates and which are absent, with the reason: one sentence for each engine and reason.
fn doubts(summaries: &[Summary]) -> Vec<String> {
    let mut sentences: Vec<(String, Vec<&str>)> = Vec::new();
    for summary in summaries {
        for (name, field) in DOUBTFUL {
            let absent = if field == GAPS { summary.itl_s.reason() } else { summary.metrics.reason(field) };
            let (kind, reason) = match (absent, summary.estimated.get(field)) {
                // A reason that no sample gives says nothing.
                (Some(reason), _) if *reason == NO_SAMPLE => continue,
                (Some(reason), _) => ("is absent", reason.as_str()),
                (None, Some(reason)) => ("is an estimate", reason.as_str()),
                (None, None) => continue,
            };
            let end = format!("of {} {kind}: {reason}.", summary.engine);
            match sentences.iter_mut().find(|(known, _)| *known == end) {
                Some((_, names)) if names.contains(&name) => {}
                Some((_, names)) => names.push(name),
                None => sentences.push((end, vec![name])),
            }
        }
    }
    let sentence = |(end, names): (String, Vec<&str>)| {
        let mark = if end.contains(" is an estimate: ") { format!("{ESTIMATED} ") } else { String::new() };
        format!("{mark}{} {end}", names.join(", "))
    };
    sentences.into_iter().map(sentence).collect()
}

/// The main figures of a summary, decode speed first.
fn card(view: &RunView<'_>, summary: &Summary) -> Card {
    let figure = |name: &str, field: &str, unit: &str, show: fn(f64) -> String| {
        let shown = metric(summary, field, show);
        let (value, interval) = shown.split_once('\n').unwrap_or((&shown, ""));
        CardFigure {
            name: name.to_owned(),
            value: value.to_owned(),
            unit: if value == ABSENT { String::new() } else { unit.to_owned() },
            interval: interval.to_owned(),
        }
    };
    let depth = if summary.depth == 0 { String::new() } else { format!(", depth {}", summary.depth) };
    let is_server = view.cases(summary).any(|case| case.server.is_some());
    let (name, shown) = if is_server {
        ("memory of the server", resident_of_server(view, summary).0)
    } else {
        ("resident memory", resident(view, summary))
    };
    let (value, interval) = shown.split_once('\n').unwrap_or((&shown, ""));
    let memory = CardFigure {
        name: name.to_owned(),
        unit: if value == ABSENT { String::new() } else { "MB".to_owned() },
        value: value.to_owned(),
        interval: interval.to_owned(),
    };
    Card {
        title: view.model(&summary.model),
        subtitle: format!(
            "{}, {}{depth}, {}",
            summary.engine,
            view.threads(&summary.engine, summary.threads),
            count(summary.samples, "sample")
        ),
        figures: vec![
            figure("decode", "decode_tps", "tokens/s", significant),
            figure("prefill", "prefill_tps", "tokens/s", significant),
            figure("time to first token", "ttft_s", "ms", milliseconds),
            figure("latency", "latency_s", "s", significant),
            memory,
        ],
    }
}

/// Gaps between output tokens.
pub(super) fn gaps(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Gaps between output tokens (ITL)");
    let names = ["p50", "p90", "p99", "max"];
    let mut table = Table::new(
        "Clean pass, in milliseconds, over all gaps of all samples.",
        &["<model", "<engine", "threads", "depth", "p50", "p90", "p99", "max", "max / p50"],
    );
    for summary in view.file.summaries.iter().filter(|summary| summary.itl_s.reason().is_none()) {
        let value = |name: &str| summary.itl_s.get(name);
        let mut row = vec![
            view.model(&summary.model),
            summary.engine.clone(),
            summary.threads.to_string(),
            summary.depth.to_string(),
        ];
        let is_estimate = summary.estimated.contains_key(GAPS);
        row.extend(names.map(|name| marked(or_absent(value(name).map(milliseconds)), is_estimate)));
        let ratio =
            value("max").zip(value("p50")).filter(|(_, middle)| *middle > 0.0).map(|(max, middle)| max / middle);
        row.push(ratio.map_or(ABSENT.to_owned(), |ratio| format!("{ratio:.1}")));
        table.rows.push(row);
    }
    section.add_table(table.without_constant(&["engine", "threads", "depth"]));
    section
}
