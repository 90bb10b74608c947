//! The tokenizer of a session: text to ids, and output ids to text.

use models::{Checkpoint, DecodeStream, EncodeOptions, Tokenizer};

use crate::EngineError;

/// A tokenizer and the state of the output text.
pub(crate) struct Text {
    engine: &'static str,
    /// A checkpoint without a tokenizer still runs token ids; the error is reported when text is requested.
    tokenizer: Result<(Tokenizer, DecodeStream), models::Error>,
}

impl Text {
    pub(crate) fn new(engine: &'static str, checkpoint: &Checkpoint) -> Self {
        let tokenizer = checkpoint.tokenizer().map(|tokenizer| {
            let stream = tokenizer.decode_stream();
            (tokenizer, stream)
        });
        Self { engine, tokenizer }
    }

    /// Text to ids, special tokens parsed.
    pub(crate) fn tokenize(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        match &self.tokenizer {
            Ok((tokenizer, _)) => Ok(tokenizer.encode(text, EncodeOptions { add_bos, parse_special: true })?),
            Err(error) => Err(no_tokenizer(self.engine, "tokenize", error)),
        }
    }

    /// The text that a token completes; empty for a token that ends a generation.
    pub(crate) fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        match &mut self.tokenizer {
            Ok((tokenizer, _)) if tokenizer.ends_generation(token) => Ok(String::new()),
            // No text: the token completes no character.
            Ok((_, stream)) => Ok(stream.push(token)?.unwrap_or_default()),
            Err(error) => Err(no_tokenizer(self.engine, "detokenize", error)),
        }
    }

    /// The rest of an incomplete character; empty if there is none.
    pub(crate) fn flush(&mut self) -> String {
        match &mut self.tokenizer {
            Ok((_, stream)) => stream.flush().unwrap_or_default(),
            // Without a tokenizer there is no text.
            Err(_) => String::new(),
        }
    }

    /// Starts a new text.
    pub(crate) fn restart(&mut self) {
        if let Ok((tokenizer, stream)) = &mut self.tokenizer {
            *stream = tokenizer.decode_stream();
        }
    }

    /// The ids that end a generation.
    pub(crate) fn end_of_generation(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&[], |(tokenizer, _)| tokenizer.end_of_generation())
    }
}

/// The error of a step that needs the tokenizer which the checkpoint lacks.
fn no_tokenizer(engine: &'static str, step: &str, error: &models::Error) -> EngineError {
    EngineError::failed_with_advice(engine, step, error.to_string(), error.advice())
}
