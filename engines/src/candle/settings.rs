//! The settings of this engine.

use std::collections::BTreeMap;
use std::fmt::Display;

use redaction::Sensitive;

use super::NAME;
use super::cpu::Level;
use crate::EngineError;

/// The settings; by default the engine does no extra work and uses the best instruction set of the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `extra_mlp=N`: computes the feed-forward part of the first N layers twice and discards one result. The output is unchanged,
    /// so that the setting shows which slow-down a comparison detects. Its time is the op `extra_mlp`.
    pub(super) extra_mlp: usize,
    /// `instructions=NAME`: the instruction set of the fused kernels, one of those that the processor has.
    pub(super) instructions: Option<Level>,
}

impl Settings {
    /// Parses the settings; unknown keys and invalid values are errors.
    pub(super) fn new(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "extra_mlp" => {
                    let count = value.expose().parse();
                    settings.extra_mlp = count.map_err(|_| refused(key, value, "give a count of layers, such as 3"))?;
                }
                "instructions" => settings.instructions = Some(instructions(key, value)?),
                _ => {
                    let advice = "its settings: extra_mlp=a count of layers, instructions=an instruction set";
                    return Err(unsupported(format!("the setting `{key}`"), advice));
                }
            }
        }
        Ok(settings)
    }

    /// Refuses more layers than a model has.
    pub(super) fn check_layers(&self, layers: usize) -> Result<(), EngineError> {
        if self.extra_mlp > layers {
            return Err(refused(
                "extra_mlp",
                &self.extra_mlp,
                &format!("give at most {layers}, the number of layers of the model"),
            ));
        }
        Ok(())
    }
}

/// An instruction set of this processor.
fn instructions(key: &str, value: &Sensitive) -> Result<Level, EngineError> {
    Level::available().find(|level| level.name() == value.expose()).ok_or_else(|| {
        let names: Vec<_> = Level::available().map(Level::name).collect();
        refused(key, value, &format!("this processor has {}", names.join(", ")))
    })
}

fn refused(key: &str, value: &dyn Display, advice: &str) -> EngineError {
    unsupported(format!("the value `{value}` of `{key}`"), advice)
}

fn unsupported(what: String, advice: &str) -> EngineError {
    EngineError::unsupported(NAME, what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    #[test]
    fn counts_of_layers_are_read_and_mistakes_are_refused() {
        let new = |key: &str, value: &str| Settings::new(&[(key.to_owned(), Sensitive::setting(key, value))].into());
        let three = new("extra_mlp", "3").unwrap();
        assert_eq!(three, Settings { extra_mlp: 3, ..Settings::default() });
        assert_eq!(Settings::new(&BTreeMap::new()).unwrap(), Settings::default());
        assert!(three.check_layers(3).is_ok());
        insta::assert_snapshot!(three.check_layers(2).unwrap_err().with_advice(), @"engine candle does not support the value `3` of `extra_mlp`; give at most 2, the number of layers of the model");
        insta::assert_snapshot!(new("extra_mlp", "-1").unwrap_err().with_advice(), @"engine candle does not support the value `-1` of `extra_mlp`; give a count of layers, such as 3");
        insta::assert_snapshot!(new("extra", "1").unwrap_err().with_advice(), @"engine candle does not support the setting `extra`; its settings: extra_mlp=a count of layers, instructions=an instruction set");
    }
    #[test]
    fn instructions_are_those_of_the_processor() {
        let new = |value: &str| {
            Settings::new(&[("instructions".to_owned(), Sensitive::setting("instructions", value))].into())
        };
        for level in Level::available() {
            assert_eq!(new(level.name()).unwrap().instructions, Some(level));
        }
        let error = new("mmx").unwrap_err().with_advice().to_string();
        assert!(error.contains("the value `mmx` of `instructions`; this processor has scalar"), "{error}");
    }
}
