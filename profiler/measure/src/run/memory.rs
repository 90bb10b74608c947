//! Where a worker's memory went: what loading and the first request of a fresh session show. What follows from these figures
//! ([`analyse::attribution`] reconciles them) is computed from the run file.

use models::DType;

use crate::prepare::PreparedModel;
use crate::worker::{Loaded, Measured, MemoryEdge};
use record::{MemoryFile, Reasons, ServerFile};

/// Why a heap is not told where time is virtual.
const VIRTUAL: &str = "the engine's time is virtual: nothing of this machine enters its results";

/// Why a figure of a worker's own session is not told of a server.
const SERVER: &str = "the server has the weights and the cache: it does not tell";
/// Those figures.
const OF_A_WORKER: &[&str] = &[
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

/// After loading, before the first request; `kv` is the type of the cache.
pub(super) fn loaded(model: &PreparedModel, kv: DType, loaded: &Loaded, virtual_time: bool) -> MemoryFile {
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
        _ if virtual_time => Err(VIRTUAL.to_owned()),
        Some(weights) => weights.tokenizer_bytes.clone(),
        None => Err(SERVER.to_owned()),
    };
    if let Err(reason) = &tokenizer {
        reasons.insert("tokenizer_bytes".to_owned(), reason.clone());
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
        for field in OF_A_WORKER {
            reasons.insert((*field).to_owned(), SERVER.to_owned());
        }
    }
    let ran_before = loaded.server.as_ref().is_some_and(|server| !server.started_here);
    if ran_before {
        reasons.insert(
            "load_s".to_owned(),
            "the server was running before: how long it took to load is not known; start it with --spawn".to_owned(),
        );
    }
    // Only an empty page cache is cold, and only a whole file in it is warm.
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
        file_backed_bytes: loaded.after.map(|edge| edge.file),
        anonymous_bytes: loaded.after.map(|edge| edge.anonymous),
        weights_bytes: own.map(|weights| weights.bytes),
        weights_file_backed_bytes: weights.map(|(file, _)| file),
        weights_anonymous_bytes: weights.map(|(_, anonymous)| anonymous),
        code_bytes: weights.zip(edges).map(|((file, _), edges)| file_growth(edges).saturating_sub(file)),
        tokenizer_bytes: tokenizer.ok(),
        kv_bytes_per_token: own.map(|weights| weights.shape.spec.kv_bytes_per_token(kv).as_f64()),
        kv_reserved_bytes: own.map(|_| loaded.kv_reserved),
        predicted_bytes: own.map(|weights| weights.predicted_bytes),
        reasons,
        ..MemoryFile::default()
    }
}

/// Weights that loading made resident, backed by the file and anonymous: no more of each than its kind has grown.
///
/// ```text
/// file-backed = min(weights, file-backed memory after - before)
/// anonymous   = min(weights - file-backed, anonymous memory after - before)
/// ```
fn resident_weights(weights: u64, before: MemoryEdge, after: MemoryEdge) -> (u64, u64) {
    let file = weights.min(file_growth((before, after)));
    (file, (weights - file).min(after.anonymous.saturating_sub(before.anonymous)))
}

fn file_growth((before, after): (MemoryEdge, MemoryEdge)) -> u64 {
    after.file.saturating_sub(before.file)
}

/// Why a server's first request is not that of a fresh session.
fn not_first(server: &ServerFile) -> Option<&'static str> {
    if !server.started_here {
        return Some("the server was running before: what its first request took is not seen");
    }
    server.details.contains_key("warmed").then_some("the server was warmed by a request before it could be measured")
}

/// After the first request; of a server, if it was its first.
pub(super) fn first_request(memory: &mut MemoryFile, measured: &Measured, server: Option<&ServerFile>) {
    let late = server.and_then(not_first);
    let sample = &measured.sample;
    memory.first_read_bytes = measured.read_bytes;
    let told = !memory.reasons.contains_key("kv_reserved_bytes");
    memory.kv_used_bytes = told.then_some(measured.kv_used);
    memory.kv_reserved_bytes = told.then_some(measured.kv_reserved);
    memory.device_active_bytes = measured.device.map(|device| device.active);
    memory.device_peak_bytes = measured.device.and_then(|device| device.peak);
    memory.device_cache_bytes = measured.device.and_then(|device| device.cache);
    memory.after_first_bytes = measured.memory.map(|(_, after)| after.resident);
    memory.code_bytes = memory.code_bytes.zip(measured.memory).map(|(code, edges)| code + file_growth(edges));
    memory.first_peak_delta_bytes = sample.memory_peak_delta_bytes.filter(|_| late.is_none());
    memory.first_delta_bytes = sample.memory_delta_bytes.filter(|_| late.is_none());
    memory.nodes = measured.nodes.clone().and_then(Result::ok).unwrap_or_default();
    memory.huge_pages_bytes = measured.huge_pages.clone().and_then(Result::ok);
    let reasons = &mut memory.reasons;
    if told {
        reasons.remove("kv_used_bytes");
    }
    let told = [
        ("after_first_bytes", memory.after_first_bytes.is_some(), sample.reasons.get("memory_delta_bytes")),
        (
            "first_peak_delta_bytes",
            memory.first_peak_delta_bytes.is_some(),
            sample.reasons.get("memory_peak_delta_bytes"),
        ),
        ("first_delta_bytes", memory.first_delta_bytes.is_some(), sample.reasons.get("memory_delta_bytes")),
        ("nodes", !memory.nodes.is_empty(), measured.nodes.as_ref().and_then(|found| found.as_ref().err())),
        (
            "huge_pages_bytes",
            memory.huge_pages_bytes.is_some(),
            measured.huge_pages.as_ref().and_then(|found| found.as_ref().err()),
        ),
    ];
    for (field, present, reason) in told {
        reasons.remove(field);
        if !present {
            let why = late.map(str::to_owned).filter(|_| field.starts_with("first_"));
            let reason = why.or_else(|| reason.cloned()).unwrap_or_else(|| "a part of it is absent".to_owned());
            reasons.insert(field.to_owned(), reason);
        }
    }
}

fn copy(reasons: &mut Reasons, from: &str, to: &[&str]) {
    let reason = reasons.get(from).cloned().unwrap_or_default();
    for field in to {
        reasons.insert((*field).to_owned(), reason.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_no_more_than_what_loading_made_resident() {
        let edge = |anonymous, file| MemoryEdge { resident: anonymous + file, anonymous, file };
        assert_eq!(resident_weights(100, edge(5, 20), edge(30, 125)), (100, 0), "mapped");
        assert_eq!(resident_weights(100, edge(5, 20), edge(145, 25)), (5, 95), "copied");
        assert_eq!(resident_weights(100, edge(5, 20), edge(8, 60)), (40, 3), "not touched yet");
        assert_eq!(resident_weights(100, edge(5, 20), edge(5, 10)), (0, 0));
    }
}
