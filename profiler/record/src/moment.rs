//! [`Moment`]: when the machine was probed during a run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When the machine is probed: its ceilings and its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MomentFields", into = "MomentFields")]
pub enum Moment {
    /// Before the first request of a block.
    Before,
    /// Before a round, counted from 0.
    Round(usize),
    /// After the last request of a block.
    After,
}

/// In words, as in `moment` of [`Conditions`](crate::Conditions); rounds count from 1.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.pad("before"),
            Self::Round(round) => f.pad(&format!("round {}", round + 1)),
            Self::After => f.pad("after"),
        }
    }
}

/// A text or a pair of fields that is no [`Moment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `before`, a round or `after`, found {0}")]
pub struct NotAMoment(String);

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let round = || text.strip_prefix("round ")?.parse::<usize>().ok()?.checked_sub(1);
        match text {
            "before" => Ok(Self::Before),
            "after" => Ok(Self::After),
            _ => round().map(Self::Round).ok_or_else(|| NotAMoment(format!("`{text}`"))),
        }
    }
}

/// The fields of a [`CeilingProbe`](crate::CeilingProbe) that hold it: `round` is `null` where `moment` is not `round`.
#[derive(Serialize, Deserialize)]
struct MomentFields {
    moment: MomentName,
    #[serde(default)]
    round: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MomentName {
    Before,
    Round,
    After,
}

impl From<Moment> for MomentFields {
    fn from(moment: Moment) -> Self {
        let (moment, round) = match moment {
            Moment::Before => (MomentName::Before, None),
            Moment::Round(round) => (MomentName::Round, Some(round)),
            Moment::After => (MomentName::After, None),
        };
        Self { moment, round }
    }
}

impl TryFrom<MomentFields> for Moment {
    type Error = NotAMoment;

    fn try_from(fields: MomentFields) -> Result<Self, NotAMoment> {
        match (fields.moment, fields.round) {
            (MomentName::Before, None) => Ok(Self::Before),
            (MomentName::Round, Some(round)) => Ok(Self::Round(round)),
            (MomentName::After, None) => Ok(Self::After),
            (moment, round) => Err(NotAMoment(format!("{moment:?} with the round {round:?}"))),
        }
    }
}

/// Reads and writes a moment as its text.
pub(crate) mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Moment;

    pub(crate) fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Moment, &str, &str); 3] = [
        (Moment::Before, "before", r#"{"moment":"before","round":null}"#),
        (Moment::Round(3), "round 4", r#"{"moment":"round","round":3}"#),
        (Moment::After, "after", r#"{"moment":"after","round":null}"#),
    ];

    #[test]
    fn a_moment_is_a_text_and_a_pair_of_fields() {
        for (moment, text, fields) in ALL {
            assert_eq!((moment.to_string().as_str(), text.parse()), (text, Ok(moment)));
            assert_eq!(serde_json::to_string(&moment).unwrap(), fields);
            assert_eq!(serde_json::from_str::<Moment>(fields).unwrap(), moment);
        }
    }

    #[test]
    fn another_word_or_a_round_without_its_number_is_an_error() {
        for text in ["", "between", "round", "round 0", "round x"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let error = serde_json::from_str::<Moment>(r#"{"moment":"round","round":null}"#).unwrap_err().to_string();
        assert!(error.contains("found Round with the round None"), "{error}");
        assert!(serde_json::from_str::<Moment>(r#"{"moment":"between"}"#).is_err());
    }
}
