//! Latent attention: keys and values of all heads are products of one short row per token.

use serde::{Deserialize, Serialize};

use super::Rope;

/// Multi-head latent attention in its absorbed form. A token keeps one row of `rank + rope.dim` elements for all heads: the latent `c`,
/// of which keys and values are products, and one rotated part of the key.
///
/// ```text
/// q = q_b norm(q_a h), without `query_rank` q h        per head: a part without position, `key_dim`, and a rotated one, `rope.dim`
/// c, r = kv_a h                                        c = norm(c), r rotated; kept in the cache
/// a[head] = k_b[head] q[head]                          `rank` elements: the product with the latent instead of the key
/// score[t] = scale (a[head] c[t] + rotated q[head] r[t])
/// v[head] = v_b[head] sum over t of softmax(score)[t] c[t]
/// o v
/// ```
///
/// Source: DeepSeek-V2, arXiv:2405.04434, section 2.1 and appendix C.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentAttention {
    /// Query heads.
    pub heads: usize,
    /// Width of the row from which queries are computed; `None`: they are computed from the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_rank: Option<usize>,
    /// Width of the latent.
    pub rank: usize,
    /// Width of the part of a head's key without position.
    pub key_dim: usize,
    /// Width of the value of a head.
    pub value_dim: usize,
    /// Rotary position embedding of the rest of the key, which all heads share; it rotates `dim` elements.
    pub rope: Rope,
    /// Factor of the scores; `None`: `1 / sqrt(key_dim + rope.dim)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_scale: Option<f32>,
}

impl LatentAttention {
    /// Width of one head of the queries.
    #[must_use]
    pub const fn query_dim(&self) -> usize {
        self.key_dim + self.rope.dim
    }

    /// Width of all query heads together.
    #[must_use]
    pub const fn q_width(&self) -> usize {
        self.heads * self.query_dim()
    }

    /// Elements of one token in the cache: the latent and the rotated part of the key.
    #[must_use]
    pub const fn cache_width(&self) -> usize {
        self.rank + self.rope.dim
    }

    /// Width of the values of all heads together.
    #[must_use]
    pub const fn v_width(&self) -> usize {
        self.heads * self.value_dim
    }

    /// The factor of the scores.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    pub fn scale(&self) -> f32 {
        self.score_scale.unwrap_or_else(|| 1.0 / (self.query_dim() as f32).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RopeLayout;

    /// DeepSeek-V2-Lite.
    #[test]
    fn widths_by_hand() {
        let rope = Rope { theta: 1e4, dim: 64, layout: RopeLayout::Interleaved, scaling: None };
        let attention = LatentAttention {
            heads: 16,
            query_rank: None,
            rank: 512,
            key_dim: 128,
            value_dim: 128,
            rope,
            score_scale: None,
        };
        assert_eq!((attention.q_width(), attention.cache_width(), attention.v_width()), (3072, 576, 2048));
        assert!((attention.scale() - 1.0 / 192f32.sqrt()).abs() < 1e-9);
    }
}
