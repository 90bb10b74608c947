//! The four traits: an engine, a loaded model, its single steps, the server that has it.

use models::Checkpoint;

use crate::{Ahead, Caps, EngineError, Given, Identity, LoadOptions, Observer, Prompt, Remote, Request, Usage};

/// A backend.
pub trait Engine: Send + Sync {
    /// Name, version, device.
    fn identity(&self) -> Identity;
    /// What it can do.
    fn caps(&self) -> Caps;
    /// Whether it runs the last block, behind its attention, for those tokens alone whose logits are wanted.
    fn prunes_last_block(&self) -> bool {
        false
    }
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
    /// Makes a session with a server that has the weights already, or starts it: it can answer when this returns. Only for
    /// engines whose [`Caps::remote`] says so.
    ///
    /// # Errors
    /// When no server answers, or the engine computes in this process.
    fn connect(&self, _options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        Err(EngineError::OutOfOrder { step: "connect", needs: "an engine that asks a server" })
    }
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
    /// What the engine's own allocator holds on its device; `None` where it has no account of its own.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }
    /// The server that computes, where it is another process.
    fn server(&self) -> Option<&dyn Server> {
        None
    }
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

/// A server that has the model.
pub trait Server {
    /// Who it is, as far as it has told by now.
    fn remote(&self) -> Remote;
    /// Does one thing of what comes before the model for this prompt, and nothing else; the caller times it. `None` where the
    /// server has no question for it.
    ///
    /// # Errors
    /// When nobody answers, or the answer is not what was to be expected.
    fn ahead(&self, part: Ahead, prompt: &Prompt) -> Result<Option<Given>, EngineError>;
}

/// Bytes of a KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvBytes {
    /// Holding keys and values of the current context.
    pub used: u64,
    /// Taken from the system for it.
    pub reserved: u64,
}

/// What an engine's own allocator says of its device's memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceMemory {
    /// In use.
    pub active: u64,
    /// Most that was in use since the session was made or last reset; `None` where it keeps no mark.
    pub peak: Option<u64>,
    /// Kept for reuse and not in use; `None` where it keeps none or does not tell.
    pub cache: Option<u64>,
}
