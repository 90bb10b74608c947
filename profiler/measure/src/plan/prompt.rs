//! [`PreparedPrompt`]: a prompt in the form that one model takes.

use engine_api::Prompt;
use models::chat::Message;
use serde::{Deserialize, Serialize};

/// A prompt for one model.
#[derive(Debug, Clone)]
pub struct PreparedPrompt {
    /// Its id.
    pub id: String,
    /// What it tests.
    pub tests: String,
    /// The text after the chat template; empty if the prompt is token ids.
    pub rendered: String,
    /// What the engine gets.
    pub input: PromptInput,
    /// The token ids that the engine should compute; empty if only a server has the tokenizer.
    pub ids: Vec<u32>,
    /// The most tokens of the answer.
    pub new_tokens: usize,
}

/// The input of a model, in a form that can be sent to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptInput {
    /// Rendered text.
    Text {
        /// The text.
        text: String,
        /// Prepend the BOS token.
        add_bos: bool,
        /// The messages that were rendered, for engines that apply the chat template themselves; empty for plain text.
        messages: Vec<Message>,
    },
    /// Token ids.
    Tokens(Vec<u32>),
}

impl PromptInput {
    /// Whether it is messages: a server renders them by its own chat template.
    pub fn is_chat(&self) -> bool {
        matches!(self, Self::Text { messages, .. } if !messages.is_empty())
    }

    /// The same as engines take it.
    pub fn prompt(&self) -> Prompt {
        match self {
            Self::Text { text, add_bos, messages } => {
                Prompt::Text { text: text.clone(), add_bos: *add_bos, messages: messages.clone() }
            }
            Self::Tokens(ids) => Prompt::Tokens(ids.clone()),
        }
    }
}

/// Tokens in the context before the prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filler(Vec<u32>);

impl Filler {
    /// These tokens.
    pub(crate) const fn new(ids: Vec<u32>) -> Self {
        Self(ids)
    }

    /// Their number.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Their ids.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }
}
