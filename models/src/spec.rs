//! The shape of a model, which determines the sizes of its weights and its arithmetic.

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::units::{Bytes, Params};

/// The architectures that the decoder supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// Llama 2 and 3, SmolLM2.
    Llama,
    /// Mistral 7B: Llama with an optional sliding window.
    Mistral,
    /// Qwen 1.5, 2 and 2.5: Llama with biases on q, k and v.
    Qwen2,
}

impl Arch {
    /// The name in `config.json` (`model_type`) and, except for Mistral, in GGUF files (`general.architecture`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// The shape of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The architecture.
    pub arch: Arch,
    /// Decoder blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// The number of positions that the model was trained for.
    pub context_length: usize,
    /// Epsilon of the RMS norms.
    pub norm_eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Sliding window in tokens: a position attends to itself and the `window - 1` before it. `None`: to all before it.
    pub window: Option<usize>,
    /// Whether q, k and v projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection is the embedding table.
    pub tied_embeddings: bool,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f32,
    /// Rotated elements per head (even, at most `head_dim`).
    pub dim: usize,
    /// Which elements form a pair; a property of the checkpoint, not of the model.
    pub layout: RopeLayout,
    /// How the frequencies are scaled for long contexts.
    pub scaling: Option<RopeScaling>,
}

/// Which two elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeLayout {
    /// `2i` and `2i + 1`: GGUF files of architecture llama, whose q and k rows are stored permuted.
    Interleaved,
    /// `i` and `i + dim / 2`: all other checkpoints.
    Halves,
}

/// A scaling of the rotary frequencies for contexts longer than that of the first training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// Llama 3: low frequencies are divided, high ones unchanged, those between interpolated.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context / low_freq_factor` are low frequencies.
        low_freq_factor: f32,
        /// Wavelengths below `original_context / high_freq_factor` are high frequencies.
        high_freq_factor: f32,
        /// Context of the first training, in tokens.
        original_context: usize,
    },
    /// All frequencies are divided by the same factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Each frequency has its own divisor (`rope_freqs.weight` of a GGUF file), `dim / 2` of them.
    Factors(Vec<f32>),
}

