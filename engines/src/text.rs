//! A checkpoint's tokenizer as a session uses it: text to ids, ids to text as it arrives.

use models::{Checkpoint, DecodeStream, EncodeOptions, Tokenizer};

use crate::EngineError;

/// A tokenizer and the text that it is in the middle of.
pub(crate) struct Text {
    engine: &'static str,
    /// A checkpoint without a tokenizer still runs token ids; why it has none is said when text is asked for.
    tokenizer: Result<(Tokenizer, DecodeStream), String>,
}

impl Text {
    pub(crate) fn new(engine: &'static str, checkpoint: &Checkpoint) -> Self {
        let tokenizer = checkpoint.tokenizer().map(|tokenizer| {
            let stream = tokenizer.decode_stream();
            (tokenizer, stream)
        });
        Self { engine, tokenizer: tokenizer.map_err(|error| error.to_string()) }
    }

    /// Text to ids, special tokens parsed.
    pub(crate) fn tokenize(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        let (tokenizer, _) = self.tokenizer.as_ref().map_err(|reason| self.missing("tokenize", reason))?;
        Ok(tokenizer.encode(text, EncodeOptions { add_bos, parse_special: true })?)
    }

    /// The text that a token completes; empty for a token that ends a generation.
    pub(crate) fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        match &mut self.tokenizer {
            Ok((tokenizer, _)) if tokenizer.ends_generation(token) => Ok(String::new()),
            Ok((_, stream)) => Ok(stream.push(token)?.unwrap_or_default()),
            Err(reason) => {
                let reason = reason.clone();
                Err(self.missing("detokenize", &reason))
            }
        }
    }

    /// What is left of a character that was cut in half.
    pub(crate) fn flush(&mut self) -> String {
        self.tokenizer.as_mut().ok().and_then(|(_, stream)| stream.flush()).unwrap_or_default()
    }

    /// Forgets the text so far.
    pub(crate) fn restart(&mut self) {
        if let Ok((tokenizer, stream)) = &mut self.tokenizer {
            *stream = tokenizer.decode_stream();
        }
    }

    /// The ids that end a generation.
    pub(crate) fn end_of_generation(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&[], |(tokenizer, _)| tokenizer.end_of_generation())
    }

    fn missing(&self, place: &str, reason: &str) -> EngineError {
        EngineError::Failed { engine: self.engine, place: place.to_owned(), reason: reason.to_owned() }
    }
}
