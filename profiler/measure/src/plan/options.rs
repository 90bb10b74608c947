//! What a run was asked for: a plain struct, the command line's types stop before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{Device, FlashAttention, KvType, LoadOptions};
use traces::Nanos;

use record::plan::{DEFAULT_PROMPTS, PromptChoice, TraceLevel};

use super::EngineChoice;

/// New tokens of a request unless the prompt or the command line says otherwise.
pub const DEFAULT_NEW_TOKENS: usize = 128;
/// Clean requests per case.
pub const DEFAULT_RUNS: usize = 5;
/// Time for the rounds where a precision is asked for and no budget is given.
pub const DEFAULT_BUDGET: Nanos = Nanos::from_secs(600);
/// The engine of `inferometer` alone.
pub const DEFAULT_ENGINE: &str = "candle";
/// The model of `inferometer` alone.
pub const DEFAULT_MODEL: &str = "smollm2-135m";
/// The seed of everything random: the order of a round, generated token ids, synthetic weights.
pub const DEFAULT_SEED: u64 = 20_240_817;

/// Everything that the command line says about a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Engines, `name` or `name:variant`, each also as `LABEL=ENGINE`; empty = the default engine.
    pub engines: Vec<String>,
    /// Model references; empty = the default model.
    pub models: Vec<String>,
    /// What is asked.
    pub prompts: PromptChoice,
    /// At most so many tokens come out; `None` = what the prompt says, else [`DEFAULT_NEW_TOKENS`].
    pub new_tokens: Option<usize>,
    /// Clean requests per case; with a precision the least number.
    pub runs: usize,
    /// Go on until a difference of this share is found nine times out of ten.
    pub precision: Option<f64>,
    /// End the rounds when so much time has passed; `None` = [`DEFAULT_BUDGET`] with a precision, else no limit.
    pub budget: Option<Nanos>,
    /// Thread counts; empty = the physical cores that this process may use.
    pub threads: Vec<usize>,
    /// Tokens in the context before the prompt; empty = 0.
    pub depths: Vec<usize>,
    /// Warm-up requests after a fresh session's first one; `None` = until steady.
    pub warmup: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Send the prompt as it is, without the chat template.
    pub raw: bool,
    /// Go on past an end-of-generation token.
    pub ignore_eos: bool,
    /// Drop the model file from the page cache before each load.
    pub cold: bool,
    /// Tokens that the context holds; `None` = what is needed, rounded up to 256.
    pub ctx: Option<usize>,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Prompt tokens per forward pass; `None` = the engine's default.
    pub batch: Option<usize>,
    /// The device, such as `cpu`.
    pub device: Device,
    /// Settings of single engines: engine or label, key, value.
    pub settings: Vec<(String, String, String)>,
    /// How much is traced.
    pub trace: TraceLevel,
    /// Where the server answers that is watched.
    pub url: Option<String>,
    /// The command that starts it.
    pub spawn: Option<String>,
    /// Its process, where it cannot be found by the port that it listens on.
    pub pid: Option<u32>,
    /// Names of the counters to read ([`meter::COUNTERS`]); empty = the default ones.
    pub counters: Vec<String>,
    /// Random weights in the model's exact shape: nothing is downloaded.
    pub synthetic: bool,
    /// Quantisation of synthetic weights, such as `q4_0`.
    pub quant: Option<String>,
    /// A GGUF file whose tokenizer synthetic models take.
    pub header: Option<PathBuf>,
    /// The run folder; `None` = a new one under `runs/`.
    pub out: Option<PathBuf>,
    /// The folder of an earlier run to go on with.
    pub resume: Option<PathBuf>,
    /// Longest time that one request may take; `None` = no limit.
    pub timeout: Option<Nanos>,
    /// Plan only: measure nothing, write nothing.
    pub dry_run: bool,
    /// The whole command line, as it is recorded.
    pub command_line: Vec<String>,
}

impl Options {
    /// Settings of one engine of the run: those of all engines of its name, and over them those of its own label.
    pub fn settings_of(&self, choice: &EngineChoice) -> BTreeMap<String, String> {
        let of = |owner: &str| {
            let own = self.settings.iter().filter(move |(engine, ..)| engine == owner);
            own.map(|(_, key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        of(&choice.identity.name).into_iter().chain(of(&choice.label)).collect()
    }

    /// What an engine of the run is told when it loads.
    pub fn of_engine(&self, choice: &EngineChoice, threads: usize, context: usize) -> LoadOptions {
        LoadOptions {
            threads,
            context,
            kv_type: self.kv_type,
            flash_attention: self.flash_attention,
            batch: self.batch,
            device: self.device.clone(),
            settings: self.settings_of(choice),
            url: self.url.clone(),
            spawn: self.spawn.as_ref().map(|command| command.replace("{threads}", &threads.to_string())),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engines: Vec::new(),
            models: Vec::new(),
            prompts: PromptChoice::Set(DEFAULT_PROMPTS.to_owned()),
            new_tokens: None,
            runs: DEFAULT_RUNS,
            precision: None,
            budget: None,
            threads: Vec::new(),
            depths: Vec::new(),
            warmup: None,
            seed: DEFAULT_SEED,
            raw: false,
            ignore_eos: false,
            cold: false,
            ctx: None,
            kv_type: KvType::default(),
            flash_attention: FlashAttention::default(),
            batch: None,
            device: Device::default(),
            settings: Vec::new(),
            url: None,
            spawn: None,
            pid: None,
            trace: TraceLevel::default(),
            counters: Vec::new(),
            synthetic: false,
            quant: None,
            header: None,
            out: None,
            resume: None,
            timeout: None,
            dry_run: false,
            command_line: Vec::new(),
        }
    }
}
