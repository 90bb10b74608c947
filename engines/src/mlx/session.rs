//! One loaded model on MLX: the session and its steps.

use mlx_rs::{Array, memory};
use models::Checkpoint;

use super::choice::Choice;
use super::decoder::Decoder;
use super::device::Place;
use super::{DEFAULT_BATCH, NAME, at, failed, pipeline};
use crate::greedy::Greedy;
use crate::text::Text;
use crate::{DeviceMemory, EngineError, KvBytes, LoadOptions, Observer, Request, Session, Steps, Usage};

/// A model, its tokenizer and its context.
pub(super) struct MlxSession {
    pub(super) decoder: Decoder,
    pub(super) text: Text,
    place: Place,
    context: usize,
    /// Those of the last token of the context, `[1, vocab]`.
    pub(super) logits: Option<Array>,
}

impl MlxSession {
    pub(super) fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, EngineError> {
        let place = Place::parse(&options.device)?;
        place.enter();
        let decoder = Decoder::load(checkpoint, options, DEFAULT_BATCH)?;
        // Copies of other types were needed while the weights were read, and are not any more.
        memory::clear_cache().and_then(|()| memory::reset_peak_memory()).map_err(at("load"))?;
        Ok(Self { decoder, text: Text::new(NAME, checkpoint), place, context: options.context, logits: None })
    }

    /// The graph of tokens behind the context: logits that are not computed yet.
    pub(super) fn forward(&mut self, tokens: &[u32]) -> Result<Array, EngineError> {
        self.place.enter();
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let needed = self.decoder.position() + tokens.len();
        if needed > self.context {
            return Err(EngineError::ContextFull { needed, context: self.context });
        }
        let vocab = self.decoder.vocab();
        if let Some(outside) = tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(failed("embed", format!("token {outside} is outside of the vocabulary of {vocab}")));
        }
        self.logits = None;
        self.decoder.wait_for_ops(traces::record::is_on());
        self.decoder.forward(tokens)
    }

    /// Tokens behind the context, computed.
    fn run(&mut self, place: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        let logits = self.forward(tokens)?;
        logits.eval().map_err(at(place))?;
        self.logits = Some(logits);
        Ok(())
    }

    fn computed(&self, step: &'static str) -> Result<&Array, EngineError> {
        self.logits.as_ref().ok_or(EngineError::OutOfOrder { step, needs: "prefill" })
    }
}

impl Session for MlxSession {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        self.text.restart();
        pipeline::generate(self, request, observer)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.decoder.rewind(0);
        self.text.restart();
        self.logits = None;
        memory::reset_peak_memory().map_err(at("reset"))
    }

    fn kv_bytes(&self) -> KvBytes {
        self.decoder.kv_bytes()
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        let bytes = |bytes: usize| bytes as u64;
        Some(DeviceMemory {
            active: memory::active_memory().ok().map(bytes)?,
            peak: memory::peak_memory().ok().map(bytes),
            cache: memory::cache_memory().ok().map(bytes),
        })
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        Some(self)
    }
}

impl Steps for MlxSession {
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        self.text.tokenize(text, add_bos)
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.run("prefill", tokens)
    }

    fn decode(&mut self, token: u32) -> Result<(), EngineError> {
        self.run("decode", &[token])
    }

    fn sample(&mut self) -> Result<u32, EngineError> {
        Choice::of(self.computed("sample")?)?.wait()
    }

    fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        self.text.detokenize(token)
    }

    /// Every step has waited for its own result.
    fn sync(&mut self) -> Result<(), EngineError> {
        self.logits.as_ref().map_or(Ok(()), |logits| logits.eval().map_err(at("sync")))
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.computed("logits")?.to_vec_exact().map_err(|error| failed("logits", error.to_string()))
    }
}

impl Greedy for MlxSession {
    fn room(&self) -> (usize, usize) {
        (self.decoder.position(), self.context)
    }

    fn end_of_generation(&self) -> &[u32] {
        self.text.end_of_generation()
    }

    fn flush(&mut self) -> String {
        self.text.flush()
    }
}
