//! Counters with their reasons, as they come from an instrument.

use super::recorded::with_reasons;
use super::{Reasons, RecordedMap};

with_reasons! {
    /// Counters over a request, a phase or an op.
    pub struct CounterTotals {
        /// Name to value.
        pub values: RecordedMap,
        /// How far a value is extrapolated, by the name of its counter.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// No counter was read.
impl Default for CounterTotals {
    fn default() -> Self {
        Self { values: RecordedMap::new(), notes: Reasons::new() }
    }
}
