//! Resident memory as a sum of parts, allocations and growth, and loading.

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, megabytes, percent};
use crate::table::Table;
use record::figures::significant;
use record::{AllocationRow, Case, MemoryFile, Summary};

/// A row: its label, its field and its value in bytes.
type Line = (&'static str, &'static str, fn(&MemoryFile) -> Option<f64>);

/// The resident memory after the first request as a sum.
const PARTS: &[Line] = &[
    ("resident before load", "before_load_bytes", |m| m.before_load_bytes.map(|b| b as f64)),
    ("weights, backed by the file", "weights_file_backed_bytes", |m| m.weights_file_backed_bytes.map(|b| b as f64)),
    ("weights, anonymous", "weights_anonymous_bytes", |m| m.weights_anonymous_bytes.map(|b| b as f64)),
    ("code and other files", "code_bytes", |m| m.code_bytes.map(|b| b as f64)),
    ("KV cache", "kv_resident_bytes", |m| m.kv_resident_bytes.map(|b| b as f64)),
    ("tokenizer", "tokenizer_bytes", |m| m.tokenizer_bytes.map(|b| b as f64)),
    ("buffers of the request", "held_bytes", |m| m.held_bytes.map(|b| b as f64)),
    ("unaccounted", "unaccounted_bytes", |m| m.unaccounted_bytes.map(|b| b as f64)),
    ("sum: resident after the first request", "after_first_bytes", |m| m.after_first_bytes.map(|b| b as f64)),
    ("  of that in huge pages", "huge_pages_bytes", |m| m.huge_pages_bytes.map(|b| b as f64)),
    ("growth since before the load", "after_first_bytes", |m| {
        Some(m.after_first_bytes? as f64 - m.before_load_bytes? as f64)
    }),
    ("  predicted by the cost model", "predicted_bytes", |m| m.predicted_bytes.map(|b| b as f64)),
];

/// Other figures of the first request.
const OTHERS: &[Line] = &[
    ("model files on disk", "file_bytes", |m| m.file_bytes.map(|b| b as f64)),
    ("weights in them", "weights_bytes", |m| m.weights_bytes.map(|b| b as f64)),
    ("resident after load", "after_load_bytes", |m| m.after_load_bytes.map(|b| b as f64)),
    ("  of that backed by files", "file_backed_bytes", |m| m.file_backed_bytes.map(|b| b as f64)),
    ("  of that anonymous", "anonymous_bytes", |m| m.anonymous_bytes.map(|b| b as f64)),
    ("KV cache used by the first request", "kv_used_bytes", |m| m.kv_used_bytes.map(|b| b as f64)),
    ("KV cache reserved", "kv_reserved_bytes", |m| m.kv_reserved_bytes.map(|b| b as f64)),
    ("first request: peak - before", "first_peak_delta_bytes", |m| m.first_peak_delta_bytes.map(|b| b as f64)),
    ("first request: after - before", "first_delta_bytes", |m| m.first_delta_bytes.map(|b| b as f64)),
];

/// Of a server: its processes when it could answer.
const SERVER: &[Line] = &[
    ("resident, shared pages counted once (PSS)", "server_resident_bytes", |m| {
        m.server_resident_bytes.map(|b| b as f64)
    }),
    ("sum of resident sizes (RSS)", "after_load_bytes", |m| m.after_load_bytes.map(|b| b as f64)),
];

/// Figures of the engine's own allocator, if it has one.
const DEVICE: &[Line] = &[
    ("in use", "device_active_bytes", |m| m.device_active_bytes.map(|b| b as f64)),
    ("highest", "device_peak_bytes", |m| m.device_peak_bytes.map(|b| b as f64)),
    ("kept for reuse", "device_cache_bytes", |m| m.device_cache_bytes.map(|b| b as f64)),
];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Memory");
    for summary in &view.file.summaries {
        let Some(case) = fresh(view, summary) else { continue };
        let subject = view.subject(summary);
        let caption = format!("{subject}: the first request of a fresh session ({}).", case.prompt);
        if case.server.is_some() {
            section.add_table(table(
                format!("{subject}: the server's processes when it could answer."),
                SERVER,
                &case.memory,
            ));
        }
        section.add_table(table(caption, PARTS, &case.memory));
        section.add_table(table(format!("{subject}: other figures of the same request."), OTHERS, &case.memory));
        if case.memory.device_active_bytes.is_some() {
            let caption = format!("{subject}: the engine's own allocator on its device after that request.");
            section.add_table(table(caption, DEVICE, &case.memory));
        }
        section.add_sentence(growth(&case.memory));
        section.add_table(nodes(format!("{subject}: memory nodes after that request."), &case.memory));
        section.add_table(allocations(
            format!("{subject}: allocations of the traced requests, all prompts together."),
            view.cases(summary),
        ));
    }
    if !section.blocks.is_empty() {
        section.add_sentence("MB = 10^6 bytes. The KV cache counts as far as it is used, because untouched reserved pages are not resident; it counts in full if the engine touched all of it while loading. Unaccounted is the remainder, such as buffers and memory that the system's allocator keeps. It is negative if a counted part is not resident.");
    }
    section
}

