//! The memory figures of a case: after loading, and after the first request of a fresh session. The crate `analyse` computes what follows
//! from them.

use engine_api::WeightUse;
use models::CacheTypes;
use record::{LoadCache, MemoryFile, Reason, Recorded, RecordedList, ServerFile, Setting};

use crate::plan::{PreparedModel, Weights};
use crate::protocol::{FirstRequest, Loaded, Measured, MemoryReading};

/// Why a heap is absent where time is virtual.
const VIRTUAL: &str = "the engine's time is virtual: results do not depend on this machine";

/// Why a figure of a session is absent for a server.
const SERVER: &str = "the server has the weights and the cache, and does not report it";
/// Why a figure of the first request is absent before it.
const NO_REQUEST: &str = "no first request was measured";

/// Why the size of a cache is absent.
const NOT_KNOWN_YET: &str = "the engine does not report the size of its cache before the first request";

/// The figures after loading, before the first request; `kv` are the types of the cache.
pub(super) fn after_load(
    model: &PreparedModel,
    weight_use: &WeightUse,
    kv: CacheTypes,
    loaded: &Loaded,
    virtual_time: bool,
) -> MemoryFile {
    let own = model.weights.as_ref().filter(|_| loaded.server.is_none()).ok_or_else(|| Reason::new(SERVER));
    let edges = loaded.before.clone().and_then(|before| Ok((before, loaded.after.clone()?)));
    let of_own = own.clone().and_then(|own| Ok((own, edges?)));
    let shape = own.as_ref().ok().and_then(|own| own.shape.modelled.as_ref().ok()).filter(|_| !virtual_time);
    let of_some = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0);
    let copied = of_some(shape.map(|shape| weight_use.copied_bytes(&shape.spec, &shape.types).get()));
    let weights =
        of_own.clone().map(|(own, (before, after))| resident_weights(own.bytes, copied.unwrap_or(0), before, after));
    let tokenizer = own.clone().and_then(|own| match virtual_time {
        true => Err(Reason::new(VIRTUAL)),
        false => own.tokenizer_bytes.clone(),
    });
    let kv_bytes_per_token = |own: &Weights| match &own.shape.modelled {
        Ok(modelled) => Ok(modelled.spec.kv_bytes_per_token(kv).as_f64()),
        Err(reason) => Err(Reason::new(reason.to_string())),
    };
    let ran_before = loaded.server.as_ref().is_some_and(|server| !server.started_here);
    let load_s = match ran_before {
        true => Recorded::absent(format!(
            "the server was running before, so the time of loading is unknown; start it with {}",
            Setting::Spawn
        )),
        false => loaded.ended.saturating_sub(loaded.started).as_secs_f64().into(),
    };
    // Cold means that no page of the file is in the page cache, warm that all are.
    let cache = |share: f64| match share {
        share if share <= 0.0 => LoadCache::Cold,
        share if share >= 1.0 => LoadCache::Warm,
        _ => LoadCache::Partial,
    };
    let after = |of: fn(&MemoryReading) -> u64| Recorded::from(loaded.after.as_ref().map(of).map_err(Reason::clone));
    MemoryFile {
        load_s,
        load_cache: loaded.cached_share.clone().map(cache).into(),
        load_cached_share: loaded.cached_share.clone().into(),
        load_read_bytes: loaded.read_bytes.clone().into(),
        load_counters: loaded.counters.values.clone(),
        file_bytes: own.clone().map(|own| own.file_bytes).into(),
        before_load_bytes: loaded.before.clone().map(|edge| edge.resident).into(),
        after_load_bytes: after(|edge| edge.resident),
        server_resident_bytes: loaded.server_resident.clone().map(Recorded::from),
        file_backed_bytes: after(|edge| edge.file),
        anonymous_bytes: after(|edge| edge.anonymous),
        weights_bytes: own.clone().map(|own| own.bytes).into(),
        weights_file_backed_bytes: weights.clone().map(|(file, _)| file).into(),
        copied_bytes: copied,
        state_bytes: of_some(shape.map(|shape| shape.spec.state_bytes().get())),
        weights_anonymous_bytes: weights.clone().map(|(_, anonymous)| anonymous).into(),
        code_bytes: of_own.and_then(|(_, edges)| Ok(file_growth(edges).saturating_sub(weights?.0))).into(),
        tokenizer_bytes: tokenizer.into(),
        kv_bytes_per_token: own.clone().and_then(kv_bytes_per_token).into(),
        kv_used_bytes: own.clone().and_then(|_| Err(Reason::new(NO_REQUEST))).into(),
        kv_reserved_bytes: own
            .clone()
            .and_then(|_| loaded.kv_reserved.ok_or_else(|| Reason::new(NOT_KNOWN_YET)))
            .into(),
        predicted_bytes: own.and_then(|own| own.predicted_bytes.clone()).into(),
        held_bytes: Recorded::absent("no traced request was measured"),
        notes: loaded.counters.notes.clone(),
        ..MemoryFile::absent(NO_REQUEST)
    }
}

