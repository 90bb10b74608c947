//! The shape of a model from the fields of config.json that all architectures share, in the spelling of transformers before and
//! since version 5.

use super::architecture::Architecture;
use super::tensors::{check_layer_count, check_spec};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{
    Activation, Arch, Attention, FeedForward, Gated, Layer, Rope, RopeLayout, RopeScaling, Spec, long_rope_magnitude,
    yarn_magnitude,
};

/// Reads the shape: first a plain decoder of equal layers, then what is the architecture's own.
pub(super) fn read(config: &Object<'_>, architecture: &Architecture) -> Result<Spec, Error> {
    let required = |name: &str| config.required(name, config.count(name)?);
    let hidden = required("hidden_size")?;
    let heads = required("num_attention_heads")?;
    let stated = match architecture.has_latent_attention {
        true => Some(required("qk_rope_head_dim")?),
        false => config.count("head_dim")?,
    };
    let head_dim = match stated {
        Some(width) => width,
        None if heads > 0 && hidden % heads == 0 => hidden / heads,
        None => {
            return Err(config.mismatch(
                "num_attention_heads",
                format!("a divisor of {hidden} (hidden_size)"),
                heads.to_string(),
            ));
        }
    };
    for name in ["mlp_bias", "attention_output_bias"] {
        if config.flag(name)? == Some(true) {
            return Err(config.unsupported(name, "false", "true"));
        }
    }
    let activation = match architecture.activation {
        // The fields of its bounds are read by the architecture.
        Activation::Silu | Activation::ClampedSwiglu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    for name in ["hidden_act", "hidden_activation"] {
        if let Some(found) = config.text(name)?
            && found != activation
        {
            return Err(config.unsupported(name, format!("`{activation}`"), format!("`{found}`")));
        }
    }
    let kv_heads = config.count("num_key_value_heads")?.unwrap_or(heads);
    let context_length = required("max_position_embeddings")?;
    // LFM2 has other names for these two; models with experts alone state the width of those.
    let width = match config.count("intermediate_size")?.or(config.count("block_ff_dim")?) {
        None if architecture.has_experts => config.count("moe_intermediate_size")?,
        width => width,
    };
    let norm_eps = config.number("rms_norm_eps")?.or(config.number("norm_eps")?);
    let layer = Layer {
        feed_forward: FeedForward::Dense(Gated {
            width: config.required("intermediate_size", width)?,
            activation: architecture.activation,
        }),
        ..Layer::plain(Attention::plain(heads, kv_heads, head_dim, Some(rope(config, head_dim, context_length)?)), 0)
    };
    let layers = required("num_hidden_layers")?;
    check_layer_count(config.file(), layers).map_err(Error::Config)?;
    let spec = Spec {
        arch: Arch::new(architecture.arch),
        hidden,
        vocab: required("vocab_size")?,
        context_length,
        norm_eps: config.required("rms_norm_eps", norm_eps)?,
        norm_offset: 0.0,
        tied_embeddings: config.flag("tie_word_embeddings")?.unwrap_or(architecture.tied_by_default),
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![layer; layers],
    };
    check_spec(config.file(), &spec).map_err(Error::Config)?;
    let spec = (architecture.from_config)(config, spec)?;
    check_spec(config.file(), &spec).map_err(Error::Config)?;
    Ok(spec)
}

/// What a rotary embedding needs to know about the model.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// Width of a head.
    pub(super) head_dim: usize,
    /// The number of positions that the model was trained for.
    pub(super) context: usize,
    /// The number of positions of the first training, if the model's own fields state it.
    pub(super) original: Option<usize>,
    /// The rotated share of a head, if the model's own fields state it.
    pub(super) share: Option<f32>,
}

/// `rope_theta` and `rope_scaling` before version 5 of transformers, `rope_parameters` with both since.
fn rope(config: &Object<'_>, head_dim: usize, context: usize) -> Result<Rope, Error> {
    let frame = Frame {
        head_dim,
        context,
        original: config.count("original_max_position_embeddings")?,
        share: config.number("partial_rotary_factor")?,
    };
    if let Some(new) = config.object("rope_parameters", "rope_parameters.")? {
        let rope = rope_of(&new, frame)?;
        // Some files have the base beside the object.
        let theta = if new.number("rope_theta")?.is_none() { config.number("rope_theta")? } else { None };
        return Ok(Rope { theta: theta.unwrap_or(rope.theta), ..rope });
    }
    let theta = config.number("rope_theta")?.unwrap_or(10_000.0);
    let dim = rotated(config, frame)?;
    let scaling = match config.object("rope_scaling", "rope_scaling.")? {
        Some(parameters) => scaling(&parameters, dim, frame)?,
        None => None,
    };
    Ok(Rope { theta, dim, layout: RopeLayout::Halves, scaling })
}

/// An object with `rope_theta` and the parameters of the scaling.
pub(super) fn rope_of(parameters: &Object<'_>, frame: Frame) -> Result<Rope, Error> {
    let theta = parameters.number("rope_theta")?.unwrap_or(10_000.0);
    let dim = rotated(parameters, frame)?;
    Ok(Rope { theta, dim, layout: RopeLayout::Halves, scaling: scaling(parameters, dim, frame)? })
}

