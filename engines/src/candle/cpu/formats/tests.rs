//! Blocks against `models::blocks`, and in every instruction set.
#![allow(unsafe_code, reason = "bytes are read as blocks")]

use super::super::simd::{Level, PART, Scalar, with_simd};
use super::super::weight::Stored;
use super::*;
use models::DType;

/// Bytes that look random, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Blocks of any content.
fn blocks<F: Format>(count: usize) -> (Vec<u8>, Vec<F>) {
    let bytes = noise(count * size_of::<F>());
    let mut words = vec![0u64; bytes.len().div_ceil(8) + 1];
    // SAFETY: the words have at least as many bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast(), bytes.len()) };
    // SAFETY: aligned for every block; all bit patterns of blocks are valid.
    let blocks = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<F>(), count) }.to_vec();
    (bytes, blocks)
}

/// Calls a generic function for every type of quantised weights.
macro_rules! for_each_format {
    ($check:ident) => {
        $check::<Q4_0>(DType::Q4_0);
        $check::<Q4_1>(DType::Q4_1);
        $check::<Q5_0>(DType::Q5_0);
        $check::<Q5_1>(DType::Q5_1);
        $check::<Q8_0>(DType::Q8_0);
        $check::<Q2K>(DType::Q2_K);
        $check::<Q3K>(DType::Q3_K);
        $check::<Q4K>(DType::Q4_K);
        $check::<Q5K>(DType::Q5_K);
        $check::<Q6K>(DType::Q6_K);
        $check::<Iq4Nl>(DType::IQ4_NL);
        $check::<Iq4Xs>(DType::IQ4_XS);
        $check::<Mxfp4>(DType::MXFP4);
    };
}

#[test]
fn blocks_are_those_of_the_file_format_to_the_last_bit() {
    fn check<F: Format + Stored>(dtype: DType) {
        assert_eq!((size_of::<F>(), <F as Format>::ELEMENTS), (dtype.block_bytes(), dtype.block_elems()), "{dtype}");
        let (bytes, blocks) = blocks::<F>(64);
        let expected = models::blocks::dequantise(dtype, &bytes).unwrap();
        let mut found = vec![0.0; expected.len()];
        F::widen(&blocks, &mut found);
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // The sign of a zero depends on the order of the factors.
            let is_zero = found.abs().to_bits() == 0 && expected.abs().to_bits() == 0;
            let same = found.to_bits() == expected.to_bits() || is_zero || found.is_nan() && expected.is_nan();
            assert!(same, "{dtype}, element {at}: {found} instead of {expected}");
        }
    }
    for_each_format!(check);
}

#[test]
fn quants_are_the_same_in_every_instruction_set() {
    fn check<F: Format>(dtype: DType) {
        let (_, blocks) = blocks::<F>(16);
        for level in Level::available() {
            for (at, block) in blocks.iter().enumerate() {
                for part in 0..F::ELEMENTS / PART {
                    let mut found = [0; PART];
                    with_simd!(level, S => S::store_bytes(block.quants::<S>(part), &mut found));
                    assert_eq!(
                        found,
                        block.quants::<Scalar>(part),
                        "{dtype}, {}, block {at}, part {part}",
                        level.name()
                    );
                }
            }
        }
    }
    for_each_format!(check);
}
