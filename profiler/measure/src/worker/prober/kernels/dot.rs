//! The 8-bit integer dot product, with the best instructions of the processor.
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

/// Why there is none.
pub(in crate::worker::prober) const ABSENT: &str =
    "this processor has no instructions for 8-bit dot products (avx2, avxvnni, avx512vnni or dotprod)";

/// A loop with some instructions of the processor.
#[derive(Clone, Copy)]
pub(in crate::worker::prober) struct Loop {
    /// Products of one pass.
    products: usize,
    run: fn(u64, i8, i8) -> i32,
}

impl Loop {
    /// The loops of this processor, the best one first.
    fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "for processors without such instructions")]
        let mut all: Vec<Self> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                all.push(Self { products: avx512::BYTES * CHAINS, run: avx512::run });
            }
            if is_x86_feature_detected!("avxvnni") {
                all.push(Self { products: avx_vnni::BYTES * CHAINS, run: avx_vnni::run });
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Self { products: avx2::BYTES * avx2::CHAINS, run: avx2::run });
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            all.push(Self { products: neon::BYTES * CHAINS, run: neon::run });
        }
        all
    }

    /// The best one of this processor; `None` if it has none.
    pub(in crate::worker::prober) fn best() -> Option<Self> {
        Self::all().first().copied()
    }

    /// Operations of one pass: a multiply-add of two 8-bit integers is two.
    pub(in crate::worker::prober) const fn operations(self) -> u64 {
        self.products as u64 * 2
    }

    /// Runs `passes` passes, each adding `LEFT x RIGHT` for every byte; returns the wrapping sum.
    pub(in crate::worker::prober) fn run(self, passes: u64) -> i32 {
        (self.run)(passes, black_box(LEFT), black_box(RIGHT))
    }
}

/// 512 bits: 64 products an instruction.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    };

    pub(super) const BYTES: usize = 64;

    pub(super) fn run(passes: u64, left: i8, right: i8) -> i32 {
        // SAFETY: `Loop::all` lists this function where the processor has both features.
        unsafe { vectors(passes, left, right) }
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

/// The sum of eight integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_of_eight(sum: std::arch::x86_64::__m256i) -> i32 {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_cvtsi128_si32, _mm_hadd_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
    };
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_hadd_epi32(four, four);
    _mm_cvtsi128_si32(_mm_hadd_epi32(two, two))
}

/// 256 bits: 32 products an instruction.
#[cfg(target_arch = "x86_64")]
mod avx_vnni {
    use std::arch::x86_64::{_mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_set1_epi8, _mm256_setzero_si256};

    pub(super) const BYTES: usize = 32;

    pub(super) fn run(passes: u64, left: i8, right: i8) -> i32 {
        // SAFETY: `Loop::all` lists this function where the processor has it.
        unsafe { vectors(passes, left, right) }
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
        super::sum_of_eight(chains.into_iter().fold(_mm256_setzero_si256(), |sum, chain| _mm256_add_epi32(sum, chain)))
    }
}

/// 256 bits without an instruction for dot products: sums of pairs in 16 bits, four of which are added before they are widened. More would
/// overflow with weights of 4 bits.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::asm;
    use std::arch::x86_64::{__m256i, _mm256_add_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256};

    /// Products of one step of a chain.
    pub(super) const BYTES: usize = 128;
    /// A chain has only one addition per step, so that few hide its latency.
    pub(super) const CHAINS: usize = 4;

    pub(super) fn run(passes: u64, left: i8, right: i8) -> i32 {
        // SAFETY: `Loop::all` lists this function where the processor has it.
        unsafe { vectors(passes, left, right) }
    }

    #[target_feature(enable = "avx2")]
    fn vectors(passes: u64, left: i8, right: i8) -> i32 {
        let (left, right) = (_mm256_set1_epi8(left), _mm256_set1_epi8(right));
        let mut chains = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..passes {
            for chain in &mut chains {
                *chain = step(*chain, left, right);
            }
        }
        super::sum_of_eight(chains.into_iter().fold(_mm256_setzero_si256(), |sum, chain| _mm256_add_epi32(sum, chain)))
    }

    /// The instructions in full: of intrinsics, the compiler would compute the products, which are always the same, only once.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn step(mut chain: __m256i, left: __m256i, right: __m256i) -> __m256i {
        let ones = _mm256_set1_epi16(1);
        // SAFETY: instructions on registers only; the processor has them.
        unsafe {
            asm!(
                "vpmaddubsw {sum}, {left}, {right}",
                "vpmaddubsw {product}, {left}, {right}",
                "vpaddw {sum}, {sum}, {product}",
                "vpmaddubsw {product}, {left}, {right}",
                "vpaddw {sum}, {sum}, {product}",
                "vpmaddubsw {product}, {left}, {right}",
                "vpaddw {sum}, {sum}, {product}",
                "vpmaddwd {sum}, {sum}, {ones}",
                "vpaddd {chain}, {chain}, {sum}",
                chain = inout(ymm_reg) chain,
                left = in(ymm_reg) left,
                right = in(ymm_reg) right,
                ones = in(ymm_reg) ones,
                sum = out(ymm_reg) _,
                product = out(ymm_reg) _,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        chain
    }
}

/// 128 bits: 16 products an instruction.
#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{int8x16_t, int32x4_t, vaddq_s32, vaddvq_s32, vdupq_n_s8, vdupq_n_s32};
    use std::arch::asm;

    pub(super) const BYTES: usize = 16;

    pub(super) fn run(passes: u64, left: i8, right: i8) -> i32 {
        // SAFETY: `Loop::all` lists this function where the processor has it.
        unsafe { vectors(passes, left, right) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_added() {
        for kernel in Loop::all() {
            for passes in [0, 1, 7, 100] {
                let expected = i32::from(LEFT) * i32::from(RIGHT) * (passes * kernel.operations() / 2) as i32;
                assert_eq!(kernel.run(passes), expected, "{} products a pass, {passes} passes", kernel.products);
            }
        }
    }
}
