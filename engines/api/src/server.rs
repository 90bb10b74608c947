//! A server that computes in another process, and what it reports about itself and about a request. Nothing here is verified.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use traces::Nanos;

use crate::Reason;

/// The server behind a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The server software, such as `llama-server`, or why it was not recognised.
    pub software: Result<String, Reason>,
    /// Its version, or why it is not known.
    pub version: Result<String, Reason>,
    /// The name of the model on the server.
    pub model: String,
    /// Its base address, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The socket address that the host name resolves to.
    pub address: Option<SocketAddr>,
    /// Its process id, if this process started it.
    pub pid: Option<u32>,
    /// How its prefix cache is bypassed.
    pub cache: CacheBypass,
    /// Other facts that it reports (context length, model file, nodes), as JSON text where the value is more than a word.
    pub details: BTreeMap<String, String>,
    /// The names of the models that it lists, or why they are not known.
    pub models: Result<Vec<String>, Reason>,
    /// Whether it says if it works on requests of other clients, or why that is not known.
    pub other_requests: Result<(), Reason>,
}

impl ServerInfo {
    /// The software of a server that was not recognised.
    pub const UNKNOWN: &str = "unknown";

    /// A server of which nothing is known, for one reason.
    pub fn unknown(reason: impl Into<Reason>) -> Self {
        let reason = reason.into();
        Self {
            software: Err(reason.clone()),
            version: Err(reason.clone()),
            model: String::new(),
            url: String::new(),
            address: None,
            pid: None,
            cache: CacheBypass::default(),
            details: BTreeMap::new(),
            models: Err(reason.clone()),
            other_requests: Err(reason),
        }
    }

    /// The name of its software, [`ServerInfo::UNKNOWN`] if it was not recognised.
    pub fn software_name(&self) -> &str {
        self.software.as_deref().unwrap_or(Self::UNKNOWN)
    }
}

/// How a server's prefix cache is bypassed, so that the model computes every prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheBypass {
    /// It is not: the cache may contain prompts of requests.
    #[default]
    None,
    /// By the server's own switch, in each request.
    Switch,
    /// By random digits in front of each prompt, always of the same length: a system message of their own, or the start of the first
    /// message.
    Nonce,
}

/// A step that a server runs for a request before the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreprocessingStep {
    /// A network round trip: a query that costs the server nothing, on a new connection, as each request has one.
    RoundTrip,
    /// Messages to text, by the server's chat template.
    Template,
    /// Text to tokens.
    Tokenize,
    /// Messages to tokens, by the server's own chat template and tokenizer, in one query.
    TokenizeChat,
}

/// The output of such a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreprocessingOutput {
    /// No output.
    None,
    /// The rendered text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// What a server reports about one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Prompt tokens, those from its cache included.
    pub prompt_tokens: Option<usize>,
    /// Prompt tokens from its prefix cache.
    pub cached_tokens: Option<usize>,
    /// Output tokens as the server counts them.
    pub output_tokens: Option<usize>,
    /// Time of the prompt.
    pub prefill: Option<Nanos>,
    /// Time of the output.
    pub decode: Option<Nanos>,
    /// Time to load the model before the request.
    pub load: Option<Nanos>,
    /// Prompt tokens per second.
    pub prefill_tps: Option<f64>,
    /// Output tokens per second.
    pub decode_tps: Option<f64>,
    /// Peak memory of its device.
    pub peak_memory_bytes: Option<u64>,
    /// Energy of the request in joules.
    pub energy_j: Option<f64>,
    /// The hit in its prefix cache, as reported or derived from its token counts.
    pub cache: Option<CacheHit>,
    /// Time to the first token.
    #[serde(default)]
    pub first_token: Option<Nanos>,
    /// Time in its queue.
    #[serde(default)]
    pub queue: Option<Nanos>,
    /// Time of the whole request.
    #[serde(default)]
    pub whole: Option<Nanos>,
    /// Tokens that a draft model proposed.
    #[serde(default)]
    pub drafted_tokens: Option<usize>,
    /// Proposed tokens that the model accepted.
    #[serde(default)]
    pub accepted_tokens: Option<usize>,
    /// Requests of other clients that it worked on meanwhile.
    #[serde(default)]
    pub other_requests: Option<usize>,
    /// Whether its usage has rates beside the counts, as only that of mistral.rs.
    #[serde(default)]
    pub has_usage_rates: bool,
    /// Number of text chunks, each in one event.
    pub chunks: usize,
    /// The text in front of the prompt that bypasses the cache; it makes the prompt longer.
    pub nonce: Option<String>,
    /// How this request bypassed the prefix cache.
    #[serde(default)]
    pub bypass: CacheBypass,
    /// What its stream shows about these figures.
    #[serde(default)]
    pub stream: StreamFacts,
}

/// What a stream shows about its tokens and their counts, as it arrived. Nothing here is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Output tokens so far, after each piece of text: by the ids or the running count in its event; `None` where it has neither.
    pub running: Vec<Option<usize>>,
    /// Bytes of text so far, after each piece.
    #[serde(default)]
    pub text_bytes: Vec<usize>,
    /// Output tokens that the server counts as reasoning.
    pub reasoning_tokens: Option<usize>,
    /// Whether text of reasoning arrived.
    pub has_reasoning: bool,
    /// Fields with output that is not understood, such as `delta.images`.
    pub unread: Vec<String>,
    /// Pieces of text that arrived after a finish reason.
    pub reopened: usize,
    /// A finish reason that is no known word.
    pub unknown_finish: Option<String>,
    /// Counts that are no counts: their field, and its value as it was sent.
    pub no_counts: BTreeMap<String, String>,
    /// Whether the rest of the answer was not read, because it had more than [`Request::most_pieces`](crate::Request::most_pieces).
    pub is_cut: bool,
}

impl CacheHit {
    /// From token counts. The last token is always computed, so all tokens but one are an exact hit.
    pub fn of(cached: Option<usize>, prompt: Option<usize>) -> Option<Self> {
        match (cached?, prompt?) {
            (0, _) => Some(Self::Cold),
            (cached, prompt) if cached + 1 >= prompt => Some(Self::Exact),
            _ => Some(Self::Partial),
        }
    }
}

/// How much of a prompt a server's prefix cache contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheHit {
    /// Nothing.
    Cold,
    /// A part.
    Partial,
    /// Every token but the last, which is always computed.
    Exact,
}
