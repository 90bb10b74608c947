//! The settings of this engine.

use std::collections::BTreeMap;

use mlx_rs::Dtype;
use redaction::Sensitive;

use super::NAME;
use crate::EngineError;

/// The settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The type of activations; `None` = depends on the device and the checkpoint.
    pub(super) activations: Option<Dtype>,
    /// Which blocks that MLX does not support are converted to floats.
    pub(super) dequantise: Dequantise,
}

/// Which blocks that MLX does not support become floats. Floats need several times the memory, so that it has to be requested, except
/// for the output projection, which llama.cpp's quantiser stores as Q6_K in files of nearly every type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dequantise {
    /// None.
    Off,
    /// The output projection's.
    #[default]
    Output,
    /// All.
    On,
}

impl Settings {
    pub(super) fn new(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            match (key.as_str(), value.expose()) {
                ("activations", "f32") => settings.activations = Some(Dtype::Float32),
                ("activations", "f16") => settings.activations = Some(Dtype::Float16),
                ("activations", "bf16") => settings.activations = Some(Dtype::Bfloat16),
                ("activations", _) => return Err(refused(key, value, "give f32, f16 or bf16")),
                ("dequantise", "off") => settings.dequantise = Dequantise::Off,
                ("dequantise", "output") => settings.dequantise = Dequantise::Output,
                ("dequantise", "on") => settings.dequantise = Dequantise::On,
                ("dequantise", _) => return Err(refused(key, value, "give off, output or on")),
                _ => return Err(refused(key, value, "its settings are activations and dequantise")),
            }
        }
        Ok(settings)
    }
}

fn refused(key: &str, value: &Sensitive, advice: &str) -> EngineError {
    EngineError::unsupported(NAME, format!("the setting `{key}={value}`"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn settings_are_read_and_mistakes_are_refused() {
        let new = |key: &str, value: &str| Settings::new(&[(key.to_owned(), Sensitive::setting(key, value))].into());
        assert_eq!(new("activations", "f16").unwrap().activations, Some(Dtype::Float16));
        assert_eq!(new("dequantise", "on").unwrap().dequantise, Dequantise::On);
        insta::assert_snapshot!(new("activations", "f8").unwrap_err().with_advice(), @"engine mlx does not support the setting `activations=f8`; give f32, f16 or bf16");
        insta::assert_snapshot!(new("bogus", "1").unwrap_err().with_advice(), @"engine mlx does not support the setting `bogus=1`; its settings are activations and dequantise");
    }
}
