//! The settings of this engine.

use std::collections::BTreeMap;
use std::fmt::Display;

use redaction::Sensitive;

use super::NAME;
use crate::EngineError;

/// The settings; by default the engine does no extra work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `extra_mlp=N`: computes the feed-forward part of the first N layers twice and discards one result. The output is unchanged,
    /// so that the setting shows which slow-down a comparison detects. Its time is the op `extra_mlp`.
    pub(super) extra_mlp: usize,
}

impl Settings {
    /// Parses the settings; unknown keys and invalid values are errors.
    pub(super) fn new(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            if key != "extra_mlp" {
                return Err(unsupported(format!("the setting `{key}`"), "its settings: extra_mlp=a count of layers"));
            }
            settings.extra_mlp =
                value.expose().parse().map_err(|_| refused(value, "give a count of layers, such as 3"))?;
        }
        Ok(settings)
    }

    /// Refuses more layers than a model has.
    pub(super) fn check_layers(&self, layers: usize) -> Result<(), EngineError> {
        if self.extra_mlp > layers {
            return Err(refused(&self.extra_mlp, &format!("give at most {layers}, the number of layers of the model")));
        }
        Ok(())
    }
}

fn refused(value: &dyn Display, advice: &str) -> EngineError {
    unsupported(format!("the value `{value}` of `extra_mlp`"), advice)
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
        assert_eq!(three, Settings { extra_mlp: 3 });
        assert_eq!(Settings::new(&BTreeMap::new()).unwrap(), Settings::default());
        assert!(three.check_layers(3).is_ok());
        insta::assert_snapshot!(three.check_layers(2).unwrap_err().with_advice(), @"engine candle does not support the value `3` of `extra_mlp`; give at most 2, the number of layers of the model");
        insta::assert_snapshot!(new("extra_mlp", "-1").unwrap_err().with_advice(), @"engine candle does not support the value `-1` of `extra_mlp`; give a count of layers, such as 3");
        insta::assert_snapshot!(new("extra", "1").unwrap_err().with_advice(), @"engine candle does not support the setting `extra`; its settings: extra_mlp=a count of layers");
    }
}
