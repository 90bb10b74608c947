//! Activations in blocks of 32 signed bytes, quantised as in llama.cpp (`quantize_row_q8_1` of ggml-cpu).
#![allow(unsafe_code, reason = "an unsafe trait states that a block is plain numbers")]

use half::f16;

/// Elements of a block.
pub(super) const BLOCK: usize = 32;

/// 32 activations: the numbers of ggml's Q8_0 and Q8_1 blocks, in the types and the order that a dot product needs. With
/// `d = max |x| / 127`, rounded to f16:
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Q8 {
    /// The factors of a block of weights with a minimum: `d` and `d sum(q)`, rounded to f16 (Q8_1's `s`).
    pub(super) with_minimum: [f32; 2],
    /// The factors of a block of weights whose quants are 8 too large: `d` and `-8 d sum(q)`.
    pub(super) with_eight: [f32; 2],
    /// `q = round(x / d)`, ties to even.
    pub(super) quants: [i8; BLOCK],
}

// SAFETY: four-byte numbers and bytes, without padding.
unsafe impl super::rows::Plain for Q8 {}

impl Q8 {
    /// `d`
    #[inline(always)]
    pub(super) fn scale(&self) -> f32 {
        self.with_minimum[0]
    }
}

/// Quantises a row; `out` has a block for every 32 elements.
pub(super) fn quantise(x: &[f32], out: &mut [Q8]) {
    for (x, block) in x.chunks_exact(BLOCK).zip(out) {
        let most = x.iter().fold(0f32, |most, x| if x.abs() > most { x.abs() } else { most });
        let scale = most / 127.0;
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        let mut sum = 0i32;
        for (x, quant) in x.iter().zip(&mut block.quants) {
            #[allow(clippy::cast_possible_truncation, reason = "it is between -127 and 127")]
            let rounded = (x * inverse).round_ties_even() as i8;
            *quant = rounded;
            sum += i32::from(rounded);
        }
        #[allow(clippy::cast_precision_loss, reason = "the sum of 32 bytes is exact")]
        let sum = sum as f32;
        // Rounding must not hide an activation that is not finite: the output becomes NaN.
        let finite = x.iter().all(|x| x.is_finite());
        let rounded = if finite { f16::from_f32(scale).to_f32() } else { f32::NAN };
        block.with_minimum = [rounded, f16::from_f32(scale * sum).to_f32()];
        block.with_eight = [rounded, -8.0 * (rounded * sum)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(x: &[f32]) -> Q8 {
        let mut out = [Q8 { with_minimum: [0.0; 2], with_eight: [0.0; 2], quants: [0; BLOCK] }];
        quantise(x, &mut out);
        out[0]
    }

    #[test]
    fn the_largest_becomes_127_and_the_rest_follows() {
        let x: Vec<f32> = (0..32).map(|i| i as f32 - 20.0).collect();
        let block = one(&x);
        assert_eq!((block.quants[0], block.quants[20]), (-127, 0));
        for (x, quant) in x.iter().zip(block.quants) {
            assert!((f32::from(quant) * block.scale() - x).abs() < 0.1);
        }
        assert!((block.with_minimum[1] - x.iter().sum::<f32>()).abs() < 1.0);
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_becomes_nan() {
        assert_eq!(one(&[0.0; 32]).quants, [0; 32]);
        let mut x = [1.0; 32];
        x[5] = f32::NAN;
        assert!(one(&x).scale().is_nan());
        x[5] = f32::INFINITY;
        assert!(one(&x).scale().is_nan());
    }
}
