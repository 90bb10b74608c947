//! The token mixer of a layer: the part in which a token reads tokens before it.

use serde::{Deserialize, Serialize};

use super::{Attention, CacheTypes, GatedDeltaNet, LatentAttention, Rope};
use crate::dtype::DType;
use crate::units::Bytes;

/// The part of a layer in which a token reads tokens before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Softmax attention to the keys and values of a cache.
    Attention(Attention),
    /// Softmax attention to one row per token, of which keys and values of all heads are products.
    LatentAttention(LatentAttention),
    /// A gated convolution over the last few tokens.
    ShortConvolution(ShortConvolution),
    /// Linear attention with a matrix for each head as its state.
    GatedDeltaNet(GatedDeltaNet),
}

/// A gated convolution over the last `kernel` tokens, in each channel by itself:
///
/// ```text
/// B, C, x = in_proj(h)            three parts of `channels` elements
/// y[t] = C[t] * sum over k = 0 .. kernel of w[k] (B x)[t - kernel + 1 + k]
/// out_proj(y)
/// ```
///
/// Tokens before the first are zeros. Source: LFM2, arXiv:2511.23404, section 2; transformers, `Lfm2ShortConv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortConvolution {
    /// Channels of the convolution.
    pub channels: usize,
    /// Tokens that an output reads: its own and the `kernel - 1` before it.
    pub kernel: usize,
}

impl ShortConvolution {
    /// Elements of the state: the inputs of the convolution of the last `kernel - 1` tokens.
    #[must_use]
    pub const fn state_elements(&self) -> usize {
        self.kernel.saturating_sub(1) * self.channels
    }
}

impl From<Attention> for Mixer {
    fn from(attention: Attention) -> Self {
        Self::Attention(attention)
    }
}

/// The type of a recurrent state in all engines.
pub(crate) const STATE: DType = DType::F32;

