//! The keys of a GGUF header that describe the shape of a model, under the architecture's prefix: reading and writing them.

use super::tensors::check_spec;
use crate::container::gguf::{KeyValues, Metadata, Value};
use crate::dtype::DType;
use crate::error::{Cause, Error, Mismatch};
use crate::spec::{Arch, Rope, RopeLayout, RopeScaling, Spec};
use crate::tensor::TensorInfo;

/// Finds a tensor of the file by its name: its description and its bytes.
pub(crate) type FindTensor<'a> = dyn Fn(&str) -> Option<(&'a TensorInfo, &'a [u8])> + 'a;

/// Reads the shape. Vocabulary size, tied embeddings and biases follow from the tensors.
pub(super) fn read(metadata: &Metadata, find: &FindTensor<'_>, arch: Arch, layout: RopeLayout) -> Result<Spec, Error> {
    let prefix = arch.name();
    let key = |rest: &str| format!("{prefix}.{rest}");
    let layers = metadata.required(&key("block_count"), metadata.count(&key("block_count"))?)?;
    // Files of models whose layers differ have arrays of one value per layer, and so have some files whose layers are all equal.
    let count = |rest: &str| metadata.count_of_layers(&key(rest), layers);
    let required = |rest: &str| metadata.required(&key(rest), count(rest)?);
    let number = |rest: &str| metadata.number_of_layers(&key(rest), layers);

    if let Some(experts) = count("expert_count")?
        && experts > 0
    {
        let found = format!("{prefix} with {experts} experts");
        return Err(Error::UnsupportedArchitecture {
            file: metadata.file().to_path_buf(),
            found,
            supported: format!("{prefix} without experts"),
        });
    }
    let hidden = required("embedding_length")?;
    let heads = required("attention.head_count")?;
    let head_dim = match count("attention.key_length")? {
        Some(width) => width,
        None if heads > 0 && hidden % heads == 0 => hidden / heads,
        None => {
            return Err(metadata.mismatch(
                &key("attention.head_count"),
                format!("a divisor of {hidden} (embedding_length)"),
                heads.to_string(),
            ));
        }
    };
    if let Some(width) = count("attention.value_length")?
        && width != head_dim
    {
        return Err(metadata.unsupported(
            &key("attention.value_length"),
            format!("{head_dim}, the width of a key"),
            width.to_string(),
        ));
    }
    let table = find("token_embd.weight").and_then(|(info, _)| info.shape.first().copied());
    let vocab = match (table, count("vocab_size")?) {
        (Some(rows), _) => rows,
        (None, Some(size)) => size,
        (None, None) => return Err(missing(metadata, "token_embd.weight")),
    };
    if let Some(tokens) = metadata.texts("tokenizer.ggml.tokens")?
        && tokens.len() > vocab
    {
        return Err(metadata.mismatch(
            "tokenizer.ggml.tokens",
            format!("at most {vocab} tokens (rows of token_embd.weight)"),
            tokens.len().to_string(),
        ));
    }
    let dim = count("rope.dimension_count")?.unwrap_or(head_dim);
    let spec = Spec {
        arch,
        layers,
        hidden,
        ffn: required("feed_forward_length")?,
        heads,
        kv_heads: count("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context_length: required("context_length")?,
        norm_eps: metadata
            .required(&key("attention.layer_norm_rms_epsilon"), number("attention.layer_norm_rms_epsilon")?)?,
        rope: Rope {
            theta: number("rope.freq_base")?.unwrap_or(10_000.0),
            dim,
            layout,
            scaling: scaling(metadata, find, prefix, dim)?,
        },
        window: count("attention.sliding_window")?.filter(|window| *window > 0),
        qkv_bias: find("blk.0.attn_q.bias").is_some(),
        tied_embeddings: find("output.weight").is_none(),
    };
    check_spec(metadata.file(), &spec).map_err(Error::Gguf)?;
    Ok(spec)
}

/// The error of a required tensor that is missing.
fn missing(metadata: &Metadata, name: &str) -> Error {
    let place = format!("tensor `{name}`");
    Error::Gguf(Mismatch::at(metadata.file(), place, "a table of embeddings", "none", Cause::WrittenWrongly))
}

/// The factors of `rope_freqs.weight` if that tensor exists (Llama 3 files store their scaling in it), else the scaling in the keys.
fn scaling(metadata: &Metadata, find: &FindTensor<'_>, prefix: &str, dim: usize) -> Result<Option<RopeScaling>, Error> {
    if let Some((info, bytes)) = find("rope_freqs.weight") {
        let mismatch = |expected: String, found: String| {
            let place = "tensor `rope_freqs.weight`";
            Err(Error::Gguf(Mismatch::at(metadata.file(), place, expected, found, Cause::WrittenWrongly)))
        };
        if info.dtype != DType::F32 || info.shape != [dim / 2] {
            return mismatch(format!("{} F32", dim / 2), format!("{:?} {}", info.shape, info.dtype));
        }
        let (factors, _) = bytes.as_chunks::<4>();
        let factors: Vec<f32> = factors.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if let Some(bad) = factors.iter().find(|factor| !factor.is_finite() || **factor <= 0.0) {
            return mismatch("positive finite factors".to_owned(), bad.to_string());
        }
        // Factors of 1 (synthetic or unscaled files) have no effect.
        return Ok(factors
            .iter()
            .any(|factor| (factor - 1.0).abs() > f32::EPSILON)
            .then_some(RopeScaling::Factors(factors)));
    }
    let key = format!("{prefix}.rope.scaling.type");
    let factor = match metadata.number(&format!("{prefix}.rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => metadata.number(&format!("{prefix}.rope.scale_linear"))?,
    };
    match (metadata.text(&key)?, factor) {
        (Some("none"), _) | (None | Some("linear"), None) => Ok(None),
        (None | Some("linear"), Some(factor)) if factor > 0.0 => {
            Ok(((factor - 1.0).abs() > f32::EPSILON).then_some(RopeScaling::Linear { factor }))
        }
        (None | Some("linear"), Some(factor)) => {
            Err(metadata.mismatch(&format!("{prefix}.rope.scaling.factor"), "a positive factor", factor.to_string()))
        }
        (Some(other), _) => Err(metadata.unsupported(&key, "none or linear", format!("`{other}`"))),
    }
}

/// The name of the architecture in llama.cpp, which has none for Mistral 7B: its converter names those files `llama`.
pub(crate) const fn gguf_name(spec: &Spec) -> &'static str {
    match spec.arch {
        Arch::Llama | Arch::Mistral => "llama",
        Arch::Qwen2 => "qwen2",
    }
}

/// The keys that describe the shape, to be written to a GGUF file.
pub(crate) fn shape_keys(spec: &Spec) -> KeyValues {
    let mut keys = KeyValues::new();
    let arch = gguf_name(spec);
    let number = |size: usize| Value::U32(u32::try_from(size).unwrap_or(u32::MAX));
    let mut add = |key: &str, value: Value| keys.push((format!("{arch}.{key}"), value));
    add("vocab_size", number(spec.vocab));
    add("context_length", number(spec.context_length));
    add("embedding_length", number(spec.hidden));
    add("block_count", number(spec.layers));
    add("feed_forward_length", number(spec.ffn));
    add("attention.head_count", number(spec.heads));
    add("attention.head_count_kv", number(spec.kv_heads));
    add("attention.key_length", number(spec.head_dim));
    add("attention.value_length", number(spec.head_dim));
    add("attention.layer_norm_rms_epsilon", Value::F32(spec.norm_eps));
    if let Some(window) = spec.window {
        add("attention.sliding_window", number(window));
    }
    add("rope.dimension_count", number(spec.rope.dim));
    add("rope.freq_base", Value::F32(spec.rope.theta));
    if let Some(RopeScaling::Linear { factor }) = spec.rope.scaling {
        add("rope.scaling.type", Value::String("linear".into()));
        add("rope.scaling.factor", Value::F32(factor));
    }
    keys
}

/// The divisors of the rotary frequencies that GGUF stores as `rope_freqs.weight`, unless the scaling is one common factor.
///
/// They follow from the spec's own frequencies: `theta^(-2 i / dim) / scaled_i`.
pub(crate) fn rope_factors(spec: &Spec) -> Option<Vec<f32>> {
    match &spec.rope.scaling {
        None | Some(RopeScaling::Linear { .. }) => None,
        Some(RopeScaling::Factors(factors)) => Some(factors.clone()),
        Some(RopeScaling::Llama3 { .. }) => {
            let (theta, dim) = (f64::from(spec.rope.theta), spec.rope.dim as f64);
            let scaled = spec.inverse_frequencies();
            let divisor = |(i, &f): (usize, &f32)| (theta.powf(-2.0 * i as f64 / dim) / f64::from(f)) as f32;
            Some(scaled.iter().enumerate().map(divisor).collect())
        }
    }
}
