//! A server that computes in another process, and what it says of itself and of a request: its words, none of them checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use traces::Nanos;

/// The server behind a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// What answers, such as `llama-server`; `unknown` where its answers fit no server that is known.
    pub software: String,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// The model's name there.
    pub model: String,
    /// Where it is asked, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The address that the name stands for.
    pub address: Option<SocketAddr>,
    /// Its process, where it was started here.
    pub pid: Option<u32>,
    /// How its prefix cache is kept out of the figures.
    pub cache: CacheDefence,
    /// What else it tells of itself (context length, model file, nodes), as JSON text where it is more than a word.
    pub details: BTreeMap<String, String>,
}

/// How a server's prefix cache is kept from answering instead of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheDefence {
    /// It is not: requests may find their prompt in it.
    #[default]
    None,
    /// The server's own switch, in each request.
    Switch,
    /// Digits in front of each prompt, others in each request, always as many.
    Nonce,
}

/// What a server does for a request before its model begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// The way there and back: a question that costs it nothing, on a connection of its own, as a request has one.
    RoundTrip,
    /// Messages to text, by its chat template.
    Template,
    /// Text to tokens.
    Tokenize,
}

/// What that gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Nothing that is of use.
    Nothing,
    /// The rendered text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// What a server says of one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Prompt tokens, those from its cache included.
    pub prompt_tokens: Option<usize>,
    /// Prompt tokens that came from its prefix cache.
    pub cached_tokens: Option<usize>,
    /// Tokens that came out, as it counts them.
    pub output_tokens: Option<usize>,
    /// Time of the prompt.
    pub prefill: Option<Nanos>,
    /// Time of the output.
    pub decode: Option<Nanos>,
    /// Time to have the model ready before the request.
    pub load: Option<Nanos>,
    /// Prompt tokens a second.
    pub prefill_tps: Option<f64>,
    /// Output tokens a second.
    pub decode_tps: Option<f64>,
    /// Highest memory of its device.
    pub peak_memory_bytes: Option<u64>,
    /// Energy of the request in joules.
    pub energy_j: Option<f64>,
    /// What its prefix cache had of the prompt, in its own words or from the tokens that it counts.
    pub cache: Option<CacheHit>,
    /// Pieces of text that arrived, each in one event.
    pub chunks: usize,
    /// What stood in front of the prompt to keep the cache out; the prompt is longer by it.
    pub nonce: Option<String>,
}

/// How much of a prompt a server's prefix cache had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheHit {
    /// Nothing.
    Cold,
    /// A part.
    Partial,
    /// All that it can have: every token but the last.
    Exact,
}
