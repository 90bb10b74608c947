//! One loaded model on candle: the session and its steps.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::decoder::Decoder;
use super::failed;
use super::kernels::Kernels;
use crate::greedy::{GreedySession, argmax, generate};
use crate::text::Text;
use crate::{DeviceMemory, EngineError, KvBytes, Observer, Request, Session, Steps, Usage};

/// A model, its tokenizer and its context.
pub(super) struct CandleSession<K: Kernels> {
    decoder: Decoder<K>,
    text: Text,
    context: usize,
    /// Whether the logits are those of the last token of the context.
    has_logits: bool,
}

impl<K: Kernels> CandleSession<K> {
    pub(super) fn new(decoder: Decoder<K>, text: Text, context: usize) -> Self {
        Self { decoder, text, context, has_logits: false }
    }

    /// Appends tokens to the context and runs them. A panic of candle's kernels becomes an error.
    fn forward(&mut self, place: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let needed = self.decoder.position() + tokens.len();
        if needed > self.context {
            return Err(EngineError::ContextFull { needed, context: self.context });
        }
        self.has_logits = false;
        catch_panic(place, || self.decoder.forward(tokens))?;
        self.has_logits = true;
        Ok(())
    }

    fn needs_logits(&self, step: &'static str) -> Result<(), EngineError> {
        if self.has_logits { Ok(()) } else { Err(EngineError::OutOfOrder { step, needs: "prefill" }) }
    }
}

/// Runs `work`; a panic in it becomes an error that names `place`.
pub(super) fn catch_panic<T>(place: &str, work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message =
            panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(failed(place, message.unwrap_or("a panic without a message")))
    })
}

impl<K: Kernels> Session for CandleSession<K> {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        self.text.restart();
        if traces::record::is_on() {
            self.decoder.prepare_recording();
        }
        generate(self, request, observer)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.decoder.reset();
        self.text.restart();
        self.has_logits = false;
        Ok(())
    }

    fn rewind(&mut self, tokens: usize) -> Result<bool, EngineError> {
        self.text.restart();
        self.has_logits = false;
        Ok(self.decoder.rewind(tokens))
    }

    fn kv_bytes(&self) -> Option<KvBytes> {
        Some(self.decoder.kv_bytes())
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        self.decoder.device_memory()
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        Some(self)
    }
}

impl<K: Kernels> Steps for CandleSession<K> {
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        self.text.tokenize(text, add_bos)
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.forward("prefill", tokens)
    }

    fn decode(&mut self, token: u32) -> Result<(), EngineError> {
        self.forward("decode", &[token])
    }

    fn sample(&mut self) -> Result<u32, EngineError> {
        self.needs_logits("sample")?;
        let logits = self.decoder.logits()?;
        argmax(&logits).ok_or_else(|| {
            failed("sample", "the logits are not finite: the weights are damaged or belong to another model")
        })
    }

    fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        self.text.detokenize(token)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.decoder.sync()
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.needs_logits("logits")?;
        Ok(self.decoder.logits()?.into_owned())
    }
}

impl<K: Kernels> GreedySession for CandleSession<K> {
    fn context_use(&self) -> (usize, usize) {
        (self.decoder.position(), self.context)
    }

    fn end_of_generation(&self) -> &[u32] {
        self.text.end_of_generation()
    }

    fn flush(&mut self) -> String {
        self.text.flush()
    }
}
