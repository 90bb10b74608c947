//! Blocks of GGUF whose scale changes every 16 elements, as floats: MLX's groups have 32 elements at least. The products of a
//! 16-bit scale, 8 bits of a second scale and 6 bits of a quant fit into f32, so nothing is rounded.

use models::DType;

use super::repack::half;

/// Elements that share a scale.
const GROUP: usize = 16;

/// The numbers of whole blocks; `None` for a type that has a form in MLX, or is no type of weights.
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
    let packed = block[i / GROUP];
    let scale = half(block, 80) * f32::from(packed & 15);
    scale * f32::from(two_bits(&block[16..80], i)) - half(block, 82) * f32::from(packed >> 4)
}

/// Element `i` of third bits `[32]`, quants (2 bits) `[64]`, scales (6 bits) `[12]`, d: `d (s - 32) (q - 4)`
fn q3_k(block: &[u8], i: usize) -> f32 {
    let group = i / GROUP;
    let packed = &block[96..108];
    // Four bits in the first eight bytes, the low halves first; two more in the last four.
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
    half(block, 208) * f32::from(block[192 + i / GROUP].cast_signed()) * (f32::from(quant) - 32.0)
}

/// Two bits of element `i`: 32 bytes hold 128 elements, the lowest bits the first 32.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}
