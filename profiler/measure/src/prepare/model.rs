//! One model of a run: its shape, its prompts, the context that they need.

use std::path::PathBuf;

use models::cost::{self, WeightTypes};
use models::{Bytes, Checkpoint, Format, Spec, Tokenizer, registry};
use prompts::Set;

use super::locate::Place;
use super::passage;
use super::prompt::{self, PreparedPrompt};
use super::tokens::{Filler, Ordinary};
use crate::plan::{DEFAULT_NEW_TOKENS, Options};
use meter::heap::Counting;
use record::Error;
use record::plan::WeightSource;

/// Contexts are multiples of this many tokens, as engines like them.
const CONTEXT_STEP: usize = 256;
/// Prompt tokens per pass where nothing is said: what the engines take by themselves.
const DEFAULT_BATCH: usize = 512;

/// A model, ready to be measured.
#[derive(Debug)]
pub struct PreparedModel {
    /// What it is called in results.
    pub name: String,
    /// As it was asked for.
    pub reference: String,
    /// Where it came from.
    pub origin: String,
    /// Its weights on this machine's disk; `None` where only a server has them.
    pub weights: Option<Weights>,
    /// Token ids that end a generation.
    pub end_tokens: Vec<u32>,
    /// Its prompts.
    pub prompts: Vec<PreparedPrompt>,
    /// What fills the context to each depth.
    pub fillers: Vec<Filler>,
    /// The text in which engines are examined ([`passage::PASSAGE`]); empty where the tokenizer is a server's.
    pub passage: Vec<u32>,
    /// Tokens that its sessions hold.
    pub context: usize,
    /// Prompt tokens per forward pass.
    pub batch: usize,
}

/// A model's files, and what they say.
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
    /// SHA-256 of the files, or why it is not known.
    pub sha256: Result<String, String>,
    /// Bits per parameter.
    pub bits_per_weight: f64,
    /// What they were made from, where the file says so.
    pub source: Option<WeightSource>,
    /// Random weights.
    pub synthetic: bool,
    /// What the model computes.
    pub shape: Shape,
    /// The sliding window that the checkpoint lacks and should have.
    pub window: Option<usize>,
    /// Heap that the tokenizer holds, or why that is not known.
    pub tokenizer_bytes: Result<u64, String>,
    /// Predicted need of one worker, in bytes.
    pub predicted_bytes: u64,
}

/// What a model computes, for the cost model.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its shape, window included.
    pub spec: Spec,
    /// The types of its weights.
    pub types: WeightTypes,
    /// File format.
    pub format: String,
    /// Quantisation.
    pub quantisation: String,
}

impl PreparedModel {
    /// Marks that a thread of the engine holds: those of the longest request, (ops per pass + as many parts of shared work)
    /// x (new tokens + passes of the prompt) and an eighth, so that nothing need be taken out meanwhile; up to a limit, from
    /// which on a request's marks are written between its phases.
    pub fn marks_per_thread(&self) -> usize {
        /// Fewest prompt tokens that an engine takes at once.
        const CHUNK: usize = 32;
        /// The ring of a thread takes 64 bytes a mark: 16 MiB.
        const MOST: usize = 1 << 18;
        let per_pass = self.weights.as_ref().map_or(0, |weights| 2 * (weights.shape.spec.layers * 16 + 8));
        let longest = self.prompts.iter().map(|prompt| prompt.new_tokens + prompt.ids.len() / CHUNK + 1).max();
        (per_pass.saturating_mul(longest.unwrap_or(0)) / 8).saturating_mul(9).min(MOST)
    }
}

/// Opens a model and renders the prompts for it.
pub(crate) fn prepare(options: &Options, set: &Set, place: Place) -> Result<PreparedModel, Error> {
    let checkpoint = Checkpoint::open(&place.path)?;
    let window = registry::missing_window(&checkpoint);
    let checkpoint = if window.is_some() { checkpoint.with_window(window) } else { checkpoint };
    let (tokenizer, tokenizer_bytes) = weighed_tokenizer(&checkpoint)?;
    let ordinary = Ordinary::of(&tokenizer, checkpoint.spec().vocab)?;
    let prompts = prompt::prepare(options, set, &checkpoint, &tokenizer, &ordinary)?;
    let fillers: Vec<Filler> = options.depths.iter().map(|&depth| ordinary.filler(depth, options.seed)).collect();
    let context = context(options, &place.name, checkpoint.spec(), &prompts)?;
    let passage = passage::ids(&tokenizer, context)?;
    let weights: Bytes = checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum();
    let batch = options.batch.unwrap_or(DEFAULT_BATCH).min(context);
    let estimate = cost::estimate_memory(checkpoint.spec(), weights, context, options.kv_type.dtype(), batch);
    let weights = Weights {
        files: checkpoint.files().to_vec(),
        path: place.path,
        synthetic: place.origin == "synthetic" || is_synthetic(&checkpoint),
        file_bytes: checkpoint.file_bytes().get(),
        bytes: weights.get(),
        sha256: place.sha256.ok_or_else(|| "the files were not hashed".to_owned()),
        bits_per_weight: checkpoint.bits_per_weight(),
        source: checkpoint.provenance()?.map(WeightSource::from),
        shape: Shape {
            spec: checkpoint.spec().clone(),
            types: WeightTypes::of(&checkpoint),
            format: match checkpoint.format() {
                Format::Gguf => "gguf".to_owned(),
                Format::Safetensors => "safetensors".to_owned(),
            },
            quantisation: checkpoint.quantisation(),
        },
        window,
        tokenizer_bytes,
        predicted_bytes: estimate.total().get(),
    };
    Ok(PreparedModel {
        name: place.name,
        reference: place.reference,
        origin: place.origin.to_owned(),
        weights: Some(weights),
        end_tokens: end_tokens(&tokenizer),
        prompts,
        fillers,
        passage,
        context,
        batch,
    })
}