/// Weights that are resident after loading, backed by the file and anonymous: of each at most the growth of that kind of memory. Copies that
/// the engine keeps besides are a part of the anonymous memory.
///
/// ```text
/// file-backed = min(weights, file-backed memory after - before)
/// anonymous   = min(weights - file-backed, anonymous memory after - before - copies)
/// ```
fn resident_weights(weights: u64, copies: u64, before: MemoryReading, after: MemoryReading) -> (u64, u64) {
    let file = weights.min(file_growth((before, after)));
    (file, (weights - file).min(after.anonymous.saturating_sub(before.anonymous).saturating_sub(copies)))
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
    let sample = &measured.sample;
    memory.first_read_bytes = measured.read_bytes.clone().into();
    // A server has the cache.
    if server.is_none() {
        let known = |bytes: Option<u64>| bytes.ok_or_else(|| Reason::new("the engine does not report it"));
        memory.kv_used_bytes = known(measured.kv_used).into();
        memory.kv_reserved_bytes = known(measured.kv_reserved).into();
    }
    memory.device_active_bytes = measured.device.map(|device| device.active);
    memory.device_peak_bytes = measured.device.and_then(|device| device.peak);
    memory.device_cache_bytes = measured.device.and_then(|device| device.cache);
    memory.after_first_bytes = measured.memory.clone().map(|(_, after)| after.resident).into();
    let code = Result::from(memory.code_bytes.clone());
    memory.code_bytes = code.and_then(|code| Ok(code + file_growth(measured.memory.clone()?))).into();
    let first = |delta: &Recorded<i64>| match server.and_then(not_first) {
        Some(reason) => Recorded::absent(reason),
        None => delta.clone(),
    };
    memory.first_peak_delta_bytes = first(&sample.memory_peak_delta_bytes);
    memory.first_delta_bytes = first(&sample.memory_delta_bytes);
    let (nodes, huge_pages) = match &measured.first {
        Some(FirstRequest { nodes, huge_pages, .. }) => (nodes.clone(), huge_pages.clone()),
        None => (Err(Reason::new(NOT_FRESH)), Err(Reason::new(NOT_FRESH))),
    };
    memory.nodes = match nodes {
        Ok(nodes) => RecordedList::new(nodes, "the system reports none"),
        Err(reason) => RecordedList::absent(reason),
    };
    memory.huge_pages_bytes = huge_pages.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_weights_are_at_most_the_growth_of_memory() {
        let edge = |anonymous, file| MemoryReading { resident: anonymous + file, anonymous, file };
        assert_eq!(resident_weights(100, 0, edge(5, 20), edge(30, 125)), (100, 0), "mapped");
        assert_eq!(resident_weights(100, 0, edge(5, 20), edge(145, 25)), (5, 95), "copied");
        assert_eq!(resident_weights(100, 0, edge(5, 20), edge(8, 60)), (40, 3), "not touched yet");
        assert_eq!(resident_weights(100, 0, edge(5, 20), edge(5, 10)), (0, 0));
        assert_eq!(resident_weights(100, 80, edge(5, 20), edge(100, 60)), (40, 15), "pages dropped, copies kept");
    }
}
