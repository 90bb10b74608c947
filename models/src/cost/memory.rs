//! The estimated memory of a session before it is started.

use crate::spec::{CacheTypes, FeedForward, Layer, Spec};
use crate::units::Bytes;

/// The parts of the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The weights as stored.
    pub weights: Bytes,
    /// The KV cache for the whole context.
    pub kv: Bytes,
    /// The recurrent states, which do not depend on the context.
    pub state: Bytes,
    /// The largest activations that exist at the same time.
    pub activations: Bytes,
    /// The logits over the vocabulary.
    pub logits: Bytes,
}

impl MemoryEstimate {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.weights + self.kv + self.state + self.activations + self.logits
    }
}

/// Estimates the memory of a session whose weights take `weights`, with a cache of the types `kv` for `context` tokens, and batches
/// of `batch` tokens:
///
/// ```text
/// kv           sum over layers of R (row(kv_heads head_dim) of keys and of values),  R = min(context, window + batch - 1)
/// state        sum over layers of their states in f32
/// activations  4 batch max over layers of (2 H + 2 q + 2 kv,  2 H + 3 F)    residual and norm beside q, k, v and output, or beside
///                                                                           gate, up and product
///              with a short convolution of C channels 2 H + 5 C             its three parts, its input and its output
///              with experts 2 H + E + K (3 F + H) + 3 S                     the scores of E experts; gate, up, product and output
///                                                                           of the K that a token uses; a shared expert of width S
///              with inputs of their own L w more                            of all layers, kept through the pass
/// logits       4 V                                                          for one position
/// ```
///
/// Unit: bytes; activations and logits in f32. Source: the order of the decoder's ops ([`super::prefill_ops`]). Memory
/// that depends on the engine (copies of weights, attention scores, the tokenizer, the program itself) is not included.
#[must_use]
pub fn estimate_memory(
    spec: &Spec,
    weights: Bytes,
    context: usize,
    kv: impl Into<CacheTypes>,
    batch: usize,
) -> MemoryEstimate {
    let widest = |layer: &Layer| {
        let feed_forward = match &layer.feed_forward {
            FeedForward::Dense(gated) => 3 * gated.width,
            FeedForward::Experts(experts) => {
                // A dense part runs before the experts; its output remains.
                let shared = experts.shared.map_or(0, |shared| shared.width);
                let dense = experts.dense_width.map_or(0, |width| 3 * width + spec.hidden);
                (experts.count + experts.used * (3 * experts.expert.width + spec.hidden) + 3 * shared).max(dense)
            }
        };
        2 * spec.hidden + layer.mixer.inner_width().max(feed_forward)
    };
    let activations = (spec.layers.iter().map(widest).max().unwrap_or(0) + spec.per_layer_inputs()) as u64;
    MemoryEstimate {
        weights,
        kv: spec.kv_bytes(kv, context, batch),
        state: spec.state_bytes(),
        activations: Bytes(activations) * (4 * batch as u64),
        logits: Bytes(4 * spec.vocab as u64),
    }
}
