//! [`ServerCounters`]: counters of a server's processes over a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorded::Field;
use super::{Reason, Reasons, Recorded, RecordedMap};

/// Counters of a server's processes over a request, each with its value or its reason; or why there are none at all.
///
/// In a file only the values are written. The row has the reasons: of a counter under its name, of all under the name of the field.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerCounters(Recorded<RecordedMap>);

impl ServerCounters {
    /// The counters that a server's processes can have, named as in the registry of counters.
    pub const NAMES: [&str; 8] = [
        "cpu_user_s",
        "cpu_system_s",
        "minor_faults",
        "major_faults",
        "voluntary_switches",
        "involuntary_switches",
        "read_bytes",
        "written_bytes",
    ];

    /// These counters, in the order of [`Self::NAMES`].
    pub fn new(figures: [Result<f64, Reason>; Self::NAMES.len()]) -> Self {
        let named = Self::NAMES.iter().zip(figures).map(|(name, figure)| ((*name).to_owned(), figure.into()));
        Self(Recorded::Present(named.collect()))
    }

    /// No counter, for one reason.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        Self(Recorded::absent(reason))
    }

    /// A counter that was read.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.as_ref()?.get(name)?.value()
    }

    /// Whether no counter was read.
    pub fn is_empty(&self) -> bool {
        self.read().next().is_none()
    }

    fn read(&self) -> impl Iterator<Item = (&str, f64)> {
        let counters = self.0.as_ref().into_iter().flatten();
        counters.filter_map(|(name, figure)| Some((name.as_str(), figure.value()?)))
    }
}

/// Those of a request without a server, and of a file that has none.
impl Default for ServerCounters {
    fn default() -> Self {
        Self(Recorded::Present(RecordedMap::new()))
    }
}

impl Field for ServerCounters {
    fn absent(reason: &Reason) -> Self {
        Self::absent(reason.clone())
    }

    fn add_reasons(&self, name: &str, reasons: &mut Reasons) {
        match &self.0 {
            Recorded::Present(counters) => counters.add_reasons(name, reasons),
            Recorded::Absent(_) => self.0.add_reasons(name, reasons),
        }
    }

    fn take_reasons(&mut self, name: &str, reasons: &mut Reasons) {
        if let Some(reason) = reasons.remove(name) {
            *self = Self::absent(reason);
        } else if let Recorded::Present(counters) = &mut self.0 {
            for name in Self::NAMES.iter().filter(|name| !counters.contains_key(**name)).collect::<Vec<_>>() {
                if let Some(reason) = reasons.remove(*name) {
                    counters.insert((*name).to_owned(), Recorded::absent(reason));
                }
            }
        }
    }
}

impl Serialize for ServerCounters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.read())
    }
}

/// Values without reasons: the row adds these.
impl<'de> Deserialize<'de> for ServerCounters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = BTreeMap::<String, f64>::deserialize(deserializer)?;
        Ok(Self(Recorded::Present(read.into_iter().map(|(name, value)| (name, value.into())).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerSample;

    fn written(counters: ServerCounters) -> (serde_json::Value, ServerSample) {
        let sample = ServerSample { counters, ..ServerSample::absent(Reason::unrecorded()) };
        (serde_json::to_value(&sample).unwrap(), sample)
    }

    #[test]
    fn a_counter_has_its_value_or_its_reason_and_is_read_as_it_was_written() {
        let mut figures = ServerCounters::NAMES.map(|_| Ok(2.0));
        figures[6] = Err(Reason::new("permission denied"));
        let (value, sample) = written(ServerCounters::new(figures));
        assert_eq!((&value["counters"]["cpu_user_s"], value["counters"].get("read_bytes")), (&2.0.into(), None));
        assert_eq!(value["reasons"], serde_json::json!({"read_bytes": "permission denied"}));
        assert_eq!(sample.counters.get("cpu_user_s"), Some(2.0));
        let read: ServerSample = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(read, sample);
        assert!(read.notes.is_empty());

        let (value, sample) = written(ServerCounters::absent("process 7 ended"));
        assert_eq!((value.get("counters"), &value["reasons"]["counters"]), (None, &"process 7 ended".into()));
        assert_eq!(serde_json::from_value::<ServerSample>(value).unwrap(), sample);

        let (value, sample) = written(ServerCounters::default());
        assert_eq!((value.get("counters"), value.get("reasons")), (None, None));
        assert_eq!(serde_json::from_value::<ServerSample>(value).unwrap(), sample);
    }
}
