//! Which experts of a mixture the tokens of a pass used: a histogram in the recorder, one for each pass and layer.

use traces::record::{self, LayerIndex, Name};

/// The name of the histogram. Its bins are the experts, and its counts are the tokens that used them.
pub const EXPERTS_USED: &str = "experts_used";

static NAME: Name = Name::new(EXPERTS_USED);

/// Records the experts that a pass used in a layer with `experts` of them: pairs of an expert and the number of tokens that used it, in the
/// order of the experts. Does nothing while the recorder is off.
pub fn record_experts(layer: impl LayerIndex, experts: usize, tokens: impl IntoIterator<Item = (usize, usize)>) {
    record::histogram(&NAME, layer, experts, tokens);
}
