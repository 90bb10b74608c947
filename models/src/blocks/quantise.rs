//! Single-precision numbers as 16-bit floats and as ggml's blocks of 32.
//!
//! Rounding is that of ggml's `quantize_row_*_ref`, so that the blocks are identical to those of llama.cpp's plain quantiser:
//!
//! ```text
//! Q4_0   d = x / -8,  x of the largest magnitude, the first one if several      q = min(15, floor(w / d + 8.5))
//! Q4_1   d = (max - min) / 15,  m = min                                     q = min(15, floor((w - m) / d + 0.5))
//! Q5_0   d = x / -16                                                        q = min(31, floor(w / d + 16.5))
//! Q5_1   d = (max - min) / 31,  m = min                                     q = floor((w - m) / d + 0.5)
//! Q8_0   d = max |w| / 127                                                  q = round(w / d), halves away from zero
//! ```
//!
//! All in f32; `w / d` is `w (1 / d)` with the unrounded `d`, and 0 where `d` is 0. `d` and `m` are stored as f16, rounded to
//! nearest, ties to even.

use half::{bf16, f16};

use crate::dtype::DType;

/// Elements per block.
const BLOCK: usize = 32;

/// Whether [`quantise`] supports this type.
#[must_use]
pub const fn can_quantise(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::F32 | DType::F16 | DType::BF16 | DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0
    )
}

/// Appends `values`, complete blocks of them, in the representation of `dtype`. Returns `false` and appends nothing if the type is
/// not supported.
#[must_use]
pub fn quantise(dtype: DType, values: &[f32], out: &mut Vec<u8>) -> bool {
    let block: fn(&[f32; BLOCK], &mut Vec<u8>) = match dtype {
        DType::F32 => {
            for value in values {
                out.extend_from_slice(&value.to_le_bytes());
            }
            return true;
        }
        DType::F16 => {
            for value in values {
                out.extend_from_slice(&f16::from_f32(*value).to_le_bytes());
            }
            return true;
        }
        DType::BF16 => {
            for value in values {
                out.extend_from_slice(&bf16::from_f32(*value).to_le_bytes());
            }
            return true;
        }
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q8_0 => q8_0,
        _ => return false,
    };
    for values in values.as_chunks::<BLOCK>().0 {
        block(values, out);
    }
    true
}

fn q4_0(values: &[f32; BLOCK], out: &mut Vec<u8>) {
    let d = extreme(values) / -8.0;
    let inverse = inverse(d);
    push_f16(out, d);
    let quants = values.map(|value| truncate(value * inverse + 8.5).min(15));
    push_nibbles(out, &quants);
}

fn q4_1(values: &[f32; BLOCK], out: &mut Vec<u8>) {
    let (min, max) = range(values);
    let d = (max - min) / 15.0;
    let inverse = inverse(d);
    push_f16(out, d);
    push_f16(out, min);
    let quants = values.map(|value| truncate((value - min) * inverse + 0.5).min(15));
    push_nibbles(out, &quants);
}

fn q5_0(values: &[f32; BLOCK], out: &mut Vec<u8>) {
    let d = extreme(values) / -16.0;
    let inverse = inverse(d);
    push_f16(out, d);
    let quants = values.map(|value| truncate(value * inverse + 16.5).min(31));
    push_fifth_bits(out, &quants);
    push_nibbles(out, &quants);
}

fn q5_1(values: &[f32; BLOCK], out: &mut Vec<u8>) {
    let (min, max) = range(values);
    let d = (max - min) / 31.0;
    let inverse = inverse(d);
    push_f16(out, d);
    push_f16(out, min);
    let quants = values.map(|value| truncate((value - min) * inverse + 0.5));
    push_fifth_bits(out, &quants);
    push_nibbles(out, &quants);
}

fn q8_0(values: &[f32; BLOCK], out: &mut Vec<u8>) {
    let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let d = most / 127.0;
    let inverse = inverse(d);
    push_f16(out, d);
    #[allow(clippy::cast_possible_truncation, reason = "-127 to 127")]
    out.extend(values.map(|value| ((value * inverse).round() as i8).cast_unsigned()));
}

