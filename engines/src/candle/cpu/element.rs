//! Float formats as the kernels see them: read as f32, written from f32.

use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

/// A float format that is computed in f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Zeroed memory that the system has not handed out yet: it becomes resident where it is written.
    fn zeroed(length: usize) -> Vec<Self>;
    /// The same numbers in f32; `scratch` (as long as `source`) is used where they have to be converted.
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
        super::widen::f16_to_f32(source, scratch);
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
        // A bf16 is the upper half of an f32; written like this the compiler makes one vector shift of it.
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
    fn numbers_survive_up_to_the_rounding_of_their_format() {
        round_trip::<f32>(0.0);
        round_trip::<f16>(1.0 / 2048.0);
        round_trip::<bf16>(1.0 / 256.0);
    }
}
