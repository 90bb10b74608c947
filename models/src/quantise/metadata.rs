//! The keys of a quantised file: those of the source, with changes for the new types.

use std::path::Path;

use crate::arch;
use crate::checkpoint::{Checkpoint, Format};
use crate::container::gguf::{self, ALIGNMENT, Array, KeyValues, Metadata, Value};
use crate::error::{Error, Mismatch, printable};
use crate::spec::{RopeLayout, Spec};
use crate::synth;

use super::provenance;
use super::target::Target;

const FILE_TYPE: &str = "general.file_type";
const VERSION: &str = "general.quantization_version";
const ALIGNMENT_KEY: &str = "general.alignment";
/// The version of ggml's blocks with 16-bit scales.
const BLOCKS_VERSION: u32 = 2;

/// All keys of the file except those of its provenance.
pub(super) fn metadata(checkpoint: &Checkpoint, target: Target, header: Option<&Path>) -> Result<KeyValues, Error> {
    match checkpoint.metadata() {
        Some(_) if header.is_some() => Err(Error::Quantise(Mismatch::at(
            checkpoint.path(),
            "tokenizer",
            "no other GGUF file for the tokenizer, since the source contains one",
            "one",
            "quantise without a file for the tokenizer",
        ))),
        Some(source) => {
            source.check_exact("tokenizer.ggml.")?;
            let mut keys = changed(source, target);
            if checkpoint.otherwise_stored().is_some() {
                // The tensors are written as the description has them.
                for (key, value) in arch::shape_keys(checkpoint.spec()?) {
                    match keys.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, stored)) => *stored = value,
                        None => keys.push((key, value)),
                    }
                }
            }
            Ok(keys)
        }
        None => from_folder(checkpoint, target, header),
    }
}

/// The keys of the source without those about types, positions of tensors and earlier quantisations, and with the new ones.
fn changed(source: &Metadata, target: Target) -> KeyValues {
    let is_stale = |key: &str| {
        [FILE_TYPE, VERSION, ALIGNMENT_KEY].contains(&key)
            || key.starts_with("quantize.imatrix.")
            || key.starts_with("split.")
            || provenance::is_key(key)
    };
    let kept = source.iter().filter(|(key, _)| !is_stale(key));
    let mut keys: KeyValues = kept.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    keys.extend(type_keys(target));
    // Files without the key have the same alignment.
    if source.contains(ALIGNMENT_KEY) {
        #[allow(clippy::cast_possible_truncation, reason = "32")]
        keys.push((ALIGNMENT_KEY.to_owned(), Value::U32(ALIGNMENT as u32)));
    }
    keys
}

fn type_keys(target: Target) -> KeyValues {
    vec![(FILE_TYPE.to_owned(), Value::U32(target.file_type())), (VERSION.to_owned(), Value::U32(BLOCKS_VERSION))]
}

/// Shape and names from the folder, the tokenizer from another GGUF file: a tokenizer.json does not name the pre-tokenizer of
/// llama.cpp, and a wrong one would give wrong ids without an error.
fn from_folder(checkpoint: &Checkpoint, target: Target, header: Option<&Path>) -> Result<KeyValues, Error> {
    debug_assert_eq!(checkpoint.format(), Format::Safetensors);
    let Some(header) = header else {
        return Err(Error::Quantise(Mismatch::at(
            checkpoint.path(),
            "tokenizer",
            "a GGUF file with this model's tokenizer",
            "a folder, whose tokenizer.json lacks settings that a GGUF file needs",
            "give any GGUF file of the same model for the tokenizer, or convert the folder with llama.cpp's convert_hf_to_gguf.py",
        )));
    };
    let spec = checkpoint.spec()?;
    let mut keys: KeyValues = vec![
        ("general.architecture".to_owned(), Value::String(arch::gguf_name(spec).to_owned())),
        ("general.name".to_owned(), Value::String(checkpoint.name().to_owned())),
    ];
    keys.extend(type_keys(target));
    keys.extend(arch::shape_keys(spec));
    let mut tokenizer = synth::tokenizer_for(header, spec.vocab).map_err(|error| match error {
        Error::Synth(mismatch) => Error::Quantise(mismatch),
        other => other,
    })?;
    // The folder has the template of the model; that of the other file may be of another version.
    if let Some(template) = checkpoint.chat_template()? {
        tokenizer.retain(|(key, _)| !key.starts_with("tokenizer.chat_template"));
        tokenizer.push(("tokenizer.chat_template".to_owned(), Value::String(template.text)));
    }
    check_vocabulary(checkpoint, &tokenizer, header)?;
    keys.extend(tokenizer);
    Ok(keys)
}

/// Checks that the tokens are those of the folder, if the folder has a tokenizer.
fn check_vocabulary(checkpoint: &Checkpoint, keys: &KeyValues, header: &Path) -> Result<(), Error> {
    if !checkpoint.path().join("tokenizer.json").is_file() {
        return Ok(());
    }
    let own = checkpoint.tokenizer()?;
    let tokens = keys.iter().find_map(|(key, value)| match value {
        Value::Array(Array::String(tokens)) if key == "tokenizer.ggml.tokens" => Some(tokens),
        _ => None,
    });
    let tokens = tokens.into_iter().flat_map(gguf::Strings::iter).enumerate();
    for (id, copied) in tokens {
        let own = u32::try_from(id).ok().and_then(|id| own.token_text(id)).filter(|text| !text.is_empty());
        if let Some(own) = own
            && own != copied
        {
            return Err(Error::Quantise(Mismatch::at(
                header,
                format!("tokenizer.ggml.tokens[{id}]"),
                format!("`{}`, as in {}", printable(own), checkpoint.path().join("tokenizer.json").display()),
                format!("`{}`", printable(copied)),
                "give a GGUF file of the same model",
            )));
        }
    }
    Ok(())
}

/// Whether rows of q and k must be reordered: in GGUF files of some architectures, the rows of a rotary pair are adjacent.
pub(super) fn needs_permutation(checkpoint: &Checkpoint, spec: &Spec) -> bool {
    let layout = spec.attentions().find_map(|attention| Some(attention.rope.as_ref()?.layout));
    checkpoint.metadata().is_none()
        && layout == Some(RopeLayout::Halves)
        && arch::gguf_layout(spec) == RopeLayout::Interleaved
}
