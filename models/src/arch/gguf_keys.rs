//! The keys of a GGUF header that describe the shape of a model, under the architecture's prefix: reading and writing them.

use super::architecture::Architecture;
use super::experts;
use super::rope_tables::{self, global_rope};
use super::tensors::{check_layer_count, check_spec};
use crate::container::gguf::{KeyValues, Metadata, Value};
use crate::error::{Cause, Error, Mismatch};
use crate::spec::{
    Arch, Attention, EMBEDDING, FeedForward, Gated, Layer, Mixer, NormPlacement, OUTPUT, Rope, RopeScaling, Spec,
    yarn_magnitude,
};
use crate::tensor::TensorInfo;

/// Finds a tensor of the file by its name: its description and its bytes.
pub(crate) type FindTensor<'a> = dyn Fn(&str) -> Option<(&'a TensorInfo, &'a [u8])> + 'a;

/// Reads the shape: first a plain decoder of equal layers, then what is the architecture's own. Vocabulary size, tied embeddings and
/// biases follow from the tensors.
pub(super) fn read(metadata: &Metadata, find: &FindTensor<'_>, architecture: &Architecture) -> Result<Spec, Error> {
    let prefix = architecture.gguf.unwrap_or(architecture.arch);
    let key = |rest: &str| format!("{prefix}.{rest}");
    let layers = metadata.required(&key("block_count"), metadata.count(&key("block_count"))?)?;
    check_layer_count(metadata.file(), layers).map_err(Error::Gguf)?;
    // Files of models whose layers differ have arrays of one value per layer, and so have some files whose layers are all equal.
    let count = |rest: &str| metadata.count_of_layers(&key(rest), layers);
    let required = |rest: &str| metadata.required(&key(rest), count(rest)?);
    let number = |rest: &str| metadata.number_of_layers(&key(rest), layers);

    if let Some(experts) = count("expert_count")?
        && experts > 0
        && !architecture.has_experts
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
        && !architecture.has_latent_attention
    {
        return Err(metadata.unsupported(
            &key("attention.value_length"),
            format!("{head_dim}, the width of a key"),
            width.to_string(),
        ));
    }
    let table = find(EMBEDDING).and_then(|(info, _)| info.shape.first().copied());
    let vocab = match (table, count("vocab_size")?) {
        (Some(rows), _) => rows,
        (None, Some(size)) => size,
        (None, None) => return Err(missing(metadata, EMBEDDING)),
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
    let context_length = required("context_length")?;
    let rope = Rope {
        theta: number("rope.freq_base")?.unwrap_or(10_000.0),
        dim,
        layout: architecture.gguf_layout,
        scaling: scaling(metadata, find, prefix, dim, context_length)?,
    };
    let largest = |rest: &str| -> Result<Option<usize>, Error> {
        Ok(metadata.counts_of_layers(&key(rest), layers)?.and_then(|counts| counts.into_iter().max()))
    };
    let width = match architecture.has_different_layers {
        false => count("feed_forward_length")?,
        true => largest("feed_forward_length")?,
    };
    // Files of models with experts alone may state the width of those only.
    let width = match width {
        None if architecture.has_experts => count("expert_feed_forward_length")?,
        width => width,
    };
    const KV_HEADS: &str = "attention.head_count_kv";
    let kv_heads = match architecture.has_other_mixers || architecture.has_different_layers {
        false => count(KV_HEADS)?,
        true => largest(KV_HEADS)?,
    };
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            qkv_bias: find("blk.0.attn_q.bias").is_some(),
            ..Attention::plain(heads, kv_heads.unwrap_or(heads), head_dim, Some(rope))
        }),
        feed_forward: FeedForward::Dense(Gated {
            width: metadata.required(&key("feed_forward_length"), width)?,
            activation: architecture.activation,
        }),
        norms: NormPlacement::Before,
        output_scale: false,
    };
    let mut spec = Spec {
        arch: Arch::new(architecture.arch),
        hidden,
        vocab,
        context_length,
        norm_eps: metadata
            .required(&key("attention.layer_norm_rms_epsilon"), number("attention.layer_norm_rms_epsilon")?)?,
        norm_offset: 0.0,
        tied_embeddings: find(OUTPUT).is_none(),
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![layer; layers],
    };
    if architecture.has_different_layers {
        read_weights_of_layers(find, &mut spec);
    }
    check_spec(metadata.file(), &spec).map_err(Error::Gguf)?;
    let spec = (architecture.from_gguf)(metadata, spec)?;
    check_spec(metadata.file(), &spec).map_err(Error::Gguf)?;
    Ok(spec)
}

