//! What is asked of a session, and what it used.

use models::chat::Message;
use serde::{Deserialize, Serialize};

use crate::Reported;

/// One request: greedy decoding (temperature 0) of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What goes in.
    pub prompt: Prompt,
    /// At most so many tokens come out.
    pub max_new_tokens: usize,
    /// Go on past an end-of-generation token.
    pub ignore_eos: bool,
}

/// What goes into the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text, already rendered; special tokens in it are parsed.
    Text {
        /// The rendered text.
        text: String,
        /// Put the model's BOS token in front (the text does not hold it already).
        add_bos: bool,
        /// What was rendered, for engines that apply the chat template themselves; empty where the text goes in as it is.
        messages: Vec<Message>,
    },
    /// Token ids as they are: exact lengths, no tokenization phase.
    Tokens(Vec<u32>),
}

/// What a request used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The prompt's token ids as the model saw them; empty where the engine does not tell.
    pub prompt_ids: Vec<u32>,
    /// Tokens of the prompt; 0 where a server does not tell, which then shows in [`Reported::prompt_tokens`].
    pub prompt_tokens: usize,
    /// Tokens that came out, an end-of-generation token included; the pieces, where a server does not count tokens.
    pub output_tokens: usize,
    /// Why it ended.
    pub finish: FinishReason,
    /// What a server says of it; `None` for an engine in this process.
    pub reported: Option<Reported>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model gave an end-of-generation token.
    Stop,
    /// The asked number of tokens is out.
    Length,
    /// The observer ended it.
    Interrupted,
}
