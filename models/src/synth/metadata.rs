//! The metadata of a synthetic file: everything that a GGUF reader, llama.cpp's included, needs to know the shape.

use crate::checkpoint::gguf::{ALIGNMENT, Pairs, Value};
use crate::spec::{Arch, RopeScaling, Spec};

use super::quant::Quant;

/// Set to true in every synthetic file, so that no reader takes it for a trained model.
pub const SYNTHETIC_KEY: &str = "inferometer.synthetic";
/// The seed of the weights.
pub const SEED_KEY: &str = "inferometer.synthetic.seed";
/// Counts up whenever the same recipe gives other bytes.
pub const VERSION_KEY: &str = "inferometer.synthetic.version";

/// The version of the generator. Changed weights, types or metadata need another number; caches tell files apart by it.
pub(super) const VERSION: u32 = 1;

/// The keys about the model; those of the tokenizer follow them in the file.
pub(super) fn model_metadata(name: &str, spec: &Spec, quant: Quant, seed: u64) -> Pairs {
    let mut metadata: Pairs = vec![
        ("general.architecture".into(), Value::String(architecture(spec).into())),
        ("general.name".into(), Value::String(format!("{name} (synthetic)"))),
        (
            "general.description".into(),
            Value::String(format!("synthetic weights: random numbers of seed {seed} in the shape of {name}")),
        ),
        ("general.file_type".into(), Value::U32(quant.file_type())),
        ("general.quantization_version".into(), Value::U32(2)),
        ("general.alignment".into(), Value::U32(ALIGNMENT as u32)),
        (SYNTHETIC_KEY.into(), Value::Bool(true)),
        (SEED_KEY.into(), Value::U64(seed)),
        (VERSION_KEY.into(), Value::U32(VERSION)),
    ];
    metadata.extend(shape_metadata(spec));
    metadata
}

/// What llama.cpp calls the architecture: it has none of its own for Mistral 7B, whose files its converter names `llama`.
pub(crate) const fn architecture(spec: &Spec) -> &'static str {
    match spec.arch {
        Arch::Llama | Arch::Mistral => "llama",
        Arch::Qwen2 => "qwen2",
    }
}

/// The keys of the shape alone, as every file of this architecture has them.
pub(crate) fn shape_metadata(spec: &Spec) -> Pairs {
    let mut metadata = Pairs::new();
    let arch = architecture(spec);
    let number = |size: usize| Value::U32(u32::try_from(size).unwrap_or(u32::MAX));
    let mut about = |key: &str, value: Value| metadata.push((format!("{arch}.{key}"), value));
    about("vocab_size", number(spec.vocab));
    about("context_length", number(spec.context_length));
    about("embedding_length", number(spec.hidden));
    about("block_count", number(spec.layers));
    about("feed_forward_length", number(spec.ffn));
    about("attention.head_count", number(spec.heads));
    about("attention.head_count_kv", number(spec.kv_heads));
    about("attention.key_length", number(spec.head_dim));
    about("attention.value_length", number(spec.head_dim));
    about("attention.layer_norm_rms_epsilon", Value::F32(spec.norm_eps));
    if let Some(window) = spec.window {
        about("attention.sliding_window", number(window));
    }
    about("rope.dimension_count", number(spec.rope.dim));
    about("rope.freq_base", Value::F32(spec.rope.theta));
    if let Some(RopeScaling::Linear { factor }) = spec.rope.scaling {
        about("rope.scaling.type", Value::String("linear".into()));
        about("rope.scaling.factor", Value::F32(factor));
    }
    metadata
}
