//! A server: its identity, its reports on requests, and the findings of the audit.

use std::collections::BTreeMap;

use engine_api::{CacheBypass, CacheHit, ServerInfo};
use serde::{Deserialize, Serialize};

use super::recorded::{with_reasons, without_reason};
use super::{Reason, Reasons, Recorded};

with_reasons! {
    /// The server of a case.
    pub struct ServerFile {
        /// The software, such as `llama-server`; `unknown` where its answers match no known server, with the reason in the notes.
        pub software: String,
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
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub listed_models: Vec<String>,
        /// Other properties that it reports: JSON text where one is more than a word.
        pub details: BTreeMap<String, String>,
        /// Its preprocessing, each part measured alone; `None` where nothing of it was measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub before_model: Option<Preprocessing>,
        /// Contradictions between its figures and those of the client, over all requests that count.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub findings: Vec<AuditFinding>,
        /// Why its `software`, its list of `models` or its `other_requests` are not known.
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

    /// How a sentence names it: by its software, else by its address.
    pub fn in_words(&self) -> String {
        if self.software == ServerInfo::UNKNOWN { format!("the server at {}", self.url) } else { self.software.clone() }
    }

    /// Takes over what is known of the server by now: responses may name its software, its version or its model.
    pub fn learn(&mut self, info: ServerInfo) {
        self.software = info.software_name().to_owned();
        let unknown =
            [("software", info.software.err()), ("models", info.without_models), ("other_requests", info.without_load)];
        for (name, reason) in unknown {
            match reason {
                Some(reason) => drop(self.notes.insert(name.to_owned(), reason.into())),
                None => drop(self.notes.remove(name)),
            }
        }
        self.version = info.version.into();
        self.cache = info.cache;
        self.listed_models = info.models;
        self.details = info.details;
    }
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
        /// Counters of the server's processes over the request: name to value; unavailable ones are left out.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub counters: BTreeMap<String, f64>,
        /// Why a counter is left out, under its name; under `counters`, why all are.
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
            without_models: None,
            without_load: None,
            details: [("size".to_owned(), "5".to_owned())].into(),
            ..ServerInfo::unknown("not reported")
        };
        assert_eq!(ServerFile { url: "http://h:1".to_owned(), ..file.clone() }.in_words(), "the server at http://h:1");
        file.learn(info);
        assert_eq!(file.in_words(), "mistral.rs");
        assert_eq!((file.software.as_str(), file.details["size"].as_str()), ("mistral.rs", "5"));
        assert_eq!(file.reasons().keys().collect::<Vec<_>>(), ["pid", "version"]);
    }
}