fn table(caption: String, lines: &[Line], memory: &MemoryFile) -> Table {
    let mut table = Table::new(caption, &["<what", "MB", "<reason"]);
    for (label, field, value) in lines {
        let found = value(memory);
        let why =
            found.is_none().then(|| memory.reasons.get(*field).cloned().unwrap_or_else(|| "not measured".to_owned()));
        table.rows.push(vec![(*label).to_owned(), found.map_or(ABSENT.to_owned(), megabytes), why.unwrap_or_default()]);
    }
    if table.rows.iter().all(|row| row[2].is_empty()) { table.without_constant(&["reason"]) } else { table }
}

/// Growth per token and over requests.
fn growth(memory: &MemoryFile) -> String {
    let kilobytes = |bytes: f64| significant(bytes / 1e3);
    let absent = |field: &str| {
        let reason = memory.reasons.get(field).map_or("not measured", String::as_str);
        format!("unknown ({reason})")
    };
    let grown = memory
        .growth_bytes_per_token
        .map_or_else(|| absent("growth_bytes_per_token"), |bytes| format!("{} kB", kilobytes(bytes)));
    let predicted = memory
        .kv_bytes_per_token
        .map_or_else(String::new, |bytes| format!("; the KV cache takes {} kB by the cost model", kilobytes(bytes)));
    let leak = match &memory.leak_bytes_per_request {
        None => absent("leak_bytes_per_request"),
        Some(slope) => {
            let range = format!("{} kB [{}, {}]", kilobytes(slope.value), kilobytes(slope.low), kilobytes(slope.high));
            let meaning = if slope.low > 0.0 { "memory leaks" } else { "no leak detectable" };
            format!("{range} over {} requests: {meaning}", slope.n)
        }
    };
    format!(
        "Growth per token of the first request: {grown}{predicted}. Growth per repeated request of the worker: {leak}."
    )
}

/// Allocations over cases, in the order of phases: sums, and the highest peak.
fn allocations<'a>(caption: String, cases: impl Iterator<Item = &'a Case>) -> Table {
    let mut sums: Vec<AllocationRow> = Vec::new();
    for row in cases.flat_map(|case| &case.allocations) {
        match sums.iter_mut().find(|sum| sum.phase == row.phase) {
            Some(sum) => {
                sum.count += row.count;
                sum.bytes += row.bytes;
                sum.peak_bytes = sum.peak_bytes.max(row.peak_bytes);
            }
            None => sums.push(row.clone()),
        }
    }
    let mut table = Table::new(caption, &["<phase", "allocations", "MB allocated", "peak MB"]);
    table.rows.extend(sums.into_iter().map(|sum| {
        vec![
            sum.phase,
            sum.count.to_string(),
            significant(sum.bytes as f64 / 1e6),
            significant(sum.peak_bytes as f64 / 1e6),
        ]
    }));
    table
}

/// Where pages and threads are, on machines with several memory nodes.
fn nodes(caption: String, memory: &MemoryFile) -> Table {
    let mut table = Table::new(caption, &["<node", "model MB", "anonymous MB", "threads"]);
    table.rows.extend(memory.nodes.iter().map(|row| {
        vec![
            row.node.to_string(),
            megabytes(row.model_bytes as f64),
            megabytes(row.anonymous_bytes as f64),
            row.threads.to_string(),
        ]
    }));
    table
}

/// The case whose first request needed most memory.
fn fresh<'a>(view: &'a RunView<'_>, summary: &'a Summary) -> Option<&'a Case> {
    let known = view
        .cases(summary)
        .filter(|case| case.memory.after_load_bytes.is_some() || case.memory.first_peak_delta_bytes.is_some());
    known.max_by_key(|case| case.memory.first_peak_delta_bytes)
}

/// Loading the weights.
pub(super) fn load(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Load");
    for summary in &view.file.summaries {
        let Some(case) = view.cases(summary).find(|case| case.memory.load_s.is_some()) else { continue };
        let memory = &case.memory;
        let seconds = memory.load_s.map_or(ABSENT.to_owned(), significant);
        let cache = match (&memory.load_cache, memory.load_cached_share) {
            (Some(cache), Some(share)) => format!("{cache}: {} of the file was in the page cache", percent(share)),
            (Some(cache), None) => cache.clone(),
            (None, _) => format!(
                "page cache unknown: {}",
                memory.reasons.get("load_cached_share").map_or("not measured", String::as_str)
            ),
        };
        let read = memory
            .load_read_bytes
            .map(|bytes| format!("; {} MB read from storage", megabytes(bytes as f64)))
            .unwrap_or_default();
        section.add_sentence(format!("{}: {seconds} s ({cache}{read}).", view.subject(summary)));
    }
    section
}
