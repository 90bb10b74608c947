//! The memory figures of a case: after loading, and after the first request of a fresh session. The crate `analyse` computes what follows
//! from them.

use models::DType;
use record::{MemoryFile, Reason, Reasons, ServerFile, Setting};

use crate::plan::PreparedModel;
use crate::protocol::{FirstRequest, Loaded, Measured, MemoryReading};

/// Why a heap is absent where time is virtual.
const VIRTUAL: &str = "the engine's time is virtual: results do not depend on this machine";

/// Why a figure of a session is absent for a server.
const SERVER: &str = "the server has the weights and the cache, and does not report it";
/// Those figures.
const OF_A_SESSION: &[&str] = &[
    "file_bytes",
    "weights_bytes",
    "weights_file_backed_bytes",
    "weights_anonymous_bytes",
    "code_bytes",
    "tokenizer_bytes",
    "kv_bytes_per_token",
    "kv_used_bytes",
    "kv_reserved_bytes",
    "predicted_bytes",
];

/// Why the size of a cache is absent.
const NOT_KNOWN_YET: &str = "the engine does not report the size of its cache before the first request";

/// The figures after loading, before the first request; `kv` is the type of the cache.
pub(super) fn after_load(model: &PreparedModel, kv: DType, loaded: &Loaded, virtual_time: bool) -> MemoryFile {
    let mut reasons: Reasons = loaded.reasons.clone();
    if loaded.after.is_none() {
        copy(&mut reasons, "after_load_bytes", &["file_backed_bytes", "anonymous_bytes"]);
    }
    let edges = loaded.before.zip(loaded.after);
    if edges.is_none() {
        let from = if loaded.before.is_none() { "before_load_bytes" } else { "after_load_bytes" };
        copy(&mut reasons, from, &["weights_file_backed_bytes", "weights_anonymous_bytes", "code_bytes"]);
    }
    let own = model.weights.as_ref().filter(|_| loaded.server.is_none());
    let tokenizer = match own {
        _ if virtual_time => Err(Reason::new(VIRTUAL)),
        Some(weights) => weights.tokenizer_bytes.clone(),
        None => Err(Reason::new(SERVER)),
    };
    if let Err(reason) = &tokenizer {
        reasons.insert("tokenizer_bytes".to_owned(), reason.to_string());
    }
    let weights = own.zip(edges).map(|(own, (before, after))| resident_weights(own.bytes, before, after));
    if let Some(reason) = reasons.get("load_cached_share").cloned() {
        reasons.insert("load_cache".to_owned(), reason);
    }
    for field in
        ["kv_used_bytes", "after_first_bytes", "first_peak_delta_bytes", "first_delta_bytes", "huge_pages_bytes"]
    {
        reasons.insert(field.to_owned(), "no first request was measured".to_owned());
    }
    if own.is_none() {
        for field in OF_A_SESSION {
            reasons.insert((*field).to_owned(), SERVER.to_owned());
        }
    }
    let modelled = own.and_then(|weights| weights.shape.modelled.as_ref().ok());
    if let Some(reason) = own.and_then(|weights| weights.shape.not_modelled()) {
        for field in ["kv_bytes_per_token", "predicted_bytes"] {
            reasons.insert(field.to_owned(), reason.to_string());
        }
    }
    if own.is_some() && loaded.kv_reserved.is_none() {
        reasons.insert("kv_reserved_bytes".to_owned(), NOT_KNOWN_YET.to_owned());
    }
    let ran_before = loaded.server.as_ref().is_some_and(|server| !server.started_here);
    if ran_before {
        reasons.insert(
            "load_s".to_owned(),
            format!(
                "the server was running before, so the time of loading is unknown; start it with {}",
                Setting::Spawn
            ),
        );
    }
    // Cold means that no page of the file is in the page cache, warm that all are.
    let cache = |share: f64| match share {
        share if share <= 0.0 => "cold",
        share if share >= 1.0 => "warm",
        _ => "partial",
    };
    MemoryFile {
        load_s: (!ran_before).then(|| loaded.ended.saturating_sub(loaded.started).as_secs_f64()),
        load_cache: loaded.cached_share.map(|share| cache(share).to_owned()),
        load_cached_share: loaded.cached_share,
        load_read_bytes: loaded.read_bytes,
        load_counters: loaded.counters.clone(),
        file_bytes: own.map(|weights| weights.file_bytes),
        before_load_bytes: loaded.before.map(|edge| edge.resident),
        after_load_bytes: loaded.after.map(|edge| edge.resident),
        server_resident_bytes: loaded.server_resident,
        file_backed_bytes: loaded.after.map(|edge| edge.file),
        anonymous_bytes: loaded.after.map(|edge| edge.anonymous),
        weights_bytes: own.map(|weights| weights.bytes),
        weights_file_backed_bytes: weights.map(|(file, _)| file),
        weights_anonymous_bytes: weights.map(|(_, anonymous)| anonymous),
        code_bytes: weights.zip(edges).map(|((file, _), edges)| file_growth(edges).saturating_sub(file)),
        tokenizer_bytes: tokenizer.ok(),
        kv_bytes_per_token: modelled.map(|modelled| modelled.spec.kv_bytes_per_token(kv).as_f64()),
        kv_reserved_bytes: own.and(loaded.kv_reserved),
        predicted_bytes: own.and_then(|weights| weights.predicted_bytes.as_ref().ok().copied()),
        reasons,
        ..MemoryFile::default()
    }
}

