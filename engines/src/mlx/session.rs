//! One loaded model on MLX: the session, its steps, and requests at MLX's own pace.
//!
//! `generate` enqueues the step for the next token before it waits for the last one, so that the device has work while a result is
//! read and decoded to text. A step ends with the choice of its token, so that sampling is part of prefill and decode. Prefill also
//! enqueues the step after the prompt; that takes no time from the prompt, whose operations run before it. While marks are recorded
//! there is one step at a time, so that each operation is in its own phase.

use mlx_rs::{Array, memory};
use models::Checkpoint;

use super::decoder::Decoder;
use super::next_token::NextToken;
use super::{DEFAULT_BATCH, NAME, at, device, failed};
use crate::greedy::{GreedySession, phase, prompt_ids};
use crate::text::Text;
use crate::{
    Device, DeviceMemory, EngineError, FinishReason, Flow, KvBytes, LoadOptions, Observer, Phase, Piece, Request,
    Session, Steps, Usage,
};

/// A model, its tokenizer and its context.
pub(super) struct MlxSession {
    decoder: Decoder,
    text: Text,
    device: Device,
    context: usize,
    /// Logits of the last token of the context, `[1, vocab]`.
    logits: Option<Array>,
}

impl MlxSession {
    pub(super) fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, EngineError> {
        device::make_default(&options.device);
        let decoder = Decoder::load(checkpoint, options, DEFAULT_BATCH)?;
        // Temporary copies of other types were needed while the weights were read.
        memory::clear_cache().and_then(|()| memory::reset_peak_memory()).map_err(at("load"))?;
        Ok(Self {
            decoder,
            text: Text::new(NAME, checkpoint),
            device: options.device.clone(),
            context: options.context,
            logits: None,
        })
    }

    /// Builds the graph for tokens after the context: the logits are not computed yet.
    fn forward(&mut self, tokens: &[u32]) -> Result<Array, EngineError> {
        device::make_default(&self.device);
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let needed = self.decoder.position() + tokens.len();
        if needed > self.context {
            return Err(EngineError::ContextFull { needed, context: self.context });
        }
        let vocab = self.decoder.vocab();
        if let Some(outside) = tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(failed("embed", format!("token {outside} is not in the vocabulary of {vocab}")));
        }
        self.logits = None;
        self.decoder.wait_for_ops(traces::record::is_on());
        self.decoder.forward(tokens)
    }

    /// Appends tokens to the context, runs them and waits for the result.
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
        generate(self, request, observer)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.decoder.reset();
        self.text.restart();
        self.logits = None;
        memory::reset_peak_memory().map_err(at("reset"))
    }

    fn rewind(&mut self, tokens: usize) -> Result<bool, EngineError> {
        self.text.restart();
        self.logits = None;
        Ok(self.decoder.rewind(tokens))
    }

    fn kv_bytes(&self) -> Option<KvBytes> {
        Some(self.decoder.kv_bytes())
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        // These calls fail only if MLX has no allocator, which then has no statistics.
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
        NextToken::of(self.computed("sample")?)?.wait()
    }

    fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        self.text.detokenize(token)
    }

    /// Each step waits for its own result.
    fn sync(&mut self) -> Result<(), EngineError> {
        self.logits.as_ref().map_or(Ok(()), |logits| logits.eval().map_err(at("sync")))
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.computed("logits")?.to_vec_exact().map_err(|error| failed("logits", error.to_string()))
    }
}

impl GreedySession for MlxSession {
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

/// Runs a request; the observer is notified at the start and the end of each phase.
fn generate(session: &mut MlxSession, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
    let prompt_ids = prompt_ids(session, request, observer)?;
    let is_pipelined = !traces::record::is_on();
    let requested = request.max_new_tokens;
    let mut steps = Pipeline::default();
    let mut token =
        phase(session, observer, Phase::Prefill, |s| steps.prefill(s, &prompt_ids, is_pipelined && requested > 1))?;
    let mut output_tokens = 0;
    let mut finish = FinishReason::Length;
    while output_tokens < requested {
        let ends = !request.ignore_eos && session.end_of_generation().contains(&token);
        let is_last = ends || output_tokens + 1 == requested;
        let text = phase(session, observer, Phase::Detokenize, |s| {
            let mut text = s.detokenize(token)?;
            if is_last {
                text.push_str(&s.flush());
            }
            Ok(text)
        })?;
        let flow = observer.piece(Piece { index: output_tokens, token: Some(token), text: &text });
        output_tokens += 1;
        if ends || flow == Flow::Stop {
            finish = if ends { FinishReason::Stop } else { FinishReason::Interrupted };
            break;
        }
        if !is_last {
            let more = is_pipelined && output_tokens + 1 < requested;
            token = phase(session, observer, Phase::Decode, |s| steps.decode(s, token, more))?;
        }
    }
    steps.discard(session)?;
    Ok(Usage { prompt_tokens: prompt_ids.len(), prompt_ids, output_tokens, finish, reported: None })
}

/// The step that is enqueued already, if any.
#[derive(Default)]
struct Pipeline(Option<NextToken>);

impl Pipeline {
    /// The first token after the prompt; with `more`, the step after it is enqueued.
    fn prefill(&mut self, session: &mut MlxSession, ids: &[u32], more: bool) -> Result<u32, EngineError> {
        let logits = session.forward(ids)?;
        let next = NextToken::of(&logits)?;
        next.begin()?;
        session.logits = Some(logits);
        self.wait(session, &next, more)
    }

    /// The token after `token`, the last one.
    fn decode(&mut self, session: &mut MlxSession, token: u32, more: bool) -> Result<u32, EngineError> {
        let next = match self.0.take() {
            Some(next) => next,
            None => {
                let logits = session.forward(&[token])?;
                let next = NextToken::of(&logits)?;
                next.begin()?;
                session.logits = Some(logits);
                next
            }
        };
        self.wait(session, &next, more)
    }

    /// Enqueues the step after `token` if requested, then waits for `token`.
    fn wait(&mut self, session: &mut MlxSession, token: &NextToken, more: bool) -> Result<u32, EngineError> {
        if more {
            let logits = session.decoder.step(&token.token)?;
            let next = NextToken::of(&logits)?;
            next.begin()?;
            session.logits = Some(logits);
            self.0 = Some(next);
        }
        token.wait()
    }

    /// Waits for an enqueued step that is not needed, so that it does not overlap with later work, and removes its token.
    fn discard(self, session: &mut MlxSession) -> Result<(), EngineError> {
        let Some(next) = self.0 else { return Ok(()) };
        // By one token: a ring has room for the window and at least one.
        session.decoder.rewind(session.decoder.position() - 1);
        session.logits = None;
        next.wait().map(|_| ())
    }
}
