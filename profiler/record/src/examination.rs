//! The most likely tokens of an engine, position by position: the evidence for equal work of two engines.

use serde::{Deserialize, Serialize};

use super::recorded::with_reasons;
use super::{Reasons, RecordedList};

/// The most likely tokens of one position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopLogprobs {
    /// Token ids, the most likely one first, the lowest among equals.
    pub ids: Vec<u32>,
    /// Their log-probabilities in nats: `ln p`, each 0 or below.
    pub logprobs: Vec<f32>,
}

impl TopLogprobs {
    /// How much less likely a token is than the most likely one, in nats; `None` where it is not listed.
    pub fn gap_to_top(&self, id: u32) -> Option<f32> {
        let place = self.ids.iter().position(|known| *known == id)?;
        Some(self.logprobs.first()? - self.logprobs.get(place)?)
    }
}

with_reasons! {
    /// The most likely tokens of one engine with one thread count in a text that is the same in every run: the passage of
    /// `measure::prepare::PASSAGE`.
    pub struct Examination {
        /// Engine label.
        pub engine: String,
        /// Model name.
        pub model: String,
        /// Threads that computed.
        pub threads: usize,
        /// The text's token ids by the model's own tokenizer, with BOS in front where the model wants one.
        pub ids: Vec<u32>,
        /// The most likely tokens before each of these ids but the first: `positions[i]` is about `ids[i + 1]`.
        pub positions: RecordedList<TopLogprobs>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_to_the_likeliest_token() {
        let top = TopLogprobs { ids: vec![7, 3], logprobs: vec![-0.5, -2.0] };
        assert_eq!((top.gap_to_top(7), top.gap_to_top(3), top.gap_to_top(1)), (Some(0.0), Some(1.5), None));
    }
}