/// What files of architectures with different layers say by the weights that a layer has.
fn read_weights_of_layers(find: &FindTensor<'_>, spec: &mut Spec) {
    for (at, layer) in spec.layers.iter_mut().enumerate() {
        let has = |part: &str| find(&format!("blk.{at}.{part}.weight")).is_some();
        layer.output_scale = has("layer_output_scale");
        if let Some(attention) = layer.mixer.attention_mut() {
            attention.values_are_keys = has("attn_k") && !has("attn_v");
        }
    }
}

/// The error of a required tensor that is missing.
fn missing(metadata: &Metadata, name: &str) -> Error {
    let place = format!("tensor `{name}`");
    Error::Gguf(Mismatch::at(metadata.file(), place, "a table of embeddings", "none", Cause::WrittenWrongly))
}

/// The tables of factors if they exist, else the scaling in the keys.
fn scaling(
    metadata: &Metadata,
    find: &FindTensor<'_>,
    prefix: &str,
    dim: usize,
    context: usize,
) -> Result<Option<RopeScaling>, Error> {
    let table = |name: &str| find(name).map(|tensor| rope_tables::read(metadata, name, tensor, dim)).transpose();
    if let Some(factors) = table(rope_tables::FREQUENCIES)? {
        // Factors of 1 (synthetic or unscaled files) have no effect.
        let has_effect = factors.iter().any(|factor| (factor - 1.0).abs() > f32::EPSILON);
        return Ok(has_effect.then_some(RopeScaling::Factors(factors)));
    }
    if let (Some(long), Some(short)) = (table(rope_tables::LONG)?, table(rope_tables::SHORT)?) {
        let original = metadata.count(&format!("{prefix}.rope.scaling.original_context_length"))?;
        let original_context = original.filter(|original| *original > 0).unwrap_or(context);
        let magnitude = metadata.number(&format!("{prefix}.rope.scaling.attn_factor"))?.unwrap_or(1.0);
        return Ok(Some(RopeScaling::LongRope { short, long, original_context, magnitude }));
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
        // llama.cpp takes 0 for no scaling, and writes it so.
        (None | Some("linear"), Some(0.0)) => Ok(None),
        (Some("yarn"), Some(0.0)) => {
            Err(metadata.unsupported(&format!("{prefix}.rope.scaling.factor"), "a positive factor", "0"))
        }
        (None | Some("linear"), Some(factor)) => {
            Err(metadata.mismatch(&format!("{prefix}.rope.scaling.factor"), "a positive factor", factor.to_string()))
        }
        (Some("yarn"), Some(factor)) if factor > 0.0 => yarn(metadata, prefix, factor, context).map(Some),
        (Some("yarn"), factor) => {
            let found = factor.map_or_else(|| "no such key".to_owned(), |factor| factor.to_string());
            Err(metadata.mismatch(&format!("{prefix}.rope.scaling.factor"), "a positive factor", found))
        }
        (Some(other), _) => Err(metadata.unsupported(&key, "none, linear or yarn", format!("`{other}`"))),
    }
}

