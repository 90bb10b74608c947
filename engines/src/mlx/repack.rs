//! Conversion of GGUF's blocks to MLX's affine quantisation with groups of 32, `scale q + bias`, without rounding.
//!
//! ```text
//! Q4_0   d (q - 8)                 scale d      bias     -8 d    4 bits
//! Q4_1   d q + m                   scale d      bias        m    4 bits
//! Q5_0   d (q - 16)                scale d      bias    -16 d    5 bits
//! Q5_1   d q + m                   scale d      bias        m    5 bits
//! Q8_0   d q, q signed             scale d      bias   -128 d    8 bits, q + 128
//! Q4_K   d s q - dmin m, per 32    scale d s    bias  -dmin m    4 bits
//! Q5_K   d s q - dmin m, per 32    scale d s    bias  -dmin m    5 bits
//! ```
//!
//! A power of two times a 16-bit `d` is a 16-bit float. `d s`, with 6 bits of `s`, needs 17 of the 24 bits of f32. Q2_K, Q3_K and
//! Q6_K have a scale for every 16 elements, but MLX's groups have at least 32: [`widen`] converts them to f32, also without rounding,
//! since the products of a 16-bit scale, 8 bits of a second scale and 6 bits of a quant fit.

use half::f16;
use models::DType;

/// Elements that share a scale.
pub(super) const GROUP: usize = 32;
/// Elements that share a scale in the types that MLX does not support.
const SMALL_GROUP: usize = 16;

/// A matrix in MLX's format.
#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) bits: usize,
    /// The quants as a bit stream, from the lowest bit of each word.
    pub(super) words: Vec<u32>,
    /// One per group.
    pub(super) scales: Vec<f32>,
    /// One per group.
    pub(super) biases: Vec<f32>,
}

impl Packed {
    /// Whether all scales and biases are exact as 16-bit floats.
    pub(super) fn fits_halves(&self) -> bool {
        let fits = |number: &f32| f16::from_f32(*number).to_f32().to_bits() == number.to_bits();
        self.scales.iter().chain(&self.biases).all(fits)
    }

    /// Appends a group.
    fn push(&mut self, scale: f32, bias: f32, quants: impl Iterator<Item = u8>) {
        self.scales.push(scale);
        self.biases.push(bias);
        let (mut pending, mut filled) = (0u64, 0);
        for quant in quants {
            pending |= u64::from(quant) << filled;
            filled += self.bits;
            if filled >= 32 {
                #[allow(clippy::cast_possible_truncation, reason = "the low half is used")]
                self.words.push(pending as u32);
                pending >>= 32;
                filled -= 32;
            }
        }
    }
}

/// Repacks whole blocks; `None` for a type that MLX does not support.
pub(super) fn repack(dtype: DType, bytes: &[u8]) -> Option<Packed> {
    let (bits, block): (usize, fn(&[u8], &mut Packed)) = match dtype {
        DType::Q4_0 => (4, |b, out| out.push(half(b, 0), -8.0 * half(b, 0), nibbles(&b[2..]))),
        DType::Q4_1 => (4, |b, out| out.push(half(b, 0), half(b, 2), nibbles(&b[4..]))),
        DType::Q5_0 => (5, |b, out| out.push(half(b, 0), -16.0 * half(b, 0), with_fifth(&b[2..6], &b[6..]))),
        DType::Q5_1 => (5, |b, out| out.push(half(b, 0), half(b, 2), with_fifth(&b[4..8], &b[8..]))),
        DType::Q8_0 => (8, |b, out| {
            // q + 128 is q with its sign bit inverted.
            out.push(half(b, 0), -128.0 * half(b, 0), b[2..].iter().map(|quant| quant ^ 0x80));
        }),
        DType::Q4_K => (4, |b, out| super_block(b, None, &b[16..], out)),
        DType::Q5_K => (5, |b, out| super_block(b, Some(&b[16..48]), &b[48..], out)),
        _ => return None,
    };
    let groups = bytes.len() / dtype.block_bytes() * dtype.block_elems() / GROUP;
    let mut packed = Packed {
        bits,
        words: Vec::with_capacity(groups * bits),
        scales: Vec::with_capacity(groups),
        biases: Vec::with_capacity(groups),
    };
    for bytes in bytes.chunks_exact(dtype.block_bytes()) {
        block(bytes, &mut packed);
    }
    Some(packed)
}

