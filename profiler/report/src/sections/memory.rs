//! Resident memory as a sum of parts, allocations and growth, and loading.

use super::RunView;
use crate::content::Section;
use crate::figures::{ABSENT, megabytes, percent};
use crate::table::Table;
use record::figures::significant;
use record::{AllocationRow, Case, MemoryFile, Reason, Recorded, Summary};

/// A row: its label and its value in bytes.
type Line = (&'static str, fn(&MemoryFile) -> Recorded<f64>);

/// The resident memory after the first request as a sum.
const PARTS: &[Line] = &[
    ("resident before load", |m| bytes(&m.before_load_bytes)),
    ("weights, backed by the file", |m| bytes(&m.weights_file_backed_bytes)),
    ("weights, anonymous", |m| bytes(&m.weights_anonymous_bytes)),
    ("code and other files", |m| bytes(&m.code_bytes)),
    ("KV cache", |m| bytes(&m.kv_resident_bytes)),
    ("tokenizer", |m| bytes(&m.tokenizer_bytes)),
    ("buffers of the request", |m| signed_bytes(&m.held_bytes)),
    ("unaccounted", |m| signed_bytes(&m.unaccounted_bytes)),
    ("sum: resident after the first request", |m| bytes(&m.after_first_bytes)),
    ("  of that in huge pages", |m| bytes(&m.huge_pages_bytes)),
    ("growth since before the load", |m| {
        let before = bytes(&m.before_load_bytes).value();
        match (bytes(&m.after_first_bytes), before) {
            (Recorded::Present(after), Some(before)) => Recorded::Present(after - before),
            (Recorded::Present(_), None) => bytes(&m.before_load_bytes),
            (absent, _) => absent,
        }
    }),
    ("  predicted for a full context", |m| bytes(&m.predicted_bytes)),
];

/// The label of the line before it, its own label, and its bytes where the case has them.
type PartOfSome = (&'static str, &'static str, fn(&MemoryFile) -> Option<u64>);

/// Parts of it that only some engines and models have.
const PARTS_OF_SOME: &[PartOfSome] = &[
    ("weights, anonymous", "weights, copies in the engine's layout", |m| m.copied_bytes),
    ("KV cache", "recurrent states", |m| m.state_bytes),
];

/// Other figures of the first request.
const OTHERS: &[Line] = &[
    ("model files on disk", |m| bytes(&m.file_bytes)),
    ("weights in them", |m| bytes(&m.weights_bytes)),
    ("resident after load", |m| bytes(&m.after_load_bytes)),
    ("  of that backed by files", |m| bytes(&m.file_backed_bytes)),
    ("  of that anonymous", |m| bytes(&m.anonymous_bytes)),
    ("KV cache used by the first request", |m| bytes(&m.kv_used_bytes)),
    ("KV cache reserved", |m| bytes(&m.kv_reserved_bytes)),
    ("first request: highest - before", |m| signed_bytes(&m.first_peak_delta_bytes)),
    ("first request: after - before", |m| signed_bytes(&m.first_delta_bytes)),
];

/// Of a server: its processes when it could answer.
const SERVER: &[Line] = &[
    ("resident, shared pages counted once (PSS)", |m| resident_of_server(m)),
    ("sum of resident sizes (RSS)", |m| bytes(&m.after_load_bytes)),
];

/// Figures of the engine's own allocator, if it has one.
const DEVICE: &[Line] = &[
    ("in use", |m| of_device(m.device_active_bytes)),
    ("highest", |m| of_device(m.device_peak_bytes)),
    ("kept for reuse", |m| of_device(m.device_cache_bytes)),
];

fn bytes(bytes: &Recorded<u64>) -> Recorded<f64> {
    bytes.clone().map(|bytes| bytes as f64)
}

/// The resident memory of a server's processes.
fn resident_of_server(memory: &MemoryFile) -> Recorded<f64> {
    let Some(resident) = &memory.server_resident_bytes else { return Recorded::absent("it was not measured") };
    bytes(resident)
}

fn signed_bytes(bytes: &Recorded<i64>) -> Recorded<f64> {
    bytes.clone().map(|bytes| bytes as f64)
}

fn of_device(bytes: Option<u64>) -> Recorded<f64> {
    bytes.map(|bytes| bytes as f64).ok_or_else(|| Reason::new(NOT_MEASURED)).into()
}

/// Why a figure is absent in a file without a reason for it.
const NOT_MEASURED: &str = "not measured";

fn why<T>(value: &Recorded<T>) -> &str {
    value.stated_reason().map_or(NOT_MEASURED, Reason::as_str)
}

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Memory");
    for summary in &view.file.summaries {
        let Some(case) = fresh(view, summary) else { continue };
        let subject = view.subject(summary);
        let caption = format!("{subject}: the first request of a fresh session, clean pass ({}).", case.prompt);
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
            format!("{subject}: allocations in the traced pass, all prompts together."),
            view.cases(summary),
        ));
    }
    if !section.blocks.is_empty() {
        section.add_sentence("MB = 10^6 bytes. Reserved pages of the KV cache that were never touched are not resident, so the used part counts; the whole cache counts if the engine touched all of it while loading. Unaccounted is the rest of the sum, such as buffers, copies of weights of which an engine does not state that it makes them, and memory that the system's allocator keeps; it is negative if a counted part is not resident.");
    }
    section
}

