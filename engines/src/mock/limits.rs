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
    /// Bytes per second from storage.
    pub storage: f64,
    /// Seconds that an op takes beside its work.
    pub dispatch_s: f64,
    /// Seconds that a page fault takes.
    pub page_fault_s: f64,
}

/// The limits that these settings (without the engine's name) give.
///
/// # Errors
/// When a setting does not exist or cannot have its value.
pub fn limits(settings: &BTreeMap<String, String>) -> Result<Limits, EngineError> {
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
        let settings =
            [("bandwidth_gbs".to_owned(), "50".to_owned()), ("dispatch_us".to_owned(), "3".to_owned())].into();
        let expected = Limits { memory_read: 50e9, flops: 200e9, storage: 1e9, dispatch_s: 3e-6, page_fault_s: 0.5e-6 };
        assert_eq!(limits(&settings).unwrap(), expected);
        assert!(limits(&[("bogus".to_owned(), "1".to_owned())].into()).is_err());
    }
}
