//! Where a worker's memory went: what loading and the first request of a fresh session show, reconciled.
//!
//! ```text
//! unaccounted = resident after the first request - resident before loading - weights - KV cache reserved
//! ```
//! Negative where weights are not resident, or are stored smaller than in the file.

use crate::prepare::PreparedModel;
use crate::results::{MemoryFile, Reasons};
use crate::worker::{Loaded, Measured};

/// After loading, before the first request.
pub(super) fn loaded(model: &PreparedModel, loaded: &Loaded) -> MemoryFile {
    let mut reasons: Reasons = loaded.reasons.clone();
    if loaded.after.is_none() {
        copy(&mut reasons, "after_load_bytes", &["file_backed_bytes", "anonymous_bytes"]);
    }
    if let Some(reason) = reasons.get("load_cached_share").cloned() {
        reasons.insert("load_cache".to_owned(), reason);
    }
    for field in
        ["kv_used_bytes", "after_first_bytes", "first_peak_delta_bytes", "first_delta_bytes", "unaccounted_bytes"]
    {
        reasons.insert(field.to_owned(), "no first request was measured".to_owned());
    }
    // Only an empty page cache is cold, and only a whole file in it is warm.
    let cache = |share: f64| match share {
        share if share <= 0.0 => "cold",
        share if share >= 1.0 => "warm",
        _ => "partial",
    };
    MemoryFile {
        load_s: Some(loaded.ended.saturating_sub(loaded.started).as_secs_f64()),
        load_cache: loaded.cached_share.map(|share| cache(share).to_owned()),
        load_cached_share: loaded.cached_share,
        load_read_bytes: loaded.read_bytes,
        file_bytes: Some(model.file_bytes),
        before_load_bytes: loaded.before.map(|edge| edge.resident),
        after_load_bytes: loaded.after.map(|edge| edge.resident),
        file_backed_bytes: loaded.after.map(|edge| edge.file),
        anonymous_bytes: loaded.after.map(|edge| edge.anonymous),
        weights_bytes: Some(model.weights_bytes),
        kv_reserved_bytes: Some(loaded.kv_reserved),
        predicted_bytes: Some(model.predicted_bytes),
        reasons,
        ..MemoryFile::default()
    }
}

/// After the first request.
pub(super) fn first_request(memory: &mut MemoryFile, measured: &Measured) {
    let sample = &measured.sample;
    memory.kv_used_bytes = Some(measured.kv_used);
    memory.kv_reserved_bytes = Some(measured.kv_reserved);
    memory.after_first_bytes = measured.memory.map(|(_, after)| after.resident);
    memory.first_peak_delta_bytes = sample.memory_peak_delta_bytes;
    memory.first_delta_bytes = sample.memory_delta_bytes;
    memory.unaccounted_bytes = unaccounted(memory, measured);
    let reasons = &mut memory.reasons;
    reasons.remove("kv_used_bytes");
    let told = [
        ("after_first_bytes", memory.after_first_bytes.is_some(), sample.reasons.get("memory_delta_bytes")),
        (
            "first_peak_delta_bytes",
            memory.first_peak_delta_bytes.is_some(),
            sample.reasons.get("memory_peak_delta_bytes"),
        ),
        ("first_delta_bytes", memory.first_delta_bytes.is_some(), sample.reasons.get("memory_delta_bytes")),
        ("unaccounted_bytes", memory.unaccounted_bytes.is_some(), sample.reasons.get("memory_delta_bytes")),
    ];
    for (field, present, reason) in told {
        reasons.remove(field);
        if !present {
            let reason = reason.cloned().unwrap_or_else(|| "a part of it is absent".to_owned());
            reasons.insert(field.to_owned(), reason);
        }
    }
}

/// `None` where a part is.
fn unaccounted(memory: &MemoryFile, measured: &Measured) -> Option<i64> {
    let after = i128::from(memory.after_first_bytes?);
    let known =
        i128::from(memory.before_load_bytes?) + i128::from(memory.weights_bytes?) + i128::from(measured.kv_reserved);
    i64::try_from(after - known).ok()
}

fn copy(reasons: &mut Reasons, from: &str, to: &[&str]) {
    let reason = reasons.get(from).cloned().unwrap_or_default();
    for field in to {
        reasons.insert((*field).to_owned(), reason.clone());
    }
}
