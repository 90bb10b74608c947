//! Which limit binds a phase, and what would help.

use serde::{Deserialize, Serialize};

/// What binds a phase: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes per second from memory.
    MemoryBandwidth,
    /// Operations per second.
    Compute,
    /// Many operations that are too small to fill the threads: dispatch, synchronisation, loop overhead.
    Dispatch,
    /// Some threads wait while others work.
    Imbalance,
    /// More threads than processors.
    Oversubscription,
    /// Page faults on memory that was not touched before.
    PageFaults,
    /// The file comes from storage.
    ColdFile,
    /// The allocator.
    Allocation,
    /// The tokenizer.
    Tokenizer,
    /// The sampler.
    Sampler,
    /// Other programs, or the hypervisor, took the processors.
    NoisyNeighbour,
    /// Waiting for a server.
    QueueOrNetwork,
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A part of the evidence is missing or the machine drifted.
    #[default]
    Low,
    /// The next limit is near.
    Medium,
    /// The evidence is whole and no other limit is near.
    High,
}

/// The verdict on one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The phase.
    pub phase: String,
    /// What binds it.
    pub limit: Limit,
    /// One sentence with the figures that it rests on.
    pub sentence: String,
    /// Share of the phase's time that this limit explains, 0 to 1.
    pub share: f64,
    /// Least time that the ceilings allow / measured time: 1 = nothing to gain without other hardware or fewer bytes.
    pub headroom: Option<f64>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What speaks against it; each lowered the confidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What would help.
    pub advice: Vec<Advice>,
}

/// A figure that a verdict rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is, in words.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Where in the run file it comes from.
    pub source: String,
}

/// Something to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What.
    pub text: String,
    /// Phase time now / phase time after it, estimated; `null` where it cannot be told.
    pub predicted_gain: Option<f64>,
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
    /// The prompt of the case whose verdict this is.
    #[serde(default)]
    pub prompt: String,
    /// The verdict of most time.
    pub verdict: Verdict,
    /// Cases that agree with it.
    pub agree: usize,
    /// Cases that have a verdict on this phase.
    pub cases: usize,
}
