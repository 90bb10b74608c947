//! Loops over f32 slices in a form that the compiler vectorises on every target.

use super::simd::{LANES, Lanes, Simd};

/// `sum_i a_i b_i`, in the order of [`Lanes::products`].
#[inline(always)]
pub(super) fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    S::call(&|(a, b)| S::Lanes::products(a, b).sum(), (a, b))
}

/// `sum_i a_i^2`, added in f64, so that the order has no influence once the result is rounded to f32.
#[inline(always)]
pub(super) fn squares(a: &[f32]) -> f64 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [0f64; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane] * chunk[lane]);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| f64::from(x * x)).sum::<f64>()
}

/// The largest element; `-inf` for an empty slice.
#[inline(always)]
pub(super) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = a.chunks_exact(16);
    for chunk in chunks.by_ref() {
        for lane in 0..16 {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    chunks.remainder().iter().chain(&lanes).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most })
}

/// `e^x` within 2 units in the last place, without a branch: `x = n ln 2 + r`, `|r| <= ln 2 / 2`, `e^x = 2^n p(r)`. Polynomial and
/// rounding are those of Arm's optimized routines (`expf` for vectors).
///
/// Below -87 (near the smallest normal number) the result is zero; above 88 it is that of 88. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, so that `n ln 2` is exact: 0x1.62e4p-1 and 0x1.7f7d1cp-20.
    const LN2_HIGH: f32 = f32::from_bits(0x3f31_7200);
    const LN2_LOW: f32 = f32::from_bits(0x35bf_be8e);
    /// Coefficients of r to r^5, fitted to the interval; the constant is 1.
    const P: [f32; 5] = [
        f32::from_bits(0x3f7f_fff6), // 0x1.ffffecp-1
        f32::from_bits(0x3eff_fedb), // 0x1.fffdb6p-2
        f32::from_bits(0x3e2a_af33), // 0x1.555e66p-3
        f32::from_bits(0x3d2b_9f17), // 0x1.573e2ep-5
        f32::from_bits(0x3c07_2010), // 0x1.0e4020p-7
    ];
    let within = if x > 88.0 { 88.0 } else { x };
    let shifted = S::fused(within, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = S::fused(-n, LN2_LOW, S::fused(-n, LN2_HIGH, within));
    let square = r * r;
    let high = S::fused(S::fused(P[4], r, P[3]), square, S::fused(P[2], r, P[1]));
    let p = S::fused(high, square, S::fused(P[0], r, 1.0));
    // Adds n to the exponent; the bits above it are shifted out.
    let power = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { power }
}

/// `w_i = e^(s_i - max s) / sum_j e^(s_j - max s)`. A score of -inf gets weight zero. The number of scores is a multiple of 16.
///
/// Sixteen terms are added in the order of [`Lanes`], their sums in f64. A `sink` is one further score, whose weight is not stored.
#[inline(always)]
pub(super) fn softmax<S: Simd>(scores: &mut [f32], sink: Option<f32>) {
    debug_assert!(scores.len().is_multiple_of(LANES), "{} scores are not a multiple of 16", scores.len());
    let most = sink.map_or_else(|| max(scores), |sink| max(scores).max(sink));
    let mut sum = sink.map_or(0f64, |sink| f64::from(exp::<S>(sink - most)));
    let chunks = scores.as_chunks_mut::<LANES>().0;
    for chunk in chunks.iter_mut() {
        for score in chunk.iter_mut() {
            *score = exp::<S>(*score - most);
        }
        sum += f64::from(S::Lanes::load(chunk).sum());
    }
    #[allow(clippy::cast_possible_truncation, reason = "rounded once, after the division")]
    let share = (1.0 / sum) as f32;
    chunks.as_flattened_mut().iter_mut().for_each(|weight| *weight *= share);
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    #[test]
    fn exp_is_close_over_its_whole_range() {
        let mut worst = 0f64;
        for i in -86_999..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp::<Scalar>(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "largest relative error {worst}");
        assert_eq!((exp::<Scalar>(0.0), exp::<Scalar>(-1e9), exp::<Scalar>(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp::<Scalar>(f32::NAN).is_nan() && exp::<Scalar>(1e9).is_finite());
    }

    #[test]
    fn sums_agree_with_plain_loops() {
        for length in [0, 1, 15, 16, 64, 65, 200] {
            let a: Vec<f32> = (0..length).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32 * 1.3).cos()).collect();
            let plain: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert!((dot::<Scalar>(&a, &b) - plain).abs() < 1e-4);
            assert!((squares(&a) - a.iter().map(|x| f64::from(x * x)).sum::<f64>()).abs() < 1e-12);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn weights_sum_to_one_and_hidden_scores_get_weight_zero() {
        let mut scores: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
        scores[40..].fill(f32::NEG_INFINITY);
        let terms: Vec<f64> = scores.iter().map(|score| f64::from(*score).exp()).collect();
        let sum: f64 = terms.iter().sum();
        let mut with_sink = scores.clone();
        softmax::<Scalar>(&mut scores, None);
        for (weight, term) in scores.iter().zip(&terms) {
            assert!((f64::from(*weight) - term / sum).abs() < 1e-7);
        }
        assert!(scores[40..].iter().all(|weight| *weight == 0.0));
        // A sink takes its part of the sum: of a score above all others nearly everything.
        softmax::<Scalar>(&mut with_sink, Some(12.0));
        let total: f64 = terms.iter().sum::<f64>() + 12f64.exp();
        for (weight, term) in with_sink.iter().zip(&terms) {
            assert!((f64::from(*weight) - term / total).abs() < 1e-7);
        }
        let mut invalid = [f32::NAN; 16];
        invalid[3] = 1.0;
        softmax::<Scalar>(&mut invalid, None);
        assert!(invalid.iter().all(|weight| weight.is_nan()));
    }
}
