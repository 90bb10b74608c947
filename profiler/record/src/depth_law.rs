//! How the time of a token grows with the context.

use super::recorded::with_reasons;
use super::{Reasons, Recorded, Slope};

with_reasons! {
    /// The time of a decoded token as a linear function of the tokens in the context, of one engine, model and thread count:
    /// `ms per token = at_start_ms + growth_ms tokens / 1000`.
    pub struct DepthLaw {
        /// Engine label.
        pub engine: String,
        /// Model name.
        pub model: String,
        /// Threads.
        pub threads: usize,
        /// The depths that were measured.
        pub depths: Vec<usize>,
        /// The growth in ms per token for each 1,000 tokens of context, with its 95 % interval.
        pub growth_ms: Recorded<Slope>,
        /// The line's value at an empty context, in ms per token.
        pub at_start_ms: Recorded<f64>,
        /// The same growth of each op that was traced, the largest first, in ms per token for each 1,000 tokens.
        pub ops: Vec<OpGrowth>,
        /// Why a value is absent.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// How the time of an op grows with the context.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpGrowth {
    /// Op name.
    pub op: String,
    /// ms per token for each 1,000 tokens of context, from the traced requests, which are slower than others.
    pub growth_ms: f64,
    /// Share of the growth of all ops together.
    pub share: f64,
}
