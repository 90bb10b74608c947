//! The phase that a row of a record is about.

use std::fmt;

use engine_api::Phase;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A phase of an engine, or the time between phases. Rows are in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseOrOther {
    /// A phase.
    Phase(Phase),
    /// The time between phases: the engine's own loop.
    #[default]
    Other,
    /// A phase of another version of this program, by its name in the file.
    Unknown(String),
}

impl PhaseOrOther {
    /// The name in files and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Phase(phase) => phase.name(),
            Self::Other => "other",
            Self::Unknown(name) => name,
        }
    }

    /// The phase of an engine, if it is one.
    pub const fn phase(&self) -> Option<Phase> {
        match self {
            Self::Phase(phase) => Some(*phase),
            Self::Other | Self::Unknown(_) => None,
        }
    }

    /// The phase with a name; every name has one.
    pub fn from_name(name: impl Into<String>) -> Self {
        let name = name.into();
        match Phase::from_name(&name) {
            Some(phase) => Self::Phase(phase),
            None if name == Self::Other.name() => Self::Other,
            None => Self::Unknown(name),
        }
    }
}

impl From<Phase> for PhaseOrOther {
    fn from(phase: Phase) -> Self {
        Self::Phase(phase)
    }
}

impl PartialEq<Phase> for PhaseOrOther {
    fn eq(&self, other: &Phase) -> bool {
        matches!(self, Self::Phase(phase) if phase == other)
    }
}

impl fmt::Display for PhaseOrOther {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for PhaseOrOther {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for PhaseOrOther {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_contain_the_names() {
        let known = Phase::ALL.map(PhaseOrOther::Phase).into_iter().chain([PhaseOrOther::Other]);
        for phase in known {
            let value = serde_json::to_value(&phase).unwrap();
            assert_eq!(value, phase.name());
            assert_eq!(serde_json::from_value::<PhaseOrOther>(value).unwrap(), phase);
        }
        assert_eq!(serde_json::to_value(Phase::Decode).unwrap(), PhaseOrOther::Phase(Phase::Decode).name());
    }

    #[test]
    fn a_phase_of_another_version_keeps_its_name() {
        let text = r#""speculate""#;
        let phase: PhaseOrOther = serde_json::from_str(text).unwrap();
        assert_eq!(phase, PhaseOrOther::Unknown("speculate".to_owned()));
        assert_eq!(serde_json::to_string(&phase).unwrap(), text);
        assert!(Phase::ALL.iter().all(|known| phase != *known) && phase > PhaseOrOther::Other);
    }
}