/// The keys of YaRN. llama.cpp's defaults are those of the paper; the magnitude is computed as in its `llama_context`.
fn yarn(metadata: &Metadata, prefix: &str, factor: f32, context: usize) -> Result<RopeScaling, Error> {
    let positive = |rest: &str| -> Result<Option<f32>, Error> {
        let key = format!("{prefix}.rope.scaling.{rest}");
        match metadata.number(&key)? {
            Some(number) if number < 0.0 => Err(metadata.mismatch(&key, "a positive number", number.to_string())),
            other => Ok(other.filter(|number| *number > 0.0)),
        }
    };
    let original = metadata.count(&format!("{prefix}.rope.scaling.original_context_length"))?;
    let magnitude = match positive("yarn_log_multiplier")? {
        Some(scale) => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, scale),
        None => yarn_magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: positive("yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: positive("yarn_beta_slow")?.unwrap_or(1.0),
        original_context: original.filter(|original| *original > 0).unwrap_or(context),
        magnitude: magnitude * positive("attn_factor")?.unwrap_or(1.0),
        // There is no key for it: llama.cpp rounds.
        truncate: true,
    })
}

/// The keys that describe the shape in all architectures, without their prefix. The rotary embedding is that of the first layer that
/// attends to all positions.
pub(super) fn shape_keys(spec: &Spec) -> KeyValues {
    let mut keys = KeyValues::new();
    let number = |size: usize| Value::U32(u32::try_from(size).unwrap_or(u32::MAX));
    let mut add = |key: &str, value: Value| keys.push((key.to_owned(), value));
    add("vocab_size", number(spec.vocab));
    add("context_length", number(spec.context_length));
    add("embedding_length", number(spec.hidden));
    add("block_count", number(spec.layers.len()));
    let Some(Layer { feed_forward, .. }) = spec.layers.first() else { return keys };
    match feed_forward {
        FeedForward::Dense(gated) => add("feed_forward_length", number(gated.width)),
        FeedForward::Experts(experts) => {
            // The width of the experts that a token uses, as in published files.
            add("feed_forward_length", number(experts.used * experts.expert.width));
            add("expert_feed_forward_length", number(experts.expert.width));
            add("expert_count", number(experts.count));
            add("expert_used_count", number(experts.used));
            add("expert_gating_func", Value::U32(experts::function_number(experts.gating.scores)));
            if let Some(scale) = experts.gating.scale {
                add("expert_weights_scale", Value::F32(scale));
            }
            if let Some(shared) = experts.shared {
                add("expert_shared_feed_forward_length", number(shared.width));
            }
        }
    }
    // That of the first layer that has attention.
    if let Some(attention) = spec.attentions().next() {
        add("attention.head_count", number(attention.heads));
        add("attention.head_count_kv", number(attention.kv_heads));
        add("attention.key_length", number(attention.head_dim));
        add("attention.value_length", number(attention.head_dim));
    }
    add("attention.layer_norm_rms_epsilon", Value::F32(spec.norm_eps));
    let Some(rope) = global_rope(spec) else { return keys };
    add("rope.dimension_count", number(rope.dim));
    add("rope.freq_base", Value::F32(rope.theta));
    match &rope.scaling {
        Some(RopeScaling::Linear { factor }) => {
            add("rope.scaling.type", Value::String("linear".into()));
            add("rope.scaling.factor", Value::F32(*factor));
        }
        Some(RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, magnitude, .. }) => {
            add("rope.scaling.type", Value::String("yarn".into()));
            add("rope.scaling.factor", Value::F32(*factor));
            add("rope.scaling.original_context_length", number(*original_context));
            add("rope.scaling.yarn_beta_fast", Value::F32(*beta_fast));
            add("rope.scaling.yarn_beta_slow", Value::F32(*beta_slow));
            // llama.cpp multiplies the magnitude of the paper by it; a few architectures alone read a multiplier of the logarithm.
            let of_paper = yarn_magnitude(*factor, 1.0);
            if (magnitude - of_paper).abs() > f32::EPSILON {
                add("rope.scaling.attn_factor", Value::F32(magnitude / of_paper));
            }
        }
        Some(RopeScaling::LongRope { original_context, magnitude, .. }) => {
            add("rope.scaling.original_context_length", number(*original_context));
            add("rope.scaling.attn_factor", Value::F32(*magnitude));
        }
        // In the tensor of factors.
        None | Some(RopeScaling::Llama3 { .. } | RopeScaling::Factors(_)) => {}
    }
    keys
}