/// The number of rotated elements of a head: `partial_rotary_factor` of them, rounded down.
#[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the width")]
fn rotated(fields: &Object<'_>, frame: Frame) -> Result<usize, Error> {
    const NAME: &str = "partial_rotary_factor";
    match fields.number(NAME)?.or(frame.share) {
        None => Ok(frame.head_dim),
        Some(share) if share > 0.0 && share <= 1.0 => Ok((frame.head_dim as f32 * share) as usize),
        Some(other) => Err(fields.mismatch(NAME, "a number above 0, at most 1", other.to_string())),
    }
}

fn scaling(parameters: &Object<'_>, dim: usize, frame: Frame) -> Result<Option<RopeScaling>, Error> {
    let Frame { context, .. } = frame;
    let positive = |name: &str| -> Result<Option<f32>, Error> {
        match parameters.number(name)? {
            Some(number) if number <= 0.0 => Err(parameters.mismatch(name, "a positive number", number.to_string())),
            other => Ok(other),
        }
    };
    let number = |name: &str| parameters.required(name, positive(name)?);
    // `type` is the older name of `rope_type`.
    let (name, kind) = match parameters.text("rope_type")? {
        Some(kind) => ("rope_type", kind),
        None => ("type", parameters.text("type")?.unwrap_or("default")),
    };
    let original = || parameters.count("original_max_position_embeddings");
    match kind {
        "default" => Ok(None),
        "linear" => Ok(Some(RopeScaling::Linear { factor: number("factor")? })),
        "llama3" => {
            let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
            if high <= low {
                return Err(parameters.mismatch(
                    "high_freq_factor",
                    format!("more than low_freq_factor, {low}"),
                    high.to_string(),
                ));
            }
            Ok(Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: parameters.required("original_max_position_embeddings", original()?)?,
            }))
        }
        // Older files of Phi-3 say `su` or `yarn`.
        "longrope" | "su" => {
            long_rope(parameters, positive("factor")?, positive("attention_factor")?, dim, frame).map(Some)
        }
        "yarn" if parameters.numbers("long_factor")?.is_some() => {
            long_rope(parameters, positive("factor")?, positive("attention_factor")?, dim, frame).map(Some)
        }
        "yarn" => {
            let factor = number("factor")?;
            let (mscale, all) = (positive("mscale")?, positive("mscale_all_dim")?);
            let magnitude = match (positive("attention_factor")?, mscale, all) {
                (Some(factor), ..) => factor,
                (None, Some(mscale), Some(all)) => yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all),
                _ => yarn_magnitude(factor, 1.0),
            };
            Ok(Some(RopeScaling::Yarn {
                factor,
                beta_fast: positive("beta_fast")?.unwrap_or(32.0),
                beta_slow: positive("beta_slow")?.unwrap_or(1.0),
                original_context: original()?.unwrap_or(context),
                magnitude,
                truncate: parameters.flag("truncate")?.unwrap_or(true),
            }))
        }
        other => Err(parameters.unsupported(name, "default, linear, llama3, longrope or yarn", format!("`{other}`"))),
    }
}

/// Whether each layer has the sliding window, by `layer_types`; `None` without that list.
pub(super) fn layer_kinds(config: &Object<'_>, layers: usize) -> Result<Option<Vec<bool>>, Error> {
    let is_local = |kind: &&str| match *kind {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => Err(config.unsupported("layer_types", "sliding_attention and full_attention", other)),
    };
    match config.texts("layer_types")? {
        None => Ok(None),
        Some(kinds) if kinds.len() == layers => kinds.iter().map(is_local).collect::<Result<_, _>>().map(Some),
        Some(kinds) => {
            let expected = format!("one for each of {layers} layers");
            Err(config.mismatch("layer_types", expected, kinds.len().to_string()))
        }
    }
}

/// Refuses a field that has another value than the only one that is computed with.
pub(super) fn one_number(config: &Object<'_>, name: &str, only: f32) -> Result<(), Error> {
    match config.number(name)? {
        Some(found) if (found - only).abs() > 1e-6 => {
            Err(config.unsupported(name, only.to_string(), found.to_string()))
        }
        _ => Ok(()),
    }
}

/// LongRoPE. The magnitude follows from the factor of the context, unless a file states it.
#[allow(clippy::cast_precision_loss, reason = "contexts are below 2^24")]
fn long_rope(
    parameters: &Object<'_>,
    factor: Option<f32>,
    magnitude: Option<f32>,
    dim: usize,
    Frame { context, original, .. }: Frame,
) -> Result<RopeScaling, Error> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    // As in transformers, the model's own field goes first.
    let original = original.or(parameters.count(ORIGINAL)?).filter(|original| *original > 0);
    let original_context = parameters.required(ORIGINAL, original)?;
    let list = |name: &str| {
        let numbers = parameters.required(name, parameters.numbers(name)?)?;
        if numbers.len() != dim / 2 || numbers.iter().any(|number| *number <= 0.0) {
            let expected = format!("{} positive numbers", dim / 2);
            return Err(parameters.mismatch(name, expected, format!("{} numbers", numbers.len())));
        }
        Ok(numbers)
    };
    let factor = factor.unwrap_or(context as f32 / original_context as f32);
    Ok(RopeScaling::LongRope {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_context,
        magnitude: magnitude.unwrap_or_else(|| long_rope_magnitude(factor, original_context)),
    })
}
