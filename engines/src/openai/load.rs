//! Reads how busy a server is: slots of llama-server, metrics in Prometheus' text format, and other endpoints.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Problem, RequestError, quote};
use super::http::Http;
use super::software::{Software, shown};
use crate::LoadFigure::{
    self, CacheHits, CacheQueries, Decode, Ended, FirstToken, OutputTokens, Prefill, Queue, Running, Waiting, Whole,
};
use crate::{Reason, ServerLoad};

/// A place where a server says how busy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadSource {
    /// llama-server: `[{"id":0,"id_task":5,"is_processing":false}]`.
    Slots,
    /// Lines `name{labels} value`; see [`METRICS`].
    Metrics,
    /// vLLM: `{"server_load":1}`.
    Load,
    /// SGLang: `[{"num_reqs":1,"num_waiting_reqs":0}]`.
    GetLoad,
    /// KoboldCpp: `{"idle":1,"queue":0}`.
    Perf,
    /// ollama: `{"models":[{"name":"m","size":5,"size_vram":0}]}`, the loaded models.
    Ps,
}

impl LoadSource {
    const fn path(self) -> &'static str {
        match self {
            Self::Slots => "/slots",
            Self::Metrics => "/metrics",
            Self::Load => "/load",
            Self::GetLoad => "/get_load",
            Self::Perf => "/api/extra/perf",
            Self::Ps => "/api/ps",
        }
    }

    /// The places of a server. All of them that answer are read, except that the later ones of `Load` and `GetLoad` replace metrics.
    pub(super) const fn of(software: Software) -> &'static [Self] {
        match software {
            Software::LlamaServer => &[Self::Slots, Self::Metrics],
            Software::Vllm => &[Self::Metrics, Self::Load],
            Software::Sglang => &[Self::Metrics, Self::GetLoad],
            Software::Tgi => &[Self::Metrics],
            Software::KoboldCpp => &[Self::Perf],
            Software::Ollama => &[Self::Ps],
            _ => &[],
        }
    }
}

/// Names of metrics. A histogram is read by its sum. Values with different labels are added.
const METRICS: &[(&str, LoadFigure)] = &[
    ("llamacpp:requests_deferred", Waiting),
    ("llamacpp:requests_processing", Running),
    ("llamacpp:tokens_predicted_total", OutputTokens),
    ("sglang:cached_tokens_total", CacheHits),
    ("sglang:e2e_request_latency_seconds_sum", Whole),
    ("sglang:generation_tokens_total", OutputTokens),
    ("sglang:num_queue_reqs", Waiting),
    ("sglang:num_requests_total", Ended),
    ("sglang:num_running_reqs", Running),
    ("sglang:time_to_first_token_seconds_sum", FirstToken),
    ("tgi_batch_current_size", Running),
    ("tgi_queue_size", Waiting),
    ("tgi_request_duration_sum", Whole),
    ("tgi_request_queue_duration_sum", Queue),
    ("tgi_request_success", Ended),
    ("vllm:e2e_request_latency_seconds_sum", Whole),
    ("vllm:generation_tokens_total", OutputTokens),
    ("vllm:num_requests_running", Running),
    ("vllm:num_requests_waiting", Waiting),
    ("vllm:prefix_cache_hits_total", CacheHits),
    ("vllm:prefix_cache_queries_total", CacheQueries),
    ("vllm:request_decode_time_seconds_sum", Decode),
    ("vllm:request_prefill_time_seconds_sum", Prefill),
    ("vllm:request_queue_time_seconds_sum", Queue),
    ("vllm:request_success_total", Ended),
    ("vllm:time_to_first_token_seconds_sum", FirstToken),
];

/// The places of a server that answer as expected, and whether it says if it works on other requests, or why not.
pub(super) fn sources(http: &Http, software: Software, model: &str) -> (Vec<LoadSource>, Result<(), Reason>) {
    let (mut found, mut load, mut reasons) = (Vec::new(), ServerLoad::default(), Vec::new());
    for &source in LoadSource::of(software) {
        if !found.is_empty() && matches!(source, LoadSource::Load | LoadSource::GetLoad) {
            continue;
        }
        match read_one(http, source, model, &mut load) {
            Ok(()) => found.push(source),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if load.requests().is_some() || !load.tasks.is_empty() {
        return (found, Ok(()));
    }
    if reasons.is_empty() {
        reasons.push(format!("{} does not say how many requests it works on", software.name()));
    }
    (found, Err(Reason::new(reasons.join(", "))))
}

/// Reads all of these places.
pub(super) fn read(http: &Http, sources: &[LoadSource], model: &str) -> Result<ServerLoad, RequestError> {
    let mut load = ServerLoad::default();
    for &source in sources {
        read_one(http, source, model, &mut load)?;
    }
    Ok(load)
}

fn read_one(http: &Http, source: LoadSource, model: &str, load: &mut ServerLoad) -> Result<(), RequestError> {
    let failed = |problem| RequestError::new(&http.place("GET", source.path()), problem);
    let response = http.probe(source.path())?;
    if !response.is_success() {
        return Err(failed(response.problem()));
    }
    let unexpected = || failed(Problem::Unexpected(format!("expected the load, found `{}`", quote(&response.text))));
    let json = || response.json().unwrap_or(Value::Null);
    let is_read = match source {
        LoadSource::Slots => slots(&json(), load),
        LoadSource::Metrics => metrics(&response.text, load),
        LoadSource::Load => json()["server_load"].as_f64().map(|running| set(load, Running, running)),
        LoadSource::GetLoad => get_load(&json(), load),
        LoadSource::Perf => perf(&json(), load),
        LoadSource::Ps => loaded(&json(), model, load),
    };
    is_read.ok_or_else(unexpected)?;
    load.sources.push(source.path().to_owned());
    Ok(())
}

/// Two places that count the same requests agree, or one of them is newer.
fn set(load: &mut ServerLoad, figure: LoadFigure, value: f64) {
    let known = load.figures.entry(figure).or_insert(value);
    *known = known.max(value);
}

fn slots(document: &Value, load: &mut ServerLoad) -> Option<()> {
    let slots = document.as_array()?;
    let mut busy = 0.0;
    for slot in slots {
        // Versions of 2024 have a state instead.
        let is_busy = slot["is_processing"].as_bool().or_else(|| slot["state"].as_u64().map(|state| state != 0))?;
        busy += f64::from(u8::from(is_busy));
        if let (Some(id), Some(task)) = (slot["id"].as_u64(), slot["id_task"].as_i64()) {
            load.tasks.insert(id, task);
        }
    }
    set(load, Running, busy);
    Some(())
}

fn metrics(text: &str, load: &mut ServerLoad) -> Option<()> {
    let mut found: BTreeMap<LoadFigure, f64> = BTreeMap::new();
    for line in text.lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let Some((_, figure)) = METRICS.iter().find(|(known, _)| *known == name) else { continue };
        // Labels may contain spaces; a time may follow the value.
        let rest = line.rsplit_once('}').map_or_else(|| &line[name.len()..], |(_, rest)| rest);
        let value = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|value| value.is_finite()) {
            *found.entry(*figure).or_default() += value;
        }
    }
    (!found.is_empty()).then(|| found.into_iter().for_each(|(figure, value)| set(load, figure, value)))
}

