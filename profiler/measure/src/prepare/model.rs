//! Prepares one model: opens its checkpoint, renders its prompts, and computes the context that they need.

use meter::heap::AllocationCounter;
use models::cost::{self, OpTypes, WeightTypes};
use models::{Bytes, Checkpoint, Description, Format, registry};
use prompts::Set;
use record::plan::{Substitution, WeightSource};
use record::{Error, Reason};

use super::locate::LocatedModel;
use super::prepare_error::{ContextNeed, PrepareError};
use super::tokens::OrdinaryTokens;
use super::vocabulary::Vocabulary;
use super::{engines, passage, prompt};
use crate::plan::{EngineChoice, Filler, ModelledShape, Options, PreparedModel, PreparedPrompt, Shape, Weights};

/// Contexts are multiples of this many tokens, as engines expect.
const CONTEXT_STEP: usize = 256;
/// Prompt tokens per pass if none is given: the default of the engines.
const DEFAULT_BATCH: usize = 512;

/// Opens a model and renders the prompts for it.
pub(super) fn prepare(
    options: &Options,
    set: &Set,
    choices: &[EngineChoice],
    located: LocatedModel,
) -> Result<PreparedModel, Error> {
    let checkpoint = Checkpoint::open(&located.path)?;
    let window = registry::missing_window(&checkpoint);
    let checkpoint = if window.is_some() { checkpoint.with_window(window) } else { checkpoint };
    engines::check_model(&checkpoint, choices)?;
    let outline = checkpoint.outline();
    let (vocabulary, tokenizer_bytes) = vocabulary_with_heap(&checkpoint, choices)?;
    let ordinary = OrdinaryTokens::of(&vocabulary, outline.vocab)?;
    let format = prompt::format(options, set, &checkpoint)?;
    let prompts = prompt::prepare(options, set, &format, &vocabulary, &ordinary)?;
    let mut substitutions: Vec<Substitution> = format.substitution.into_iter().collect();
    substitutions.extend(window.map(|window| {
        Substitution::new("sliding window", format!("{window} tokens, which the registry has for this model"))
    }));
    substitutions.extend(checkpoint.has_other_parts().then(|| {
        Substitution::new("part for images or sound", "the text part alone; the others are not loaded and not measured")
    }));
    substitutions.extend(vocabulary.substitution());
    if let Vocabulary::Own(_) = vocabulary {
        substitutions.extend(checkpoint.tokenizer_substitutions());
    }
    let fillers: Vec<Filler> =
        options.workload.depths.iter().map(|&depth| ordinary.filler(depth, options.design.seed)).collect();
    let context = context(options, &located.name, outline.context_length, &prompts)?;
    let passage = passage::ids(&vocabulary, &ordinary, context)?;
    let weights: Bytes = checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum();
    let batch = options.engine.batch.unwrap_or(DEFAULT_BATCH).min(context);
    // An engine that needs no shape computes with the tensors as they are stored.
    let as_stored = choices.iter().any(|choice| !choice.caps.needs_shape);
    let modelled = match (checkpoint.description(), checkpoint.otherwise_stored().filter(|_| as_stored)) {
        (Description::Described(spec), None) => {
            Ok(ModelledShape { spec: spec.clone(), types: WeightTypes::of(&checkpoint)? })
        }
        (Description::Described(_), Some(reason)) | (Description::Opaque(reason), _) => Err(reason.clone()),
    };
    let predicted_bytes = match &modelled {
        Ok(ModelledShape { spec, .. }) => {
            Ok(cost::estimate_memory(spec, weights, context, options.engine.kv_type.cache_types(), batch).total().get())
        }
        Err(reason) => Err(Reason::new(reason.to_string())),
    };
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
            outline,
            modelled,
            types_of_ops: OpTypes::of_tensors(checkpoint.tensors()),
            format: match checkpoint.format() {
                Format::Gguf => "gguf".to_owned(),
                Format::Safetensors => "safetensors".to_owned(),
            },
            quantisation: checkpoint.quantisation(),
        },
        window,
        tokenizer_bytes,
        predicted_bytes,
    };
    Ok(PreparedModel {
        name: located.name,
        reference: located.reference,
        origin: located.origin.to_owned(),
        weights: Some(weights),
        end_tokens: vocabulary.end_of_generation().to_vec(),
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
    if let Some(&depth) = options.workload.depths.iter().find(|&&depth| depth > 0) {
        return Err(PrepareError::DepthOfServer { depth }.into());
    }
    let prompts = set.prompts.iter().map(|prompt| prompt::served(options, prompt)).collect::<Result<Vec<_>, _>>()?;
    Ok(PreparedModel {
        name: name.to_owned(),
        reference: reference.to_owned(),
        origin: "server".to_owned(),
        weights: None,
        end_tokens: Vec::new(),
        template: Err(Reason::new(if options.workload.raw {
            "the prompts are sent without a chat template"
        } else {
            "the server renders the messages"
        })),
        substitutions: Vec::new(),
        prompts,
        fillers: vec![Filler::default()],
        passage: Vec::new(),
        context: options.engine.context.unwrap_or(0),
        batch: options.engine.batch.unwrap_or(DEFAULT_BATCH),
    })
}

/// A checkpoint's vocabulary, and the heap that it holds after loading: each session has a tokenizer of the same size.
fn vocabulary_with_heap(
    checkpoint: &Checkpoint,
    engines: &[EngineChoice],
) -> Result<(Vocabulary, Result<u64, Reason>), Error> {
    let counting = AllocationCounter::start(0);
    let vocabulary = Vocabulary::of(checkpoint, engines)?;
    if vocabulary.substitution().is_some() {
        let reason = "the tokenizer is the engine's own, whose heap is not measured apart";
        return Ok((vocabulary, Err(Reason::new(reason))));
    }
    let held = counting.map(|counting| counting.read().held);
    let bytes = held.and_then(|held| {
        u64::try_from(held).map_err(|_| Reason::new("the heap was smaller after loading the tokenizer than before"))
    });
    Ok((vocabulary, bytes))
}

/// Whether the file states that its weights are random.
fn is_synthetic(checkpoint: &Checkpoint) -> bool {
    checkpoint.metadata().is_some_and(|metadata| metadata.contains(models::synth::SYNTHETIC_KEY))
}

/// The tokens that the longest case needs, rounded up; or the given context, if it suffices.
fn context(
    options: &Options,
    model: &str,
    trained: Option<usize>,
    prompts: &[PreparedPrompt],
) -> Result<usize, PrepareError> {
    let need = |prompt: &PreparedPrompt| ContextNeed {
        model: model.to_owned(),
        prompt: prompt.id.clone(),
        depth: options.workload.depths.iter().copied().max().unwrap_or(0),
        prompt_tokens: prompt.ids.len(),
        new_tokens: prompt.new_tokens,
    };
    let Some(need) = prompts.iter().map(need).max_by_key(ContextNeed::tokens) else { return Ok(CONTEXT_STEP) };
    // A file that does not state a length, such as that of a recurrent model, sets no limit.
    let (needed, context) = (need.tokens(), trained.unwrap_or(usize::MAX));
    if needed > context {
        return Err(PrepareError::LongerThanModel { need, context });
    }
    match options.engine.context {
        Some(given) if given < needed => Err(PrepareError::LongerThanContext { need, context: given }),
        Some(given) if given > context => Err(PrepareError::ContextOfModel { given, model: model.to_owned(), context }),
        Some(given) => Ok(given),
        None => Ok(needed.next_multiple_of(CONTEXT_STEP).min(context.max(needed))),
    }
}
