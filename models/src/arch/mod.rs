//! The architectures: how each is recognised, and how its shape is read from a GGUF header or a config.json.
//!
//! An architecture that is made of known parts is one file: a constant of type [`Architecture`], and a line in [`ARCHITECTURES`].
//! Everything else (check of the tensors, decoder, costs, synthetic files) follows from the shape.

mod architecture;
mod config;
mod deepseek2;
mod experts;
mod gemma3;
mod gemma4;
mod gguf_keys;
mod gpt_oss;
mod lfm2;
mod llama;
mod ministral3;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen35;
mod qwen3moe;
mod rope_tables;
mod smollm3;
mod stored;
mod tensors;

use std::path::Path;

use crate::container::gguf::{KeyValues, Metadata};
use crate::container::json::Object;
use crate::error::{Error, printable};
use crate::spec::{Arch, RopeLayout, Spec};
use architecture::Architecture;

pub(crate) use gguf_keys::FindTensor;
pub(crate) use rope_tables::rope_tensors;
pub(crate) use stored::{GATE_AND_UP, as_described, as_stored, described_names, place};
pub(crate) use tensors::{check, check_spec};

const ARCHITECTURES: [Architecture; 17] = [
    llama::LLAMA,
    mistral::MISTRAL,
    qwen2::QWEN2,
    qwen3::QWEN3,
    qwen3moe::QWEN3_MOE,
    gemma3::GEMMA3,
    gemma4::GEMMA4,
    smollm3::SMOLLM3,
    ministral3::MINISTRAL3,
    gpt_oss::GPT_OSS,
    phi3::PHI3,
    lfm2::LFM2,
    deepseek2::DEEPSEEK2,
    deepseek2::DEEPSEEK3,
    deepseek2::GLM4_MOE_LITE,
    qwen35::QWEN35,
    qwen35::QWEN35_MOE,
];

/// The architecture of a shape.
fn of(arch: &Arch) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.arch == arch.name())
}

/// The architecture that a GGUF file names.
pub(crate) fn required_name(metadata: &Metadata) -> Result<&str, Error> {
    const KEY: &str = "general.architecture";
    metadata.required(KEY, metadata.text(KEY)?)
}

/// The shape of the model of architecture `name` in a GGUF file.
pub(crate) fn from_gguf(metadata: &Metadata, name: &str, find: &FindTensor<'_>) -> Result<Spec, Error> {
    match ARCHITECTURES.iter().find(|architecture| architecture.gguf == Some(name)) {
        Some(architecture) => gguf_keys::read(metadata, find, architecture),
        None => {
            Err(unsupported(metadata.file(), name, ARCHITECTURES.iter().filter_map(|architecture| architecture.gguf)))
        }
    }
}

/// Models of text and images of which the text part is a model of its own, by their `model_type`.
const WITH_TEXT_PART: [&str; 4] = ["gemma3", "mistral3", "qwen3_5", "qwen3_5_moe"];

/// The fields of the text part, where config.json is that of a model with other parts too.
pub(crate) fn text_part<'a>(config: &Object<'a>) -> Result<Option<Object<'a>>, Error> {
    match config.text("model_type")? {
        Some(model_type) if WITH_TEXT_PART.contains(&model_type) => config.object("text_config", "text_config."),
        _ => Ok(None),
    }
}

/// The shape of the model of a config.json; of a model with other parts that of its text part.
pub(crate) fn from_config(config: &Object<'_>) -> Result<Spec, Error> {
    if let Some(text) = text_part(config)? {
        let mut spec = of_fields(&text)?;
        // Either object may state it.
        if text.flag("tie_word_embeddings")?.is_none()
            && let Some(tied) = config.flag("tie_word_embeddings")?
        {
            spec.tied_embeddings = tied;
        }
        return Ok(spec);
    }
    of_fields(config)
}

fn of_fields(config: &Object<'_>) -> Result<Spec, Error> {
    let model_type = config.text("model_type")?;
    let class = config.first_text("architectures")?;
    // A model that also reads pictures or sound has the fields of its text part in an object of its own.
    if let Some(architecture) = class.and_then(|class| ARCHITECTURES.iter().find(|one| one.with_media == Some(class))) {
        let text = config.object("text_config", "text_config.")?;
        return config::read(&config.required("text_config", text)?, architecture);
    }
    let architecture = ARCHITECTURES.iter().find(|architecture| match (class, model_type) {
        // The class decides: reward models, for example, have the same model_type, but another last layer.
        (Some(class), model_type) => {
            architecture.class == class && model_type.is_none_or(|model_type| model_type == architecture.model_type)
        }
        (None, Some(model_type)) => architecture.model_type == model_type,
        (None, None) => false,
    });
    match architecture {
        Some(architecture) => config::read(config, architecture),
        None => {
            let found = class.or(model_type).unwrap_or("(none named)");
            Err(unsupported(config.file(), found, ARCHITECTURES.iter().map(|architecture| architecture.class)))
        }
    }
}

/// Whether folders of this architecture may have parts for pictures or sound, which are not read.
pub(crate) fn may_have_media(spec: &Spec) -> bool {
    of(&spec.arch).is_some_and(|architecture| architecture.with_media.is_some())
}

/// The value of `general.architecture` in a GGUF file of this shape. Mistral 7B has none in llama.cpp, whose converter names those files
/// `llama`.
pub(crate) fn gguf_name(spec: &Spec) -> &'static str {
    of(&spec.arch).and_then(|architecture| architecture.gguf).unwrap_or("llama")
}

/// Which elements are rotated together in a GGUF file of this shape.
pub(crate) fn gguf_layout(spec: &Spec) -> RopeLayout {
    match of(&spec.arch) {
        // Files that say `llama` have its layout.
        Some(architecture) if architecture.gguf.is_some() => architecture.gguf_layout,
        _ => llama::LLAMA.gguf_layout,
    }
}

/// The keys that describe the shape, to be written to a GGUF file.
pub(crate) fn shape_keys(spec: &Spec) -> KeyValues {
    let mut keys = gguf_keys::shape_keys(spec);
    if let Some(architecture) = of(&spec.arch) {
        for (key, value) in (architecture.gguf_keys)(spec) {
            match keys.iter_mut().find(|(known, _)| *known == key) {
                Some((_, shared)) => *shared = value,
                None => keys.push((key, value)),
            }
        }
    }
    let prefix = gguf_name(spec);
    keys.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)).collect()
}

fn unsupported(file: &Path, found: &str, supported: impl Iterator<Item = &'static str>) -> Error {
    let supported = supported.collect::<Vec<_>>().join(", ");
    Error::UnsupportedArchitecture { file: file.to_path_buf(), found: printable(found), supported }
}
