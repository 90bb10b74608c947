//! Dequantising ggml's blocks whose quants are indices of a table of values. Source: `block_iq4_nl`, `block_iq4_xs` and `block_mxfp4` of
//! `ggml-common.h` and their tables; MXFP4 is defined in OCP Microscaling Formats (MX) 1.0, section 5.
//!
//! ```text
//! IQ4_NL   32 elements: d f16, quants 4 bits [16]                                                  w = d table[q]
//! IQ4_XS   256 elements: d f16, high bits of 8 scales u16, low bits [4], quants 4 bits [128]       w = d (scale - 32) table[q]
//! MXFP4    32 elements: exponent [1], quants 4 bits [16]                                           w = 2^(exponent - 128) twice[q]
//! ```
//!
//! Byte `i` of 16 holds element `i` of its 32 in its low half and element `i + 16` in its high half. A scale of IQ4_XS has 6 bits: four in
//! a half of a byte of the low bits, two in the high bits.

use super::read_f16;

/// The values of IQ4_NL and IQ4_XS, which are denser around zero.
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of an E2M1 float, so that they are integers: sign, two bits of exponent, one of mantissa.
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    look_up(&block[2..], &IQ4_VALUES, read_f16(block, 0), out);
}

pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = read_f16(block, 0);
    for (sub, (quants, out)) in block[8..].chunks_exact(16).zip(out.chunks_exact_mut(32)).enumerate() {
        look_up(quants, &IQ4_VALUES, d * f32::from(iq4_xs_scale(block, sub)), out);
    }
}

pub(super) fn mxfp4(block: &[u8], out: &mut [f32]) {
    look_up(&block[1..], &MXFP4_VALUES, half_power_of_two(block[0]), out);
}

/// The scale of 32 elements of a block of IQ4_XS, from -32 to 31.
fn iq4_xs_scale(block: &[u8], sub: usize) -> i8 {
    let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * sub) & 3;
    let low = block[4 + sub / 2] >> (4 * (sub % 2)) & 15;
    (low | (high as u8) << 4).cast_signed() - 32
}

/// `2^(exponent - 128)`: half of the scale that an E8M0 exponent stands for, since the table has twice the values. The two smallest are
/// not normal numbers.
#[must_use]
pub const fn half_power_of_two(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent as u32 - 1) << 23 })
}

fn look_up(quants: &[u8], table: &[i8; 16], scale: f32, out: &mut [f32]) {
    for (i, byte) in quants.iter().enumerate() {
        out[i] = scale * f32::from(table[usize::from(byte & 15)]);
        out[i + 16] = scale * f32::from(table[usize::from(byte >> 4)]);
    }
}

#[cfg(test)]
mod tests {
    use ::half::f16;

    use super::*;

    #[test]
    fn values_of_the_table_by_hand() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend([0xF0; 16]);
        let mut out = [0.0; 32];
        iq4_nl(&block, &mut out);
        assert_eq!((out[0], out[16]), (-63.5, 56.5));
        // Exponent 128 is a scale of 2: the values 0 and -6 of E2M1, in the order low, high.
        let mut block = vec![128];
        block.extend([0xF0; 16]);
        mxfp4(&block, &mut out);
        assert_eq!((out[0], out[16]), (0.0, -12.0));
        let bits = |exponent: i32| 2f32.powi(exponent).to_bits();
        let found = [0, 1, 2, 127].map(|byte| half_power_of_two(byte).to_bits());
        assert_eq!(found, [bits(-128), bits(-127), bits(-126), bits(-1)]);
    }

    #[test]
    fn scales_of_eight_parts() {
        let mut block = vec![0u8; 136];
        block[..2].copy_from_slice(&f16::from_f32(1.0).to_le_bytes());
        // Scale 5 is 0b10_1101: high bits 2, low bits 13.
        block[2..4].copy_from_slice(&(2u16 << 10).to_le_bytes());
        block[6] = 13 << 4;
        assert_eq!((iq4_xs_scale(&block, 5), iq4_xs_scale(&block, 4)), (13, -32));
        let mut out = [0.0; 256];
        iq4_xs(&block, &mut out);
        assert_eq!((out[160], out[0]), (13.0 * -127.0, 32.0 * 127.0));
    }
}
