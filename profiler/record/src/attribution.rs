//! The time of a phase per layer and per thread, its allocations, and the sum of its parts.

use serde::{Deserialize, Serialize};
use statistics::Slope;

use super::recorded::with_reasons;
use super::{Pass, PhaseOrOther, Reasons, Recorded};

/// A ceiling of the roofline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roof {
    /// Bytes per second from memory.
    Memory,
    /// Bytes per second from a cache.
    Cache,
    /// Operations per second.
    Compute,
}

impl Roof {
    /// The name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cache => "cache",
            Self::Compute => "compute",
        }
    }
}

with_reasons! {
    /// A phase as the sum of its parts, from the traced request of median latency:
    /// `time_s = ops_s + unattributed_s` (for phases that are no forward pass `ops_s` is the phase itself).
    pub struct PhaseSum {
        /// The phase.
        pub phase: PhaseOrOther,
        /// Its time in the traced request, in seconds.
        pub time_s: f64,
        /// The sum of its ops.
        pub ops_s: f64,
        /// The time outside of ops.
        pub unattributed_s: f64,
        /// `unattributed_s / time_s`.
        pub unattributed_share: f64,
        /// The least time by the ceilings for its ops ([`super::OpRow::attainable_s`], summed).
        pub attainable_s: Recorded<f64>,
        /// `attainable_s / time_s`: 1 = at the roofline.
        pub roofline: Recorded<f64>,
        /// Bytes that the cost model counts.
        pub bytes: Recorded<f64>,
        /// Floating-point operations that it counts.
        pub flops: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// One decoder block in one phase (`layer` is `null` for the ops outside the blocks).
    pub struct LayerRow {
        /// The phase.
        pub phase: PhaseOrOther,
        /// The block.
        pub layer: Option<usize>,
        /// Its ops, summed, in seconds.
        pub time_s: f64,
        /// Share of the phase.
        pub share: f64,
        /// By the cost model.
        pub flops: Recorded<f64>,
        /// By the cost model.
        pub bytes: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// One thread of the engine in one phase, traced pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// The phase.
    pub phase: PhaseOrOther,
    /// The thread's name, made unique by a number where several share it.
    pub thread: String,
    /// Time in pieces of work, in seconds.
    pub busy_s: f64,
    /// `1 - busy_s / time of the shared work of the phase`: waiting for work or for other threads.
    pub idle_share: f64,
}

/// Allocations in one phase of the traced pass, by the allocator of the process; directly mapped memory is not included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationRow {
    /// The phase.
    pub phase: PhaseOrOther,
    /// Allocations.
    pub count: u64,
    /// Bytes allocated, summed.
    pub bytes: u64,
    /// The most bytes allocated at once, above those at the start of the request.
    pub peak_bytes: u64,
}

with_reasons! {
    /// The gaps between the tokens of a case over time; clean pass without warm-up requests.
    pub struct Series {
        /// Median gap at each position, over the rounds, in seconds; entry 0 is the gap between the first two tokens.
        pub median_gap_s: Vec<f64>,
        /// The shortest at each position.
        #[serde(default)]
        pub low_gap_s: Vec<f64>,
        /// The longest.
        #[serde(default)]
        pub high_gap_s: Vec<f64>,
        /// Tokens at the start that are slower than the rest by more than 10 %.
        pub warm_up_tokens: usize,
        /// Growth of the gap per 1,000 tokens, in seconds.
        pub trend_s_per_1000: Recorded<Slope>,
        /// Gaps that are more than three times the median of their request, in any pass; the longest hundred.
        pub stalls: Vec<Stall>,
        /// All of them.
        #[serde(default)]
        pub stall_count: usize,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// Memory of the worker at one moment of a request, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryPoint {
    /// Seconds after the start of the request; below 0 just before it.
    pub at_s: f64,
    /// Anonymous.
    pub anonymous_bytes: u64,
    /// Backed by files, and shared; with the anonymous ones all that is resident.
    pub file_backed_bytes: u64,
}

with_reasons! {
    /// A gap that is far longer than the others.
    pub struct Stall {
        /// The pass of the request.
        pub pass: Pass,
        /// The round.
        pub round: usize,
        /// The token that came late, from 1.
        pub token: usize,
        /// The gap in seconds.
        pub gap_s: f64,
        /// The median gap of that request.
        pub median_s: f64,
        /// When it began, seconds after the start of the request.
        pub at_s: f64,
        /// When it began on the trace's axis, in microseconds; `null` where the pass has no trace.
        pub trace_us: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}
