//! What a server reports about a request: tokens, times, memory. Figures that are known to be wrong are ignored.

use serde_json::Value;
use traces::Nanos;

use super::completion_chunk::count;
use super::error::quote;
use crate::{CacheHit, ServerReport};

/// Collects the figures that the events and comments of a stream report.
pub(super) trait ReportEvents {
    /// Reads the fields of a data event.
    fn read_event(&mut self, document: &Value);
    /// Reads exo's comment `generation_stats {...}`; other comments are ignored.
    fn read_comment(&mut self, comment: &str);
}

impl ReportEvents for ServerReport {
    fn read_event(&mut self, document: &Value) {
        usage(self, &document["usage"]);
        usage_rates(self, &document["usage"]);
        timings(self, &document["timings"]);
        generation_stats(self, &document["generation_stats"]);
        power(self, &document["power_usage"]);
        if document["stop"] == true {
            update(&mut self.prompt_tokens, count(&document["tokens_evaluated"]));
            update(&mut self.output_tokens, count(&document["tokens_predicted"]));
        }
        if document["done"] == true {
            ollama(self, document);
        }
        if self.cache.is_none() {
            self.cache = CacheHit::of(self.cached_tokens, self.prompt_tokens);
        }
    }

    fn read_comment(&mut self, comment: &str) {
        let Some(stats) = comment.strip_prefix("generation_stats ") else { return };
        // A comment is no part of the protocol: one that is not JSON reports nothing.
        if let Ok(stats) = serde_json::from_str(stats) {
            generation_stats(self, &stats);
        }
    }
}

/// `{"prompt_tokens":37,"completion_tokens":32,"prompt_tokens_details":{"cached_tokens":0}}`.
fn usage(reported: &mut ServerReport, usage: &Value) {
    update(&mut reported.prompt_tokens, count(&usage["prompt_tokens"]));
    update(&mut reported.output_tokens, count(&usage["completion_tokens"]));
    update(&mut reported.cached_tokens, count(&usage["prompt_tokens_details"]["cached_tokens"]));
    update(&mut reported.stream.reasoning_tokens, count(&usage["completion_tokens_details"]["reasoning_tokens"]));
    for field in ["prompt_tokens", "completion_tokens"] {
        match (&usage[field], count(&usage[field])) {
            (Value::Null, _) => {}
            // A later count replaces an earlier value that is none.
            (_, Some(_)) => drop(reported.stream.no_counts.remove(field)),
            (value, None) => drop(reported.stream.no_counts.insert(field.to_owned(), quote(&value.to_string()))),
        }
    }
}

/// mistral.rs, in seconds: `{"avg_prompt_tok_per_sec":90.5,"avg_compl_tok_per_sec":30.1,"total_prompt_time_sec":0.4, ...}`.
fn usage_rates(reported: &mut ServerReport, usage: &Value) {
    let seconds = |key: &str| rate(&usage[key]).map(Nanos::from_secs_f64);
    reported.has_usage_rates |= usage["avg_compl_tok_per_sec"].is_number();
    update(&mut reported.prefill_tps, rate(&usage["avg_prompt_tok_per_sec"]));
    update(&mut reported.decode_tps, rate(&usage["avg_compl_tok_per_sec"]));
    update(&mut reported.prefill, seconds("total_prompt_time_sec"));
    update(&mut reported.decode, seconds("total_completion_time_sec"));
    update(&mut reported.whole, seconds("total_time_sec"));
}

/// llama-server. Its output time starts at the first token, so that an output of one token has a meaningless 0.001 ms.
fn timings(reported: &mut ServerReport, timings: &Value) {
    update(&mut reported.cached_tokens, count(&timings["cache_n"]));
    update(&mut reported.drafted_tokens, count(&timings["draft_n"]));
    update(&mut reported.accepted_tokens, count(&timings["draft_n_accepted"]));
    let computed = count(&timings["prompt_n"]).filter(|tokens| *tokens > 0);
    if let Some(computed) = computed {
        // Without a count of cached tokens the number of prompt tokens is unknown.
        let all = reported.cached_tokens.map(|cached| computed + cached);
        reported.prompt_tokens = reported.prompt_tokens.or(all);
        update(&mut reported.prefill, milliseconds(&timings["prompt_ms"]));
        update(&mut reported.prefill_tps, rate(&timings["prompt_per_second"]));
    }
    if let Some(tokens) = count(&timings["predicted_n"]).filter(|tokens| *tokens > 1) {
        reported.output_tokens = reported.output_tokens.or(Some(tokens));
        update(&mut reported.decode, milliseconds(&timings["predicted_ms"]));
        update(&mut reported.decode_tps, rate(&timings["predicted_per_second"]));
    }
}

