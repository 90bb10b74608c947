//! A request to a session, and what it consumed and produced.

use models::chat::Message;
use serde::{Deserialize, Serialize};

use crate::ServerReport;

/// One request: greedy decoding (temperature 0) of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The prompt.
    pub prompt: Prompt,
    /// Maximum number of output tokens.
    pub max_new_tokens: usize,
    /// Continue after an end-of-generation token.
    pub ignore_eos: bool,
}

impl Request {
    /// The most pieces of text that are read of a server's answer: several per token, for servers that send less than a token at
    /// once, and some more. A server that sends more ignores the limit of the request.
    #[must_use]
    pub const fn most_pieces(&self) -> usize {
        self.max_new_tokens.saturating_mul(4).saturating_add(64)
    }
}

/// The input of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text, already rendered; special tokens in it are parsed.
    Text {
        /// The rendered text.
        text: String,
        /// Prepend the model's BOS token (the text does not contain it).
        add_bos: bool,
        /// The messages that were rendered, for engines that apply the chat template themselves; empty for plain text.
        messages: Vec<Message>,
    },
    /// Token ids: exact lengths, no tokenization phase.
    Tokens(Vec<u32>),
}

/// What a request consumed and produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The prompt's token ids as the model got them; empty if the engine does not report them.
    pub prompt_ids: Vec<u32>,
    /// Number of prompt tokens; 0 if a server does not report it, in which case [`ServerReport::prompt_tokens`] is `None`.
    pub prompt_tokens: usize,
    /// Number of output tokens, an end-of-generation token included; the number of pieces if a server does not count tokens.
    pub output_tokens: usize,
    /// Why generation ended.
    pub finish: FinishReason,
    /// What a server reports about the request; `None` for an engine in this process.
    pub reported: Option<ServerReport>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model produced an end-of-generation token.
    Stop,
    /// The maximum number of tokens was reached.
    Length,
    /// The observer stopped it.
    Interrupted,
}
