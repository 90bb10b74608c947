//! A server: its identity, its reports on requests, and the findings of the audit.

use std::collections::BTreeMap;

use engine_api::{CacheBypass, CacheHit, ServerInfo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorded::{unrecorded, with_reasons, without_reason};
use super::{Reason, Reasons, Recorded, ServerCounters};

with_reasons! {
    /// The server of a case.
    pub struct ServerFile {
        /// The software, such as `llama-server`; absent where its answers match no known server, which is `unknown` in a file.
        #[serde(serialize_with = "write_software", deserialize_with = "read_software")]
        pub software: Recorded<String>,
        /// Its version.
        pub version: Recorded<String>,
        /// The model's name there.
        pub model: String,
        /// Its URL.
        pub url: String,
        /// Whether this run started it: only then is its load measured.
        pub started_here: bool,
        /// The root of the process tree that was measured.
        pub pid: Recorded<u32>,
        /// How its prefix cache was bypassed.
        pub cache: CacheBypass,
        /// The names of the models that it lists. Runs of older versions do not have them.
        #[serde(rename = "listed_models", default = "unrecorded", skip_serializing_if = "lists_no_model")]
        pub models: Recorded<Vec<String>>,
        /// Whether it says if it works on requests of other clients. A file has only the reason.
        #[serde(skip, default = "unrecorded")]
        pub other_requests: Recorded<()>,
        /// Other properties that it reports: JSON text where one is more than a word.
        pub details: BTreeMap<String, String>,
        /// Its preprocessing, each part measured alone; `None` where nothing of it was measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub before_model: Option<Preprocessing>,
        /// Contradictions between its figures and those of the client, over all requests that count.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub findings: Vec<AuditFinding>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

impl ServerFile {
    /// What a server reports about itself, and the root of its process tree, or why that is not known.
    pub fn new(info: ServerInfo, pid: Result<u32, Reason>) -> Self {
        let mut file = Self {
            url: info.url.clone(),
            model: info.model.clone(),
            started_here: info.pid.is_some(),
            pid: pid.into(),
            ..Self::absent("not asked yet")
        };
        file.learn(info);
        file
    }

    /// The names of the models that are known to be there.
    pub fn listed_models(&self) -> &[String] {
        self.models.as_deref().unwrap_or_default()
    }

    /// How a sentence names it: by its software, else by its address.
    pub fn in_words(&self) -> String {
        self.software.as_ref().cloned().unwrap_or_else(|| format!("the server at {}", self.url))
    }

    /// Takes over what is known of the server by now: responses may name its software, its version or its model.
    pub fn learn(&mut self, info: ServerInfo) {
        self.software = info.software.into();
        self.other_requests = info.other_requests.into();
        self.version = info.version.into();
        self.cache = info.cache;
        self.models = info.models.into();
        self.details = info.details;
    }
}

fn write_software<S: Serializer>(software: &Recorded<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(software.as_deref().unwrap_or(ServerInfo::UNKNOWN))
}

fn read_software<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Recorded<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    Ok(if name == ServerInfo::UNKNOWN { unrecorded() } else { name.into() })
}

fn lists_no_model(models: &Recorded<Vec<String>>) -> bool {
    models.as_ref().is_none_or(Vec::is_empty)
}

without_reason!(CacheBypass, BTreeMap<String, Vec<f64>>);

with_reasons! {
    /// The preprocessing of a prompt by the server, measured after the first request of the case, and its result.
    pub struct Preprocessing {
        /// The round trip of a request without work, including the connection.
        pub round_trip_s: Recorded<f64>,
        /// Its chat template, beyond the round trip.
        pub template_s: Recorded<f64>,
        /// Its tokenizer on the text of its own template, else of this program's, beyond the round trip.
        pub tokenize_s: Recorded<f64>,
        /// Its number of tokens of the prompt.
        pub tokens: Recorded<usize>,
        /// Whether its template produces the same text as this program's, except for a BOS at the start.
        pub same_text: Recorded<bool>,
        /// Whether its token ids are those of this program's tokenizer.
        pub same_ids: Recorded<bool>,
        /// The first difference, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub differs: Option<String>,
        /// Seconds of the round trip of every request, by field: the figures are medians of these.
        pub times_s: BTreeMap<String, Vec<f64>>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// The report of a server on one request, in seconds, bytes and joules. The figures of the client do not use it.
    ///
    /// Fields that are `None` are figures that only some servers have.
    pub struct ServerSample {
        /// Prompt tokens, those from its cache included.
        pub prompt_tokens: Recorded<usize>,
        /// Prompt tokens from its prefix cache.
        pub cached_tokens: Recorded<usize>,
        /// The state of the cache for the prompt: `cold`, `partial`, `exact`.
        pub cache: Recorded<CacheHit>,
        /// Output tokens by its count.
        pub output_tokens: Recorded<usize>,
        /// Time of the prompt.
        pub prefill_s: Recorded<f64>,
        /// Time of the output.
        pub decode_s: Recorded<f64>,
        /// Time to have the model ready.
        pub load_s: Recorded<f64>,
        /// Prompt tokens a second.
        pub prefill_tps: Recorded<f64>,
        /// Output tokens a second.
        pub decode_tps: Recorded<f64>,
        /// Highest memory of its device.
        pub peak_memory_bytes: Recorded<u64>,
        /// Energy of the request.
        pub energy_j: Recorded<f64>,
        /// From sending the request to the first progress event of its prompt: queue and transport.
        pub queued_s: Recorded<f64>,
        /// Pieces of text that arrived, one per event.
        pub chunks: usize,
        /// Whether a nonce before the prompt bypassed the cache.
        pub nonce: bool,
        /// Time to the first token, by its own clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub first_token_s: Option<f64>,
        /// Time in its queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub queue_s: Option<f64>,
        /// Time of the whole request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub whole_s: Option<f64>,
        /// Tokens that its draft model proposed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub drafted_tokens: Option<usize>,
        /// Proposed tokens that the model accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub accepted_tokens: Option<usize>,
        /// Requests of other clients that it worked on meanwhile; absent where it does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub other_requests: Option<usize>,
        /// Pieces of text that arrived after a finish reason.
        #[serde(default)]
        pub reopened: usize,
        /// A finish reason that is no known word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unknown_finish: Option<String>,
        /// When each piece of text arrived, where these are not the times of tokens (`token_times_s` is empty).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub piece_times_s: Vec<f64>,
        /// Counters of the server's processes over the request.
        #[serde(default, skip_serializing_if = "ServerCounters::is_empty")]
        pub counters: ServerCounters,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// A rule of the audit that some requests violate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// The rule's name.
    pub rule: String,
    /// Whether the two sides contradict each other; otherwise they differ, or a figure has another meaning than its name.
    pub impossible: bool,
    /// The finding, with the figures of the worst request.
    pub text: String,
    /// Requests that violate it.
    pub requests: usize,
    /// Requests that it applies to.
    pub of: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learnt_later_replaces_what_was_unknown() {
        let mut file = ServerFile::new(ServerInfo::unknown("not reported"), Err("no process".into()));
        assert_eq!(
            file.reasons().keys().collect::<Vec<_>>(),
            ["models", "other_requests", "pid", "software", "version"]
        );
        let info = ServerInfo {
            software: Ok("mistral.rs".to_owned()),
            models: Ok(Vec::new()),
            other_requests: Ok(()),
            details: [("size".to_owned(), "5".to_owned())].into(),
            ..ServerInfo::unknown("not reported")
        };
        assert_eq!(ServerFile { url: "http://h:1".to_owned(), ..file.clone() }.in_words(), "the server at http://h:1");
        file.learn(info);
        assert_eq!(file.in_words(), "mistral.rs");
        assert_eq!((file.software.as_deref().unwrap(), file.details["size"].as_str()), ("mistral.rs", "5"));
        assert_eq!(file.reasons().keys().collect::<Vec<_>>(), ["pid", "version"]);
    }

    #[test]
    fn an_unknown_server_is_read_as_it_was_written() {
        let file = ServerFile::new(ServerInfo::unknown("not reported"), Err("no process".into()));
        let value = serde_json::to_value(&file).unwrap();
        assert_eq!(
            (&value["software"], value.get("listed_models"), value.get("other_requests")),
            (&"unknown".into(), None, None)
        );
        for key in ["software", "models", "other_requests"] {
            assert_eq!(value["reasons"][key], "not reported");
        }
        assert_eq!(serde_json::from_value::<ServerFile>(value).unwrap(), file);
        let known = ServerFile { software: "vllm".to_owned().into(), models: vec!["a".to_owned()].into(), ..file };
        let value = serde_json::to_value(&known).unwrap();
        assert_eq!((&value["software"], &value["listed_models"][0]), (&"vllm".into(), &"a".into()));
        assert_eq!(value["reasons"].get("models"), None);
        assert_eq!(serde_json::from_value::<ServerFile>(value).unwrap(), known);
    }
}
