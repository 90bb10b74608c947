//! One loaded model of the mock.

use models::{Bytes, Checkpoint, Spec};
use traces::Nanos;

use super::NAME;
use super::machine::{Machine, mix};
use super::settings::{Kind, Settings};
use crate::greedy::{GreedySession, argmax, generate};
use crate::text::Text;
use crate::{EngineError, KvBytes, KvTypes, LoadOptions, Observer, Phase, Request, Session, Steps, Usage};

/// Default number of prompt tokens per pass.
const DEFAULT_BATCH: usize = 512;

/// A context that consists of a hash of its tokens.
pub(super) struct MockSession {
    machine: Machine,
    settings: Settings,
    text: Text,
    spec: Spec,
    kv_type: KvTypes,
    context: usize,
    batch: usize,
    /// Hash of all tokens of the context.
    history: u64,
    position: usize,
    /// Tokens sampled since the last prefill; `None` before the first.
    sampled: Option<usize>,
    /// Number of requests so far; each begins with a reset.
    requests: usize,
    /// How often each phase was run.
    phase_runs: [usize; Phase::ALL.len()],
    /// Memory that an injected fault allocated.
    allocated: Vec<Vec<u8>>,
    /// Size of the model's files.
    file_bytes: Bytes,
}

impl MockSession {
    pub(super) fn new(checkpoint: &Checkpoint, options: &LoadOptions, settings: Settings) -> Result<Self, EngineError> {
        let mut session = Self {
            machine: Machine::new(checkpoint, options, &settings)?,
            text: Text::new(NAME, checkpoint),
            spec: checkpoint.spec()?.clone(),
            kv_type: options.kv_type,
            context: options.context,
            batch: options.batch.unwrap_or(DEFAULT_BATCH).clamp(1, options.context.max(1)),
            history: mix(settings.seed),
            position: 0,
            sampled: None,
            requests: 0,
            phase_runs: [0; Phase::ALL.len()],
            allocated: Vec::new(),
            file_bytes: checkpoint.file_bytes(),
            settings,
        };
        session.enter(Phase::Load)?;
        session.machine.read(session.file_bytes.as_f64());
        Ok(session)
    }

    /// Counts a run of a phase and injects the faults of the settings.
    fn enter(&mut self, phase: Phase) -> Result<(), EngineError> {
        let run = &mut self.phase_runs[phase as usize];
        *run += 1;
        let run = *run;
        for fault in self.settings.faults.iter().filter(|fault| fault.phase == phase && fault.nth == run) {
            match fault.kind {
                Kind::Fail => {
                    let reason = format!("requested by the setting fail={}:{run}", phase.name());
                    return Err(EngineError::failed(NAME, phase.name(), reason));
                }
                Kind::Abort => std::process::abort(),
                Kind::Hang => loop {
                    std::thread::park();
                },
                // Not zero, so that the pages become resident.
                Kind::Allocate(bytes) => self.allocated.push(vec![0x5a; bytes]),
            }
        }
        self.disturb(phase, run);
        Ok(())
    }

    /// Simulates the disturbances of the settings in a run of a phase.
    fn disturb(&mut self, phase: Phase, run: usize) {
        let of = |amounts: &[(Phase, u64)]| amounts.iter().filter(|(of, _)| *of == phase).map(|(_, count)| count).sum();
        let (faults, allocations, wait): (u64, u64, u64) =
            (of(&self.settings.page_faults), of(&self.settings.allocations), of(&self.settings.waits_us));
        if self.settings.cold == Some(phase) && run == 1 {
            self.machine.read_file(self.file_bytes.0);
        }
        if faults > 0 {
            self.machine.fault(faults);
        }
        if allocations > 0 {
            self.machine.allocate(allocations);
        }
        if wait > 0 {
            self.machine.wait(Nanos::from_micros(wait).as_secs_f64());
        }
    }

    fn forward(&mut self, phase: Phase, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let needed = self.position + tokens.len();
        if needed > self.context {
            return Err(EngineError::ContextFull { needed, context: self.context });
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.spec.vocab) {
            let reason = format!("token {id} is not in the vocabulary of {}", self.spec.vocab);
            return Err(EngineError::failed(NAME, "embed", reason));
        }
        self.enter(phase)?;
        for batch in tokens.chunks(self.batch) {
            self.machine.pass(batch.len(), self.position);
            self.position += batch.len();
        }
        self.history = tokens.iter().fold(self.history, |hash, id| mix(hash ^ u64::from(*id)));
        Ok(())
    }

