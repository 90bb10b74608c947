//! What the mock's machine can do at most, for whoever measures ceilings: there is nothing to measure on it.

use std::collections::BTreeMap;

use super::settings::Settings;
use crate::EngineError;

/// The limits of the mock's machine, the same for every thread count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes per second that memory delivers.
    pub memory_read: f64,
    /// Floating-point operations per second.
    pub flops: f64,
}

/// The limits that these settings (without the engine's name) give.
///
/// # Errors
/// When a setting does not exist or cannot have its value.
pub fn limits(settings: &BTreeMap<String, String>) -> Result<Limits, EngineError> {
    let settings = Settings::new(settings)?;
    Ok(Limits { memory_read: settings.bandwidth, flops: settings.flops })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_settings() {
        let settings = [("bandwidth_gbs".to_owned(), "50".to_owned()), ("gflops".to_owned(), "300".to_owned())].into();
        assert_eq!(limits(&settings).unwrap(), Limits { memory_read: 50e9, flops: 300e9 });
        assert!(limits(&[("bogus".to_owned(), "1".to_owned())].into()).is_err());
    }
}
