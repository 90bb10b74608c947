//! Rotary position embedding: which elements rotate, and how fast.

use serde::{Deserialize, Serialize};

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
    /// `2i` and `2i + 1`: GGUF files of architectures whose q and k rows llama.cpp's converter permutes (llama, smollm3).
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
    /// LongRoPE (arXiv:2402.13753): one list of divisors for contexts up to that of the first training and one for longer ones, `dim / 2`
    /// each; cosines and sines are multiplied by a magnitude. As in llama.cpp, the context is that of the session: all of its positions have
    /// the same list.
    LongRope {
        /// Divisors for sessions of at most `original_context` tokens.
        short: Vec<f32>,
        /// Divisors for longer sessions.
        long: Vec<f32>,
        /// Context of the first training, in tokens.
        original_context: usize,
        /// Multiplier of cosines and sines.
        magnitude: f32,
    },
    /// YaRN: pairs that turn rarely within the original context are divided, those that turn often unchanged, a ramp between; cosines
    /// and sines are multiplied by a magnitude.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Turns within the original context from which a frequency is unchanged.
        beta_fast: f32,
        /// Turns below which a frequency is divided by `factor`.
        beta_slow: f32,
        /// Context of the first training, in tokens.
        original_context: usize,
        /// Multiplier of cosines and sines.
        magnitude: f32,
        /// Whether the bounds of the ramp are rounded to whole pairs, as llama.cpp does; gpt-oss was trained without.
        #[serde(default = "rounded", skip_serializing_if = "is_rounded")]
        truncate: bool,
    },
}

const fn rounded() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_rounded(truncate: &bool) -> bool {
    *truncate
}

impl Rope {
    /// The rotary frequencies in radians per position, `dim / 2` of them, after scaling.
    ///
    /// ```text
    /// f_i = theta^(-2 i / dim)                                                            RoFormer, arXiv:2104.09864, section 3.2.2
    /// linear:   f_i / factor                                                              arXiv:2306.15595 (position interpolation)
    /// longrope: f_i / short[i], in sessions of more than original_context tokens f_i / long[i]
    /// factors:  f_i / factors[i]                                                          llama.cpp, `ggml_rope_ext` with freq_factors
    /// llama3:   w = 2 pi / f_i, wavelength in positions                                   Llama 3.1, `apply_scaling`
    ///           w < original_context / high_freq_factor   f_i
    ///           w > original_context / low_freq_factor    f_i / factor
    ///           else   (1 - s) f_i / factor + s f_i,   s = (original_context / w - low) / (high - low)
    /// yarn:     d(turns) = dim ln(original_context / (2 pi turns)) / (2 ln theta)         YaRN, arXiv:2309.00071, section 3.2 (and its code)
    ///           low = floor(d(beta_fast)), high = ceil(d(beta_slow)), not rounded without `truncate`; both within 0 .. dim - 1
    ///           s = 1 - clamp((i - low) / (high - low), 0, 1);   (1 - s) f_i / factor + s f_i
    /// ```
    ///
    /// Computed in f64 and rounded once. `context` is that of the session in tokens; only LongRoPE depends on it.
    #[must_use]
    pub fn inverse_frequencies(&self, context: usize) -> Vec<f32> {
        self.unscaled()
            .iter()
            .zip(self.divisors(context))
            .map(|(frequency, divisor)| (frequency / divisor) as f32)
            .collect()
    }

    /// The divisors of the unscaled frequencies in a session of `context` tokens, `dim / 2` of them: 1 without scaling.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "indices and contexts are small")]
    pub fn divisors(&self, context: usize) -> Vec<f64> {
        let unscaled = self.unscaled();
        match &self.scaling {
            None => vec![1.0; unscaled.len()],
            Some(RopeScaling::Linear { factor }) => vec![f64::from(*factor); unscaled.len()],
            Some(RopeScaling::Factors(factors)) => listed(factors, unscaled.len()),
            Some(RopeScaling::LongRope { short, long, original_context, .. }) => {
                listed(if context > *original_context { long } else { short }, unscaled.len())
            }
            Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                let (factor, low, high) =
                    (f64::from(*factor), f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                let share = |f: f64| {
                    let turns = *original_context as f64 * f / std::f64::consts::TAU;
                    ((turns - low) / (high - low)).clamp(0.0, 1.0)
                };
                unscaled.iter().map(|&f| interpolated(factor, share(f))).collect()
            }
            Some(RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, truncate, .. }) => {
                let dim = self.dim as f64;
                let index_of_turns = |turns: f32| {
                    let wavelength = *original_context as f64 / (f64::from(turns) * std::f64::consts::TAU);
                    dim * wavelength.ln() / (2.0 * f64::from(self.theta).ln())
                };
                let (low, high) = (index_of_turns(*beta_fast), index_of_turns(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(dim - 1.0));
                let width = (high - low).max(0.001);
                let share = |i: usize| 1.0 - ((i as f64 - low) / width).clamp(0.0, 1.0);
                (0..unscaled.len()).map(|i| interpolated(f64::from(*factor), share(i))).collect()
            }
        }
    }

    /// What cosines and sines are multiplied by: 1 except for YaRN and LongRoPE.
    #[must_use]
    pub const fn magnitude(&self) -> f32 {
        match self.scaling {
            Some(RopeScaling::Yarn { magnitude, .. } | RopeScaling::LongRope { magnitude, .. }) => magnitude,
            _ => 1.0,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "indices are small")]
    fn unscaled(&self) -> Vec<f64> {
        (0..self.dim / 2).map(|i| f64::from(self.theta).powf(-2.0 * i as f64 / self.dim as f64)).collect()
    }
}

