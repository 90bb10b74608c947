//! Float formats of the kernels: read as f32, written from f32.

use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

use super::simd::Simd;

/// A float format whose arithmetic is done in f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Zeroed memory whose pages become resident when they are written.
    fn zeroed(length: usize) -> Vec<Self>;
    /// The same numbers in f32; `scratch` (of the same length) is used if they have to be converted.
    fn widen<'a, S: Simd>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
    /// The same number in f32.
    fn to_single(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn narrow(source: &[f32], out: &mut [Self]);
}

impl Element for f32 {
    fn to_single(self) -> f32 {
        self
    }

    fn zeroed(length: usize) -> Vec<Self> {
        vec![0.0; length]
    }

    #[inline(always)]
    fn widen<'a, S: Simd>(source: &'a [Self], _scratch: &'a mut [f32]) -> &'a [f32] {
        source
    }

    fn narrow(source: &[f32], out: &mut [Self]) {
        out.copy_from_slice(source);
    }
}

impl Element for f16 {
    fn to_single(self) -> f32 {
        self.to_f32()
    }

    fn zeroed(length: usize) -> Vec<Self> {
        vec![0u16; length].reinterpret_into()
    }

    #[inline(always)]
    fn widen<'a, S: Simd>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        S::call(&|(source, scratch): (&[f16], &mut [f32])| S::widen(source, scratch), (source, &mut *scratch));
        scratch
    }

    fn narrow(source: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(source);
    }
}

impl Element for bf16 {
    fn to_single(self) -> f32 {
        self.to_f32()
    }

    fn zeroed(length: usize) -> Vec<Self> {
        vec![0u16; length].reinterpret_into()
    }

    #[inline(always)]
    fn widen<'a, S: Simd>(source: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
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

#[cfg(test)]
mod tests {
    use super::super::simd::{Level, Scalar, with_simd};
    use super::*;

    fn round_trip<E: Element>(tolerance: f32) {
        let numbers: Vec<f32> = (0..77).map(|i| (i as f32 - 38.0) * 0.37).collect();
        let mut stored = E::zeroed(numbers.len());
        assert!(E::widen::<Scalar>(&stored, &mut vec![1.0; 77]).iter().all(|zero| *zero == 0.0));
        E::narrow(&numbers, &mut stored);
        let mut scratch = vec![0.0; numbers.len()];
        for (read, written) in E::widen::<Scalar>(&stored, &mut scratch).iter().zip(&numbers) {
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
        let lengths = [all.len(), 31, 16, 7, 0];
        for (level, length) in Level::available().flat_map(|level| lengths.map(|length| (level, length))) {
            let mut out = vec![0.0; length];
            with_simd!(level, S => S::widen(&all[..length], &mut out));
            for (element, converted) in all.iter().zip(&out) {
                assert!(
                    converted.to_bits() == element.to_f32().to_bits() || (converted.is_nan() && element.is_nan()),
                    "{}: {element:?}",
                    level.name()
                );
            }
        }
    }
}