/// A model that only a server has: its prompts are messages that nobody here can count.
///
/// # Errors
/// When the prompts or the depths need a tokenizer.
pub(crate) fn served(options: &Options, set: &Set, name: &str, reference: &str) -> Result<PreparedModel, Error> {
    if let Some(depth) = options.depths.iter().find(|&&depth| depth > 0) {
        return Err(Error::usage(
            format!("--depth {depth}: the context of a server cannot be filled"),
            "leave --depth out, or measure longer prompts",
        ));
    }
    let prompts = set.prompts.iter().map(|prompt| prompt::served(options, prompt)).collect::<Result<Vec<_>, _>>()?;
    Ok(PreparedModel {
        name: name.to_owned(),
        reference: reference.to_owned(),
        origin: "server".to_owned(),
        weights: None,
        end_tokens: Vec::new(),
        prompts,
        fillers: vec![Filler::default()],
        passage: Vec::new(),
        context: options.ctx.unwrap_or(0),
        batch: options.batch.unwrap_or(DEFAULT_BATCH),
    })
}

/// A checkpoint's tokenizer, and the heap that loading it alone leaves taken: what each session's own one takes too.
fn weighed_tokenizer(checkpoint: &Checkpoint) -> Result<(Tokenizer, Result<u64, String>), models::Error> {
    let counting = Counting::start(0);
    let tokenizer = checkpoint.tokenizer()?;
    let held = counting.map(|counting| counting.read().held);
    let bytes = held.map(|held| u64::try_from(held).unwrap_or(0)).map_err(str::to_owned);
    Ok((tokenizer, bytes))
}

/// A file that says of itself that its weights are random.
fn is_synthetic(checkpoint: &Checkpoint) -> bool {
    checkpoint.metadata().is_some_and(|metadata| metadata.get(models::synth::SYNTHETIC_KEY).is_some())
}

fn end_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    tokenizer.end_of_generation().to_vec()
}

/// Tokens that the longest case needs, rounded up; or what was asked for, if it suffices.
fn context(options: &Options, model: &str, spec: &Spec, prompts: &[PreparedPrompt]) -> Result<usize, Error> {
    let depth = options.depths.iter().copied().max().unwrap_or(0);
    let needs = |prompt: &PreparedPrompt| depth + prompt.ids.len() + prompt.new_tokens;
    let Some(longest) = prompts.iter().max_by_key(|prompt| needs(prompt)) else { return Ok(CONTEXT_STEP) };
    let needed = needs(longest);
    let parts = || {
        let depth = if depth > 0 { format!("depth {depth}, ") } else { String::new() };
        format!(
            "prompt `{}` on {model}: {depth}{} prompt tokens and {} new tokens need a context of {needed}",
            longest.id,
            longest.ids.len(),
            longest.new_tokens
        )
    };
    if needed > spec.context_length {
        return Err(Error::usage(
            format!("{}, the model has {}", parts(), spec.context_length),
            "shorten the prompt, or lower -n or --depth",
        ));
    }
    match options.ctx {
        Some(given) if given < needed => {
            Err(Error::usage(format!("{}, --ctx gives {given}", parts()), "raise --ctx, or leave it out"))
        }
        Some(given) if given > spec.context_length => Err(Error::usage(
            format!("--ctx {given}: {model} has a context of {}", spec.context_length),
            "lower --ctx, or leave it out",
        )),
        Some(given) => Ok(given),
        None => Ok(needed.next_multiple_of(CONTEXT_STEP).min(spec.context_length.max(needed))),
    }
}

/// New tokens of a prompt: the command line's, else its own, else the default.
pub(super) fn new_tokens(options: &Options, own: Option<usize>) -> usize {
    options.new_tokens.or(own).unwrap_or(DEFAULT_NEW_TOKENS)
}
