//! The engine's own settings: `--set candle.KEY=VALUE`.

use std::collections::BTreeMap;

use super::NAME;
use crate::EngineError;

/// What they can say; without them the engine is as fast as it can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `extra_mlp=N`: does the feed-forward part of the first N layers twice and throws one of the results away. That is work
    /// which changes no answer: with it one sees which slow-down a comparison finds. Its time is the op `extra_mlp`.
    pub(super) extra_mlp: usize,
}

impl Settings {
    /// Reads the settings; keys that do not exist and values that cannot be are refused by name.
    pub(super) fn new(given: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in given {
            if key != "extra_mlp" {
                return Err(unsupported(format!("the setting `{key}`"), "its settings: extra_mlp=a count of layers"));
            }
            settings.extra_mlp = value.parse().map_err(|_| refused(value, "give a count of layers, such as 3"))?;
        }
        Ok(settings)
    }

    /// Refuses more layers than a model has.
    pub(super) fn check_layers(&self, layers: usize) -> Result<(), EngineError> {
        if self.extra_mlp > layers {
            return Err(refused(
                &self.extra_mlp.to_string(),
                &format!("the model has {layers} layers: give at most so many"),
            ));
        }
        Ok(())
    }
}

fn refused(value: &str, instead: &str) -> EngineError {
    unsupported(format!("the value `{value}` of `extra_mlp`"), instead)
}

fn unsupported(what: String, instead: &str) -> EngineError {
    EngineError::Unsupported { engine: NAME, what, instead: instead.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_layers_and_slips() {
        let new = |key: &str, value: &str| Settings::new(&[(key.to_owned(), value.to_owned())].into());
        let three = new("extra_mlp", "3").unwrap();
        assert_eq!(three, Settings { extra_mlp: 3 });
        assert_eq!(Settings::new(&BTreeMap::new()).unwrap(), Settings::default());
        assert!(three.check_layers(3).is_ok());
        insta::assert_snapshot!(three.check_layers(2).unwrap_err(), @"engine candle does not support the value `3` of `extra_mlp`; the model has 2 layers: give at most so many");
        insta::assert_snapshot!(new("extra_mlp", "-1").unwrap_err(), @"engine candle does not support the value `-1` of `extra_mlp`; give a count of layers, such as 3");
        insta::assert_snapshot!(new("extra", "1").unwrap_err(), @"engine candle does not support the setting `extra`; its settings: extra_mlp=a count of layers");
    }
}
