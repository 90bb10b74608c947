//! Loops over f32 slices, written so that the compiler makes vector instructions of them on every target.
//!
//! Sums run in [`LANES`] partial sums: without them a compiler must keep the order of additions and cannot use vectors.

/// Partial sums of a reduction: four registers of 16, which hides the latency of an addition.
const LANES: usize = 64;

/// `sum_i a_i b_i`.
#[inline]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce(a, b, |x, y| x * y)
}

/// `sum_i a_i^2`.
#[inline]
pub(super) fn squares(a: &[f32]) -> f32 {
    reduce(a, a, |x, _| x * x)
}

#[inline(always)]
fn reduce(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (x, y)) in a.remainder().iter().zip(b.remainder()).enumerate() {
        lanes[lane] += term(*x, *y);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `out += scale x`.
#[inline]
pub(super) fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
}

/// `out += sum_r weights_r rows_r` for the rows of a matrix `[weights, out]`, four at a time, so that `out` is loaded and stored a quarter as often.
#[inline]
pub(super) fn add_rows(out: &mut [f32], weights: &[f32], rows: &[f32]) {
    let width = out.len();
    let mut weights_by_four = weights.chunks_exact(4);
    let mut rows_by_four = rows.chunks_exact(4 * width);
    for (w, four) in weights_by_four.by_ref().zip(rows_by_four.by_ref()) {
        let (r0, rest) = four.split_at(width);
        let (r1, rest) = rest.split_at(width);
        let (r2, r3) = rest.split_at(width);
        for (i, out) in out.iter_mut().enumerate() {
            *out += w[0] * r0[i] + w[1] * r1[i] + (w[2] * r2[i] + w[3] * r3[i]);
        }
    }
    for (w, row) in weights_by_four.remainder().iter().zip(rows_by_four.remainder().chunks_exact(width)) {
        add_scaled(out, *w, row);
    }
}

/// The largest element; `-inf` of nothing.
#[inline]
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

/// `e^x` within 2e-7 relative, without a branch: `x = n ln 2 + r`, `|r| <= ln 2 / 2`, `e^x = 2^n p(r)`.
///
/// Below -86 (2^-124, near the smallest normal number) the result is that of -86; above 88 it is that of 88. NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, so that `n ln 2` loses nothing.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -86.0 { -86.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    // Taylor series to r^6, whose remainder at ln 2 / 2 is 1.2e-7.
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // n in the exponent's place; the bits above it are shifted out.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `out_i = e^(out_i - shift)`, and the sum of them.
#[inline]
pub(super) fn exp_and_sum(out: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; 16];
    let mut chunks = out.chunks_exact_mut(16);
    for chunk in chunks.by_ref() {
        for lane in 0..16 {
            chunk[lane] = exp(chunk[lane] - shift);
            lanes[lane] += chunk[lane];
        }
    }
    let mut sum: f32 = 0.0;
    for x in chunks.into_remainder() {
        *x = exp(*x - shift);
        sum += *x;
    }
    sum + lanes.iter().sum::<f32>()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_its_whole_range() {
        let mut worst = 0f64;
        for i in -85_999..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "largest relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan() && exp(1e9).is_finite());
    }

    #[test]
    fn sums_agree_with_plain_loops() {
        for length in [0, 1, 15, 16, 64, 65, 200] {
            let a: Vec<f32> = (0..length).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32 * 1.3).cos()).collect();
            let plain: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-4);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut exps = a.clone();
            let sum = exp_and_sum(&mut exps, 0.5);
            assert!((sum - a.iter().map(|x| (x - 0.5).exp()).sum::<f32>()).abs() < 1e-3);
        }
    }

    #[test]
    fn rows_add_up_for_any_number_of_rows() {
        for rows in 0..10 {
            let weights: Vec<f32> = (0..rows).map(|r| r as f32 + 1.0).collect();
            let matrix: Vec<f32> = (0..rows * 3).map(|i| i as f32).collect();
            let mut out = [1.0; 3];
            add_rows(&mut out, &weights, &matrix);
            for (i, out) in out.iter().enumerate() {
                let plain: f32 = 1.0 + weights.iter().enumerate().map(|(r, w)| w * matrix[r * 3 + i]).sum::<f32>();
                assert!((out - plain).abs() < 1e-3);
            }
        }
    }
}
