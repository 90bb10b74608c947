//! Attention of a layer.

use serde::{Deserialize, Serialize};

use super::Rope;

/// Attention of all heads of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rotary position embedding of queries and keys; `None`: positions are not encoded in this layer.
    pub rope: Option<Rope>,
    /// Sliding window in tokens: a position attends to itself and the `window - 1` before it. `None`: to all before it.
    pub window: Option<usize>,
    /// Whether q, k and v projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// Whether each head has a sink: a learned score of its own that takes part in the softmax and has no value.
    pub sinks: bool,
    /// Whether each head of q and k is normalised (RMS norm over the head, before the rotation).
    pub qk_norm: bool,
    /// Whether each head of v is normalised, by an RMS norm without weight.
    pub v_norm: bool,
    /// Whether the values are the outputs of the projection of the keys, before norm and rotation: there is no projection of values.
    pub values_are_keys: bool,
    /// The layer, before this one, to whose keys and values it attends: it then computes queries only, and has no cache of its own. That
    /// layer has the same widths and the same window, and a cache of its own.
    pub cache_of: Option<usize>,
    /// Factor of the scores; `None`: `1 / sqrt(head_dim)`.
    pub scale: Option<f32>,
    /// A factor of the queries that grows with their position.
    pub temperature: Option<Temperature>,
    /// Whether the output of each head is multiplied by the sigmoid of a gate. The projection of the queries has the gate of each head
    /// after its query.
    pub output_gate: bool,
}

/// A factor of the queries at position `p`: `1 + scale ln(1 + floor(p / context))`. Source: Llama 4; transformers,
/// `_get_llama_4_attn_scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// How fast it grows.
    pub scale: f32,
    /// The number of positions from the first on whose factor is 1.
    pub context: usize,
}

impl Temperature {
    /// The factor at a position.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "positions are below 2^24")]
    pub fn factor(&self, position: usize) -> f32 {
        1.0 + self.scale * ((position / self.context) as f32).ln_1p()
    }
}

impl Attention {
    /// Attention to all positions, without anything beyond rotation.
    #[must_use]
    pub const fn plain(heads: usize, kv_heads: usize, head_dim: usize, rope: Option<Rope>) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            rope,
            window: None,
            qkv_bias: false,
            output_bias: false,
            sinks: false,
            qk_norm: false,
            v_norm: false,
            values_are_keys: false,
            cache_of: None,
            scale: None,
            temperature: None,
            output_gate: false,
        }
    }

    /// Width of all query heads together.
    #[must_use]
    pub const fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Outputs of the projection of the queries: those and, with an output gate, as many gates.
    #[must_use]
    pub const fn q_outputs(&self) -> usize {
        if self.output_gate { 2 * self.q_width() } else { self.q_width() }
    }

    /// Whether it computes keys and values and keeps them, instead of attending to those of another layer.
    #[must_use]
    pub const fn has_own_cache(&self) -> bool {
        self.cache_of.is_none()
    }

    /// Whether it has a projection of the values.
    #[must_use]
    pub const fn projects_values(&self) -> bool {
        self.has_own_cache() && !self.values_are_keys
    }

    /// Width of all key (or value) heads together.
    #[must_use]
    pub const fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The factor of the scores.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    pub fn score_scale(&self) -> f32 {
        self.scale.unwrap_or_else(|| 1.0 / (self.head_dim as f32).sqrt())
    }

    /// The number of positions of the cache that queries at `position .. position + tokens` read: at most the whole context.
    ///
    /// ```text
    /// min(position + tokens, window + tokens - 1)
    /// ```
    #[must_use]
    pub fn cached_rows(&self, tokens: usize, position: usize) -> usize {
        let end = position + tokens;
        self.window.map_or(end, |window| end.min(window.saturating_add(tokens.saturating_sub(1))))
    }

    /// The capacity of a cache, in positions, that serves a context in batches of `batch` tokens: positions before the window are
    /// never read again, so a ring for the window and one batch is sufficient.
    #[must_use]
    pub fn cache_capacity(&self, context: usize, batch: usize) -> usize {
        self.window.map_or(context, |window| context.min(window.saturating_add(batch.saturating_sub(1))))
    }

    /// Whether a ring of this capacity, in which `written` positions were written, still has all that a query at `position` reads.
    #[must_use]
    pub fn cache_still_has(&self, position: usize, written: usize, capacity: usize) -> bool {
        let first_read = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        written.saturating_sub(capacity) <= first_read
    }
}
