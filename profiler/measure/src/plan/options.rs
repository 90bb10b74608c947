//! [`Options`] of a run: plain structs by concept, independent of the command line's types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{Device, FlashAttention, KvTypes, LoadOptions};
use redaction::Sensitive;
use traces::Nanos;

use record::plan::{PromptChoice, TraceLevel};

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

/// The options of a run. The fields have the names of [`record::Setting`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// What is measured.
    pub subject: Subject,
    /// What its requests are.
    pub workload: Workload,
    /// How the engines are loaded.
    pub engine: EngineOptions,
    /// The server that an engine uses.
    pub server: ServerOptions,
    /// How often and under which conditions it is measured.
    pub design: Design,
    /// What is read beside the times.
    pub instruments: Instruments,
    /// Where the results go.
    pub output: Output,
}

/// What is measured: each engine with each model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Engines, `name` or `name:variant`, each also as `LABEL=ENGINE`; empty = the default engine.
    pub engines: Vec<String>,
    /// Model references; empty = the default model.
    pub models: Vec<String>,
    /// Random weights in the model's exact shape: nothing is downloaded.
    pub synthetic: bool,
    /// Quantisation of synthetic weights, such as `q4_0`.
    pub quant: Option<String>,
    /// A GGUF file whose tokenizer synthetic models use.
    pub header: Option<PathBuf>,
}

/// The requests: each prompt at each depth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The prompts.
    pub prompts: PromptChoice,
    /// The most tokens of an answer; `None` = the number of the prompt, else [`DEFAULT_NEW_TOKENS`].
    pub new_tokens: Option<usize>,
    /// Tokens in the context before the prompt; empty = 0.
    pub depths: Vec<usize>,
    /// Send the prompt as it is, without the chat template.
    pub raw: bool,
    /// Continue after an end-of-generation token.
    pub ignore_eos: bool,
}

/// How the engines are loaded: each with each number of threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineOptions {
    /// Thread counts; empty = the physical cores that this process may use.
    pub threads: Vec<usize>,
    /// Tokens of the context; `None` = as many as the prompts need, rounded up to a multiple of 256.
    pub context: Option<usize>,
    /// Element types of the KV cache.
    pub kv_type: KvTypes,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Prompt tokens per forward pass; `None` = the engine's default.
    pub batch: Option<usize>,
    /// The device, such as `cpu`.
    pub device: Device,
    /// Settings of single engines: engine or label, key, value.
    pub settings: Vec<(String, String, Sensitive)>,
}

/// The server that an engine uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerOptions {
    /// The URL of the server to measure.
    pub url: Option<Sensitive>,
    /// The command that starts the server.
    pub spawn: Option<Sensitive>,
    /// The id of the server's process, if it cannot be found by its port.
    pub pid: Option<u32>,
}

/// How often and under which conditions is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Clean requests per case; with a precision the fewest.
    pub runs: usize,
    /// Continue until a difference of this share would be detected nine times out of ten.
    pub precision: Option<f64>,
    /// End the rounds after this time; `None` = [`DEFAULT_BUDGET`] with a precision, else no limit.
    pub budget: Option<Nanos>,
    /// Warm-up requests after a fresh session's first one; `None` = until steady.
    pub warmup: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Drop the model file from the page cache before each load.
    pub cold: bool,
    /// The time limit of one request; `None` = no limit.
    pub timeout: Option<Nanos>,
}

/// What is read beside the times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instruments {
    /// How much is traced.
    pub trace: TraceLevel,
    /// Names of the counters to read ([`meter::COUNTERS`]); empty = the default ones.
    pub counters: Vec<String>,
}

/// Where the results go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The run folder; `None` = a new one under `runs/`.
    pub out: Option<PathBuf>,
    /// The folder of an earlier run to resume.
    pub resume: Option<PathBuf>,
    /// The whole command line, as it is recorded: without secrets.
    pub command_line: Vec<String>,
}

impl Options {
    /// The load options of an engine of the run.
    pub fn load_options(&self, choice: &EngineChoice, threads: usize, context: usize) -> LoadOptions {
        let EngineOptions { kv_type, flash_attention, batch, ref device, .. } = self.engine;
        LoadOptions {
            threads,
            context,
            kv_type,
            flash_attention,
            batch,
            device: device.clone(),
            settings: self.engine.settings_of(choice),
            url: self.server.url.clone(),
            spawn: self.server.spawn.as_ref().map(|command| command.replace(THREADS, &threads.to_string())),
        }
    }
}

/// The place of the number of threads in the command of a server.
const THREADS: &str = "{threads}";

impl EngineOptions {
    /// Settings of one engine of the run: those of its name, overridden by those of its label.
    pub fn settings_of(&self, choice: &EngineChoice) -> BTreeMap<String, Sensitive> {
        let of = |owner: &str| {
            let own = self.settings.iter().filter(move |(engine, ..)| engine == owner);
            own.map(|(_, key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        of(&choice.identity.name).into_iter().chain(of(&choice.label)).collect()
    }
}

impl ServerOptions {
    /// Whether the server is started with a number of threads of the run.
    pub fn takes_threads(&self) -> bool {
        self.spawn.as_ref().is_some_and(|command| command.contains(THREADS))
    }
}

impl Default for Design {
    fn default() -> Self {
        Self {
            runs: DEFAULT_RUNS,
            precision: None,
            budget: None,
            warmup: None,
            seed: DEFAULT_SEED,
            cold: false,
            timeout: None,
        }
    }
}
