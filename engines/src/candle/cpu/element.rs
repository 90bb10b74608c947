//! Float formats of the kernels: read as f32, written from f32.
#![allow(unsafe_code, reason = "vector instructions of the processor")]

use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

/// A float format whose arithmetic is done in f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Zeroed memory whose pages become resident when they are written.
    fn zeroed(length: usize) -> Vec<Self>;
    /// The same numbers in f32; `scratch` (of the same length) is used if they have to be converted.
    fn widen<'a>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
    /// Rounds to nearest, ties to even.
    fn narrow(source: &[f32], out: &mut [Self]);
}

impl Element for f32 {
    fn zeroed(length: usize) -> Vec<Self> {
        vec![0.0; length]
    }

    fn widen<'a>(source: &'a [Self], _scratch: &'a mut [f32]) -> &'a [f32] {
        source
    }

    fn narrow(source: &[f32], out: &mut [Self]) {
        out.copy_from_slice(source);
    }
}

impl Element for f16 {
    fn zeroed(length: usize) -> Vec<Self> {
        vec![0u16; length].reinterpret_into()
    }

    fn widen<'a>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        f16_to_f32(source, scratch);
        scratch
    }

    fn narrow(source: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(source);
    }
}

impl Element for bf16 {
    fn zeroed(length: usize) -> Vec<Self> {
        vec![0u16; length].reinterpret_into()
    }

    fn widen<'a>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        // A bf16 is the upper half of an f32; the compiler vectorises this form as one shift.
        for (out, element) in scratch.iter_mut().zip(source) {
            *out = f32::from_bits(u32::from(element.to_bits()) << 16);
        }
        scratch
    }

    fn narrow(source: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(source);
    }
}

/// Converts `source` into `out`, which have the same length, with the widest instruction of the build.
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
fn f16_to_f32(source: &[f16], out: &mut [f32]) {
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

/// Converts `source` into `out`, which have the same length, with the widest instruction of the build.
#[cfg(all(target_arch = "x86_64", target_feature = "f16c", not(target_feature = "avx512f")))]
fn f16_to_f32(source: &[f16], out: &mut [f32]) {
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

/// Converts `source` into `out`, which have the same length, with the widest instruction of the build.
#[cfg(not(all(target_arch = "x86_64", any(target_feature = "avx512f", target_feature = "f16c"))))]
fn f16_to_f32(source: &[f16], out: &mut [f32]) {
    source.convert_to_f32_slice(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<E: Element>(tolerance: f32) {
        let numbers: Vec<f32> = (0..77).map(|i| (i as f32 - 38.0) * 0.37).collect();
        let mut stored = E::zeroed(numbers.len());
        assert!(E::widen(&stored, &mut vec![1.0; 77]).iter().all(|zero| *zero == 0.0));
        E::narrow(&numbers, &mut stored);
        let mut scratch = vec![0.0; numbers.len()];
        for (read, written) in E::widen(&stored, &mut scratch).iter().zip(&numbers) {
            assert!((read - written).abs() <= tolerance * written.abs(), "{written} was read as {read}");
        }
    }

    #[test]
    fn conversion_keeps_numbers_up_to_the_rounding_of_the_format() {
        round_trip::<f32>(0.0);
        round_trip::<f16>(1.0 / 2048.0);
        round_trip::<bf16>(1.0 / 256.0);
    }

    #[test]
    fn bulk_conversion_equals_conversion_one_by_one() {
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
