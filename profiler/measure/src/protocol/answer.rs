//! [`Answer`]: what a request produced.

use engine_api::{FinishReason, ServerReport};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The answer of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its token ids; empty if the engine does not report them.
    pub token_ids: Vec<u32>,
    /// The prompt's token ids as the model got them.
    pub prompt_ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub output_tokens: usize,
    /// Why it ended.
    pub finish: FinishReason,
    /// The server's own figures of the request.
    #[serde(default)]
    pub reported: Option<ServerReport>,
}

impl Answer {
    /// SHA-256 of the ids, or of the text where the ids are unknown.
    pub fn sha256(&self) -> String {
        if self.token_ids.is_empty() { sha256_of_text(&self.text) } else { sha256_of_ids(&self.token_ids) }
    }
}

/// SHA-256 over token ids, four bytes each, little endian.
fn sha256_of_ids(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    hex(&Sha256::digest(bytes))
}

fn sha256_of_text(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_every_id() {
        assert_ne!(sha256_of_ids(&[1, 2]), sha256_of_ids(&[2, 1]));
        assert_eq!(sha256_of_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
