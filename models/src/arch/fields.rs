//! The fields of config.json that all architectures share, in the spelling of transformers before and after version 5.

use std::path::Path;

use serde_json::Value;

use super::tensors::check_spec;
use crate::error::{Error, Fault};
use crate::spec::{Arch, Rope, RopeLayout, RopeScaling, Spec};

/// A JSON object, and the file that it stands in.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    file: &'a Path,
    /// Leads to the object, with a dot at its end; empty for the outermost.
    prefix: &'static str,
    object: &'a Value,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(file: &'a Path, object: &'a Value) -> Self {
        Self { file, prefix: "", object }
    }

    pub(crate) const fn file(&self) -> &'a Path {
        self.file
    }

    /// The value of a field; `null` is the same as no field.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn fault(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let place = format!("field `{}{name}`", self.prefix);
        Error::Config(Fault::at(self.file, place, expected, found, "correct the file, or fetch the model's again"))
    }

    /// The field is sound, but nothing here computes what it asks for.
    pub(crate) fn unsupported(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let place = format!("field `{}{name}`", self.prefix);
        let advice = "this variant is not supported: take another model";
        Error::Config(Fault::at(self.file, place, expected, found, advice))
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(name).map(|value| take(value).ok_or_else(|| self.fault(name, expected, brief(value)))).transpose()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        self.typed(name, "an integer that is not negative", |value| value.as_u64()?.try_into().ok())
    }

    #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision that the model computes in")]
    pub(crate) fn number(&self, name: &str) -> Result<Option<f32>, Error> {
        self.typed(name, "a finite number", |value| {
            value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
        })
    }

    /// The first text of a list of texts.
    pub(crate) fn first_text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.typed(name, "a list of texts", |value| value.as_array()?.first()?.as_str())
    }

    fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.fault(name, "a value", "no such field"))
    }

    /// The object in a field.
    pub(crate) fn object(&self, name: &'static str, prefix: &'static str) -> Result<Option<Self>, Error> {
        let object = self.typed(name, "an object", |value| value.is_object().then_some(value))?;
        Ok(object.map(|object| Self { file: self.file, prefix, object }))
    }
}

/// Reads the shape; windows and biases are the architecture's own.
pub(super) fn read(config: &Fields<'_>, arch: Arch) -> Result<Spec, Error> {
    let needed = |name: &str| config.needed(name, config.count(name)?);
    let hidden = needed("hidden_size")?;
    let heads = needed("num_attention_heads")?;
    let head_dim = match config.count("head_dim")? {
        Some(width) => width,
        None if heads > 0 && hidden % heads == 0 => hidden / heads,
        None => {
            return Err(config.fault(
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
        layers: needed("num_hidden_layers")?,
        hidden,
        ffn: needed("intermediate_size")?,
        heads,
        kv_heads: config.count("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab: needed("vocab_size")?,
        context_length: needed("max_position_embeddings")?,
        norm_eps: config.needed("rms_norm_eps", config.number("rms_norm_eps")?)?,
        rope: rope(config, head_dim)?,
        window: None,
        qkv_bias: false,
        // The default of all three configurations in transformers.
        tied_embeddings: config.flag("tie_word_embeddings")?.unwrap_or(false),
    };
    check_spec(config.file, &spec).map_err(Error::Config)?;
    Ok(spec)
}

/// `rope_theta` and `rope_scaling` before version 5 of transformers, `rope_parameters` with both since.
fn rope(config: &Fields<'_>, head_dim: usize) -> Result<Rope, Error> {
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

fn scaling(parameters: &Fields<'_>) -> Result<Option<RopeScaling>, Error> {
    let number = |name: &str| parameters.needed(name, parameters.number(name)?.filter(|number| *number > 0.0));
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
                return Err(parameters.fault(
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
                original_context: parameters.needed("original_max_position_embeddings", original)?,
            }))
        }
        other => Err(parameters.unsupported(name, "default, linear or llama3", format!("`{other}`"))),
    }
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("the text `{}`", crate::checkpoint::gguf::shown(text)),
        other => other.to_string(),
    }
}
