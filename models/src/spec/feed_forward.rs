//! The feed-forward part of a layer: one gated part, or a mixture of experts.

use serde::{Deserialize, Serialize};

/// The feed-forward part of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForward {
    /// One gated part that all tokens go through.
    Dense(Gated),
    /// Several gated parts, of which a router chooses some for each token.
    Experts(Experts),
}

/// A gated feed-forward part: `down(activation(gate x) * up x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Width of gate and up.
    pub width: usize,
    /// The activation of the gate.
    pub activation: Activation,
}

/// A mixture of experts: `sum over the chosen experts e of weight_e expert_e(x)`. Source: arXiv:1701.06538, section 2.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// The number of experts.
    pub count: usize,
    /// The number that a token uses, at most `count`.
    pub used: usize,
    /// The shape of each expert.
    pub expert: Gated,
    /// How the router's scores become a choice and weights.
    pub gating: Gating,
    /// Whether the router and the projections of the experts have a bias.
    pub biased: bool,
    /// An expert that all tokens use beside the chosen ones.
    pub shared: Option<SharedExpert>,
    /// Width of a dense part beside the experts, with the activation of theirs; `None`: there is none. Each has norms of its own, and so has
    /// the router, of the residual stream `x`:
    ///
    /// ```text
    /// dense    d = norm(down(activation(gate norm(x)) * up norm(x)))
    /// experts  e = norm(sum over the chosen experts of weight expert(norm(x)))
    /// router   scores = router (f x / (rms(x) sqrt(hidden)))    f: a factor for each element
    /// d + e
    /// ```
    ///
    /// Source: transformers, `Gemma4TextDecoderLayer` and `Gemma4TextRouter`.
    pub dense_width: Option<usize>,
}

/// An expert that all tokens use; it has the activation of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedExpert {
    /// Width of gate and up.
    pub width: usize,
    /// Whether its output is multiplied by the sigmoid of a product of the input with a vector.
    pub gated: bool,
}

/// How scores `s`, one for each expert, become the choice of a token and the weights of the chosen experts.
///
/// ```text
/// softmax             p = softmax(s); the largest p are chosen; weight p
/// sigmoid             p = sigmoid(s); the largest p are chosen; weight p
/// softmax of chosen   the largest s are chosen; weight = softmax over the chosen s
/// choice bias         the largest p + bias are chosen, a number for each expert; weights remain those of p
/// groups              experts are chosen from the groups whose two largest p (+ bias) have the largest sums
/// normalised          weights are divided by their sum
/// scale               weights are multiplied by it, last
/// expert factors      weights are multiplied by a number for each expert, last
/// ```
///
/// Source of bias and groups: DeepSeek-V3, arXiv:2412.19437, section 2.1.2 and its code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gating {
    /// From scores to weights.
    pub scores: Scores,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub normalised: bool,
    /// Factor of the weights; `None`: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Whether a learned number for each expert is added before the choice, and not to the weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub choice_bias: bool,
    /// Groups of experts, of which a token uses some; `None`: any experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<ExpertGroups>,
    /// Whether the weights are multiplied by a learned number for each expert.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expert_factors: bool,
}

impl Gating {
    /// Without a factor, a bias or groups.
    #[must_use]
    pub const fn new(scores: Scores, normalised: bool) -> Self {
        Self { scores, normalised, scale: None, choice_bias: false, groups: None, expert_factors: false }
    }
}

/// Groups of equally many experts, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpertGroups {
    /// Their number, a divisor of that of the experts.
    pub count: usize,
    /// The number from which the experts of a token are.
    pub used: usize,
    /// How many of the best scores of a group are added to rank it: 2 of DeepSeek V3, 1 (the best alone) of DeepSeek V2.
    #[serde(default = "of_two", skip_serializing_if = "is_of_two")]
    pub ranked_by: usize,
}

impl ExpertGroups {
    /// Groups that are ranked by the sum of their two best scores. Source: arXiv:2412.19437, section 2.1.2; its code.
    #[must_use]
    pub const fn by_two(count: usize, used: usize) -> Self {
        Self { count, used, ranked_by: of_two() }
    }

    /// Groups that are ranked by their best score. Source: arXiv:2405.04434, section 2.2.2.
    #[must_use]
    pub const fn by_best(count: usize, used: usize) -> Self {
        Self { count, used, ranked_by: 1 }
    }
}

