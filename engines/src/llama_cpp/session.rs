//! One loaded model on llama.cpp.

use models::Checkpoint;

use super::raw::{Context, ContextOptions, Graph, Model, Part};
use super::settings::Settings;
use super::text_decoder::TextDecoder;
use super::{described, failed, ops, unsupported};
use crate::greedy::{GreedySession, argmax, generate};
use crate::{EngineError, KvBytes, LoadOptions, Observer, Request, Session, Steps, Usage};

/// A model and its one context.
pub(super) struct LlamaSession {
    context: Context,
    text: TextDecoder,
    /// Whether the tokenizer prepends a space to every text.
    space_prefix: bool,
    end_of_generation: Vec<u32>,
    vocab: usize,
    /// Capacity in tokens as requested; llama.cpp rounds up what it reserves.
    capacity: usize,
    position: usize,
    has_logits: bool,
    /// Of a model that is described.
    kv_bytes_per_token: Option<u64>,
}

impl LlamaSession {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        settings: &Settings,
        batch: usize,
    ) -> Result<Self, EngineError> {
        let spec = described(checkpoint);
        let model = Model::load(checkpoint.path(), Part::All, settings)?;
        if model.has_encoder() {
            return Err(unsupported(
                "a model with an encoder, which reads its whole input before it writes".to_owned(),
                "take a model that continues a text",
            ));
        }
        let vocab = model.vocab();
        if let Some(rows) = spec.map(|spec| spec.vocab).filter(|rows| *rows != vocab) {
            return Err(failed("load", format!("expected {rows} tokens in the vocabulary, llama.cpp found {vocab}")));
        }
        let end_of_generation = model.end_of_generation();
        let space_prefix = prepends_space(&model)?;
        let context = Context::new(
            model,
            ContextOptions {
                context: options.context,
                batch,
                threads: options.threads,
                settings: *settings,
                kv_types: options.kv_type,
                flash_attention: options.flash_attention,
                graph: match spec {
                    Some(spec) => Graph::Described(ops::Described::new(spec)),
                    None => Graph::Opaque,
                },
            },
        )?;
        // llama.cpp's default: layers with a window keep all positions too.
        let per_token = spec.map(|spec| spec.kv_bytes_per_token(options.kv_type).get());
        Ok(Self {
            context,
            text: TextDecoder::new(space_prefix),
            space_prefix,
            end_of_generation,
            vocab,
            capacity: options.context,
            position: 0,
            has_logits: false,
            kv_bytes_per_token: per_token,
        })
    }

    fn forward(&mut self, place: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let needed = self.position + tokens.len();
        if needed > self.capacity {
            return Err(EngineError::ContextFull { needed, context: self.capacity });
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.vocab) {
            return Err(failed(place, format!("token {id} is not in the vocabulary of {}", self.vocab)));
        }
        self.has_logits = false;
        self.context.decode(place, tokens)?;
        self.position = needed;
        self.has_logits = true;
        Ok(())
    }

    fn needs_logits(&self, step: &'static str) -> Result<(), EngineError> {
        if self.has_logits { Ok(()) } else { Err(EngineError::OutOfOrder { step, needs: "prefill" }) }
    }
}

/// Whether the tokenizer prepends a space to a text.
fn prepends_space(model: &Model) -> Result<bool, EngineError> {
    if !model.has_texts() {
        return Ok(false);
    }
    let ids = model.tokenize("a", false, true)?;
    let first = ids.first().map(|id| model.piece(*id)).transpose()?;
    Ok(first.is_some_and(|bytes| bytes.starts_with(b" ")))
}

impl Session for LlamaSession {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        self.text = TextDecoder::new(self.space_prefix);
        generate(self, request, observer)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.context.clear();
        self.text = TextDecoder::new(self.space_prefix);
        self.position = 0;
        self.has_logits = false;
        Ok(())
    }

    fn rewind(&mut self, tokens: usize) -> Result<bool, EngineError> {
        if tokens > self.position || !self.context.truncate(tokens) {
            return Ok(false);
        }
        self.text = TextDecoder::new(self.space_prefix);
        (self.position, self.has_logits) = (tokens, false);
        Ok(true)
    }

    fn kv_bytes(&self) -> Option<KvBytes> {
        let Some(per_token) = self.kv_bytes_per_token else { return self.context.cache_bytes(self.position) };
        let tokens = |count: usize| count as u64 * per_token;
        Some(KvBytes { used: tokens(self.position), reserved: tokens(self.context.cells()) })
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        Some(self)
    }
}

impl Steps for LlamaSession {
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        self.context.model().tokenize(text, add_bos, true)
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.forward("prefill", tokens)
    }

    fn decode(&mut self, token: u32) -> Result<(), EngineError> {
        self.forward("decode", &[token])
    }

    fn sample(&mut self) -> Result<u32, EngineError> {
        self.needs_logits("sample")?;
        argmax(self.context.logits()?).ok_or_else(|| {
            failed("sample", "the logits are not finite: the weights are damaged or belong to another model")
        })
    }

    fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        if token as usize >= self.vocab {
            return Err(failed("detokenize", format!("token {token} is not in the vocabulary of {}", self.vocab)));
        }
        if self.end_of_generation.contains(&token) {
            return Ok(String::new());
        }
        let bytes = self.context.model().piece(token)?;
        Ok(self.text.push(&bytes))
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.context.wait();
        Ok(())
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.needs_logits("logits")?;
        Ok(self.context.logits()?.to_vec())
    }
}

impl GreedySession for LlamaSession {
    fn context_use(&self) -> (usize, usize) {
        (self.position, self.capacity)
    }

    fn end_of_generation(&self) -> &[u32] {
        &self.end_of_generation
    }

    fn flush(&mut self) -> String {
        self.text.flush()
    }
}
