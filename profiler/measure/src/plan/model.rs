//! [`PreparedModel`]: one model of a run, with the prompts that were rendered for it.

use std::path::PathBuf;

use models::cost::{OpTypes, WeightTypes};
use models::{NotModelled, Outline, Spec};
use record::Reason;
use record::plan::{PlannedTemplate, Substitution, WeightSource};
use traces::record::BINS_PER_EVENT;

use super::prompt::{Filler, PreparedPrompt};

/// A model, ready to be measured.
#[derive(Debug)]
pub struct PreparedModel {
    /// Its name in results.
    pub name: String,
    /// The reference that the user gave; empty for the only model of a server.
    pub reference: String,
    /// Where it came from.
    pub origin: String,
    /// Its weights on the disk of this machine; `None` if only a server has them.
    pub weights: Option<Weights>,
    /// Token ids that end a generation.
    pub end_tokens: Vec<u32>,
    /// The chat template that its prompts are rendered with, or why there is none.
    pub template: Result<PlannedTemplate, Reason>,
    /// What stands in for something that its files do not contain.
    pub substitutions: Vec<Substitution>,
    /// Its prompts.
    pub prompts: Vec<PreparedPrompt>,
    /// The tokens that fill the context to each depth.
    pub fillers: Vec<Filler>,
    /// The fixed text in which engines are examined; empty if only a server has the tokenizer.
    pub passage: Vec<u32>,
    /// Tokens of the context of its sessions.
    pub context: usize,
    /// Prompt tokens per forward pass.
    pub batch: usize,
}

/// A model's files and their properties.
#[derive(Debug)]
pub struct Weights {
    /// The file or folder.
    pub path: PathBuf,
    /// The files that hold the weights.
    pub files: Vec<PathBuf>,
    /// Size of the files.
    pub file_bytes: u64,
    /// Size of the weights alone.
    pub bytes: u64,
    /// SHA-256 of the files, or why it is unknown.
    pub sha256: Result<String, Reason>,
    /// Bits per parameter.
    pub bits_per_weight: f64,
    /// What they were made from, if the file states it.
    pub source: Option<WeightSource>,
    /// Whether the weights are random.
    pub synthetic: bool,
    /// The shape.
    pub shape: Shape,
    /// The sliding window of the model, if the checkpoint lacks it.
    pub window: Option<usize>,
    /// Heap of the tokenizer, or why it is unknown.
    pub tokenizer_bytes: Result<u64, Reason>,
    /// Predicted memory of one worker, in bytes; or why it is unknown.
    pub predicted_bytes: Result<u64, Reason>,
}

/// The shape of a model.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What its checkpoint states about it.
    pub outline: Outline,
    /// What the cost model counts with, or why there is none.
    pub modelled: Result<ModelledShape, NotModelled>,
    /// The types of the weights by the name of the op that reads them.
    pub types_of_ops: OpTypes,
    /// File format.
    pub format: String,
    /// Quantisation.
    pub quantisation: String,
}

/// The shape of a model as the cost model needs it.
#[derive(Debug, Clone)]
pub struct ModelledShape {
    /// Its dimensions, window included.
    pub spec: Spec,
    /// The types of its weights.
    pub types: WeightTypes,
}

impl Shape {
    /// Why figures of the cost model are absent.
    pub fn not_modelled(&self) -> Option<Reason> {
        self.modelled.as_ref().err().map(|reason| Reason::new(reason.to_string()))
    }
}

impl Weights {
    /// Bytes that one worker needs at least.
    pub fn least_bytes(&self) -> u64 {
        self.predicted_bytes.as_ref().map_or(self.bytes, |bytes| *bytes)
    }
}

impl PreparedModel {
    /// Marks that the recorder holds for each thread: those of the longest request, (ops per pass + as many parts of shared work)
    /// x (new tokens + passes of the prompt), and an eighth more, so that the recorder is not drained during a request. Beyond a
    /// limit the marks of a request are written between its phases.
    pub fn marks_per_thread(&self) -> usize {
        /// Fewest prompt tokens that an engine processes at once.
        const CHUNK: usize = 32;
        /// A mark takes 64 bytes: 16 MiB per thread.
        const MOST: usize = 1 << 18;
        /// Marks per layer of a model that is not described: one for each node of the engine's graph, and histograms of experts.
        const NODES: usize = 128;
        let per_pass = self.weights.as_ref().map_or(0, |Weights { shape, .. }| match &shape.modelled {
            Ok(modelled) => 2 * (modelled.spec.layers.len() * 20 + 8) + histograms(&modelled.spec, CHUNK),
            Err(_) => (shape.outline.layers.unwrap_or(1) + 1) * NODES,
        });
        let longest = self.prompts.iter().map(|prompt| prompt.new_tokens + prompt.ids.len() / CHUNK + 1).max();
        (per_pass.saturating_mul(longest.unwrap_or(0)) / 8).saturating_mul(9).min(MOST)
    }
}

/// Marks for the experts that a pass of so many tokens uses, at most.
fn histograms(spec: &Spec, tokens: usize) -> usize {
    let experts = spec.layers.iter().filter_map(|layer| layer.feed_forward.experts());
    experts.map(|experts| experts.distinct_bounds(tokens).1.div_ceil(BINS_PER_EVENT)).sum()
}
