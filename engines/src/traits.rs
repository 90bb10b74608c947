//! The three traits: an engine, a loaded model, its single steps.

use models::Checkpoint;

use crate::{Caps, EngineError, Identity, LoadOptions, Observer, Request, Usage};

/// A backend.
pub trait Engine: Send + Sync {
    /// Name, version, device.
    fn identity(&self) -> Identity;
    /// What it can do.
    fn caps(&self) -> Caps;
    /// Whether it knows the device and the settings, before anything is loaded; called in any process.
    ///
    /// # Errors
    /// When one of them is not known or not in this build.
    fn check(&self, options: &LoadOptions) -> Result<(), EngineError>;
    /// Makes a session: the weights are resident and the KV cache is reserved when this returns.
    ///
    /// # Errors
    /// When the checkpoint, the architecture or an option is not supported, or memory does not suffice.
    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;
}

/// One loaded model with one context.
pub trait Session {
    /// Answers a request at the engine's own pace, from an empty context or, after [`Steps::prefill`], behind what it holds.
    ///
    /// # Errors
    /// When the request does not fit the context or the engine fails; the session can be reset and used again.
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError>;
    /// Forgets the context; weights and reserved memory stay.
    ///
    /// # Errors
    /// When the engine fails.
    fn reset(&mut self) -> Result<(), EngineError>;
    /// Bytes of the KV cache.
    fn kv_bytes(&self) -> KvBytes;
    /// The single steps, where this engine is a white box.
    fn steps(&mut self) -> Option<&mut dyn Steps>;
}

/// A request's steps, one by one; the caller times them.
pub trait Steps {
    /// Rendered text to token ids (special tokens parsed); with the model's BOS in front if asked.
    ///
    /// # Errors
    /// When the tokenizer fails.
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError>;
    /// Runs tokens behind the context; afterwards the logits are those of the last token.
    ///
    /// # Errors
    /// When they do not fit the context or the engine fails.
    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError>;
    /// Runs one token behind the context.
    ///
    /// # Errors
    /// As [`Steps::prefill`].
    fn decode(&mut self, token: u32) -> Result<(), EngineError>;
    /// The next token: greedy, the lowest id among equals.
    ///
    /// # Errors
    /// When nothing was run yet.
    fn sample(&mut self) -> Result<u32, EngineError>;
    /// The text that a token completes; empty while a character is cut in half.
    ///
    /// # Errors
    /// When the token is not in the vocabulary.
    fn detokenize(&mut self, token: u32) -> Result<String, EngineError>;
    /// Waits until the device is done.
    ///
    /// # Errors
    /// When the device failed.
    fn sync(&mut self) -> Result<(), EngineError>;
    /// Logits of the last token that was run, `[vocab]`: for equivalence checks.
    ///
    /// # Errors
    /// When nothing was run yet.
    fn logits(&mut self) -> Result<Vec<f32>, EngineError>;
}

/// Bytes of a KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvBytes {
    /// Holding keys and values of the current context.
    pub used: u64,
    /// Taken from the system for it.
    pub reserved: u64,
}
