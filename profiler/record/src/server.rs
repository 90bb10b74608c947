//! A server that was watched, what it says of requests, and where that cannot be.

use std::collections::BTreeMap;

use engine_api::{CacheBypass, CacheHit};
use serde::{Deserialize, Serialize};

use super::Reasons;

/// The server behind a case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFile {
    /// What answers, such as `llama-server`; `unknown` where its answers fit no server that is known.
    pub software: String,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// The model's name there.
    pub model: String,
    /// Where it was asked.
    pub url: String,
    /// Whether this run started it (`--spawn`): only then is its load measured.
    pub started_here: bool,
    /// The process whose family was measured.
    pub pid: Option<u32>,
    /// How its prefix cache was kept out of the figures.
    pub cache: CacheBypass,
    /// What else it tells of itself: JSON text where it is more than a word.
    pub details: BTreeMap<String, String>,
    /// What it does before its model begins, each part asked for alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_model: Option<Preprocessing>,
    /// What of its figures and of the client's does not fit together, over all requests that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<AuditFinding>,
    /// Why a field is `null`.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// What a server does for a prompt before its model begins, asked for after the first request of the case; and what it made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// HTTP alone: a question that costs the server nothing, with its connection, there and back.
    pub round_trip_s: Option<f64>,
    /// Its chat template, beyond HTTP alone.
    pub template_s: Option<f64>,
    /// Its tokenizer on the text that its template made, else on this program's, beyond HTTP alone.
    pub tokenize_s: Option<f64>,
    /// Tokens that it makes of the prompt.
    pub tokens: Option<usize>,
    /// Whether its template makes the text that this program's makes, but for a BOS in front.
    pub same_text: Option<bool>,
    /// Whether its token ids are those of this program's tokenizer.
    pub same_ids: Option<bool>,
    /// Where they part, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// Seconds there and back of every question, by the field that they fill: the figures are medians of these.
    pub times_s: BTreeMap<String, Vec<f64>>,
    /// Why a field is `null`.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// What a server says of one request, in seconds, bytes and joules. Nothing of it enters the figures of the client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSample {
    /// Prompt tokens, those from its cache included.
    pub prompt_tokens: Option<usize>,
    /// Prompt tokens from its prefix cache.
    pub cached_tokens: Option<usize>,
    /// What the cache had of the prompt: `cold`, `partial`, `exact`; `null` where the server does not tell.
    pub cache: Option<CacheHit>,
    /// Tokens that came out, as it counts them.
    pub output_tokens: Option<usize>,
    /// Time of the prompt.
    pub prefill_s: Option<f64>,
    /// Time of the output.
    pub decode_s: Option<f64>,
    /// Time to have the model ready.
    pub load_s: Option<f64>,
    /// Prompt tokens a second.
    pub prefill_tps: Option<f64>,
    /// Output tokens a second.
    pub decode_tps: Option<f64>,
    /// Highest memory of its device.
    pub peak_memory_bytes: Option<u64>,
    /// Energy of the request.
    pub energy_j: Option<f64>,
    /// From sending the request to the first word that its prompt is being worked on: queue and transport.
    pub queued_s: Option<f64>,
    /// Pieces of text that arrived, each in one event.
    pub chunks: usize,
    /// Digits stood in front of the prompt to keep its cache out.
    pub nonce: bool,
    /// What the system counted of the server's processes over the request: name to value; what it does not tell is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, f64>,
}

/// A rule of the timing audit that some requests broke.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// The rule's name.
    pub rule: String,
    /// Whether both sides cannot be true; else they differ, or a figure means something else than its name says.
    pub impossible: bool,
    /// What was found, with the figures of the request where it is worst.
    pub text: String,
    /// Requests that broke it.
    pub requests: usize,
    /// Requests that it could be asked of.
    pub of: usize,
}
