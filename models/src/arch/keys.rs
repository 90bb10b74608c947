//! The keys of a GGUF header that all architectures share, under the architecture's prefix.

use super::Lookup;
use super::tensors::check_spec;
use crate::checkpoint::gguf::Metadata;
use crate::dtype::DType;
use crate::error::{Error, Fault};
use crate::spec::{Arch, Rope, RopeLayout, RopeScaling, Spec};

/// Reads the shape. What the header does not say follows from the tensors: the vocabulary, ties, biases.
pub(super) fn read(metadata: &Metadata, lookup: &Lookup<'_>, arch: Arch, layout: RopeLayout) -> Result<Spec, Error> {
    let prefix = arch.name();
    let key = |rest: &str| format!("{prefix}.{rest}");
    let count = |rest: &str| metadata.count(&key(rest));
    let needed = |rest: &str| metadata.required(&key(rest), count(rest)?);
    let number = |rest: &str| metadata.number(&key(rest));

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
    let hidden = needed("embedding_length")?;
    let heads = needed("attention.head_count")?;
    let head_dim = match count("attention.key_length")? {
        Some(width) => width,
        None if heads > 0 && hidden % heads == 0 => hidden / heads,
        None => {
            return Err(metadata.fault(
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
    let table = lookup("token_embd.weight").and_then(|(info, _)| info.shape.first().copied());
    let vocab = match (table, count("vocab_size")?) {
        (Some(rows), _) => rows,
        (None, Some(size)) => size,
        (None, None) => return Err(missing(metadata, "token_embd.weight")),
    };
    if let Some(tokens) = metadata.texts("tokenizer.ggml.tokens")?
        && tokens.len() > vocab
    {
        return Err(metadata.fault(
            "tokenizer.ggml.tokens",
            format!("at most {vocab} tokens (rows of token_embd.weight)"),
            tokens.len().to_string(),
        ));
    }
    let dim = count("rope.dimension_count")?.unwrap_or(head_dim);
    let spec = Spec {
        arch,
        layers: needed("block_count")?,
        hidden,
        ffn: needed("feed_forward_length")?,
        heads,
        kv_heads: count("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab,
        context_length: needed("context_length")?,
        norm_eps: metadata
            .required(&key("attention.layer_norm_rms_epsilon"), number("attention.layer_norm_rms_epsilon")?)?,
        rope: Rope {
            theta: number("rope.freq_base")?.unwrap_or(10_000.0),
            dim,
            layout,
            scaling: scaling(metadata, lookup, prefix, dim)?,
        },
        window: count("attention.sliding_window")?.filter(|window| *window > 0),
        qkv_bias: lookup("blk.0.attn_q.bias").is_some(),
        tied_embeddings: lookup("output.weight").is_none(),
    };
    check_spec(metadata.file(), &spec).map_err(Error::Gguf)?;
    Ok(spec)
}

/// The fault of a tensor that has to be there.
fn missing(metadata: &Metadata, name: &str) -> Error {
    Error::Gguf(Fault::at(
        metadata.file(),
        format!("tensor `{name}`"),
        "a table of embeddings",
        "none",
        "the file is not whole: take another",
    ))
}

/// Factors of `rope_freqs.weight` where that tensor exists (Llama 3 files carry their scaling so), else the scaling of the keys.
fn scaling(metadata: &Metadata, lookup: &Lookup<'_>, prefix: &str, dim: usize) -> Result<Option<RopeScaling>, Error> {
    if let Some((info, bytes)) = lookup("rope_freqs.weight") {
        let fault = |expected: String, found: String| {
            let advice = "the file was made wrongly: take another";
            Err(Error::Gguf(Fault::at(metadata.file(), "tensor `rope_freqs.weight`", expected, found, advice)))
        };
        if info.dtype != DType::F32 || info.shape != [dim / 2] {
            return fault(format!("{} F32", dim / 2), format!("{:?} {}", info.shape, info.dtype));
        }
        let (factors, _) = bytes.as_chunks::<4>();
        let factors: Vec<f32> = factors.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if let Some(bad) = factors.iter().find(|factor| !factor.is_finite() || **factor <= 0.0) {
            return fault("positive finite factors".to_owned(), bad.to_string());
        }
        // All ones (synthetic or unscaled files) change nothing.
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
            Err(metadata.fault(&format!("{prefix}.rope.scaling.factor"), "a positive factor", factor.to_string()))
        }
        (Some(other), _) => Err(metadata.unsupported(&key, "none or linear", format!("`{other}`"))),
    }
}
