//! The gated delta net: linear attention whose state is a matrix for each head.

use serde::{Deserialize, Serialize};

/// A gated delta net. For each token, with `q`, `k`, `v` of a causal convolution and SiLU of a projection, `q` and `k` divided by their
/// length:
///
/// ```text
/// d = exp(-A softplus(alpha + dt)), beta = sigmoid(b)     of each value head; alpha and b are projections, A and dt weights
/// S = d S + beta (v - d S k) k^T                          S is [head_dim, head_dim]
/// y = rms_norm(S q / sqrt(head_dim)) silu(z)              z is a projection
/// out_proj(y)
/// ```
///
/// A value head reads the queries and keys of one key head. Source: arXiv:2412.06464, equation 10; transformers,
/// `Qwen3_5GatedDeltaNet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatedDeltaNet {
    /// Heads of queries and of keys.
    pub key_heads: usize,
    /// Heads of values, each with a state; a multiple of `key_heads`.
    pub value_heads: usize,
    /// Width of every head.
    pub head_dim: usize,
    /// Tokens that the convolution reads.
    pub kernel: usize,
    /// How the weights are stored; a property of the checkpoint, not of the model.
    pub layout: DeltaLayout,
}

/// How a checkpoint stores the heads and the decays of a gated delta net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaLayout {
    /// Value heads of one key head follow one another, and `ln A` is stored: folders of transformers.
    Grouped,
    /// Value head `j` reads key head `j` modulo their number, and `-A` is stored: GGUF files.
    Alternating,
}

impl GatedDeltaNet {
    /// Width of all queries, or of all keys.
    #[must_use]
    pub const fn key_width(&self) -> usize {
        self.key_heads * self.head_dim
    }

    /// Width of all values.
    #[must_use]
    pub const fn value_width(&self) -> usize {
        self.value_heads * self.head_dim
    }

    /// Channels of the convolution: queries, keys and values.
    #[must_use]
    pub const fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// The key head of a value head.
    #[must_use]
    pub const fn key_head(&self, value_head: usize) -> usize {
        match self.layout {
            DeltaLayout::Grouped => value_head / (self.value_heads / self.key_heads),
            DeltaLayout::Alternating => value_head % self.key_heads,
        }
    }

    /// Elements of the state of the convolution: its last inputs.
    #[must_use]
    pub const fn convolution_state_elements(&self) -> usize {
        self.kernel.saturating_sub(1) * self.channels()
    }

    /// Elements of the states of all heads.
    #[must_use]
    pub const fn head_state_elements(&self) -> usize {
        self.value_heads * self.head_dim * self.head_dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_heads_of_value_heads() {
        let heads = |layout| {
            let net = GatedDeltaNet { key_heads: 2, value_heads: 4, head_dim: 8, kernel: 4, layout };
            assert_eq!((net.channels(), net.head_state_elements(), net.convolution_state_elements()), (64, 256, 192));
            [0, 1, 2, 3].map(|head| net.key_head(head))
        };
        assert_eq!(heads(DeltaLayout::Grouped), [0, 0, 1, 1]);
        assert_eq!(heads(DeltaLayout::Alternating), [0, 1, 0, 1]);
    }
}