/// The value of the largest magnitude with its sign; the first one if several.
fn extreme(values: &[f32; BLOCK]) -> f32 {
    let mut extreme = 0.0f32;
    for value in values {
        if extreme.abs() < value.abs() {
            extreme = *value;
        }
    }
    extreme
}

/// The smallest and the largest value.
fn range(values: &[f32; BLOCK]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, f32::MIN);
    for value in values {
        if *value < min {
            min = *value;
        }
        if *value > max {
            max = *value;
        }
    }
    (min, max)
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The integer part of a number that is not negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the integer part is wanted")]
const fn truncate(number: f32) -> u8 {
    number as u8
}

fn push_f16(out: &mut Vec<u8>, number: f32) {
    out.extend(f16::from_f32(number).to_le_bytes());
}

/// The low four bits: element `i` and element `i + 16` share byte `i`.
fn push_nibbles(out: &mut Vec<u8>, quants: &[u8; BLOCK]) {
    let (low, high) = quants.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
}

/// Bit 4 of each, 32 bits in four bytes.
fn push_fifth_bits(out: &mut Vec<u8>, quants: &[u8; BLOCK]) {
    let bits = quants.iter().enumerate().fold(0u32, |bits, (i, quant)| bits | u32::from(quant >> 4 & 1) << i);
    out.extend(bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, proptest};

    use super::*;
    use crate::blocks::dequantise;

    const BLOCKS: [DType; 5] = [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0];

    fn quantised(dtype: DType, values: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(quantise(dtype, values, &mut out));
        out
    }

    fn round_trip(dtype: DType, values: &[f32]) -> Vec<f32> {
        dequantise(dtype, &quantised(dtype, values)).unwrap()
    }

    fn halves(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
    }

    /// `first` and then zeros.
    fn block(first: &[f32]) -> [f32; BLOCK] {
        let mut block = [0.0; BLOCK];
        block[..first.len()].copy_from_slice(first);
        block
    }

    #[test]
    fn q4_0_by_hand() {
        // The extreme is 4: d = -0.5. 4 / d + 8.5 = 0.5 -> 0; -4 -> 16.5, held to 15; 1 -> 6.5 -> 6; 0.25 -> 8 (8.0); -0.3 -> 9.1.
        let bytes = quantised(DType::Q4_0, &block(&[4.0, -4.0, 1.0, 0.25, -0.3]));
        assert_eq!(bytes[..2], halves(&[-0.5])[..]);
        assert_eq!(bytes[2..8], [0x80, 0x8F, 0x86, 0x88, 0x89, 0x88]);
        assert_eq!(dequantise(DType::Q4_0, &bytes).unwrap()[..5], [4.0, -3.5, 1.0, 0.0, -0.5]);
    }

    #[test]
    fn q4_1_by_hand() {
        // From -2 to 13: d = 1, m = -2. 0.5 is a tie that goes up: (0.5 + 2) + 0.5 = 3.
        let bytes = quantised(DType::Q4_1, &block(&[13.0, -2.0, 0.5, 0.4]));
        assert_eq!(bytes[..4], halves(&[1.0, -2.0])[..]);
        assert_eq!(bytes[4..9], [0x2F, 0x20, 0x23, 0x22, 0x22]);
    }

    #[test]
    fn q5_0_by_hand() {
        // The extreme is -16: d = 1. -16 -> 0, 16 -> 32.5, held to 31, 1 -> 17, 0 -> 16: the fifth bit of all but the first.
        let bytes = quantised(DType::Q5_0, &block(&[-16.0, 16.0, 1.0]));
        assert_eq!(bytes[..2], halves(&[1.0])[..]);
        assert_eq!(bytes[2..6], [0xFE, 0xFF, 0xFF, 0xFF]);
        assert_eq!(bytes[6..10], [0x00, 0x0F, 0x01, 0x00]);
    }

    #[test]
    fn q5_1_by_hand() {
        // From 0 to 31: d = 1, m = 0.
        let bytes = quantised(DType::Q5_1, &block(&[31.0, 16.0, 15.5, 15.4]));
        assert_eq!(bytes[..4], halves(&[1.0, 0.0])[..]);
        assert_eq!(bytes[4..8], [0b0111, 0, 0, 0]);
        assert_eq!(bytes[8..13], [0x0F, 0x00, 0x00, 0x0F, 0x00]);
    }

    #[test]
    fn q8_0_by_hand() {
        // d = 1: halves go away from zero, both ways.
        let bytes = quantised(DType::Q8_0, &block(&[-127.0, 2.5, -2.5, 0.4]));
        assert_eq!(bytes[..2], halves(&[1.0])[..]);
        assert_eq!(bytes[2..7], [0x81, 3, 0xFD, 0, 0]);
    }

    #[test]
    fn zeros_and_a_single_value_are_kept() {
        for dtype in BLOCKS {
            assert!(round_trip(dtype, &block(&[])).iter().all(|value| *value == 0.0), "{dtype}");
            for outlier in [8.0, -8.0] {
                let found = round_trip(dtype, &block(&[0.0, outlier]));
                assert!((found[1] - outlier).abs() <= 0.003 * 8.0, "{dtype}: {}", found[1]);
                assert!(found[0].abs() <= 0.003 * 8.0, "{dtype}: {}", found[0]);
            }
        }
    }

    #[test]
    fn floats_are_rounded_and_other_types_refused() {
        assert_eq!(round_trip(DType::F32, &[1.0, 1e-40]), [1.0, 1e-40]);
        assert_eq!(round_trip(DType::F16, &[0.1]), [f16::from_f32(0.1).to_f32()]);
        assert_eq!(round_trip(DType::BF16, &[0.1]), [bf16::from_f32(0.1).to_f32()]);
        for dtype in DType::ALL.into_iter().chain(DType::MLX) {
            let mut out = Vec::new();
            let is_supported = quantise(dtype, &[0.0; 256], &mut out);
            assert_eq!(is_supported, can_quantise(dtype), "{dtype}");
            assert_eq!(out.len(), if is_supported { dtype.row_bytes(256).get() as usize } else { 0 }, "{dtype}");
        }
    }

    /// sqrt(sum of squared differences / sum of squares).
    fn error(dtype: DType, values: &[f32]) -> f64 {
        let found = round_trip(dtype, values);
        let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let lost = squares(&mut values.iter().zip(&found).map(|(value, found)| value - found));
        (lost / squares(&mut values.iter().copied())).sqrt()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The bounds follow from half a quantisation step of each type, relative to the largest value of a block, for uniformly
        /// distributed numbers between -1 and 1, whose root mean square is at least a third of the largest.
        #[test]
        fn relative_errors_are_within_the_bounds_of_the_types(values in prop::collection::vec(-1.0f32..1.0, 1024)) {
            for (dtype, most) in [
                (DType::F16, 0.0005),
                (DType::BF16, 0.004),
                (DType::Q8_0, 0.01),
                (DType::Q5_1, 0.05),
                (DType::Q5_0, 0.06),
                (DType::Q4_1, 0.10),
                (DType::Q4_0, 0.12),
            ] {
                let found = error(dtype, &values);
                assert!(found < most, "{dtype}: {found}");
            }
        }

        /// Values of 4 and 5 bits lose little when they are stored with 8 bits, and nothing as F32.
        #[test]
        fn eight_bits_represent_values_of_four_and_five_bits(values in prop::collection::vec(-4.0f32..4.0, 256)) {
            for from in [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1] {
                let values = round_trip(from, &values);
                let found = error(DType::Q8_0, &values);
                assert!(found < 0.01, "{from}: {found}");
                let wide = round_trip(DType::F32, &values);
                assert_eq!(wide, values);
            }
        }
    }
}
