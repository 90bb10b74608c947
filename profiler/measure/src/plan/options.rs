//! [`Options`] of a run: a plain struct, independent of the command line's types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{Device, FlashAttention, KvType, LoadOptions};
use redaction::Sensitive;
use traces::Nanos;

use record::plan::{DEFAULT_PROMPTS, PromptChoice, TraceLevel};

use super::engine::EngineChoice;

/// New tokens of a request unless the prompt or the command line states another number.
pub const DEFAULT_NEW_TOKENS: usize = 128;
/// Clean requests per case.
pub const DEFAULT_RUNS: usize = 5;
/// Time for the rounds if a precision is given without a budget.
pub const DEFAULT_BUDGET: Nanos = Nanos::from_secs(600);
/// The engine if none is given.
pub const DEFAULT_ENGINE: &str = "candle";
/// The model if none is given.
pub const DEFAULT_MODEL: &str = "smollm2-135m";
/// The seed of everything random: the order of a round, generated token ids.
pub const DEFAULT_SEED: u64 = 20_240_817;

/// The options of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Engines, `name` or `name:variant`, each also as `LABEL=ENGINE`; empty = the default engine.
    pub engines: Vec<String>,
    /// Model references; empty = the default model.
    pub models: Vec<String>,
    /// The prompts.
    pub prompts: PromptChoice,
    /// The most tokens of an answer; `None` = the number of the prompt, else [`DEFAULT_NEW_TOKENS`].
    pub new_tokens: Option<usize>,
    /// Clean requests per case; with a precision the fewest.
    pub runs: usize,
    /// Continue until a difference of this share would be detected nine times out of ten.
    pub precision: Option<f64>,
    /// End the rounds after this time; `None` = [`DEFAULT_BUDGET`] with a precision, else no limit.
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
    /// Continue after an end-of-generation token.
    pub ignore_eos: bool,
    /// Drop the model file from the page cache before each load.
    pub cold: bool,
    /// Tokens of the context; `None` = as many as the prompts need, rounded up to a multiple of 256.
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
    pub settings: Vec<(String, String, Sensitive)>,
    /// How much is traced.
    pub trace: TraceLevel,
    /// The URL of the server to measure.
    pub url: Option<Sensitive>,
    /// The command that starts the server.
    pub spawn: Option<Sensitive>,
    /// The id of the server's process, if it cannot be found by its port.
    pub pid: Option<u32>,
    /// Names of the counters to read ([`meter::COUNTERS`]); empty = the default ones.
    pub counters: Vec<String>,
    /// Random weights in the model's exact shape: nothing is downloaded.
    pub synthetic: bool,
    /// Quantisation of synthetic weights, such as `q4_0`.
    pub quant: Option<String>,
    /// A GGUF file whose tokenizer synthetic models use.
    pub header: Option<PathBuf>,
    /// The run folder; `None` = a new one under `runs/`.
    pub out: Option<PathBuf>,
    /// The folder of an earlier run to resume.
    pub resume: Option<PathBuf>,
    /// The time limit of one request; `None` = no limit.
    pub timeout: Option<Nanos>,
    /// Plan only: measure nothing, write nothing.
    pub dry_run: bool,
    /// The whole command line, as it is recorded: without secrets.
    pub command_line: Vec<String>,
}

impl Options {
    /// Settings of one engine of the run: those of its name, overridden by those of its label.
    pub fn settings_of(&self, choice: &EngineChoice) -> BTreeMap<String, Sensitive> {
        let of = |owner: &str| {
            let own = self.settings.iter().filter(move |(engine, ..)| engine == owner);
            own.map(|(_, key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        of(&choice.identity.name).into_iter().chain(of(&choice.label)).collect()
    }

    /// The load options of an engine of the run.
    pub fn load_options(&self, choice: &EngineChoice, threads: usize, context: usize) -> LoadOptions {
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
