//! Dequantising ggml's blocks of 32 elements: one scale, and in two of the types a minimum. Source: `block_q4_0` to `block_q8_0` of
//! `ggml-common.h`.
//!
//! ```text
//! Q4_0   d f16, quants 4 bits [16]                            w = d (q - 8)
//! Q4_1   d f16, m f16, quants 4 bits [16]                     w = d q + m
//! Q5_0   d f16, fifth bits [4], quants 4 bits [16]            w = d (q - 16)
//! Q5_1   d f16, m f16, fifth bits [4], quants 4 bits [16]     w = d q + m
//! Q8_0   d f16, quants 8 bits, signed [32]                    w = d q
//! ```
//!
//! Byte `i` of 16 holds element `i` in its low half and element `i + 16` in its high half; bit `i` of the fifth bits belongs to
//! element `i`.

use super::read_f16;

pub(super) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = read_f16(block, 0);
    nibbles(&block[2..], out, |_, quant| d * (f32::from(quant) - 8.0));
}

pub(super) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (read_f16(block, 0), read_f16(block, 2));
    nibbles(&block[4..], out, |_, quant| d * f32::from(quant) + m);
}

pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = read_f16(block, 0);
    let fifth = &block[2..6];
    nibbles(&block[6..], out, |i, quant| d * (f32::from(quant | bit(fifth, i) << 4) - 16.0));
}

pub(super) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (read_f16(block, 0), read_f16(block, 2));
    let fifth = &block[4..8];
    nibbles(&block[8..], out, |i, quant| d * f32::from(quant | bit(fifth, i) << 4) + m);
}

pub(super) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = read_f16(block, 0);
    for (out, quant) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(quant.cast_signed());
    }
}

/// Calls `value` with the index and the quant of each of the 32 elements.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    for (i, byte) in bytes.iter().enumerate() {
        out[i] = value(i, byte & 15);
        out[i + 16] = value(i + 16, byte >> 4);
    }
}

fn bit(bits: &[u8], i: usize) -> u8 {
    bits[i / 8] >> (i % 8) & 1
}

#[cfg(test)]
mod tests {
    use ::half::f16;

    use super::*;

    /// A block of these 16-bit floats, then these bytes.
    fn block(halves: &[f32], rest: &[u8]) -> Vec<u8> {
        halves.iter().flat_map(|half| f16::from_f32(*half).to_le_bytes()).chain(rest.iter().copied()).collect()
    }

    fn read(function: super::super::DequantiseBlock, block: &[u8]) -> [f32; 32] {
        let mut out = [0.0; 32];
        function(block, &mut out);
        out
    }

    #[test]
    fn four_bits() {
        let mut quants = [0x88; 16];
        quants[0] = 0xF0;
        let found = read(q4_0, &block(&[0.5], &quants));
        // Low half 0: 0.5 (0 - 8); high half 15: 0.5 (15 - 8); 8 is zero.
        assert_eq!((found[0], found[16], found[1], found[31]), (-4.0, 3.5, 0.0, 0.0));
        let found = read(q4_1, &block(&[0.5, -2.0], &quants));
        assert_eq!((found[0], found[16], found[1]), (-2.0, 5.5, 2.0));
    }

    #[test]
    fn five_bits() {
        let mut quants = [0; 16];
        quants[1] = 0x21;
        // Fifth bits of the elements 1 and 31.
        let fifth = [2, 0, 0, 0x80];
        let found = read(q5_0, &block(&[2.0], &[&fifth[..], &quants].concat()));
        assert_eq!((found[0], found[1], found[17], found[31]), (-32.0, 2.0, -28.0, 0.0));
        let found = read(q5_1, &block(&[2.0, 1.0], &[&fifth[..], &quants].concat()));
        assert_eq!((found[0], found[1], found[17], found[31]), (1.0, 35.0, 5.0, 33.0));
    }

    #[test]
    fn eight_bits() {
        let mut quants = [0; 32];
        (quants[0], quants[31]) = (127, 0x81);
        let found = read(q8_0, &block(&[0.25], &quants));
        assert_eq!((found[0], found[1], found[31]), (31.75, 0.0, -31.75));
    }
}