impl Spec {
    /// The same model with another sliding window, for GGUF files that lack it (Mistral's files say `llama`).
    #[must_use]
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        self.window = window;
        self
    }

    /// Width of all query heads together.
    #[must_use]
    pub const fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    #[must_use]
    pub const fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The rotary frequencies in radians per position, `rope.dim / 2` of them, after scaling.
    ///
    /// ```text
    /// f_i = theta^(-2 i / dim)                                                            RoFormer, arXiv:2104.09864, section 3.2.2
    /// linear:   f_i / factor                                                              arXiv:2306.15595 (position interpolation)
    /// factors:  f_i / factors[i]                                                          llama.cpp, `ggml_rope_ext` with freq_factors
    /// llama3:   w = 2 pi / f_i, wavelength in positions                                   Llama 3.1, `apply_scaling`
    ///           w < original_context / high_freq_factor   f_i
    ///           w > original_context / low_freq_factor    f_i / factor
    ///           else   (1 - s) f_i / factor + s f_i,   s = (original_context / w - low) / (high - low)
    /// ```
    ///
    /// Computed in f64 and rounded once.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "indices and contexts are small; f32 is the result"
    )]
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let Rope { theta, dim, scaling, .. } = &self.rope;
        let base = |i: usize| f64::from(*theta).powf(-2.0 * i as f64 / *dim as f64);
        (0..dim / 2)
            .map(|i| {
                let f = base(i);
                (match scaling {
                    None => f,
                    Some(RopeScaling::Linear { factor }) => f / f64::from(*factor),
                    Some(RopeScaling::Factors(factors)) => f / factors.get(i).map_or(1.0, |factor| f64::from(*factor)),
                    Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                        let (factor, low, high) =
                            (f64::from(*factor), f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                        let wavelength = std::f64::consts::TAU / f;
                        let turns = *original_context as f64 / wavelength;
                        if turns > high {
                            f
                        } else if turns < low {
                            f / factor
                        } else {
                            let share = (turns - low) / (high - low);
                            (1.0 - share) * f / factor + share * f
                        }
                    }
                }) as f32
            })
            .collect()
    }

    /// The number of parameters: all elements of all weights, a tied embedding table counted once.
    ///
    /// ```text
    /// V H  +  L (2 H + q H + 2 kv H + H q + 3 H F + bias)  +  H  +  (V H unless tied),   q = heads d, kv = kv_heads d, bias = q + 2 kv or 0
    /// ```
    #[must_use]
    pub const fn parameters(&self) -> Params {
        let (h, q, kv) = (self.hidden as u64, self.q_width() as u64, self.kv_width() as u64);
        let table = self.vocab as u64 * h;
        let bias = if self.qkv_bias { q + 2 * kv } else { 0 };
        let block = 2 * h + 2 * q * h + 2 * kv * h + 3 * h * self.ffn as u64 + bias;
        let output = if self.tied_embeddings { 0 } else { table };
        Params(table + self.layers as u64 * block + h + output)
    }

    /// Bytes of one token in the KV cache: `2 layers row_bytes(kv_heads head_dim)`.
    #[must_use]
    pub fn kv_bytes_per_token(&self, dtype: DType) -> Bytes {
        dtype.row_bytes(self.kv_width()) * (2 * self.layers as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(scaling: Option<RopeScaling>) -> Spec {
        Spec {
            arch: Arch::Llama,
            layers: 2,
            hidden: 8,
            ffn: 16,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 10,
            context_length: 128,
            norm_eps: 1e-5,
            rope: Rope { theta: 10_000.0, dim: 4, layout: RopeLayout::Halves, scaling },
            window: None,
            qkv_bias: true,
            tied_embeddings: true,
        }
    }

    #[test]
    fn parameters_of_a_tiny_model() {
        // table 80; per layer: norms 16, q 64 + 8, k and v 32 + 4 each, o 64, ffn 3 x 128; last norm 8.
        assert_eq!(spec(None).parameters(), Params(80 + 2 * (16 + 72 + 36 + 36 + 64 + 384) + 8));
    }

    #[test]
    fn kv_bytes_of_one_token() {
        assert_eq!(spec(None).kv_bytes_per_token(DType::F16), Bytes(2 * 2 * 4 * 2));
    }

    #[test]
    fn frequencies_unscaled_linear_and_by_factors() {
        assert_eq!(spec(None).inverse_frequencies(), [1.0, 0.01]);
        assert_eq!(spec(Some(RopeScaling::Linear { factor: 4.0 })).inverse_frequencies(), [0.25, 0.0025]);
        assert_eq!(spec(Some(RopeScaling::Factors(vec![1.0, 8.0]))).inverse_frequencies(), [1.0, 0.00125]);
    }

    #[test]
    fn llama3_has_three_bands() {
        let mut spec = spec(Some(RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        }));
        spec.rope.theta = 500_000.0;
        spec.rope.dim = 64;
        let plain = Spec { rope: Rope { scaling: None, ..spec.rope.clone() }, ..spec.clone() }.inverse_frequencies();
        let divisors: Vec<f32> =
            plain.iter().zip(spec.inverse_frequencies()).map(|(plain, scaled)| plain / scaled).collect();
        // Llama 3.2 1B's rope_freqs.weight: 1 up to index 14, then a ramp, then 32 from index 18.
        assert!(divisors[..15].iter().all(|divisor| (divisor - 1.0).abs() < 1e-5), "{divisors:?}");
        assert!(
            divisors[15] > 1.0 && divisors[17] < 32.0 && divisors[15] < divisors[16] && divisors[16] < divisors[17]
        );
        assert!(divisors[18..].iter().all(|divisor| (divisor - 32.0).abs() < 1e-3), "{divisors:?}");
    }
}