const fn of_two() -> usize {
    2
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_of_two(ranked_by: &usize) -> bool {
    *ranked_by == of_two()
}

/// The function from scores to weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// Softmax over all experts, then the choice.
    Softmax,
    /// Sigmoid of each score, then the choice.
    Sigmoid,
    /// The choice, then softmax over the chosen experts.
    SoftmaxOfChosen,
}

/// An activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x / (1 + e^-x)`. Source: arXiv:2002.05202, section 2.
    #[default]
    Silu,
    /// The approximation of GELU by tanh: `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`. Source: arXiv:1606.08415, section 2.
    GeluTanh,
    /// SwiGLU with bounds: `min(g, 7) sigmoid(1.702 min(g, 7)) (clamp(u, -7, 7) + 1)` of gate `g` and up `u`. Source: arXiv:2508.10925 (gpt-oss)
    /// and its code; the constants are [`CLAMP_LIMIT`] and [`CLAMP_ALPHA`].
    ClampedSwiglu,
}

/// The bound of [`Activation::ClampedSwiglu`].
pub const CLAMP_LIMIT: f32 = 7.0;
/// The factor in the sigmoid of [`Activation::ClampedSwiglu`].
pub const CLAMP_ALPHA: f32 = 1.702;

impl FeedForward {
    /// One gated part with SiLU.
    #[must_use]
    pub const fn dense(width: usize) -> Self {
        Self::Dense(Gated { width, activation: Activation::Silu })
    }

    /// The shape of its gated part, or of each of its experts.
    #[must_use]
    pub const fn gated(&self) -> &Gated {
        match self {
            Self::Dense(gated) => gated,
            Self::Experts(experts) => &experts.expert,
        }
    }

    /// The same, to be changed.
    pub const fn gated_mut(&mut self) -> &mut Gated {
        match self {
            Self::Dense(gated) => gated,
            Self::Experts(experts) => &mut experts.expert,
        }
    }

    /// Its experts; `None` if it is dense.
    #[must_use]
    pub const fn experts(&self) -> Option<&Experts> {
        match self {
            Self::Dense(_) => None,
            Self::Experts(experts) => Some(experts),
        }
    }
}

impl Experts {
    /// The fewest and the most experts that a pass of `tokens` tokens can use.
    ///
    /// ```text
    /// used  to  min(count, used tokens);  none without tokens
    /// ```
    #[must_use]
    pub fn distinct_bounds(&self, tokens: usize) -> (usize, usize) {
        if tokens == 0 { (0, 0) } else { (self.used, self.count.min(self.used.saturating_mul(tokens))) }
    }

    /// The expected number of distinct experts that a pass of `tokens` tokens uses if each token chooses any `used` experts with the
    /// same probability, independently of the others. Exact for one token; an estimate for a trained router, which prefers some
    /// experts for similar tokens: the true number is then smaller.
    ///
    /// ```text
    /// count (1 - (1 - used / count)^tokens)
    /// ```
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "numbers of experts and tokens are far below 2^53")]
    pub fn expected_distinct(&self, tokens: usize) -> f64 {
        let (count, used) = (self.count as f64, self.used as f64);
        if tokens == 1 {
            return used;
        }
        count * (1.0 - (1.0 - used / count).powf(tokens as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experts(count: usize, used: usize) -> Experts {
        Experts {
            count,
            used,
            expert: Gated { width: 8, activation: Activation::Silu },
            gating: Gating::new(Scores::Softmax, true),
            biased: false,
            shared: None,
            dense_width: None,
        }
    }

    /// Two tokens that choose one of two: the same with probability 1/2. Four choose two of four: each is left out with (1/2)^4.
    #[test]
    fn distinct_experts_by_hand() {
        let distinct = |count, used, tokens| experts(count, used).expected_distinct(tokens);
        assert!((distinct(2, 1, 2) - 1.5).abs() < 1e-12);
        assert!((distinct(4, 2, 4) - 4.0 * 15.0 / 16.0).abs() < 1e-12);
        assert!((distinct(128, 8, 1) - 8.0).abs() < 1e-12 && distinct(128, 8, 0).abs() < 1e-12);
        assert!((distinct(4, 4, 3) - 4.0).abs() < 1e-12);
        assert_eq!(experts(128, 8).distinct_bounds(1), (8, 8));
        assert_eq!(experts(128, 8).distinct_bounds(3), (8, 24));
        assert_eq!(experts(128, 8).distinct_bounds(512), (8, 128));
        assert_eq!(experts(128, 8).distinct_bounds(0), (0, 0));
    }
}
