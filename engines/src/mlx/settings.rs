//! The engine's own settings: `--set mlx.KEY=VALUE`.

use std::collections::BTreeMap;

use mlx_rs::Dtype;

use super::NAME;
use crate::EngineError;

/// What can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The type of activations; the device's and the checkpoint's choice where it is not set.
    pub(super) activations: Option<Dtype>,
    /// Which blocks that have no form in MLX are widened to floats while they are loaded.
    pub(super) dequantise: Dequantise,
}

/// Which blocks without a form in MLX become floats. Those take several times the memory, so it has to be asked for, but for
/// the output projection: llama.cpp's quantiser makes Q6_K of it in files of nearly every type.
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
    pub(super) fn new(given: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in given {
            match (key.as_str(), value.as_str()) {
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

fn refused(key: &str, value: &str, instead: &str) -> EngineError {
    EngineError::Unsupported { engine: NAME, what: format!("the setting `{key}={value}`"), instead: instead.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_by_name() {
        let new = |key: &str, value: &str| Settings::new(&[(key.to_owned(), value.to_owned())].into());
        assert_eq!(new("activations", "f16").unwrap().activations, Some(Dtype::Float16));
        assert_eq!(new("dequantise", "on").unwrap().dequantise, Dequantise::On);
        insta::assert_snapshot!(new("activations", "f8").unwrap_err(), @"engine mlx does not support the setting `activations=f8`; give f32, f16 or bf16");
        insta::assert_snapshot!(new("bogus", "1").unwrap_err(), @"engine mlx does not support the setting `bogus=1`; its settings are activations and dequantise");
    }
}
