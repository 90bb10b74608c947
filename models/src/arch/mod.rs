//! The architectures: how each is recognised, how its shape is read from a GGUF header or a config.json, and which tensors it has.
//!
//! To add one: a variant of [`Arch`], an entry of `ARCHITECTURES`, and what differs from Llama in its functions.

mod config;
mod gguf_keys;
mod tensors;

use std::path::Path;

use crate::container::gguf::Metadata;
use crate::container::json::Object;
use crate::error::{Error, printable};
use crate::spec::{Arch, RopeLayout, Spec};

pub(crate) use gguf_keys::{FindTensor, gguf_name, rope_factors, shape_keys};
pub(crate) use tensors::{check, expected};

/// How one architecture is recognised and read.
struct Architecture {
    /// `general.architecture` of its GGUF files.
    gguf: Option<&'static str>,
    /// `model_type` of its config.json.
    model_type: &'static str,
    /// The class in `architectures` of its config.json.
    class: &'static str,
    from_gguf: fn(&Metadata, &FindTensor<'_>) -> Result<Spec, Error>,
    from_config: fn(&Object<'_>) -> Result<Spec, Error>,
}

const ARCHITECTURES: [Architecture; 3] = [
    // Llama 2, Llama 3.x, SmolLM2, and every GGUF file that says `llama` (Mistral's do).
    Architecture {
        gguf: Some("llama"),
        model_type: "llama",
        class: "LlamaForCausalLM",
        // llama.cpp's converter permutes the rows of q and k of this architecture, so that the two rows of a pair are adjacent.
        from_gguf: |metadata, find| gguf_keys::read(metadata, find, Arch::Llama, RopeLayout::Interleaved),
        from_config: |config| {
            let mut spec = config::read(config, Arch::Llama)?;
            spec.qkv_bias = config.flag("attention_bias")?.unwrap_or(false);
            Ok(spec)
        },
    },
    // Mistral 7B: Llama with a sliding window in v0.1. Its GGUF files say `llama` and lack the window, which then comes from the
    // registry (`Checkpoint::with_window`).
    Architecture {
        gguf: None,
        model_type: "mistral",
        class: "MistralForCausalLM",
        // Never called: no GGUF file names this architecture.
        from_gguf: |metadata, _| Err(metadata.mismatch("general.architecture", "llama", "mistral")),
        from_config: |config| {
            let window = config.count("sliding_window")?.filter(|window| *window > 0);
            config::read(config, Arch::Mistral).map(|spec| spec.with_window(window))
        },
    },
    // Qwen 1.5, 2 and 2.5, and models distilled into them: Llama with biases on q, k and v.
    Architecture {
        gguf: Some("qwen2"),
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        from_gguf: |metadata, find| {
            let spec = gguf_keys::read(metadata, find, Arch::Qwen2, RopeLayout::Halves)?;
            // Always biased: the check of the tensors then reports a bias that is missing.
            Ok(Spec { qkv_bias: true, ..spec })
        },
        from_config: |config| {
            let spec = Spec { qkv_bias: true, ..config::read(config, Arch::Qwen2)? };
            let window = qwen2_window(config, spec.layers)?;
            Ok(spec.with_window(window))
        },
    },
];

/// The shape of the model in a GGUF file.
pub(crate) fn from_gguf(metadata: &Metadata, find: &FindTensor<'_>) -> Result<Spec, Error> {
    const KEY: &str = "general.architecture";
    let name = metadata.required(KEY, metadata.text(KEY)?)?;
    match ARCHITECTURES.iter().find(|architecture| architecture.gguf == Some(name)) {
        Some(architecture) => (architecture.from_gguf)(metadata, find),
        None => {
            Err(unsupported(metadata.file(), name, ARCHITECTURES.iter().filter_map(|architecture| architecture.gguf)))
        }
    }
}

/// The shape of the model of a config.json.
pub(crate) fn from_config(config: &Object<'_>) -> Result<Spec, Error> {
    let model_type = config.text("model_type")?;
    let class = config.first_text("architectures")?;
    let architecture = ARCHITECTURES.iter().find(|architecture| match (class, model_type) {
        // The class decides: reward models, for example, have the same model_type, but another last layer.
        (Some(class), model_type) => {
            architecture.class == class && model_type.is_none_or(|model_type| model_type == architecture.model_type)
        }
        (None, Some(model_type)) => architecture.model_type == model_type,
        (None, None) => false,
    });
    match architecture {
        Some(architecture) => (architecture.from_config)(config),
        None => {
            let found = class.or(model_type).unwrap_or("(none named)");
            Err(unsupported(config.file(), found, ARCHITECTURES.iter().map(|architecture| architecture.class)))
        }
    }
}

fn unsupported(file: &Path, found: &str, supported: impl Iterator<Item = &'static str>) -> Error {
    let supported = supported.collect::<Vec<_>>().join(", ");
    Error::UnsupportedArchitecture { file: file.to_path_buf(), found: printable(found), supported }
}

/// The sliding window of Qwen 2, if `use_sliding_window` is set and the window holds in all layers. The first `max_window_layers`
/// layers attend to all positions; a window in some of the layers only is not supported.
fn qwen2_window(config: &Object<'_>, layers: usize) -> Result<Option<usize>, Error> {
    let window = config.count("sliding_window")?.filter(|window| *window > 0);
    if window.is_none() || !config.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(None);
    }
    // The default of transformers.
    match config.count("max_window_layers")?.unwrap_or(28) {
        0 => Ok(window),
        full if full >= layers => Ok(None),
        full => {
            Err(config.unsupported("max_window_layers", format!("0, or {layers} layers or more"), full.to_string()))
        }
    }
}
