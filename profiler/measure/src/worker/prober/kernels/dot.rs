//! The 8-bit integer dot product, where the build may use an instruction for it.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    allow(unsafe_code, reason = "vector instructions of the processor")
)]

use std::hint::black_box;

/// Independent chains, as in the f32 kernel.
const CHAINS: usize = 12;
/// The two 8-bit factors of every product.
const LEFT: i8 = 3;
const RIGHT: i8 = -2;

/// Whether the build has such an instruction.
pub(in crate::worker::prober) const EXISTS: bool = lanes::BYTES > 0;
/// Operations of one pass: a multiply-add of two 8-bit integers is two.
pub(in crate::worker::prober) const OPS: u64 = (CHAINS * lanes::BYTES * 2) as u64;
/// Why there is none.
pub(in crate::worker::prober) const ABSENT: &str =
    "this build has no 8-bit dot product instruction (avx512vnni, avxvnni or dotprod)";

/// Runs `passes` passes, each adding `LEFT x RIGHT` for every byte; returns the wrapping sum. `None` without such an instruction.
#[inline(never)]
pub(in crate::worker::prober) fn run(passes: u64) -> Option<i32> {
    lanes::run(passes, black_box(LEFT), black_box(RIGHT))
}

/// 512 bits: 64 products an instruction.
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f", target_feature = "avx512vnni"))]
mod lanes {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    };

    pub(super) const BYTES: usize = 64;

    #[allow(clippy::unnecessary_wraps, reason = "other builds have none")]
    pub(super) fn run(passes: u64, left: i8, right: i8) -> Option<i32> {
        // SAFETY: the condition on this module ensures that the build is for a processor with both features.
        Some(unsafe { vectors(passes, left, right) })
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn vectors(passes: u64, left: i8, right: i8) -> i32 {
        let (left, right) = (_mm512_set1_epi8(left), _mm512_set1_epi8(right));
        let mut chains = [_mm512_setzero_si512(); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = _mm512_dpbusd_epi32(*chain, left, right);
            }
        }
        let sum = chains.into_iter().fold(_mm512_setzero_si512(), |sum, chain| _mm512_add_epi32(sum, chain));
        _mm512_reduce_add_epi32(sum)
    }
}

/// 256 bits: 32 products an instruction.
#[cfg(all(target_arch = "x86_64", target_feature = "avxvnni", not(target_feature = "avx512vnni")))]
mod lanes {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_cvtsi128_si32, _mm_hadd_epi32, _mm256_add_epi32, _mm256_castsi256_si128,
        _mm256_dpbusd_avx_epi32, _mm256_extracti128_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    };

    pub(super) const BYTES: usize = 32;

    #[allow(clippy::unnecessary_wraps, reason = "other builds have none")]
    pub(super) fn run(passes: u64, left: i8, right: i8) -> Option<i32> {
        // SAFETY: the build is for a processor that has it, says the condition on this module.
        Some(unsafe { vectors(passes, left, right) })
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn vectors(passes: u64, left: i8, right: i8) -> i32 {
        let (left, right) = (_mm256_set1_epi8(left), _mm256_set1_epi8(right));
        let mut chains = [_mm256_setzero_si256(); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = _mm256_dpbusd_avx_epi32(*chain, left, right);
            }
        }
        let sum = chains.into_iter().fold(_mm256_setzero_si256(), |sum, chain| _mm256_add_epi32(sum, chain));
        let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let two = _mm_hadd_epi32(four, four);
        _mm_cvtsi128_si32(_mm_hadd_epi32(two, two))
    }
}

/// 128 bits: 16 products an instruction.
#[cfg(all(target_arch = "aarch64", target_feature = "dotprod"))]
mod lanes {
    use std::arch::aarch64::{int8x16_t, int32x4_t, vaddq_s32, vaddvq_s32, vdupq_n_s8, vdupq_n_s32};
    use std::arch::asm;

    pub(super) const BYTES: usize = 16;

    #[allow(clippy::unnecessary_wraps, reason = "other builds have none")]
    pub(super) fn run(passes: u64, left: i8, right: i8) -> Option<i32> {
        // SAFETY: the condition on this module ensures that the build is for a processor with both features.
        Some(unsafe { vectors(passes, left, right) })
    }

    #[target_feature(enable = "neon,dotprod")]
    fn vectors(passes: u64, left: i8, right: i8) -> i32 {
        let (left, right) = (vdupq_n_s8(left), vdupq_n_s8(right));
        let mut chains = [vdupq_n_s32(0); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = sdot(*chain, left, right);
            }
        }
        vaddvq_s32(chains.into_iter().fold(vdupq_n_s32(0), |sum, chain| vaddq_s32(sum, chain)))
    }

    /// The instruction; its intrinsic is not stable.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn sdot(mut sum: int32x4_t, left: int8x16_t, right: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers only; the processor has it.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {left:v}.16b, {right:v}.16b",
                sum = inout(vreg) sum,
                left = in(vreg) left,
                right = in(vreg) right,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }
}

/// None.
#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "avx512f", target_feature = "avx512vnni"),
    all(target_arch = "x86_64", target_feature = "avxvnni"),
    all(target_arch = "aarch64", target_feature = "dotprod")
)))]
mod lanes {
    pub(super) const BYTES: usize = 0;

    pub(super) fn run(_passes: u64, _left: i8, _right: i8) -> Option<i32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_added() {
        for passes in [0, 1, 7, 100] {
            let expected = EXISTS.then(|| i32::from(LEFT) * i32::from(RIGHT) * (passes * OPS / 2) as i32);
            assert_eq!(run(passes), expected, "{passes} passes");
        }
    }
}
