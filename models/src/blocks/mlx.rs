//! Dequantising MLX's affine groups: quants of 2 to 8 bits in one bit stream, a 16-bit scale and bias per group in separate tensors.
//!
//! ```text
//! w = scale q + bias          Source: MLX's `quantize`, mode affine
//! ```
//!
//! MLX's `dequantize` rounds `w` to the type of the scales; its matrix products do not.

use crate::dtype::DType;

use super::dequantise::dequantise_into;

/// Rows of a matrix that MLX quantised.
#[derive(Clone, Copy)]
pub(crate) struct MlxGroups<'a> {
    /// The quants, lowest bits first.
    pub(crate) quants: &'a [u8],
    /// Bits of a quant and elements of a group.
    pub(crate) form: (usize, usize),
    /// One per group.
    pub(crate) scales: (DType, &'a [u8]),
    /// One per group.
    pub(crate) biases: (DType, &'a [u8]),
}

/// Writes the numbers of complete groups.
pub(crate) fn dequantise_mlx(groups: &MlxGroups<'_>, out: &mut [f32]) {
    let (bits, group) = groups.form;
    let (mut scales, mut biases) = (vec![0.0; out.len() / group], vec![0.0; out.len() / group]);
    // Both are 16-bit floats: checked when the folder was opened.
    dequantise_into(groups.scales.0, groups.scales.1, &mut scales);
    dequantise_into(groups.biases.0, groups.biases.1, &mut biases);
    let (mut pending, mut filled, mut bytes) = (0u32, 0, groups.quants.iter());
    for ((out, scale), bias) in out.chunks_exact_mut(group).zip(scales).zip(biases) {
        for out in out {
            while filled < bits {
                pending |= u32::from(bytes.next().copied().unwrap_or(0)) << filled;
                filled += 8;
            }
            #[allow(clippy::cast_precision_loss, reason = "eight bits at most")]
            let quant = (pending & ((1 << bits) - 1)) as f32;
            *out = scale * quant + bias;
            pending >>= bits;
            filled -= bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn bf16_bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
    }

    #[test]
    fn quants_may_cross_bytes() {
        // Two groups of 32 quants of 3 bits: 0, 1, ..., 7 again and again is 0b111_110_101_100_011_010_001_000 in three bytes.
        let quants = [0b1000_1000, 0b1100_0110, 0b1111_1010].repeat(8);
        let (scales, biases) = (bf16_bytes(&[0.5, 2.0]), bf16_bytes(&[-1.0, 0.25]));
        let groups = MlxGroups {
            quants: &quants,
            form: (3, 32),
            scales: (DType::BF16, &scales),
            biases: (DType::BF16, &biases),
        };
        let mut out = [0.0; 64];
        dequantise_mlx(&groups, &mut out);
        let expected: Vec<f32> =
            (0..64).map(|i| if i < 32 { 0.5 * (i % 8) as f32 - 1.0 } else { 2.0 * (i % 8) as f32 + 0.25 }).collect();
        assert_eq!(out.to_vec(), expected);
    }
}
