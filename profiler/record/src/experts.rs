//! Which experts of a mixture ran in the traced request, and what its passes read.

use super::recorded::with_reasons;
use super::{PhaseOrOther, Reasons, Recorded};

with_reasons! {
    /// The experts of one layer in the passes of one phase that have the same number of tokens.
    pub struct ExpertRow {
        /// The phase.
        pub phase: PhaseOrOther,
        /// Tokens of each of the passes.
        pub pass_tokens: usize,
        /// The layer.
        pub layer: usize,
        /// Passes that used experts of the layer.
        pub passes: usize,
        /// Distinct experts that a pass used, mean over the passes.
        pub distinct: f64,
        /// By expert: how many tokens used it, summed over the passes.
        pub tokens: Vec<u64>,
        /// The largest of these numbers / their mean; see [`statistics::balance`].
        pub max_to_mean: f64,
        /// Their entropy, from 0 (one expert) to 1 (all the same); see [`statistics::balance`].
        pub entropy: f64,
        /// Bytes of the weights of experts that a pass read, mean over the passes.
        pub bytes: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// The passes of one phase that have the same number of tokens, of a model with experts.
    pub struct ExpertPassRow {
        /// The phase.
        pub phase: PhaseOrOther,
        /// Tokens of each of the passes.
        pub pass_tokens: usize,
        /// Passes.
        pub passes: usize,
        /// Distinct experts that a pass used in a layer, mean over passes and layers.
        pub distinct: f64,
        /// Bytes of the weights of experts that a pass read, mean over the passes.
        pub expert_bytes: Recorded<f64>,
        /// Bytes of all weights and of the cache that a pass read and wrote, mean over the passes.
        pub streamed_bytes: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}