/// Weights that are resident after loading, backed by the file and anonymous: of each at most the growth of that kind of memory.
///
/// ```text
/// file-backed = min(weights, file-backed memory after - before)
/// anonymous   = min(weights - file-backed, anonymous memory after - before)
/// ```
fn resident_weights(weights: u64, before: MemoryReading, after: MemoryReading) -> (u64, u64) {
    let file = weights.min(file_growth((before, after)));
    (file, (weights - file).min(after.anonymous.saturating_sub(before.anonymous)))
}

fn file_growth((before, after): (MemoryReading, MemoryReading)) -> u64 {
    after.file.saturating_sub(before.file)
}

/// Why a figure of the first request is absent from a later one.
const NOT_FRESH: &str = "the request was not the first of a session";

/// Why the first request is not the first of the server.
fn not_first(server: &ServerFile) -> Option<&'static str> {
    if !server.started_here {
        return Some("the server was running before, so its first request was not measured");
    }
    server.details.contains_key("warmed").then_some("the server was warmed by a request before it could be measured")
}

/// The figures after the first request; of a server only if it was the first.
pub(super) fn after_first_request(memory: &mut MemoryFile, measured: &Measured, server: Option<&ServerFile>) {
    let not_first = server.and_then(not_first);
    let sample = &measured.sample;
    memory.first_read_bytes = measured.read_bytes;
    (memory.kv_used_bytes, memory.kv_reserved_bytes) = (measured.kv_used, measured.kv_reserved);
    memory.device_active_bytes = measured.device.map(|device| device.active);
    memory.device_peak_bytes = measured.device.and_then(|device| device.peak);
    memory.device_cache_bytes = measured.device.and_then(|device| device.cache);
    memory.after_first_bytes = measured.memory.map(|(_, after)| after.resident);
    memory.code_bytes = memory.code_bytes.zip(measured.memory).map(|(code, edges)| code + file_growth(edges));
    memory.first_peak_delta_bytes = sample.memory_peak_delta_bytes.value().filter(|_| not_first.is_none());
    memory.first_delta_bytes = sample.memory_delta_bytes.value().filter(|_| not_first.is_none());
    let (nodes, huge_pages) = match &measured.first {
        Some(FirstRequest { nodes, huge_pages, .. }) => (nodes.clone(), huge_pages.clone()),
        None => (Err(Reason::new(NOT_FRESH)), Err(Reason::new(NOT_FRESH))),
    };
    let reasons = &mut memory.reasons;
    if server.is_none() {
        for (field, known) in
            [("kv_used_bytes", measured.kv_used.is_some()), ("kv_reserved_bytes", measured.kv_reserved.is_some())]
        {
            reasons.remove(field);
            if !known {
                reasons.insert(field.to_owned(), "the engine does not report it".to_owned());
            }
        }
    }
    let delta_reason = || sample.memory_delta_bytes.reason().map(Reason::to_string);
    let peak_reason = || sample.memory_peak_delta_bytes.reason().map(Reason::to_string);
    let figures = [
        ("after_first_bytes", memory.after_first_bytes.is_some(), delta_reason()),
        ("first_peak_delta_bytes", memory.first_peak_delta_bytes.is_some(), peak_reason()),
        ("first_delta_bytes", memory.first_delta_bytes.is_some(), delta_reason()),
        ("nodes", nodes.as_ref().is_ok_and(|nodes| !nodes.is_empty()), nodes.as_ref().err().map(Reason::to_string)),
        ("huge_pages_bytes", huge_pages.is_ok(), huge_pages.as_ref().err().map(Reason::to_string)),
    ];
    for (field, is_present, reason) in figures {
        reasons.remove(field);
        if !is_present {
            let server_reason = not_first.map(str::to_owned).filter(|_| field.starts_with("first_"));
            let reason = server_reason.or(reason).unwrap_or_else(|| "the system reports none".to_owned());
            reasons.insert(field.to_owned(), reason);
        }
    }
    memory.nodes = nodes.unwrap_or_default();
    memory.huge_pages_bytes = huge_pages.ok();
}

fn copy(reasons: &mut Reasons, from: &str, to: &[&str]) {
    let reason = reasons.get(from).cloned().unwrap_or_else(|| format!("{from} is absent"));
    for field in to {
        reasons.insert((*field).to_owned(), reason.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_weights_are_at_most_the_growth_of_memory() {
        let edge = |anonymous, file| MemoryReading { resident: anonymous + file, anonymous, file };
        assert_eq!(resident_weights(100, edge(5, 20), edge(30, 125)), (100, 0), "mapped");
        assert_eq!(resident_weights(100, edge(5, 20), edge(145, 25)), (5, 95), "copied");
        assert_eq!(resident_weights(100, edge(5, 20), edge(8, 60)), (40, 3), "not touched yet");
        assert_eq!(resident_weights(100, edge(5, 20), edge(5, 10)), (0, 0));
    }
}
