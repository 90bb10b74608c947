//! Memory, reconciled, and the load.

use super::View;
use crate::report::content::{Section, Table};
use crate::report::figures::{ABSENT, megabytes, percent, significant};
use crate::results::{Case, MemoryFile, Summary};

/// A line of the reconciliation: its words, its field and its value in bytes.
type Line = (&'static str, &'static str, fn(&MemoryFile) -> Option<f64>);

const LINES: &[Line] = &[
    ("model files on disk", "file_bytes", |m| m.file_bytes.map(|b| b as f64)),
    ("resident before load", "before_load_bytes", |m| m.before_load_bytes.map(|b| b as f64)),
    ("resident after load", "after_load_bytes", |m| m.after_load_bytes.map(|b| b as f64)),
    ("  of that backed by files", "file_backed_bytes", |m| m.file_backed_bytes.map(|b| b as f64)),
    ("  of that anonymous", "anonymous_bytes", |m| m.anonymous_bytes.map(|b| b as f64)),
    ("weights", "weights_bytes", |m| m.weights_bytes.map(|b| b as f64)),
    ("KV cache reserved", "kv_reserved_bytes", |m| m.kv_reserved_bytes.map(|b| b as f64)),
    ("KV cache used by the first request", "kv_used_bytes", |m| m.kv_used_bytes.map(|b| b as f64)),
    ("first request: peak less before", "first_peak_delta_bytes", |m| m.first_peak_delta_bytes.map(|b| b as f64)),
    ("first request: after less before", "first_delta_bytes", |m| m.first_delta_bytes.map(|b| b as f64)),
    ("resident after the first request", "after_first_bytes", |m| m.after_first_bytes.map(|b| b as f64)),
    ("unaccounted", "unaccounted_bytes", |m| m.unaccounted_bytes.map(|b| b as f64)),
    ("growth over what stood before the load", "after_first_bytes", |m| {
        Some(m.after_first_bytes? as f64 - m.before_load_bytes? as f64)
    }),
    ("  predicted by the cost model", "predicted_bytes", |m| m.predicted_bytes.map(|b| b as f64)),
];

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Memory");
    for summary in &view.file.summaries {
        let Some(case) = fresh(view, summary) else { continue };
        let mut table = Table::new(
            format!("{}: the first request of a fresh session ({}).", view.subject(summary), case.prompt),
            &["<what", "MB", "<why not"],
        );
        for (words, field, value) in LINES {
            let found = value(&case.memory);
            let why = found
                .is_none()
                .then(|| case.memory.reasons.get(*field).cloned().unwrap_or_else(|| "not measured".to_owned()));
            table.rows.push(vec![
                (*words).to_owned(),
                found.map_or(ABSENT.to_owned(), megabytes),
                why.unwrap_or_default(),
            ]);
        }
        let table =
            if table.rows.iter().all(|row| row[2].is_empty()) { table.without_constant(&["why not"]) } else { table };
        section.show(table);
    }
    if !section.blocks.is_empty() {
        section.say("MB = 10^6 bytes. Unaccounted is what is resident after the first request less weights, reserved KV cache and what stood before the load; negative where reserved or mapped pages were not touched.");
    }
    section
}

/// The case whose first request needed most.
fn fresh<'a>(view: &'a View<'_>, summary: &'a Summary) -> Option<&'a Case> {
    let known = view
        .cases(summary)
        .filter(|case| case.memory.after_load_bytes.is_some() || case.memory.first_peak_delta_bytes.is_some());
    known.max_by_key(|case| case.memory.first_peak_delta_bytes)
}

/// How the weights came in.
pub(super) fn load(view: &View<'_>) -> Section {
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
        section.say(format!("{}: {seconds} s ({cache}{read}).", view.subject(summary)));
    }
    section
}
