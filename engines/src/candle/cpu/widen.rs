//! f16 to f32 in bulk, by the widest instruction that the build allows.
#![allow(unsafe_code, reason = "vector instructions of the processor")]

use half::f16;

/// Converts `source` into `out`, which are equally long.
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
pub(super) fn f16_to_f32(source: &[f16], out: &mut [f32]) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps, _mm512_storeu_ps};
    assert_eq!(source.len(), out.len(), "source and destination differ in length");
    let mut sources = source.chunks_exact(16);
    let mut outs = out.chunks_exact_mut(16);
    for (source, out) in sources.by_ref().zip(outs.by_ref()) {
        // SAFETY: 16 elements of 2 bytes are 32 readable bytes; the load needs no alignment.
        let halves = unsafe { _mm256_loadu_si256(source.as_ptr().cast()) };
        // SAFETY: this function exists only in builds for processors that have the instruction.
        let singles = unsafe { _mm512_cvtph_ps(halves) };
        // SAFETY: 16 elements of 4 bytes are 64 writable bytes; the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), singles) };
    }
    for (source, out) in sources.remainder().iter().zip(outs.into_remainder()) {
        *out = source.to_f32();
    }
}

/// Converts `source` into `out`, which are equally long.
#[cfg(all(target_arch = "x86_64", target_feature = "f16c", not(target_feature = "avx512f")))]
pub(super) fn f16_to_f32(source: &[f16], out: &mut [f32]) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
    assert_eq!(source.len(), out.len(), "source and destination differ in length");
    let mut sources = source.chunks_exact(8);
    let mut outs = out.chunks_exact_mut(8);
    for (source, out) in sources.by_ref().zip(outs.by_ref()) {
        // SAFETY: 8 elements of 2 bytes are 16 readable bytes; the load needs no alignment.
        let halves = unsafe { _mm_loadu_si128(source.as_ptr().cast()) };
        // SAFETY: this function exists only in builds for processors that have the instruction.
        let singles = unsafe { _mm256_cvtph_ps(halves) };
        // SAFETY: 8 elements of 4 bytes are 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), singles) };
    }
    for (source, out) in sources.remainder().iter().zip(outs.into_remainder()) {
        *out = source.to_f32();
    }
}

/// Converts `source` into `out`, which are equally long.
#[cfg(not(all(target_arch = "x86_64", any(target_feature = "avx512f", target_feature = "f16c"))))]
pub(super) fn f16_to_f32(source: &[f16], out: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    source.convert_to_f32_slice(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_converted_as_one_by_one() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for length in [all.len(), 31, 16, 7, 0] {
            let mut out = vec![0.0; length];
            f16_to_f32(&all[..length], &mut out);
            for (element, converted) in all.iter().zip(&out) {
                assert!(
                    converted.to_bits() == element.to_f32().to_bits() || (converted.is_nan() && element.is_nan()),
                    "{element:?}"
                );
            }
        }
    }
}