/// YaRN's multiplier of cosines and sines: `0.1 scale ln(factor) + 1`, and 1 for factors of at most 1. Source: arXiv:2309.00071,
/// equation 22; `scale` is that of DeepSeek's variant, 1 otherwise.
pub(crate) fn yarn_magnitude(factor: f32, scale: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// LongRoPE's multiplier of cosines and sines: `sqrt(1 + ln(factor) / ln(original_context))`, and 1 for factors of at most 1. Source:
/// arXiv:2402.13753 and its code.
#[allow(clippy::cast_precision_loss, reason = "contexts are below 2^24")]
pub(crate) fn long_rope_magnitude(factor: f32, original_context: usize) -> f32 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context as f32).ln()).sqrt() }
}

/// The divisors of a list; pairs that it does not have are not scaled.
fn listed(divisors: &[f32], pairs: usize) -> Vec<f64> {
    (0..pairs).map(|pair| divisors.get(pair).map_or(1.0, |divisor| f64::from(*divisor))).collect()
}

/// The divisor of a frequency of which `share` is unchanged and the rest is divided by `factor`.
fn interpolated(factor: f64, share: f64) -> f64 {
    1.0 / ((1.0 - share) / factor + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f32, dim: usize, scaling: Option<RopeScaling>) -> Rope {
        Rope { theta, dim, layout: RopeLayout::Halves, scaling }
    }

    #[test]
    fn frequencies_unscaled_linear_and_by_factors() {
        let frequencies = |scaling| rope(10_000.0, 4, scaling).inverse_frequencies(4096);
        assert_eq!(frequencies(None), [1.0, 0.01]);
        assert_eq!(frequencies(Some(RopeScaling::Linear { factor: 4.0 })), [0.25, 0.0025]);
        assert_eq!(frequencies(Some(RopeScaling::Factors(vec![1.0, 8.0]))), [1.0, 0.00125]);
        let long_rope = |original_context| {
            let (short, long) = (vec![1.0, 2.0], vec![2.0, 4.0]);
            frequencies(Some(RopeScaling::LongRope { short, long, original_context, magnitude: 1.5 }))
        };
        assert_eq!((long_rope(4096), long_rope(4095)), (vec![1.0, 0.005], vec![0.5, 0.0025]));
        // Phi-4-mini: 131,072 = 32 x 4,096.
        assert!((long_rope_magnitude(32.0, 4096) - 1.190_238).abs() < 1e-5);
    }

    #[test]
    fn llama3_has_three_bands() {
        let scaling =
            RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let divisors = rope(500_000.0, 64, Some(scaling)).divisors(0);
        // Llama 3.2 1B's rope_freqs.weight: 1 up to index 14, then a ramp, then 32 from index 18.
        assert!(divisors[..15].iter().all(|divisor| (divisor - 1.0).abs() < 1e-5), "{divisors:?}");
        assert!(
            divisors[15] > 1.0 && divisors[17] < 32.0 && divisors[15] < divisors[16] && divisors[16] < divisors[17]
        );
        assert!(divisors[18..].iter().all(|divisor| (divisor - 32.0).abs() < 1e-3), "{divisors:?}");
    }

    /// The bounds of the ramp by hand: `64 ln(16384 / (2 pi 32)) / (2 ln 1e6) x 2 = 20.4`, floor 20; with one turn 36.4, ceil 37.
    #[test]
    fn yarn_has_a_ramp_between_its_bounds() {
        let scaling = RopeScaling::Yarn {
            factor: 16.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 16_384,
            magnitude: 1.277,
            truncate: true,
        };
        let rope = rope(1e6, 128, Some(scaling));
        let divisors = rope.divisors(0);
        assert!(divisors[..=20].iter().all(|divisor| (divisor - 1.0).abs() < 1e-12), "{divisors:?}");
        assert!(divisors[37..].iter().all(|divisor| (divisor - 16.0).abs() < 1e-9), "{divisors:?}");
        // In the middle of the ramp a share of 9 / 17 is unchanged.
        assert!((divisors[28] - 1.0 / (8.0 / 17.0 / 16.0 + 9.0 / 17.0)).abs() < 1e-9, "{}", divisors[28]);
        assert!((rope.magnitude() - 1.277).abs() < 1e-6);
    }

    /// gpt-oss by hand: `64 ln(4096 / (2 pi 32)) / (2 ln 150000) = 8.09` and `64 ln(4096 / (2 pi)) / (2 ln 150000) = 17.40`.
    #[test]
    fn a_ramp_may_begin_between_pairs() {
        let share = |truncate, pair: usize| {
            let scaling = RopeScaling::Yarn {
                factor: 32.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_context: 4096,
                magnitude: 1.3466,
                truncate,
            };
            let divisor = rope(150_000.0, 64, Some(scaling)).divisors(0)[pair];
            (1.0 / divisor - 1.0 / 32.0) / (1.0 - 1.0 / 32.0)
        };
        assert!((share(true, 9) - 0.9).abs() < 1e-6 && (share(true, 17) - 0.1).abs() < 1e-6);
        assert!((share(false, 8) - 1.0).abs() < 1e-12 && share(false, 18).abs() < 1e-12);
        assert!((share(false, 9) - (1.0 - (9.0 - 8.0928) / (17.3981 - 8.0928))).abs() < 1e-3, "{}", share(false, 9));
    }
}