/// The 16-bit float at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low halves of all bytes, then the high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// As [`nibbles`], each with a fifth bit from four bytes.
fn with_fifth(fifth: &[u8], bytes: &[u8]) -> impl Iterator<Item = u8> {
    nibbles(bytes).enumerate().map(|(i, quant)| quant | (fifth[i / 8] >> (i % 8) & 1) << 4)
}

/// 256 elements in 8 groups: d, dmin, 12 bytes of scales and minima, then quants. Of 32 successive bytes, byte `i` contains element
/// `i` of two groups; bit `g` of byte `i` of `fifth` is the fifth bit of element `i` of group `g`.
fn super_block(block: &[u8], fifth: Option<&[u8]>, quants: &[u8], out: &mut Packed) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for group in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], group);
        let bytes = &quants[group / 2 * 32..][..32];
        let quants = bytes.iter().enumerate().map(|(i, byte)| {
            let high = fifth.map_or(0, |fifth| fifth[i] >> group & 1);
            byte >> (group % 2 * 4) & 15 | high << 4
        });
        out.push(d * f32::from(scale), -dmin * f32::from(minimum), quants);
    }
}

/// Six bits each: groups 0 to 3 in the low bits of a byte, groups 4 to 7 in the remaining bits.
fn scale_and_minimum(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let low = packed[group + 4];
    (low & 15 | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
}

/// Converts whole blocks to f32; `None` for a type that [`repack`] supports, or that is not a weight type.
pub(super) fn widen(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    let block: fn(&[u8], usize) -> f32 = match dtype {
        DType::Q2_K => q2_k,
        DType::Q3_K => q3_k,
        DType::Q6_K => q6_k,
        _ => return None,
    };
    let blocks = bytes.chunks_exact(dtype.block_bytes());
    Some(blocks.flat_map(|bytes| (0..dtype.block_elems()).map(move |i| block(bytes, i))).collect())
}

/// Element `i` of scales and minima (4 bits each) `[16]`, quants (2 bits) `[64]`, d, dmin: `d s q - dmin m`
fn q2_k(block: &[u8], i: usize) -> f32 {
    let packed = block[i / SMALL_GROUP];
    let scale = half(block, 80) * f32::from(packed & 15);
    scale * f32::from(two_bits(&block[16..80], i)) - half(block, 82) * f32::from(packed >> 4)
}

/// Element `i` of third bits `[32]`, quants (2 bits) `[64]`, scales (6 bits) `[12]`, d: `d (s - 32) (q - 4)`
fn q3_k(block: &[u8], i: usize) -> f32 {
    let group = i / SMALL_GROUP;
    let packed = &block[96..108];
    // Four bits are in the first eight bytes, low halves first; two more in the last four.
    let low = packed[group % 8] >> (group / 8 * 4) & 15;
    let scale = low | (packed[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
    let third = block[i % 32] >> (i / 32) & 1;
    let quant = two_bits(&block[32..96], i) | third << 2;
    half(block, 108) * (f32::from(scale) - 32.0) * (f32::from(quant) - 4.0)
}

/// Element `i` of quants (4 bits) `[128]`, quants (2 bits) `[64]`, scales (8 bits, signed) `[16]`, d: `d s (q - 32)`
fn q6_k(block: &[u8], i: usize) -> f32 {
    let (part, within) = (i / 128, i % 128);
    let low = block[part * 64 + within % 64] >> (within / 64 * 4) & 15;
    let quant = low | two_bits(&block[128..192], i) << 4;
    half(block, 208) * f32::from(block[192 + i / SMALL_GROUP].cast_signed()) * (f32::from(quant) - 32.0)
}

/// Two bits of element `i`: 32 bytes contain 128 elements, the lowest bits the first 32.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that MLX computes with.
    pub(crate) fn numbers(packed: &Packed) -> Vec<f32> {
        let bit = |at: usize| packed.words[at / 32] >> (at % 32) & 1;
        let quant = |i: usize| (0..packed.bits).fold(0, |quant, b| quant | bit(i * packed.bits + b) << b);
        (0..packed.scales.len() * GROUP)
            .map(|i| packed.scales[i / GROUP] * quant(i) as f32 + packed.biases[i / GROUP])
            .collect()
    }

    /// Blocks of varying bytes, with these 16-bit floats at the start of each.
    fn blocks(dtype: DType, halves: &[f32]) -> Vec<u8> {
        let quants = dtype.block_bytes() - 2 * halves.len();
        (0..2u8)
            .flat_map(|block| {
                let head = halves.iter().flat_map(|half| f16::from_f32(*half).to_le_bytes()).collect::<Vec<_>>();
                head.into_iter()
                    .chain((0..quants).map(move |i| (i as u8).wrapping_mul(37).wrapping_add(block * 91 + 5)))
            })
            .collect()
    }

    #[test]
    fn repacking_keeps_the_numbers() {
        let bytes = blocks(DType::Q4_0, &[0.0371]);
        let d = f16::from_f32(0.0371).to_f32();
        let expected = bytes
            .chunks(18)
            .flat_map(|block| (0..32).map(move |i| d * (f32::from(block[2 + i % 16] >> (i / 16 * 4) & 15) - 8.0)));
        assert_eq!(numbers(&repack(DType::Q4_0, &bytes).unwrap()), expected.collect::<Vec<_>>());

        let bytes = blocks(DType::Q4_1, &[0.5, -0.25]);
        let expected = bytes
            .chunks(20)
            .flat_map(|block| (0..32).map(move |i| 0.5 * f32::from(block[4 + i % 16] >> (i / 16 * 4) & 15) - 0.25));
        assert_eq!(numbers(&repack(DType::Q4_1, &bytes).unwrap()), expected.collect::<Vec<_>>());

        let bytes = blocks(DType::Q8_0, &[0.0371]);
        let expected = bytes.chunks(34).flat_map(|block| (0..32).map(move |i| d * f32::from(block[2 + i] as i8)));
        let packed = repack(DType::Q8_0, &bytes).unwrap();
        assert_eq!(numbers(&packed), expected.collect::<Vec<_>>());
        assert!(packed.fits_halves());
        assert!(
            !repack(DType::Q8_0, &blocks(DType::Q8_0, &[1000.0])).unwrap().fits_halves(),
            "128000 is out of the range of a 16-bit float"
        );
    }

    /// Every type against candle's conversion, on blocks with finite scales.
    #[cfg(feature = "candle")]
    #[test]
    fn every_type_has_the_same_numbers_as_in_candle() {
        use candle_core::Device;
        use candle_core::quantized::{GgmlDType, QStorage, QTensor};

        let types = [
            (DType::Q4_0, GgmlDType::Q4_0, 1),
            (DType::Q4_1, GgmlDType::Q4_1, 2),
            (DType::Q5_0, GgmlDType::Q5_0, 1),
            (DType::Q5_1, GgmlDType::Q5_1, 2),
            (DType::Q8_0, GgmlDType::Q8_0, 1),
            (DType::Q4_K, GgmlDType::Q4K, 2),
            (DType::Q5_K, GgmlDType::Q5K, 2),
            (DType::Q2_K, GgmlDType::Q2K, 0),
            (DType::Q3_K, GgmlDType::Q3K, 0),
            (DType::Q6_K, GgmlDType::Q6K, 0),
        ];
        for (dtype, candle_dtype, halves) in types {
            let mut bytes = blocks(dtype, &[0.0371, 0.0123][..halves]);
            if halves == 0 {
                // Their scales are at the end: one, or two for Q2_K.
                for block in bytes.chunks_mut(dtype.block_bytes()) {
                    let (length, scale) = (block.len(), f16::from_f32(0.0371).to_le_bytes());
                    block[length - 2..].copy_from_slice(&scale);
                    if dtype == DType::Q2_K {
                        block[length - 4..length - 2].copy_from_slice(&scale);
                    }
                }
            }
            let storage = QStorage::from_data(bytes.as_slice().into(), &Device::Cpu, candle_dtype).unwrap();
            let tensor = QTensor::new(storage, 2 * dtype.block_elems()).unwrap();
            let expected = tensor.dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
            let found = repack(dtype, &bytes).map_or_else(|| widen(dtype, &bytes).unwrap(), |packed| numbers(&packed));
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() <= 1e-6 * expected.abs().max(1e-2),
                    "{dtype}, element {i}: {found} is not {expected}"
                );
            }
            assert_eq!(found.len(), expected.len(), "{dtype}");
        }
    }
}
