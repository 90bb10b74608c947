//! Fused multiply-adds in f32, enough independent ones to hide the latency.
//!
//! The vector instructions are named explicitly, because the compiler uses half of the register width on some processors, while the
//! kernels of engines use all of it.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    allow(unsafe_code, reason = "vector instructions of the processor")
)]

use std::hint::black_box;

/// Independent chains: latency (4 cycles) x instructions per cycle (2), and some more.
const CHAINS: usize = 12;
/// The factor and the summand of every step; the values stay near 1.
const FACTOR: f32 = 0.5;
const SUMMAND: f32 = 0.5;

/// Floating-point operations of one pass: a multiply-add is two.
pub(in crate::worker::prober) const OPS: u64 = (CHAINS * lanes::WIDTH * 2) as u64;

/// Runs `passes` passes of `a <- a x 0.5 + 0.5` on every element, from 0; returns their sum.
#[inline(never)]
pub(in crate::worker::prober) fn run(passes: u64) -> f32 {
    let (factor, summand) = (black_box(FACTOR), black_box(SUMMAND));
    lanes::run(passes, factor, summand)
}

/// 512 bits.
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
mod lanes {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps};

    pub(super) const WIDTH: usize = 16;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        // SAFETY: the build is for a processor that has it, says the condition on this module.
        unsafe { vectors(passes, factor, summand) }
    }

    #[target_feature(enable = "avx512f")]
    fn vectors(passes: u64, factor: f32, summand: f32) -> f32 {
        let (factor, summand) = (_mm512_set1_ps(factor), _mm512_set1_ps(summand));
        let mut chains = [_mm512_setzero_ps(); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = _mm512_fmadd_ps(*chain, factor, summand);
            }
        }
        _mm512_reduce_add_ps(chains.into_iter().fold(_mm512_setzero_ps(), |sum, chain| _mm512_add_ps(sum, chain)))
    }
}

/// 256 bits.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma", not(target_feature = "avx512f")))]
mod lanes {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_cvtss_f32, _mm_hadd_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
        _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps,
    };

    pub(super) const WIDTH: usize = 8;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        // SAFETY: the build is for a processor that has both, says the condition on this module.
        unsafe { vectors(passes, factor, summand) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn vectors(passes: u64, factor: f32, summand: f32) -> f32 {
        let (factor, summand) = (_mm256_set1_ps(factor), _mm256_set1_ps(summand));
        let mut chains = [_mm256_setzero_ps(); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = _mm256_fmadd_ps(*chain, factor, summand);
            }
        }
        let sum = chains.into_iter().fold(_mm256_setzero_ps(), |sum, chain| _mm256_add_ps(sum, chain));
        let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let two = _mm_hadd_ps(four, four);
        _mm_cvtss_f32(_mm_hadd_ps(two, two))
    }
}

/// 128 bits; every AArch64 processor of interest has it.
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod lanes {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32};

    pub(super) const WIDTH: usize = 4;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        // SAFETY: the build is for a processor that has it, says the condition on this module.
        unsafe { vectors(passes, factor, summand) }
    }

    #[target_feature(enable = "neon")]
    fn vectors(passes: u64, factor: f32, summand: f32) -> f32 {
        let (factor, summand) = (vdupq_n_f32(factor), vdupq_n_f32(summand));
        let mut chains = [vdupq_n_f32(0.0); super::CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = vfmaq_f32(summand, *chain, factor);
            }
        }
        vaddvq_f32(chains.into_iter().fold(vdupq_n_f32(0.0), |sum, chain| vaddq_f32(sum, chain)))
    }
}

/// Without known vector instructions.
#[cfg(not(any(
    all(target_arch = "x86_64", target_feature = "avx512f"),
    all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"),
    all(target_arch = "aarch64", target_feature = "neon")
)))]
mod lanes {
    pub(super) const WIDTH: usize = 8;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        let mut chains = [[0.0_f32; WIDTH]; super::CHAINS];
        for _ in 0..passes {
            for element in chains.iter_mut().flatten() {
                *element = *element * factor + summand;
            }
        }
        chains.iter().flatten().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_is_computed() {
        for passes in [0, 1, 2, 3, 10] {
            let one = (0..passes).fold(0.0_f32, |a, _| a.mul_add(FACTOR, SUMMAND));
            let all = one * (OPS / 2) as f32;
            assert!((run(passes) - all).abs() < 1e-3 * all.max(1.0), "{passes} passes: {} and {all}", run(passes));
        }
    }
}