impl Mixer {
    /// What it is, in texts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Attention(_) => "attention",
            Self::LatentAttention(_) => "latent attention",
            Self::ShortConvolution(_) => "short convolution",
            Self::GatedDeltaNet(_) => "gated delta net",
        }
    }

    /// Its attention; `None` of a mixer of another kind.
    #[must_use]
    pub const fn attention(&self) -> Option<&Attention> {
        match self {
            Self::Attention(attention) => Some(attention),
            Self::LatentAttention(_) | Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => None,
        }
    }

    /// Its latent attention; `None` of a mixer of another kind.
    #[must_use]
    pub const fn latent_attention(&self) -> Option<&LatentAttention> {
        match self {
            Self::LatentAttention(attention) => Some(attention),
            Self::Attention(_) | Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => None,
        }
    }

    /// Its rotary position embedding.
    #[must_use]
    pub const fn rope(&self) -> Option<&Rope> {
        match self {
            Self::Attention(attention) => attention.rope.as_ref(),
            Self::LatentAttention(attention) => Some(&attention.rope),
            Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => None,
        }
    }

    /// [`Mixer::attention`], to be changed.
    pub const fn attention_mut(&mut self) -> Option<&mut Attention> {
        match self {
            Self::Attention(attention) => Some(attention),
            Self::LatentAttention(_) | Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => None,
        }
    }

    /// Bytes that a cache of the types `kv` keeps of one token; they grow with the context.
    #[must_use]
    pub fn cached_bytes_per_token(&self, kv: CacheTypes) -> Bytes {
        match self {
            Self::Attention(attention) if !attention.has_own_cache() => Bytes(0),
            Self::Attention(attention) => kv.row_bytes(attention.kv_width()),
            // One row, in the type of keys.
            Self::LatentAttention(attention) => kv.keys.row_bytes(attention.cache_width()),
            Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => Bytes(0),
        }
    }

    /// Bytes of the cache of a context of `tokens` tokens that ran in batches of `batch`; with a sliding window, of the window and one
    /// batch.
    #[must_use]
    pub fn cache_bytes(&self, kv: CacheTypes, tokens: usize, batch: usize) -> Bytes {
        match self {
            Self::Attention(attention) => {
                self.cached_bytes_per_token(kv) * attention.cache_capacity(tokens, batch) as u64
            }
            Self::LatentAttention(_) => self.cached_bytes_per_token(kv) * tokens as u64,
            Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => Bytes(0),
        }
    }

    /// Bytes of its recurrent state, in F32; they do not depend on the context. 0 without a state.
    #[must_use]
    pub fn state_bytes(&self) -> Bytes {
        match self {
            Self::Attention(_) | Self::LatentAttention(_) => Bytes(0),
            Self::ShortConvolution(convolution) => STATE.row_bytes(convolution.state_elements()),
            Self::GatedDeltaNet(net) => STATE.row_bytes(net.convolution_state_elements() + net.head_state_elements()),
        }
    }

    /// Whether a session whose context has `position` tokens can go back to the first `tokens` of them. A state has read them all; the
    /// ring of a window, in which `written` positions were written, may have lost what the next token reads. The session has room for
    /// `context` tokens and runs batches of `batch`.
    #[must_use]
    pub fn can_rewind(&self, tokens: usize, position: usize, written: usize, context: usize, batch: usize) -> bool {
        match self {
            Self::Attention(attention) => {
                attention.cache_still_has(tokens, written, attention.cache_capacity(context, batch))
            }
            // All positions have a row.
            Self::LatentAttention(_) => true,
            Self::ShortConvolution(_) | Self::GatedDeltaNet(_) => tokens == 0 || tokens == position,
        }
    }

    /// Elements of one token that exist at the same time between its first and its last projection.
    #[must_use]
    pub const fn inner_width(&self) -> usize {
        match self {
            // q with its gate, k, v (not those of another layer) and the output.
            Self::Attention(attention) => {
                let kv = if attention.has_own_cache() { 2 * attention.kv_width() } else { 0 };
                attention.q_width() + attention.q_outputs() + kv
            }
            // The queries and what they are computed from, the row of the cache; per head two parts of the query, the query for the
            // latent (and with the rotated part), the output, and twice the value.
            Self::LatentAttention(attention) => {
                let low = match attention.query_rank {
                    Some(width) => width,
                    None => 0,
                };
                let of_head = attention.query_dim() + 2 * attention.rank + attention.cache_width();
                2 * low
                    + attention.q_width()
                    + attention.cache_width()
                    + attention.heads * of_head
                    + 2 * attention.v_width()
            }
            // Three parts, the input of the convolution and its output.
            Self::ShortConvolution(convolution) => 5 * convolution.channels,
            // Input and output of the convolution, gate and output of the heads, and what each head has one of.
            Self::GatedDeltaNet(net) => 2 * net.channels() + 2 * net.value_width() + 2 * net.value_heads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 tokens of 8 channels in F32 of a kernel of 4, whatever the context is.
    #[test]
    fn a_state_does_not_grow_with_the_context() {
        let convolution = Mixer::ShortConvolution(ShortConvolution { channels: 8, kernel: 4 });
        assert_eq!(convolution.state_bytes(), Bytes(3 * 8 * 4));
        assert_eq!(convolution.cache_bytes(DType::F16.into(), 1000, 8), Bytes(0));
        let attention = Mixer::from(Attention { window: Some(16), ..Attention::plain(2, 1, 4, None) });
        assert_eq!(attention.state_bytes(), Bytes(0));
        assert_eq!(attention.cache_bytes(DType::F16.into(), 1000, 5), Bytes(20 * 2 * 4 * 2));
        assert_eq!(attention.attention().map(|attention| attention.heads), Some(2));
        assert_eq!(convolution.attention(), None);
        let rewinds = |mixer: &Mixer| [0, 3, 7].map(|tokens| mixer.can_rewind(tokens, 7, 7, 100, 5));
        assert_eq!((rewinds(&convolution), rewinds(&attention)), ([true, false, true], [true; 3]));
    }
}