fn get_load(document: &Value, load: &mut ServerLoad) -> Option<()> {
    let ranks = document.as_array()?;
    let sum = |key: &str| ranks.iter().map(|rank| rank[key].as_f64()).sum::<Option<f64>>();
    // All requests, those that wait included.
    set(load, Running, sum("num_reqs")?);
    Some(())
}

fn perf(document: &Value, load: &mut ServerLoad) -> Option<()> {
    set(load, Running, 1.0 - document["idle"].as_f64()?.min(1.0));
    set(load, Waiting, document["queue"].as_f64()?);
    Some(())
}

/// The facts about the model, if it is loaded.
fn loaded(document: &Value, model: &str, load: &mut ServerLoad) -> Option<()> {
    let models = document["models"].as_array()?;
    let is_it = |entry: &&Value| [&entry["name"], &entry["model"]].iter().any(|name| **name == model);
    if let Some(entry) = models.iter().find(is_it) {
        let facts = [
            ("size", &entry["size"]),
            ("size_vram", &entry["size_vram"]),
            ("context_length", &entry["context_length"]),
            ("quantization", &entry["details"]["quantization_level"]),
        ];
        for (name, value) in facts {
            load.details.extend(shown(value).map(|text| (name.to_owned(), text)));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_metrics_are_sorted_and_unique() {
        assert!(METRICS.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn metrics_are_read_with_their_labels() {
        let text = "# HELP vllm:num_requests_running Requests.\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a {b} c\"} 1.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 2.0 1700000000\n\
            vllm:request_prefill_time_seconds_bucket{le=\"0.3\"} 5.0\n\
            vllm:request_prefill_time_seconds_sum{engine=\"0\"} 1.25e-1\n\
            vllm:request_success_total{finished_reason=\"stop\"} 3.0\n\
            vllm:request_success_total{finished_reason=\"length\"} 4.0\n\
            vllm:generation_tokens_total NaN\n\
            llamacpp:requests_deferred 2\n";
        let mut load = ServerLoad::default();
        metrics(text, &mut load).expect("there are metrics");
        let expected = [(Running, 3.0), (Waiting, 2.0), (Ended, 7.0), (Prefill, 0.125)];
        assert_eq!(load.figures, expected.into_iter().collect());
        assert_eq!(metrics("process_cpu_seconds_total 1\n<html>", &mut load), None);
    }

    #[test]
    fn each_place_has_its_form() {
        let read = |read: fn(&Value, &mut ServerLoad) -> Option<()>, document: Value| {
            let mut load = ServerLoad::default();
            read(&document, &mut load).map(|()| (load.requests(), load.tasks.len()))
        };
        let busy =
            json!([{"id": 0, "id_task": 7, "is_processing": false}, {"id": 1, "id_task": 9, "is_processing": true}]);
        assert_eq!(read(slots, busy), Some((Some(1), 2)));
        assert_eq!(read(slots, json!([{"id": 0, "state": 1}])), Some((Some(1), 0)));
        assert_eq!(read(slots, json!({"error": {"code": 501}})), None);
        assert_eq!(read(get_load, json!([{"num_reqs": 2, "num_waiting_reqs": 1}])), Some((Some(2), 0)));
        assert_eq!(read(perf, json!({"idle": 0, "queue": 1})), Some((Some(2), 0)));
        assert_eq!(read(perf, json!({"idle": 1, "queue": 0})), Some((Some(0), 0)));
        let ps =
            json!({"models": [{"name": "m", "size": 500, "size_vram": 0, "details": {"quantization_level": "Q4_0"}}]});
        let mut load = ServerLoad::default();
        loaded(&ps, "m", &mut load).expect("it is read");
        let details: Vec<(&str, &str)> =
            load.details.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(details, [("quantization", "Q4_0"), ("size", "500"), ("size_vram", "0")]);
        assert_eq!(loaded(&json!({"models": []}), "m", &mut load), Some(()), "the model is not loaded");
    }
}