    /// The next token: never one that ends the generation, unless the settings request the end here.
    fn next(&self, sampled: usize) -> u32 {
        let ends = self.text.end_of_generation();
        if let (Some(end), true) = (ends.first(), self.settings.eog_after == Some(sampled + 1)) {
            return *end;
        }
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below the vocabulary, which fits")]
        let mut candidates = (0..).map(|step| (self.history.wrapping_add(step) % self.spec.vocab as u64) as u32);
        candidates.find(|id| !ends.contains(id)).unwrap_or(0)
    }

    fn logits_now(&self, step: &'static str) -> Result<Vec<f32>, EngineError> {
        let sampled = self.sampled.ok_or(EngineError::OutOfOrder { step, needs: "prefill" })?;
        let mut logits = vec![0.0; self.spec.vocab];
        logits[self.next(sampled) as usize] = 1.0;
        Ok(logits)
    }
}

impl Session for MockSession {
    fn generate(&mut self, request: &Request, observer: &mut dyn Observer) -> Result<Usage, EngineError> {
        self.text.restart();
        generate(self, request, observer)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.requests += 1;
        let load = self.settings.extra_load.filter(|load| (load.first..=load.last).contains(&self.requests));
        self.machine.set_extra_load(load.map_or(0.0, |load| load.share));
        self.history = mix(self.settings.seed);
        self.position = 0;
        self.sampled = None;
        self.allocated.clear();
        self.text.restart();
        Ok(())
    }

    fn kv_bytes(&self) -> Option<KvBytes> {
        let bytes = |tokens| self.spec.kv_bytes(self.kv_type, tokens, self.batch).get();
        Some(KvBytes { used: bytes(self.position), reserved: bytes(self.context) })
    }

    fn steps(&mut self) -> Option<&mut dyn Steps> {
        Some(self)
    }
}

impl Steps for MockSession {
    fn tokenize(&mut self, text: &str, add_bos: bool) -> Result<Vec<u32>, EngineError> {
        self.enter(Phase::Tokenize)?;
        let ids = self.text.tokenize(text, add_bos)?;
        #[allow(clippy::cast_precision_loss, reason = "a text is far below 2^52 bytes")]
        let bytes = text.len() as f64;
        match self.settings.tokenize_s {
            Some(seconds) => self.machine.work(seconds * bytes),
            None => self.machine.read(64.0 * bytes),
        }
        Ok(ids)
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.forward(Phase::Prefill, tokens)?;
        self.sampled = Some(0);
        Ok(())
    }

    fn decode(&mut self, token: u32) -> Result<(), EngineError> {
        self.forward(Phase::Decode, &[token])?;
        self.sampled = Some(self.sampled.map_or(0, |sampled| sampled + 1));
        Ok(())
    }

    fn sample(&mut self) -> Result<u32, EngineError> {
        let logits = self.logits_now("sample")?;
        self.enter(Phase::Sample)?;
        #[allow(clippy::cast_precision_loss, reason = "a vocabulary is far below 2^52")]
        match self.settings.sample_s {
            Some(seconds) => self.machine.work(seconds),
            None => self.machine.read(4.0 * logits.len() as f64),
        }
        argmax(&logits).ok_or_else(|| EngineError::failed(NAME, "sample", "the vocabulary is empty"))
    }

    fn detokenize(&mut self, token: u32) -> Result<String, EngineError> {
        self.enter(Phase::Detokenize)?;
        self.machine.read(4096.0);
        self.text.detokenize(token)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.logits_now("logits")
    }
}

impl GreedySession for MockSession {
    fn context_use(&self) -> (usize, usize) {
        (self.position, self.context)
    }

    fn end_of_generation(&self) -> &[u32] {
        self.text.end_of_generation()
    }

    fn flush(&mut self) -> String {
        self.text.flush()
    }

    fn between_phases(&mut self) {
        if self.settings.gap > Nanos::ZERO {
            self.machine.wait(self.settings.gap.as_secs_f64());
        }
    }
}
