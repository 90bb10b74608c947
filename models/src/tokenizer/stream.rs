//! Decoding as the tokens come.

use super::Tokenizer;
use super::pieces::Utf8;
use crate::Error;

/// Decodes ids one at a time, at constant cost each. A character that spans several tokens comes whole with the last of
/// them; the texts, joined, are what [`Tokenizer::decode`] gives for all ids.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    utf8: Utf8,
    started: bool,
}

impl DecodeStream {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, utf8: Utf8::default(), started: false }
    }

    /// The text that a token completes; `None` where it completes none.
    ///
    /// # Errors
    /// When the id is outside the vocabulary; the stream is as it was.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, Error> {
        let piece = self.tokenizer.piece(id, !self.started, false)?;
        self.started = true;
        let mut text = String::new();
        self.utf8.push(piece, &mut text);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The end of the text: U+FFFD for a character that never got complete. The stream is as new then.
    pub fn flush(&mut self) -> Option<String> {
        let mut text = String::new();
        self.utf8.flush(&mut text);
        self.started = false;
        Some(text).filter(|text| !text.is_empty())
    }
}
