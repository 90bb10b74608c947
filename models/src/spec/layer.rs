//! One layer of a decoder: its parts and its norms.

use serde::{Deserialize, Serialize};

use super::{Attention, FeedForward, Mixer};

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The part in which a token reads tokens before it.
    pub mixer: Mixer,
    /// The feed-forward part.
    pub feed_forward: FeedForward,
    /// Where the norms of both parts are.
    pub norms: NormPlacement,
    /// Whether its output is multiplied by a learned number.
    pub output_scale: bool,
}

/// Where the norms of token mixer and feed-forward part are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// Before each part.
    #[default]
    Before,
    /// Before each part, and after it, before its result is added to the residual stream.
    BeforeAndAfter,
}

impl Layer {
    /// Norms before each part, and a dense feed-forward part of this width with SiLU.
    #[must_use]
    pub const fn plain(attention: Attention, width: usize) -> Self {
        Self {
            mixer: Mixer::Attention(attention),
            feed_forward: FeedForward::dense(width),
            norms: NormPlacement::Before,
            output_scale: false,
        }
    }
}
