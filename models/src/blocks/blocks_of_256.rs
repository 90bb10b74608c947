//! Dequantising ggml's K-blocks of 256 elements: groups with scales of a few bits, multiplied by one or two 16-bit floats. Source: `block_q2_K` to
//! `block_q6_K` of `ggml-common.h`, and how `ggml-quants.c` packs them.
//!
//! ```text
//! Q2_K   scale and minimum 4 + 4 bits [16], quants 2 bits [64], d f16, dmin f16              w = d s q - dmin m       groups of 16
//! Q3_K   third bits [32], quants 2 bits [64], scales 6 bits [12], d f16                       w = d (s - 32) (q - 4)   groups of 16
//! Q4_K   d f16, dmin f16, scales and minima 6 bits [12], quants 4 bits [128]                  w = d s q - dmin m       groups of 32
//! Q5_K   d f16, dmin f16, scales and minima 6 bits [12], fifth bits [32], quants 4 bits [128]  the same
//! Q6_K   quants 4 bits [128], quants 2 bits [64], scales 8 bits signed [16], d f16            w = d s (q - 32)         groups of 16
//! ```

use super::read_f16;

pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (read_f16(block, 80), read_f16(block, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let minimum = dmin * f32::from(scales[group] >> 4);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(two_bits(quants, group * 16 + i)) - minimum;
        }
    }
}

pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (third, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = read_f16(block, 108);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        // The low four bits of scales 0 to 7 in the low halves of eight bytes, of 8 to 15 in the high halves; the upper two of
        // scale g in byte 8 + g % 4, from bit 2 (g / 4) on.
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        for (i, out) in out.iter_mut().enumerate() {
            let at = group * 16 + i;
            let quant = two_bits(quants, at) | (third[at % 32] >> (at / 32) & 1) << 2;
            *out = scale * (f32::from(quant) - 4.0);
        }
    }
}

pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    groups_of_32(block, &block[16..144], out, |_, _| 0);
}

pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let fifth = &block[16..48];
    groups_of_32(block, &block[48..176], out, |group, i| (fifth[i] >> group & 1) << 4);
}

/// Q4_K and Q5_K: byte `i` of 32 in a row holds element `i` of two groups; `high` gives the bits above the low four.
fn groups_of_32(block: &[u8], quants: &[u8], out: &mut [f32], high: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (read_f16(block, 0), read_f16(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], group);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        let bytes = &quants[group / 2 * 32..][..32];
        for (i, (out, byte)) in out.iter_mut().zip(bytes).enumerate() {
            let quant = byte >> (group % 2 * 4) & 15 | high(group, i);
            *out = scale * f32::from(quant) - minimum;
        }
    }
}

/// Six bits each: for groups 0 to 3 the low bits of a byte, for 4 to 7 half a byte and the upper two bits of the bytes of 0 to 3.
fn scale_and_minimum(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let low = packed[group + 4];
    (low & 15 | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
}

pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = read_f16(block, 208);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group].cast_signed());
        for (i, out) in out.iter_mut().enumerate() {
            let at = group * 16 + i;
            // Of 128 elements, the first 64 are in the low halves of 64 bytes, the others in the high halves.
            let four = low[at / 128 * 64 + at % 64] >> (at % 128 / 64 * 4) & 15;
            let quant = four | two_bits(high, at) << 4;
            *out = scale * (f32::from(quant) - 32.0);
        }
    }
}

/// Two bits of element `i`: 32 bytes hold 128 elements, the lowest bits the first 32.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

#[cfg(test)]
mod tests {
    use ::half::f16;

    use super::*;

    fn halves(block: &mut [u8], at: usize, value: f32) {
        block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
    }

    fn read(function: super::super::DequantiseBlock, block: &[u8]) -> Vec<f32> {
        let mut out = vec![0.0; 256];
        function(block, &mut out);
        out
    }

    #[test]
    fn two_bits_with_minima() {
        let mut block = [0; 84];
        halves(&mut block, 80, 0.5);
        halves(&mut block, 82, 0.25);
        // Group 9 (elements 144 to 159): scale 3, minimum 2. Element 144 is bit 0 of byte 32 + 16 of the quants.
        block[9] = 0x23;
        block[16 + 32 + 16] = 0b11;
        let found = read(q2_k, &block);
        assert_eq!((found[144], found[145], found[143], found[160]), (4.0, -0.5, 0.0, 0.0));
    }

    #[test]
    fn three_bits() {
        let mut block = [0; 110];
        halves(&mut block, 108, 0.5);
        // Scale of group 13: low half of 5 in the high half of byte 5, upper bits 2 in byte 9 from bit 6 on: 0x25 = 37.
        block[96 + 5] = 0x50;
        block[96 + 9] = 0b1000_0000;
        // Element 208 = 13 x 16: two bits in byte 32 + 16 from bit 4 on, third bit in byte 16, bit 6.
        block[32 + 32 + 16] = 0b11_0000;
        block[16] = 0b100_0000;
        let found = read(q3_k, &block);
        // d (37 - 32) (7 - 4) and d (37 - 32) (0 - 4); elsewhere d (0 - 32) (0 - 4).
        assert_eq!((found[208], found[209], found[0]), (7.5, -10.0, 64.0));
    }

    #[test]
    fn four_and_five_bits() {
        let (mut four, mut five) = ([0; 144], [0; 176]);
        for block in [&mut four[..], &mut five[..]] {
            halves(block, 0, 0.5);
            halves(block, 2, 0.25);
            // Group 6: scale 0x23, minimum 0x15; their low halves share byte 10, their upper bits are those of bytes 2 and 6.
            (block[4 + 10], block[4 + 2], block[4 + 6]) = (0x53, 0b1000_0000, 0b0100_0000);
        }
        // Element 192 = 6 x 32 is the low half of byte 96.
        four[16 + 96] = 0x0A;
        five[48 + 96] = 0x0A;
        five[16] = 0b100_0000;
        let found = read(q4_k, &four);
        assert_eq!((found[192], found[193], found[0]), (0.5 * 35.0 * 10.0 - 5.25, -5.25, 0.0));
        let found = read(q5_k, &five);
        assert_eq!((found[192], found[193]), (0.5 * 35.0 * 26.0 - 5.25, -5.25));
    }

    #[test]
    fn six_bits() {
        let mut block = [0; 210];
        halves(&mut block, 208, 0.5);
        // Group 6 (elements 96 to 111) with scale -3; element 100: high half of byte 36, two bits in byte 4 from bit 6 on.
        block[192 + 6] = (-3i8).cast_unsigned();
        block[36] = 0x70;
        block[128 + 4] = 0b1000_0000;
        let found = read(q6_k, &block);
        assert_eq!((found[100], found[101], found[0]), (-1.5 * (39.0 - 32.0), 48.0, 0.0));
    }
}