fn table(caption: String, lines: &[Line], memory: &MemoryFile) -> Table {
    let mut table = Table::new(caption, &["<what", "MB", "<reason"]);
    for (label, value) in lines {
        let (row, why) = match value(memory) {
            Recorded::Present(bytes) => (megabytes(bytes), String::new()),
            absent => (ABSENT.to_owned(), why(&absent).to_owned()),
        };
        table.rows.push(vec![(*label).to_owned(), row, why]);
        let own = PARTS_OF_SOME.iter().filter(|(after, ..)| after == label);
        table.rows.extend(own.filter_map(|(_, label, bytes)| {
            Some(vec![(*label).to_owned(), megabytes(bytes(memory)? as f64), String::new()])
        }));
    }
    if table.rows.iter().all(|row| row[2].is_empty()) { table.without_constant(&["reason"]) } else { table }
}

/// Growth per token and over requests.
fn growth(memory: &MemoryFile) -> String {
    let kilobytes = |bytes: f64| significant(bytes / 1e3);
    let grown = match &memory.growth_bytes_per_token {
        Recorded::Present(bytes) => format!("resident memory grew by {} kB per token", kilobytes(*bytes)),
        absent => format!("it is unknown how memory grew per token ({})", why(absent)),
    };
    let predicted = memory.kv_bytes_per_token.value().map_or_else(String::new, |bytes| {
        format!("; by the cost model, the KV cache takes {} kB per token", kilobytes(bytes))
    });
    let leak = match &memory.leak_bytes_per_request {
        absent @ Recorded::Absent(_) => format!("unknown ({})", why(absent)),
        Recorded::Present(slope) => {
            let range = format!("{} kB [{}, {}]", kilobytes(slope.value), kilobytes(slope.low), kilobytes(slope.high));
            let meaning = if slope.low > 0.0 { "memory leaks" } else { "no leak detectable" };
            format!("{range} over {} requests: {meaning}", slope.n)
        }
    };
    format!("In the first request, {grown}{predicted}. Growth of memory from one repeated request to the next: {leak}.")
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
    let mut table = Table::new(caption, &["<phase", "allocations", "kB allocated", "peak kB"]);
    table.rows.extend(sums.into_iter().map(|sum| {
        vec![
            sum.phase.to_string(),
            sum.count.to_string(),
            significant(sum.bytes as f64 / 1e3),
            significant(sum.peak_bytes as f64 / 1e3),
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
        .filter(|case| case.memory.after_load_bytes.is_present() || case.memory.first_peak_delta_bytes.is_present());
    known.max_by_key(|case| case.memory.first_peak_delta_bytes.value())
}

/// Loading the weights.
pub(super) fn load(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Load");
    for summary in &view.file.summaries {
        let Some(case) = view.cases(summary).find(|case| case.memory.load_s.is_present()) else { continue };
        let memory = &case.memory;
        let seconds = memory.load_s.value().map_or(ABSENT.to_owned(), significant);
        let cache = match (memory.load_cache.value(), memory.load_cached_share.value()) {
            (Some(cache), Some(share)) => {
                format!("{}: {} of the file was in the page cache", cache.name(), percent(share))
            }
            (Some(cache), None) => cache.name().to_owned(),
            (None, _) => format!("page cache unknown: {}", why(&memory.load_cached_share)),
        };
        let read = memory
            .load_read_bytes
            .value()
            .map(|bytes| format!("; {} MB read from storage", megabytes(bytes as f64)))
            .unwrap_or_default();
        section.add_sentence(format!("{}: {seconds} s ({cache}{read}).", view.subject(summary)));
    }
    section
}
