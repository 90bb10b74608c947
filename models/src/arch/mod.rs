//! The architectures: how each is recognised, where its shape stands in a header or a config.json, and which tensors it has.
//! One file per architecture; what they share is in `keys`, `fields` and `tensors`.

mod fields;
mod keys;
mod llama;
mod mistral;
mod qwen2;
mod tensors;

use std::path::Path;

use crate::checkpoint::TensorInfo;
use crate::checkpoint::gguf::{Metadata, shown};
use crate::error::Error;
use crate::spec::Spec;

pub(crate) use fields::Fields;
pub(crate) use tensors::{check, expected};

/// Looks up a tensor of the file: what it is, and its bytes.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<(&'a TensorInfo, &'a [u8])> + 'a;

/// One architecture.
struct Family {
    /// `general.architecture` of its GGUF files. Mistral has none: its files say llama.
    gguf: Option<&'static str>,
    /// `model_type` of its config.json.
    config: &'static str,
    /// The class in `architectures` of its config.json.
    class: &'static str,
    from_gguf: fn(&Metadata, &Lookup<'_>) -> Result<Spec, Error>,
    from_config: fn(&Fields<'_>) -> Result<Spec, Error>,
}

const FAMILIES: [Family; 3] = [llama::FAMILY, mistral::FAMILY, qwen2::FAMILY];

/// The shape of the model in a GGUF file.
pub(crate) fn from_gguf(metadata: &Metadata, lookup: &Lookup<'_>) -> Result<Spec, Error> {
    const KEY: &str = "general.architecture";
    let name = metadata.required(KEY, metadata.text(KEY)?)?;
    let family = FAMILIES.iter().find(|family| family.gguf == Some(name));
    let family =
        family.ok_or_else(|| unsupported(metadata.file(), name, FAMILIES.iter().filter_map(|family| family.gguf)))?;
    (family.from_gguf)(metadata, lookup)
}

/// The shape of the model of a config.json.
pub(crate) fn from_config(fields: &Fields<'_>) -> Result<Spec, Error> {
    let model_type = fields.text("model_type")?;
    let class = fields.first_text("architectures")?;
    let family = FAMILIES.iter().find(|family| match (class, model_type) {
        // The class decides: reward models and the like share the model_type, but not the last layer.
        (Some(class), model_type) => {
            family.class == class && model_type.is_none_or(|model_type| model_type == family.config)
        }
        (None, Some(model_type)) => family.config == model_type,
        (None, None) => false,
    });
    let found = || class.or(model_type).unwrap_or("(none named)");
    let family =
        family.ok_or_else(|| unsupported(fields.file(), found(), FAMILIES.iter().map(|family| family.class)))?;
    (family.from_config)(fields)
}

fn unsupported(file: &Path, found: &str, supported: impl Iterator<Item = &'static str>) -> Error {
    let supported = supported.collect::<Vec<_>>().join(", ");
    Error::UnsupportedArchitecture { file: file.to_path_buf(), found: shown(found), supported }
}
