//! The limit that binds a phase, and what would help.

use engine_api::Phase;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorded::{Field as _, with_reasons};
use super::{Reasons, Recorded};

/// What binds a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes per second from memory.
    MemoryBandwidth,
    /// Operations per second.
    Compute,
    /// Many operations that are too small to fill the threads: dispatch, synchronisation, loop overhead.
    Dispatch,
    /// Some threads wait for others.
    Imbalance,
    /// More threads than processors.
    Oversubscription,
    /// Page faults on memory that is touched for the first time.
    PageFaults,
    /// The model file is read from storage.
    ColdFile,
    /// The allocator.
    Allocation,
    /// The tokenizer.
    Tokenizer,
    /// The sampler.
    Sampler,
    /// Other programs or the hypervisor use the processors.
    NoisyNeighbour,
    /// Waiting for a server or the network.
    QueueOrNetwork,
}

/// The confidence of a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Two or more doubts, or no limit explains the phase.
    #[default]
    Low,
    /// One doubt.
    Medium,
    /// No doubt.
    High,
}

/// The verdict on one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Verdict {
    /// The phase.
    pub phase: Phase,
    /// What binds it.
    pub limit: Limit,
    /// One sentence with the figures.
    pub sentence: String,
    /// Share of the phase's time that this limit explains, 0 to 1.
    pub share: f64,
    /// Neither this limit nor the ceilings together explain half of the time: something else binds the phase, and the limit is only
    /// the nearest one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexplained: bool,
    /// Attainable time by the ceilings / measured time: 1 = no gain without other hardware or fewer bytes. Reports show its inverse.
    /// Absent where the times are disturbed or the limit is not known.
    pub headroom: Recorded<f64>,
    /// Its confidence.
    pub confidence: Confidence,
    /// Doubts; each lowers the confidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// Its figures.
    pub evidence: Vec<Evidence>,
    /// What would help.
    pub advice: Vec<Advice>,
    /// Notes on values that are present, by field name.
    #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
    pub notes: Reasons,
}

/// The field that may be absent. A row of `with_reasons` has an empty value, which a verdict does not have.
const HEADROOM: &str = "headroom";

impl Verdict {
    /// The map `reasons` as it is written.
    fn reasons(&self) -> Reasons {
        let mut reasons = self.notes.clone();
        self.headroom.add_reasons(HEADROOM, &mut reasons);
        reasons
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut verdict = Self::deserialize(deserializer)?;
        verdict.headroom.take_reasons(HEADROOM, &mut verdict.notes);
        Ok(verdict)
    }
}

/// A figure of a verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Its place in the run file.
    pub source: String,
}

with_reasons! {
    /// A suggestion.
    pub struct Advice {
        /// The suggestion.
        pub text: String,
        /// Phase time now / phase time after it, estimated; `null` where it is unknown.
        pub predicted_gain: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// The verdict on a phase over all prompts of an engine, model, thread count and depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupVerdict {
    /// Engine label.
    pub engine: String,
    /// Model name.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Depth.
    pub depth: usize,
    /// The prompt of the case that the verdict is of.
    #[serde(default)]
    pub prompt: String,
    /// The verdict whose limit takes the most time.
    pub verdict: Verdict,
    /// Cases that agree with it.
    pub agree: usize,
    /// Cases that have a verdict on this phase.
    pub cases: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_headroom_and_an_unknown_gain_have_reasons() {
        let verdict = Verdict {
            phase: Phase::Sample,
            limit: Limit::Sampler,
            sentence: String::new(),
            share: 1.0,
            unexplained: false,
            headroom: Recorded::absent("no ceiling"),
            confidence: Confidence::Low,
            doubts: Vec::new(),
            evidence: Vec::new(),
            advice: vec![Advice { text: "sample less".to_owned(), ..Advice::absent("not estimated") }],
            notes: Reasons::new(),
        };
        let mut value = serde_json::to_value(&verdict).unwrap();
        assert_eq!(value["reasons"], serde_json::json!({"headroom": "no ceiling"}));
        assert_eq!(value["advice"][0]["reasons"], serde_json::json!({"predicted_gain": "not estimated"}));
        assert_eq!(serde_json::from_value::<Verdict>(value.clone()).unwrap(), verdict);
        value.as_object_mut().unwrap().remove("reasons");
        let earlier: Verdict = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&earlier).unwrap(), value, "a file without reasons is written as it was read");
    }
}
