//! How the weights of a safetensors folder are quantised, according to its config.json. Supported are MLX's affine mode (one form
//! for all matrices, with exceptions by module) and the MXFP4 of gpt-oss, whose experts are recognised by their tensors.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::dtype::DType;
use crate::error::{Error, printable};

/// The quantisation scheme of the weights: `None` for unquantised weights. Refuses GPTQ, AWQ and other methods.
pub(super) fn of_config(path: &Path, config: &Value) -> Result<Option<MlxScheme>, Error> {
    let refused = |found: String, advice: &str| {
        Err(Error::UnsupportedQuantisation { file: path.to_path_buf(), found, advice: advice.to_owned() })
    };
    // MLX's tools write the same object as `quantization_config` too.
    if let Some(scheme) = config.get("quantization").filter(|scheme| scheme.is_object()) {
        return MlxScheme::read(scheme).map(Some).or_else(|unsupported| {
            refused(
                format!("quantised by MLX in an unsupported form: {unsupported}"),
                "take the model in MLX's affine mode (2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128), or a GGUF file",
            )
        });
    }
    if let Some(scheme) =
        config.get("quantization_config").filter(|scheme| scheme.as_object().is_some_and(|fields| !fields.is_empty()))
    {
        let method = scheme.get("quant_method").and_then(Value::as_str).unwrap_or("an unnamed method");
        // Experts in MXFP4, recognised by their tensors.
        if method == "mxfp4" {
            return Ok(None);
        }
        let found = format!("quantised by {}", printable(method));
        return refused(found, "take the GGUF file or the unquantised safetensors of this model");
    }
    Ok(None)
}

/// The form of each matrix of an MLX checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MlxScheme {
    common: DType,
    /// Exceptions by the module's name, such as `model.layers.0.mlp.down_proj`.
    exceptions: HashMap<String, DType>,
}

/// A scheme that is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnsupportedScheme {
    /// The field is no object.
    #[error("{0}")]
    NotAnObject(Value),
    /// Another mode than `affine`.
    #[error("mode {0}")]
    Mode(Value),
    /// A combination of bits and group size for which there is no type.
    #[error("{bits} bits in groups of {group_size}")]
    Form { bits: String, group_size: String },
}

impl MlxScheme {
    /// Reads the object `quantization`.
    fn read(object: &Value) -> Result<Self, UnsupportedScheme> {
        let Value::Object(fields) = object else { return Err(UnsupportedScheme::NotAnObject(object.clone())) };
        let exception = |(name, value): (&String, &Value)| match value {
            // `false` marks a module that is not quantised; it has no scales, and its tensor a float type.
            Value::Object(own) => Some(form(own, fields).map(|dtype| (name.clone(), dtype))),
            _ => None,
        };
        Ok(Self {
            common: form(fields, fields)?,
            exceptions: fields.iter().filter_map(exception).collect::<Result<_, _>>()?,
        })
    }

    /// The type of the module's matrix, if it is quantised.
    pub(super) fn dtype(&self, module: &str) -> DType {
        self.exceptions.get(module).copied().unwrap_or(self.common)
    }
}

/// The form in the fields `own`; fields that are missing there come from `common`.
fn form(own: &Map<String, Value>, common: &Map<String, Value>) -> Result<DType, UnsupportedScheme> {
    let field = |name: &str| own.get(name).or_else(|| common.get(name));
    match field("mode") {
        None => {}
        Some(mode) if mode == "affine" => {}
        Some(mode) => return Err(UnsupportedScheme::Mode(mode.clone())),
    }
    let number = |name: &str| field(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let dtype = number("bits").zip(number("group_size")).and_then(|(bits, group)| DType::mlx(bits, group));
    dtype.ok_or_else(|| {
        let shown = |name: &str| field(name).map_or_else(|| "?".to_owned(), Value::to_string);
        UnsupportedScheme::Form { bits: shown("bits"), group_size: shown("group_size") }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn modules_may_have_exceptions() {
        let scheme = MlxScheme::read(&json!({
            "group_size": 64, "bits": 4, "mode": "affine",
            "lm_head": {"bits": 8}, "model.embed_tokens": {"group_size": 32, "bits": 6}, "model.layers.0.mlp.down_proj": false,
        }));
        let scheme = scheme.unwrap();
        assert_eq!(scheme.dtype("model.layers.0.mlp.up_proj"), DType::MLX4_64);
        assert_eq!(scheme.dtype("lm_head"), DType::MLX8_64);
        assert_eq!(scheme.dtype("model.embed_tokens"), DType::MLX6_32);
    }

    #[test]
    fn unsupported_modes_and_forms_are_named() {
        let refused = |object: Value| MlxScheme::read(&object).unwrap_err().to_string();
        assert_eq!(refused(json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})), "mode \"mxfp4\"");
        assert_eq!(refused(json!({"group_size": 64, "bits": 7})), "7 bits in groups of 64");
        assert_eq!(refused(json!({"bits": 4})), "4 bits in groups of ?");
    }
}
