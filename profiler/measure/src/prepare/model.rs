//! Prepares one model: opens its checkpoint, renders its prompts, and computes the context that they need.

use meter::heap::AllocationCounter;
use models::cost::{self, WeightTypes};
use models::{Bytes, Checkpoint, Format, Spec, Tokenizer, registry};
use prompts::Set;
use record::plan::{Substitution, WeightSource};
use record::{Error, Reason};

use super::locate::LocatedModel;
use super::passage;
use super::prompt;
use super::tokens::OrdinaryTokens;
use crate::plan::{Filler, Options, PreparedModel, PreparedPrompt, Shape, Weights};

/// Contexts are multiples of this many tokens, as engines expect.
const CONTEXT_STEP: usize = 256;
/// Prompt tokens per pass if none is given: the default of the engines.
const DEFAULT_BATCH: usize = 512;

/// Opens a model and renders the prompts for it.
pub(super) fn prepare(options: &Options, set: &Set, located: LocatedModel) -> Result<PreparedModel, Error> {
    let checkpoint = Checkpoint::open(&located.path)?;
    let window = registry::missing_window(&checkpoint);
    let checkpoint = if window.is_some() { checkpoint.with_window(window) } else { checkpoint };
    let (tokenizer, tokenizer_bytes) = tokenizer_with_heap(&checkpoint)?;
    let ordinary = OrdinaryTokens::of(&tokenizer, checkpoint.spec().vocab)?;
    let format = prompt::format(options, set, &checkpoint)?;
    let prompts = prompt::prepare(options, set, &format, &tokenizer, &ordinary)?;
    let mut substitutions: Vec<Substitution> = format.substitution.into_iter().collect();
    substitutions.extend(window.map(|window| {
        Substitution::new("sliding window", format!("{window} tokens, which the registry has for this model"))
    }));
    substitutions.extend(checkpoint.tokenizer_substitutions());
    let fillers: Vec<Filler> = options.depths.iter().map(|&depth| ordinary.filler(depth, options.seed)).collect();
    let context = context(options, &located.name, checkpoint.spec(), &prompts)?;
    let passage = passage::ids(&tokenizer, context)?;
    let weights: Bytes = checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum();
    let batch = options.batch.unwrap_or(DEFAULT_BATCH).min(context);
    let estimate = cost::estimate_memory(checkpoint.spec(), weights, context, options.kv_type.dtype(), batch);
    let weights = Weights {
        files: checkpoint.files().to_vec(),
        path: located.path,
        synthetic: located.origin == "synthetic" || is_synthetic(&checkpoint),
        file_bytes: checkpoint.file_bytes().get(),
        bytes: weights.get(),
        sha256: located.sha256.ok_or_else(|| Reason::new("the files were not hashed")),
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
        name: located.name,
        reference: located.reference,
        origin: located.origin.to_owned(),
        weights: Some(weights),
        end_tokens: tokenizer.end_of_generation().to_vec(),
        template: format.planned,
        substitutions,
        prompts,
        fillers,
        passage,
        context,
        batch,
    })
}

/// A model that only a server has: its prompts are messages whose tokens cannot be counted here.
///
/// # Errors
/// When the prompts or the depths need a tokenizer.
pub(super) fn served(options: &Options, set: &Set, name: &str, reference: &str) -> Result<PreparedModel, Error> {
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
        template: Err(Reason::new(if options.raw {
            "the prompts are sent without a chat template"
        } else {
            "the server renders the messages"
        })),
        substitutions: Vec::new(),
        prompts,
        fillers: vec![Filler::default()],
        passage: Vec::new(),
        context: options.ctx.unwrap_or(0),
        batch: options.batch.unwrap_or(DEFAULT_BATCH),
    })
}

/// A checkpoint's tokenizer, and the heap that it holds after loading: each session has a tokenizer of the same size.
fn tokenizer_with_heap(checkpoint: &Checkpoint) -> Result<(Tokenizer, Result<u64, Reason>), models::Error> {
    let counting = AllocationCounter::start(0);
    let tokenizer = checkpoint.tokenizer()?;
    let held = counting.map(|counting| counting.read().held);
    let bytes = held.and_then(|held| {
        u64::try_from(held).map_err(|_| Reason::new("the heap was smaller after loading the tokenizer than before"))
    });
    Ok((tokenizer, bytes))
}

/// Whether the file states that its weights are random.
fn is_synthetic(checkpoint: &Checkpoint) -> bool {
    checkpoint.metadata().is_some_and(|metadata| metadata.contains(models::synth::SYNTHETIC_KEY))
}

/// The tokens that the longest case needs, rounded up; or `--ctx`, if it suffices.
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
