//! The plan in `run.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{Device, FlashAttention, RecordedKvTypes};
use models::Spec;
pub use models::Substitution;
use models::cost::WeightTypes;
use models::quantise::Provenance;
use serde::{Deserialize, Serialize};

use crate::recorded::with_reasons;
use crate::{Reasons, Recorded};

/// The folder of all runs, below the working directory.
pub const RUNS: &str = "runs";
/// The prompt set of `inferometer` alone.
pub const DEFAULT_PROMPTS: &str = "seed";
/// Warm-up requests after the first one, at most, where the user gives no number.
pub const MOST_WARMUPS: usize = 3;
/// Warm-up ends when two successive requests differ by no more than this share.
pub const STEADY: f64 = 0.05;

/// The requested run, with every default filled in. A resumed run must have the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Engine labels in the order of the command line; the first is the baseline of a comparison.
    pub engines: Vec<String>,
    /// The engine of a label, `name` or `name:variant`, where the label is a name that the user gave; other labels
    /// stand for themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine_of: BTreeMap<String, String>,
    /// The models.
    pub models: Vec<PlannedModel>,
    /// Name of the prompt set, path of the prompts file, or `prompt` / `tokens-N`.
    pub prompt_set: String,
    /// The prompts, per model, since templates and vocabularies differ.
    pub prompts: Vec<PlannedPrompt>,
    /// Thread counts.
    pub threads: Vec<usize>,
    /// Tokens in the context before the prompt.
    pub depths: Vec<usize>,
    /// Clean requests per case.
    pub runs: usize,
    /// The share that a difference has to have to be found nine times out of ten: `runs` is then the least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Seconds after which the rounds end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<f64>,
    /// Stepped and traced requests per case, each.
    pub instrumented_runs: usize,
    /// Warm-up requests after a fresh session's first one; `null` = until steady.
    pub warmup: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Greedy decoding: always 0.
    pub temperature: f64,
    /// Prompts went out without the chat template.
    pub raw: bool,
    /// Generation went on past an end-of-generation token.
    pub ignore_eos: bool,
    /// The model file was dropped from the page cache before each load.
    pub cold: bool,
    /// Element types of the KV cache.
    pub kv_type: RecordedKvTypes,
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Prompt tokens per forward pass; `null` = the engine's default.
    pub batch: Option<usize>,
    /// The device.
    pub device: Device,
    /// Settings of single engines: engine or label, key, value.
    pub settings: Vec<(String, String, String)>,
    /// How much was traced.
    pub trace: TraceLevel,
    /// The requested counters.
    pub counters: Vec<String>,
    /// Longest time of one request in seconds; `null` = no limit.
    pub timeout_s: Option<f64>,
    /// Time is virtual: the engines advance a clock instead of computing.
    pub virtual_time: bool,
    /// Every case in the order of the plan.
    pub cases: Vec<PlannedCase>,
}