/// exo. On an exact hit its prompt rate is that of the earlier request that filled the cache, so it is ignored.
fn generation_stats(reported: &mut ServerReport, stats: &Value) {
    update(&mut reported.prompt_tokens, count(&stats["prompt_tokens"]));
    update(&mut reported.output_tokens, count(&stats["generation_tokens"]));
    let cache = match stats["prefix_cache_hit"].as_str() {
        Some("none") => Some(CacheHit::Cold),
        Some("partial") => Some(CacheHit::Partial),
        Some("exact") => Some(CacheHit::Exact),
        // Not reported, or a word of a newer version.
        _ => None,
    };
    update(&mut reported.cache, cache);
    if cache != Some(CacheHit::Exact) {
        update(&mut reported.prefill_tps, rate(&stats["prompt_tps"]));
    }
    update(&mut reported.decode_tps, rate(&stats["generation_tps"]));
    let memory = &stats["peak_memory_usage"];
    let bytes = memory["in_bytes"].as_u64().or(memory["inBytes"].as_u64());
    update(&mut reported.peak_memory_bytes, bytes.filter(|bytes| *bytes > 0));
}

/// exo. It reports 0 if no node can measure its power, so 0 is ignored.
fn power(reported: &mut ServerReport, power: &Value) {
    update(&mut reported.energy_j, power["total_energy_joules"].as_f64().filter(|joules| *joules > 0.0));
}

/// ollama, in nanoseconds.
fn ollama(reported: &mut ServerReport, last: &Value) {
    let nanos = |key: &str| last[key].as_u64().filter(|nanos| *nanos > 0).map(Nanos::from_nanos);
    update(&mut reported.prompt_tokens, count(&last["prompt_eval_count"]));
    update(&mut reported.cached_tokens, count(&last["prompt_eval_cached_count"]));
    update(&mut reported.output_tokens, count(&last["eval_count"]));
    update(&mut reported.prefill, nanos("prompt_eval_duration"));
    update(&mut reported.decode, nanos("eval_duration"));
    update(&mut reported.load, nanos("load_duration"));
}

/// A later report replaces an earlier one; an absent value changes nothing.
fn update<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn rate(value: &Value) -> Option<f64> {
    value.as_f64().filter(|rate| rate.is_finite() && *rate > 0.0)
}

