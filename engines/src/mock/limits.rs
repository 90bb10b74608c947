//! The limits of the mock's machine, for callers that measure ceilings: a simulated machine has nothing to measure.

use std::collections::BTreeMap;

use redaction::Sensitive;

use super::settings::Settings;
use crate::EngineError;

/// The limits of the mock's machine, the same for every thread count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Memory bandwidth in bytes per second.
    pub memory_read: f64,
    /// Floating-point operations per second.
    pub flops: f64,
    /// Storage bandwidth in bytes per second.
    pub storage: f64,
    /// Fixed seconds per op in addition to its work.
    pub dispatch_s: f64,
    /// Seconds per page fault.
    pub page_fault_s: f64,
}

/// The limits for these settings (keys without the engine's name).
///
/// # Errors
/// When a setting does not exist or its value is invalid.
pub fn limits(settings: &BTreeMap<String, Sensitive>) -> Result<Limits, EngineError> {
    let hardware = Settings::new(settings)?.hardware;
    Ok(Limits {
        memory_read: hardware.bandwidth,
        flops: hardware.flops,
        storage: hardware.storage,
        dispatch_s: hardware.dispatch_s,
        page_fault_s: hardware.fault_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_settings() {
        let of = |key: &str, value: &str| (key.to_owned(), Sensitive::setting(key, value));
        let settings = [of("bandwidth_gbs", "50"), of("dispatch_us", "3")].into();
        let expected = Limits { memory_read: 50e9, flops: 200e9, storage: 1e9, dispatch_s: 3e-6, page_fault_s: 0.5e-6 };
        assert_eq!(limits(&settings).unwrap(), expected);
        assert!(limits(&[of("bogus", "1")].into()).is_err());
    }
}
