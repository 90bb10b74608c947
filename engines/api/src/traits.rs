//! The traits: an engine, its vocabulary, a loaded model, its single steps, and the server that computes.

use models::Checkpoint;

use crate::{
    Caps, Device, EngineError, Identity, LoadOptions, Observer, PreprocessingOutput, PreprocessingStep, Prompt,
    Request, ServerInfo, ServerLoad, Usage,
};

/// A backend.
pub trait Engine: Send + Sync {
    /// Its identity as it computes on a device, which is that of the [`LoadOptions`] of a session. An engine that has no choice of
    /// devices names its own one. [`Engine::check`] tests whether the device is supported.
    fn identity_on(&self, device: &Device) -> Identity;
    /// Its identity on the default device: for lists of engines, never for a session.
    fn identity(&self) -> Identity {
        self.identity_on(&Device::default())
    }
    /// Its capabilities.
    fn caps(&self) -> Caps;
    /// Whether it runs the last block, after its attention, only for tokens whose logits are requested.
    fn prunes_last_block(&self) -> bool {
        false
    }
    /// The architectures, by the names of their descriptions, in whose models it does not, although it does in others.
    fn whole_last_blocks(&self) -> &'static [&'static str] {
        &[]
    }
    /// Checks device and settings before anything is loaded. May be called in any process.
    ///
    /// # Errors
    /// When one of them is unknown or not in this build.
    fn check(&self, options: &LoadOptions) -> Result<(), EngineError>;
    /// Makes a session: weights are resident and the KV cache is reserved on return.
    ///
    /// # Errors
    /// When the checkpoint, the architecture or an option is not supported, or memory is insufficient.
    fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;
    /// The vocabulary that the engine itself reads from a checkpoint, without its weights; `None` if the engine has none of its own.
    ///
    /// # Errors
    /// When the engine cannot read the checkpoint.
    fn vocabulary(&self, _checkpoint: &Checkpoint) -> Result<Option<Box<dyn Vocabulary>>, EngineError> {
        Ok(None)
    }
    /// Makes a session with a server that has the weights, or starts that server: it is ready on return. Only for engines with
    /// [`Caps::remote`]. `notify` receives messages for the user about what is waited for.
    ///
    /// # Errors
    /// When no server answers, or the engine computes in this process.
    fn connect(&self, _options: &LoadOptions, _notify: &mut dyn FnMut(&str)) -> Result<Box<dyn Session>, EngineError> {
        Err(EngineError::OutOfOrder { step: "connect", needs: "an engine that uses a server" })
    }
}

/// A vocabulary as an engine reads it from a model's file: for models whose tokenizer is supported nowhere else.
pub trait Vocabulary {
    /// What is known of its tokens.
    fn facts(&self) -> VocabularyFacts;
    /// Text to ids, with exactly one BOS in front if the model expects one; special tokens in the text are parsed if requested.
    ///
    /// # Errors
    /// When the file has no tokenizer, or it fails.
    fn encode(&self, text: &str, parse_special: bool) -> Result<EncodedText, EngineError>;
}

/// The tokens of a vocabulary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VocabularyFacts {
    /// Ids of ordinary tokens: without control tokens and those that end a generation. Of a vocabulary without texts, all ids.
    pub ordinary: Vec<u32>,
    /// Ids that end a generation.
    pub ends: Vec<u32>,
    /// Whether it has texts: files for tests have ids alone.
    pub has_texts: bool,
}

/// A text as ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedText {
    /// The ids.
    pub ids: Vec<u32>,
    /// Whether a BOS was added in front, which the text itself does not have.
    pub add_bos: bool,
}

/// One loaded model with one context.
pub trait Session {
    /// Runs a request at the engine's own pace, from an empty context or, after [`Steps::prefill`], after the present tokens.
    ///
    /// # Errors
    /// When the request does not fit the context or the engine fails; the session can be reset and used again.
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError>;
    /// Clears the context; weights and reserved memory stay.
    ///
    /// # Errors
    /// When the engine fails.
    fn reset(&mut self) -> Result<(), EngineError>;
    /// Drops what follows the first `tokens` tokens of the context. `false`: the engine cannot, for instance because a sliding window
    /// or a state has overwritten what they need; the context is then to be reset.
    ///
    /// # Errors
    /// When the engine fails.
    fn rewind(&mut self, _tokens: usize) -> Result<bool, EngineError> {
        Ok(false)
    }
    /// Bytes of the KV cache; `None` where they are not known: of a server, or of a model that is not described before it has computed
    /// anything.
    fn kv_bytes(&self) -> Option<KvBytes>;
    /// Memory of the engine's own device allocator; `None` if it has no statistics.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }
    /// The server that computes, if it is another process.
    fn server(&self) -> Option<&dyn Server> {
        None
    }
    /// The single steps, if this engine is a white box.
    fn steps(&mut self) -> Option<&mut dyn Steps>;
}

/// The steps of a request, one by one; the caller times them.
pub trait Steps {
    /// Rendered text to token ids (special tokens parsed); with the model's BOS in front if requested.
    ///
    /// # Errors
    /// When the tokenizer fails.
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError>;
    /// Appends tokens to the context and runs them; afterwards the logits are those of the last token.
    ///
    /// # Errors
    /// When they do not fit the context or the engine fails.
    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError>;
    /// Appends one token to the context and runs it.
    ///
    /// # Errors
    /// As [`Steps::prefill`].
    fn decode(&mut self, token: u32) -> Result<(), EngineError>;
    /// The next token: greedy, the lowest id among equals.
    ///
    /// # Errors
    /// When nothing was run yet.
    fn sample(&mut self) -> Result<u32, EngineError>;
    /// The text that a token completes; empty for an incomplete character.
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
    /// Its identity, as far as it is known by now.
    fn info(&self) -> ServerInfo;
    /// How busy it is now, and what it has counted since its start; `None` if it does not say. To be called outside of timed regions.
    ///
    /// # Errors
    /// When the server does not answer, or not as expected.
    fn load(&self) -> Result<Option<ServerLoad>, EngineError> {
        Ok(None)
    }
    /// Runs one step that comes before the model for this prompt, and nothing else; the caller times it. `None` if the server has
    /// no endpoint for it, or the prompt does not need it.
    ///
    /// # Errors
    /// When the server does not answer, or not as expected.
    fn preprocess(&self, part: PreprocessingStep, prompt: &Prompt) -> Result<Option<PreprocessingOutput>, EngineError>;
}

/// Bytes of a KV cache, states of recurrent layers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvBytes {
    /// Bytes with keys and values of the current context.
    pub used: u64,
    /// Bytes reserved.
    pub reserved: u64,
}

/// Statistics of an engine's own device allocator, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceMemory {
    /// In use.
    pub active: u64,
    /// Peak use since the session was made or last reset; `None` if the allocator does not track it.
    pub peak: Option<u64>,
    /// Kept for reuse and not in use; `None` if the allocator keeps none or does not report it.
    pub cache: Option<u64>,
}