with_reasons! {
    /// A model of the plan.
    pub struct PlannedModel {
        /// Registry name, or the file's name.
        pub name: String,
        /// The reference that the user gave.
        pub reference: String,
        /// The path of its file.
        pub path: String,
        /// Where it came from, such as `cache`, `hub`, `mirror`, `local`, `synthetic`.
        pub origin: String,
        /// Size of its files in bytes; like the other properties of its files absent where only a server has it.
        pub file_bytes: Recorded<u64>,
        /// SHA-256 of the file; of several, that of the list that `sha256sum` prints of them, sorted by name.
        pub sha256: Recorded<String>,
        /// File format, such as `gguf`.
        pub format: String,
        /// Its quantisation, such as `Q4_1`.
        pub quantisation: String,
        /// Architecture, such as `llama`.
        pub architecture: String,
        /// Parameters.
        pub parameters: Recorded<u64>,
        /// Bytes of its tensors x 8 / parameters.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub bits_per_weight: Recorded<f64>,
        /// The source of its weights, where the file contains it.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub source: Recorded<WeightSource>,
        /// Random weights.
        pub synthetic: bool,
        /// Tokens that its sessions hold.
        pub context: usize,
        /// Predicted need of one worker in bytes.
        pub predicted_bytes: Recorded<u64>,
        /// Whether all its workers are alive together; else they were reloaded in turn.
        pub together: bool,
        /// Whether it has experts, of which a token uses a part; `None` in runs of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub has_experts: Option<bool>,
        /// Its shape: what the cost model counts with. Runs of the first version do not have it.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub spec: Recorded<Spec>,
        /// The types of its weights.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub types: Recorded<WeightTypes>,
        /// The chat template that its prompts were rendered with.
        #[serde(skip_serializing_if = "Recorded::is_absent")]
        pub chat_template: Recorded<PlannedTemplate>,
        /// What stands in for something that its files do not contain.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub substitutions: Vec<Substitution>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// The chat template of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTemplate {
    /// The file of the model's folder or the key of its GGUF file that has the template.
    pub place: String,
    /// Its name among the model's templates, such as `default`.
    pub name: String,
    /// SHA-256 of the template.
    pub sha256: String,
    /// The model's other templates, which were not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The date that the template wrote into prompts, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// A prompt of the plan, for one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedPrompt {
    /// The model.
    pub model: String,
    /// The prompt's id.
    pub id: String,
    /// What it tests.
    pub tests: String,
    /// Tokens after rendering.
    pub prompt_tokens: usize,
    /// At most so many tokens come out.
    pub new_tokens: usize,
}

/// A case of the plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedCase {
    /// Unique in the run, such as `candle/smollm2-135m/photosynthesis/t2/d0`.
    pub id: String,
    /// Engine label.
    pub engine: String,
    /// Model name.
    pub model: String,
    /// Prompt id.
    pub prompt: String,
    /// Threads that compute.
    pub threads: usize,
    /// Tokens in the context before the prompt.
    pub depth: usize,
}

/// Where the prompts come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptChoice {
    /// A set of the `prompts` crate.
    Set(String),
    /// A TOML file of the user's.
    File(PathBuf),
    /// One text; its id is `prompt`.
    Text(String),
    /// One prompt of exactly so many random token ids; its id is `tokens-N`.
    Tokens(usize),
}

impl Default for PromptChoice {
    fn default() -> Self {
        Self::Set(DEFAULT_PROMPTS.to_owned())
    }
}

/// How much is traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceLevel {
    /// Clean and stepped passes only, no trace file.
    Off,
    /// Requests, phases and memory.
    Phases,
    /// Ops too: the traced pass.
    #[default]
    Ops,
}

/// The source of weights, as their file contains it (`inferometer models quantize` writes it there).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightSource {
    /// SHA-256 of the first source.
    pub sha256: String,
    /// The quantisation of the first source, such as `F16`.
    #[serde(default)]
    pub quantisation: String,
    /// Relative error of the weights against `given`, or against the source where there is none between:
    /// `sqrt(sum (w - w')^2 / sum w^2)` over the matrices whose type changed.
    #[serde(default)]
    pub error: Option<f64>,
    /// The file that the weights were made from, where that is not the first source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenWeights>,
}

/// A file between the first source and a model's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GivenWeights {
    /// Its SHA-256.
    pub sha256: String,
    /// Its quantisation.
    pub quantisation: String,
    /// Its own error, against what it was made from.
    pub error: f64,
}

impl From<Provenance> for WeightSource {
    fn from(provenance: Provenance) -> Self {
        let Provenance { source_sha256, source_quantisation, error, given } = provenance;
        Self {
            sha256: source_sha256,
            quantisation: source_quantisation,
            error: Some(error.into()),
            given: given.map(|given| GivenWeights {
                sha256: given.sha256,
                quantisation: given.quantisation,
                error: given.error.into(),
            }),
        }
    }
}
