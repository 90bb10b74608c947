//! Fused multiply-adds in f32, enough independent ones to hide the latency, with the widest instructions of the processor.
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

/// A loop with some instructions of the processor.
#[derive(Clone, Copy)]
pub(in crate::worker::prober) struct Loop {
    /// Elements of a register.
    width: usize,
    run: fn(u64, f32, f32) -> f32,
}

impl Loop {
    /// The loops of this processor, the best one first.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self { width: avx512::WIDTH, run: avx512::run });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self { width: avx2::WIDTH, run: avx2::run });
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        all.push(Self { width: neon::WIDTH, run: neon::run });
        all.push(Self { width: plain::WIDTH, run: plain::run });
        all
    }

    /// The best one of this processor.
    pub(in crate::worker::prober) fn best() -> Self {
        Self::all()[0]
    }

    /// Floating-point operations of one pass: a multiply-add is two.
    pub(in crate::worker::prober) const fn operations(self) -> u64 {
        (CHAINS * self.width * 2) as u64
    }

    /// Runs `passes` passes of `a <- a x 0.5 + 0.5` on every element, from 0; returns their sum.
    pub(in crate::worker::prober) fn run(self, passes: u64) -> f32 {
        (self.run)(passes, black_box(FACTOR), black_box(SUMMAND))
    }
}

/// 512 bits.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps};

    pub(super) const WIDTH: usize = 16;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        // SAFETY: `Loop::all` lists this function where the processor has the feature.
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
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_cvtss_f32, _mm_hadd_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
        _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps,
    };

    pub(super) const WIDTH: usize = 8;

    pub(super) fn run(passes: u64, factor: f32, summand: f32) -> f32 {
        // SAFETY: `Loop::all` lists this function where the processor has both features.
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
mod neon {
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
mod plain {
    pub(super) const WIDTH: usize = 8;

    #[inline(never)]
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
        for kernel in Loop::all() {
            for passes in [0, 1, 2, 3, 10] {
                let one = (0..passes).fold(0.0_f32, |a, _| a.mul_add(FACTOR, SUMMAND));
                let all = one * (kernel.operations() / 2) as f32;
                let found = kernel.run(passes);
                let width = kernel.width;
                assert!((found - all).abs() < 1e-3 * all.max(1.0), "{width} wide, {passes} passes: {found} and {all}");
            }
        }
    }
}
