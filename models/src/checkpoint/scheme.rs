//! How MLX quantised a checkpoint: the object `quantization` of its config.json. One form for all matrices, another one or none for
//! some of them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::dtype::DType;

/// The form of each matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheme {
    common: DType,
    /// By the module's name, such as `model.layers.0.mlp.down_proj`.
    special: HashMap<String, DType>,
}

impl Scheme {
    /// Reads the object; says what it found where it is another mode or form.
    pub(super) fn read(object: &Value) -> Result<Self, String> {
        let Value::Object(fields) = object else { return Err(object.to_string()) };
        let special = |(name, value): (&String, &Value)| match value {
            // `false` stands for a module that is not quantised: it has no scales, which says the same.
            Value::Object(own) => Some(form(own, fields).map(|dtype| (name.clone(), dtype))),
            _ => None,
        };
        Ok(Self {
            common: form(fields, fields)?,
            special: fields.iter().filter_map(special).collect::<Result<_, _>>()?,
        })
    }

    /// The type of the module's matrix, if that is quantised.
    pub(super) fn of(&self, module: &str) -> DType {
        self.special.get(module).copied().unwrap_or(self.common)
    }
}

/// The form of `own`; what it does not say, the `common` fields do.
fn form(own: &Map<String, Value>, common: &Map<String, Value>) -> Result<DType, String> {
    let field = |name: &str| own.get(name).or_else(|| common.get(name));
    let mode = field("mode").map_or(Some("affine"), Value::as_str);
    if mode != Some("affine") {
        return Err(format!("mode {}", field("mode").unwrap_or(&Value::Null)));
    }
    let number = |name: &str| field(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let dtype = number("bits").zip(number("group_size")).and_then(|(bits, group)| DType::mlx(bits, group));
    dtype.ok_or_else(|| {
        let shown = |name: &str| field(name).map_or_else(|| "?".to_owned(), Value::to_string);
        format!("{} bits in groups of {}", shown("bits"), shown("group_size"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_module_may_have_a_form_of_its_own() {
        let scheme = Scheme::read(&json!({
            "group_size": 64, "bits": 4, "mode": "affine",
            "lm_head": {"bits": 8}, "model.embed_tokens": {"group_size": 32, "bits": 6}, "model.layers.0.mlp.down_proj": false,
        }));
        let scheme = scheme.unwrap();
        assert_eq!(scheme.of("model.layers.0.mlp.up_proj"), DType::MLX4_64);
        assert_eq!(scheme.of("lm_head"), DType::MLX8_64);
        assert_eq!(scheme.of("model.embed_tokens"), DType::MLX6_32);
    }

    #[test]
    fn other_modes_and_forms_are_named() {
        let refused = |object: Value| Scheme::read(&object).unwrap_err();
        assert_eq!(refused(json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})), "mode \"mxfp4\"");
        assert_eq!(refused(json!({"group_size": 64, "bits": 7})), "7 bits in groups of 64");
        assert_eq!(refused(json!({"bits": 4})), "4 bits in groups of ?");
    }
}
