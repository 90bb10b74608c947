//! The shape of a model from the fields of config.json that all architectures share, in the spelling of transformers before and
//! since version 5.

use super::tensors::check_spec;
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{Arch, Rope, RopeLayout, RopeScaling, Spec};

/// Reads the shape without sliding window and biases, which each architecture reads by itself.
pub(super) fn read(config: &Object<'_>, arch: Arch) -> Result<Spec, Error> {
    let required = |name: &str| config.required(name, config.count(name)?);
    let hidden = required("hidden_size")?;
    let heads = required("num_attention_heads")?;
    let head_dim = match config.count("head_dim")? {
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
    if let Some(activation) = config.text("hidden_act")?
        && activation != "silu"
    {
        return Err(config.unsupported("hidden_act", "`silu`", format!("`{activation}`")));
    }
    let spec = Spec {
        arch,
        layers: required("num_hidden_layers")?,
        hidden,
        ffn: required("intermediate_size")?,
        heads,
        kv_heads: config.count("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab: required("vocab_size")?,
        context_length: required("max_position_embeddings")?,
        norm_eps: config.required("rms_norm_eps", config.number("rms_norm_eps")?)?,
        rope: rope(config, head_dim)?,
        window: None,
        qkv_bias: false,
        // The default of all three configurations in transformers.
        tied_embeddings: config.flag("tie_word_embeddings")?.unwrap_or(false),
    };
    check_spec(config.file(), &spec).map_err(Error::Config)?;
    Ok(spec)
}

/// `rope_theta` and `rope_scaling` before version 5 of transformers, `rope_parameters` with both since.
fn rope(config: &Object<'_>, head_dim: usize) -> Result<Rope, Error> {
    let new = config.object("rope_parameters", "rope_parameters.")?;
    let old = config.object("rope_scaling", "rope_scaling.")?;
    let theta = match new.as_ref().map(|new| new.number("rope_theta")).transpose()?.flatten() {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let scaling = match new.or(old) {
        Some(parameters) => scaling(&parameters)?,
        None => None,
    };
    Ok(Rope { theta, dim: head_dim, layout: RopeLayout::Halves, scaling })
}

fn scaling(parameters: &Object<'_>) -> Result<Option<RopeScaling>, Error> {
    let number = |name: &str| parameters.required(name, parameters.number(name)?.filter(|number| *number > 0.0));
    // `type` is the older name of `rope_type`.
    let (name, kind) = match parameters.text("rope_type")? {
        Some(kind) => ("rope_type", kind),
        None => ("type", parameters.text("type")?.unwrap_or("default")),
    };
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
            let original = parameters.count("original_max_position_embeddings")?;
            Ok(Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: parameters.required("original_max_position_embeddings", original)?,
            }))
        }
        other => Err(parameters.unsupported(name, "default, linear or llama3", format!("`{other}`"))),
    }
}
