//! The keys of a file that is made: those of its source, and what changes with the types.

use std::path::Path;

use crate::checkpoint::gguf::{self, ALIGNMENT, Array, Metadata, Pairs, Value};
use crate::checkpoint::{Checkpoint, Format};
use crate::error::{Error, Fault};
use crate::spec::RopeLayout;
use crate::synth;

use super::Target;
use super::provenance;

const FILE_TYPE: &str = "general.file_type";
const VERSION: &str = "general.quantization_version";
const ALIGNMENT_KEY: &str = "general.alignment";
/// The version of ggml's blocks: with 2 they have scales of 16 bits.
const BLOCKS_VERSION: u32 = 2;

/// All keys of the file but those of its provenance.
pub(super) fn metadata(checkpoint: &Checkpoint, target: Target, header: Option<&Path>) -> Result<Pairs, Error> {
    match checkpoint.metadata() {
        Some(_) if header.is_some() => Err(Error::Quantise(Fault::at(
            checkpoint.path(),
            "--header",
            "none for a GGUF file, which has a tokenizer of its own",
            "one",
            "leave --header out",
        ))),
        Some(given) => Ok(kept(given, target)),
        None => of_folder(checkpoint, target, header),
    }
}

/// Everything that stays true: all but what the types, the places of the tensors and an earlier quantiser are.
fn kept(given: &Metadata, target: Target) -> Pairs {
    let is_stale = |key: &str| {
        [FILE_TYPE, VERSION, ALIGNMENT_KEY].contains(&key)
            || key.starts_with("quantize.imatrix.")
            || key.starts_with("split.")
            || provenance::is_key(key)
    };
    let stay = given.iter().filter(|(key, _)| !is_stale(key));
    let mut pairs: Pairs = stay.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    pairs.extend(of_target(target));
    // A file without the key is aligned to the same.
    if given.get(ALIGNMENT_KEY).is_some() {
        #[allow(clippy::cast_possible_truncation, reason = "32")]
        pairs.push((ALIGNMENT_KEY.to_owned(), Value::U32(ALIGNMENT as u32)));
    }
    pairs
}

fn of_target(target: Target) -> Pairs {
    vec![(FILE_TYPE.to_owned(), Value::U32(target.file_type())), (VERSION.to_owned(), Value::U32(BLOCKS_VERSION))]
}

/// Shape and names from the folder, the tokenizer from another GGUF file: a tokenizer.json does not say which of llama.cpp's
/// pre-tokenizers is its own, and a wrong one would give other ids without a word.
fn of_folder(checkpoint: &Checkpoint, target: Target, header: Option<&Path>) -> Result<Pairs, Error> {
    debug_assert_eq!(checkpoint.format(), Format::Safetensors);
    let Some(header) = header else {
        return Err(Error::Quantise(Fault::at(
            checkpoint.path(),
            "tokenizer",
            "a GGUF file that has this model's tokenizer (--header GGUF)",
            "a folder, whose tokenizer.json says less than a GGUF file has to",
            "add --header with any GGUF file of the same model, or convert the folder with llama.cpp's convert_hf_to_gguf.py",
        )));
    };
    let spec = checkpoint.spec();
    let mut pairs: Pairs = vec![
        ("general.architecture".to_owned(), Value::String(synth::architecture(spec).to_owned())),
        ("general.name".to_owned(), Value::String(checkpoint.name().to_owned())),
    ];
    pairs.extend(of_target(target));
    pairs.extend(synth::shape_metadata(spec));
    let mut tokenizer = synth::tokenizer_for(header, spec.vocab).map_err(|error| match error {
        Error::Synth(fault) => Error::Quantise(fault),
        other => other,
    })?;
    // The folder's own template is the model's; the header's may be that of another version.
    if let Some(template) = checkpoint.chat_template() {
        tokenizer.retain(|(key, _)| key != "tokenizer.chat_template");
        tokenizer.push(("tokenizer.chat_template".to_owned(), Value::String(template.to_owned())));
    }
    same_vocabulary(checkpoint, &tokenizer, header)?;
    pairs.extend(tokenizer);
    Ok(pairs)
}

/// Whether the header's tokens are those of the folder, where the folder has a tokenizer: ids of another vocabulary would be noise.
fn same_vocabulary(checkpoint: &Checkpoint, pairs: &Pairs, header: &Path) -> Result<(), Error> {
    if !checkpoint.path().join("tokenizer.json").is_file() {
        return Ok(());
    }
    let own = checkpoint.tokenizer()?;
    let theirs = pairs.iter().find_map(|(key, value)| match value {
        Value::Array(Array::String(tokens)) if key == "tokenizer.ggml.tokens" => Some(tokens),
        _ => None,
    });
    let tokens = theirs.into_iter().flat_map(gguf::Strings::iter).enumerate();
    for (id, theirs) in tokens {
        let own = u32::try_from(id).ok().and_then(|id| own.token_text(id)).filter(|text| !text.is_empty());
        if let Some(own) = own
            && own != theirs
        {
            return Err(Error::Quantise(Fault::at(
                header,
                format!("tokenizer.ggml.tokens[{id}]"),
                format!("`{}`, as in {}", super::shown(own), checkpoint.path().join("tokenizer.json").display()),
                format!("`{}`", super::shown(theirs)),
                "give a GGUF file of the same model",
            )));
        }
    }
    Ok(())
}

/// Whether rows of q and k must be brought into the order of GGUF's llama files, which rotate neighbours.
pub(super) fn needs_permutation(checkpoint: &Checkpoint) -> bool {
    let spec = checkpoint.spec();
    checkpoint.metadata().is_none() && spec.rope.layout == RopeLayout::Halves && synth::architecture(spec) == "llama"
}