fn milliseconds(value: &Value) -> Option<Nanos> {
    rate(value).map(|ms| Nanos::from_secs_f64(ms / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(events: &[&str]) -> ServerReport {
        let mut reported = ServerReport::default();
        for event in events {
            match event.strip_prefix(": ") {
                Some(comment) => reported.read_comment(comment),
                None => reported.read_event(&serde_json::from_str(event).expect("it is JSON")),
            }
        }
        reported
    }

    #[test]
    fn llama_server_reports_times_and_counts() {
        let report = after(&[
            r#"{"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":1530,"prompt_tokens_details":{"cached_tokens":0}},"timings":{"cache_n":0,"prompt_n":1530,"prompt_ms":16694.729,"prompt_per_second":91.65,"predicted_n":3,"predicted_ms":147.455,"predicted_per_second":13.56}}"#,
        ]);
        assert_eq!(
            (report.prompt_tokens, report.output_tokens, report.cache),
            (Some(1530), Some(3), Some(CacheHit::Cold))
        );
        assert_eq!(
            (report.prefill, report.decode),
            (Some(Nanos::from_nanos(16_694_729_000)), Some(Nanos::from_nanos(147_455_000)))
        );
        assert_eq!((report.prefill_tps, report.decode_tps), (Some(91.65), Some(13.56)));
    }

    #[test]
    fn llama_server_counts_the_tokens_of_a_draft_model() {
        let report = after(&[r#"{"timings":{"predicted_n":9,"draft_n":12,"draft_n_accepted":7}}"#]);
        assert_eq!((report.drafted_tokens, report.accepted_tokens), (Some(12), Some(7)));
        assert_eq!(after(&[r#"{"timings":{"predicted_n":9}}"#]).drafted_tokens, None);
    }

    #[test]
    fn mistral_rs_reports_rates_and_times_in_its_usage() {
        let report = after(&[
            r#"{"choices":[],"usage":{"completion_tokens":8,"prompt_tokens":40,"total_tokens":48,"avg_tok_per_sec":48.0,"avg_prompt_tok_per_sec":80.0,"avg_compl_tok_per_sec":16.0,"total_time_sec":1.0,"total_prompt_time_sec":0.5,"total_completion_time_sec":0.5}}"#,
        ]);
        let half = Some(Nanos::from_millis(500));
        assert_eq!((report.prefill, report.decode, report.whole), (half, half, Some(Nanos::from_millis(1000))));
        assert_eq!((report.prefill_tps, report.decode_tps, report.has_usage_rates), (Some(80.0), Some(16.0), true));
        let empty =
            after(&[r#"{"usage":{"prompt_tokens":40,"avg_compl_tok_per_sec":null,"total_prompt_time_sec":0.0}}"#]);
        assert_eq!((empty.prefill, empty.decode_tps, empty.has_usage_rates), (None, None, false));
    }

    #[test]
    fn the_time_of_a_single_token_is_ignored() {
        let report = after(&[
            r#"{"timings":{"cache_n":36,"prompt_n":1,"prompt_ms":10.0,"prompt_per_second":98.0,"predicted_n":1,"predicted_ms":0.001,"predicted_per_second":0.0}}"#,
        ]);
        assert_eq!((report.decode, report.decode_tps), (None, None));
        assert_eq!(
            (report.prompt_tokens, report.cached_tokens, report.cache),
            (Some(37), Some(36), Some(CacheHit::Exact))
        );
        let empty = after(&[
            r#"{"timings":{"cache_n":0,"prompt_n":0,"prompt_ms":0.0,"prompt_per_second":0.0,"predicted_n":0,"predicted_ms":0.0}}"#,
        ]);
        assert_eq!((empty.prefill, empty.prefill_tps, empty.prompt_tokens), (None, None, None));
    }

    #[test]
    fn computed_prompt_tokens_alone_are_not_the_prompt() {
        let report = after(&[r#"{"timings":{"prompt_n":5,"prompt_ms":10.0,"prompt_per_second":500.0}}"#]);
        assert_eq!((report.prompt_tokens, report.cached_tokens), (None, None));
        assert_eq!(report.prefill_tps, Some(500.0));
    }

    #[test]
    fn the_prompt_rate_of_exo_is_ignored_on_an_exact_hit() {
        let stats = |hit: &str| {
            format!(
                r#": generation_stats {{"prompt_tps":9.55,"generation_tps":6.3,"prompt_tokens":37,"generation_tokens":32,"peak_memory_usage":{{"in_bytes":131053365}},"prefix_cache_hit":"{hit}"}}"#
            )
        };
        let exact = after(&[&stats("exact")]);
        assert_eq!((exact.prefill_tps, exact.decode_tps, exact.cache), (None, Some(6.3), Some(CacheHit::Exact)));
        let cold = after(&[&stats("none")]);
        assert_eq!((cold.prefill_tps, cold.peak_memory_bytes), (Some(9.55), Some(131_053_365)));
        assert_eq!((cold.cache, cold.prompt_tokens, cold.output_tokens), (Some(CacheHit::Cold), Some(37), Some(32)));
    }

    #[test]
    fn energy_of_zero_is_ignored() {
        let bench = |joules: &str| {
            after(&[&format!(
                r#"{{"usage":null,"generation_stats":{{"peak_memory_usage":{{"inBytes":169216351}}}},"power_usage":{{"total_energy_joules":{joules}}}}}"#
            )])
        };
        assert_eq!((bench("0.0").energy_j, bench("12.5").energy_j), (None, Some(12.5)));
        assert_eq!(bench("0.0").peak_memory_bytes, Some(169_216_351));
    }

    #[test]
    fn ollama_reports_nanoseconds() {
        let report = after(&[
            r#"{"done":true,"total_duration":9,"load_duration":5,"prompt_eval_count":26,"prompt_eval_duration":130,"eval_count":298,"eval_duration":4799}"#,
        ]);
        assert_eq!(
            (report.load, report.prefill, report.decode),
            (Some(Nanos::from_nanos(5)), Some(Nanos::from_nanos(130)), Some(Nanos::from_nanos(4799)))
        );
        assert_eq!((report.prompt_tokens, report.output_tokens, report.cache), (Some(26), Some(298), None));
    }
}
