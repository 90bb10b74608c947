//! Dot products of Q4_0, Q4_1, Q8_0, IQ4_NL, IQ4_XS and MXFP4 weights with activations in [`Q8`] blocks, for x86 with AVX2.
//!
//! The weights are read from the mapped file. In each block of 32 the products are summed exactly in integers; the sums are scaled
//! and added in f32, in eight lanes. Several rows are processed together, so that a block of weights is unpacked once for all
//! activations and a block of activations is loaded once for all weights.
#![allow(unsafe_code, reason = "vector instructions of the processor")]

use std::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_castsi128_ps, _mm_cvtph_ps, _mm_cvtsi32_si128,
    _mm_cvtss_f32, _mm_fmadd_ps, _mm_loadl_epi64, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm_mul_ps,
    _mm_set_ss, _mm_set1_epi16, _mm_setzero_ps, _mm_srli_epi16, _mm256_abs_epi8, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_broadcastss_ps, _mm256_castps256_ps128, _mm256_castsi128_si256,
    _mm256_cvtepi32_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_inserti128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_ps, _mm256_shuffle_epi8, _mm256_sign_epi8,
};

use half::f16;

use super::q8::Q8;
use super::table_blocks::TableBlock;

/// A format of blocks of one or more parts of 32 weights.
pub(super) trait Format: Copy + Send + Sync {
    /// Parts of 32 weights.
    const PARTS: usize = 1;

    /// Whether the quants have a zero point or a minimum.
    const HAS_OFFSET: bool;

    /// The factors of a part: lane 0 the scale, lane 1 of a format with an offset the factor of [`Format::activations`]' lane 1.
    fn factors(&self, part: usize) -> __m128;
    /// The factors of a block of activations: lane 0 the scale, lane 1 of a format with an offset what its offset is multiplied with.
    fn activations(x: &Q8) -> __m128;
    /// Products of the quants of a part and activations, summed in groups of four: 8 lanes of i32.
    fn products(&self, part: usize, x: &[i8; 32]) -> __m256i;
}

/// 32 weights of 4 bits with a scale: `d (q - 8)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Q4_0 {
    d: f16,
    quants: [u8; 16],
}

/// 32 weights of 4 bits with a scale and a minimum: `d q + m`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Q4_1 {
    d: f16,
    m: f16,
    quants: [u8; 16],
}

/// 32 weights of 8 bits with a scale: `d q`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Q8_0 {
    d: f16,
    quants: [i8; 32],
}

impl Format for Q4_0 {
    const HAS_OFFSET: bool = true;

    #[inline(always)]
    fn factors(&self, _part: usize) -> __m128 {
        let d = self.d.to_bits().cast_signed();
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
        // SAFETY: every processor with AVX2 has F16C; no operand is memory.
        unsafe {
            _mm_cvtph_ps(_mm_set1_epi16(d))
        }
    }

    #[inline(always)]
    fn activations(x: &Q8) -> __m128 {
        pair(&x.with_eight)
    }

    #[inline(always)]
    fn products(&self, _part: usize, x: &[i8; 32]) -> __m256i {
        unsigned_products(nibbles(&self.quants), load(x))
    }
}

impl Format for Q4_1 {
    const HAS_OFFSET: bool = true;

    #[inline(always)]
    fn factors(&self, _part: usize) -> __m128 {
        let both = u32::from(self.d.to_bits()) | u32::from(self.m.to_bits()) << 16;
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
        // SAFETY: every processor with AVX2 has F16C; no operand is memory.
        unsafe {
            _mm_cvtph_ps(_mm_cvtsi32_si128(both.cast_signed()))
        }
    }

    #[inline(always)]
    fn activations(x: &Q8) -> __m128 {
        pair(&x.with_minimum)
    }

    #[inline(always)]
    fn products(&self, _part: usize, x: &[i8; 32]) -> __m256i {
        unsigned_products(nibbles(&self.quants), load(x))
    }
}

impl Format for Q8_0 {
    const HAS_OFFSET: bool = false;

    #[inline(always)]
    fn factors(&self, _part: usize) -> __m128 {
        one(self.d.to_f32())
    }

    #[inline(always)]
    fn activations(x: &Q8) -> __m128 {
        one(x.scale())
    }

    #[inline(always)]
    fn products(&self, _part: usize, x: &[i8; 32]) -> __m256i {
        signed_products(load(&self.quants), load(x))
    }
}

/// Blocks whose quants are indices of a table.
impl<T: TableBlock> Format for T {
    const PARTS: usize = <T as TableBlock>::PARTS;
    const HAS_OFFSET: bool = false;

    #[inline(always)]
    fn factors(&self, part: usize) -> __m128 {
        one(TableBlock::scale(self, part))
    }

    #[inline(always)]
    fn activations(x: &Q8) -> __m128 {
        one(x.scale())
    }

    #[inline(always)]
    fn products(&self, part: usize, x: &[i8; 32]) -> __m256i {
        let indices = nibbles(self.quants(part));
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
        // SAFETY: 16 readable bytes, and the load needs no alignment; this module exists only in builds for processors with AVX2.
        let values = unsafe {
            let table = _mm_loadu_si128(T::VALUES.as_ptr().cast());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices)
        };
        signed_products(values, load(x))
    }
}

/// `R` rows of weights times `M` rows of activations; all rows have the same number of blocks. It is inlined in the loops over tiles:
/// as a function of its own, its results go through memory, and a prefill takes a third longer.
#[inline(always)]
pub(super) fn dots<F: Format, const R: usize, const M: usize>(w: [&[F]; R], x: [&[Q8]; M]) -> [[f32; M]; R] {
    let blocks = w.iter().map(|row| row.len()).chain(x.iter().map(|row| row.len() / F::PARTS)).min().unwrap_or(0);
    // SAFETY: this module exists only in builds for processors with AVX2.
    let mut lanes = unsafe { [[_mm256_setzero_ps(); M]; R] };
    // SAFETY: as above.
    let mut offsets = unsafe { [[_mm_setzero_ps(); M]; R] };
    for block in 0..blocks {
        for part in 0..F::PARTS {
            for r in 0..R {
                let w = &w[r][block];
                let factors = w.factors(part);
                for m in 0..M {
                    let x = &x[m][block * F::PARTS + part];
                    let of_x = F::activations(x);
                    lanes[r][m] = scaled_sum(w.products(part, &x.quants), factors, of_x, lanes[r][m]);
                    if F::HAS_OFFSET {
                        // SAFETY: this module exists only in builds for processors with AVX2 and FMA; no operand is memory.
                        offsets[r][m] = unsafe { _mm_fmadd_ps(factors, of_x, offsets[r][m]) };
                    }
                }
            }
        }
    }
    let mut out = [[0f32; M]; R];
    let sums = lanes.as_flattened().iter().zip(offsets.as_flattened());
    for (out, (lanes, offsets)) in out.as_flattened_mut().iter_mut().zip(sums) {
        *out = horizontal_sum(*lanes);
        if F::HAS_OFFSET {
            *out += second(*offsets);
        }
    }
    out
}

/// The number in lane 1.
#[inline(always)]
fn second(lanes: __m128) -> f32 {
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2; no operand is memory.
    unsafe {
        _mm_cvtss_f32(_mm_movehdup_ps(lanes))
    }
}

/// A number in lane 0, and zeros.
#[inline(always)]
fn one(number: f32) -> __m128 {
    // SAFETY: every x86-64 processor has the instruction; no operand is memory.
    unsafe { _mm_set_ss(number) }
}

/// Two numbers in lanes 0 and 1, and zeros.
#[inline(always)]
fn pair(numbers: &[f32; 2]) -> __m128 {
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: 8 readable bytes; the load needs no alignment, and every x86-64 processor has it.
    unsafe {
        _mm_castsi128_ps(_mm_loadl_epi64(numbers.as_ptr().cast()))
    }
}

#[inline(always)]
fn load(bytes: &[i8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load needs no alignment, and the build has AVX.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 16 bytes to 32 nibbles: the low halves first, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: 16 readable bytes; the load needs no alignment.
    let low: __m128i = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2; no operand is memory.
    unsafe {
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), _mm_srli_epi16::<4>(low));
        _mm256_and_si256(both, _mm256_set1_epi8(15))
    }
}

/// Sums of four products of signed bytes, of which the first are not -128. The instruction requires one unsigned operand:
/// `|w| (x sign(w))`.
#[inline(always)]
fn signed_products(w: __m256i, x: __m256i) -> __m256i {
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2; no operand is memory.
    let (magnitude, signed) = unsafe { (_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) };
    unsigned_products(magnitude, signed)
}

/// Sums of four products of an unsigned and a signed byte.
#[inline(always)]
#[cfg(all(target_feature = "avx512vnni", target_feature = "avx512vl"))]
fn unsigned_products(unsigned: __m256i, signed: __m256i) -> __m256i {
    use std::arch::x86_64::{_mm256_dpbusd_epi32, _mm256_setzero_si256};
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this function exists only in builds for processors with AVX-512 VNNI; no operand is memory.
    unsafe {
        _mm256_dpbusd_epi32(_mm256_setzero_si256(), unsigned, signed)
    }
}

/// Sums of four products of an unsigned and a signed byte. Sums of pairs are below 2^15: 128 * 127 * 2.
#[inline(always)]
#[cfg(not(all(target_feature = "avx512vnni", target_feature = "avx512vl")))]
fn unsigned_products(unsigned: __m256i, signed: __m256i) -> __m256i {
    use std::arch::x86_64::{_mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16};
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2; no operand is memory.
    unsafe {
        _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1))
    }
}

/// `sums + factor products`; the factor is the product of the first lanes of `a` and `b`.
#[inline(always)]
fn scaled_sum(products: __m256i, a: __m128, b: __m128, sums: __m256) -> __m256 {
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2 and FMA; no operand is memory.
    unsafe {
        _mm256_fmadd_ps(_mm256_broadcastss_ps(_mm_mul_ps(a, b)), _mm256_cvtepi32_ps(products), sums)
    }
}

/// The sum of the eight lanes.
#[inline(always)]
fn horizontal_sum(lanes: __m256) -> f32 {
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
    // SAFETY: this module exists only in builds for processors with AVX2; no operand is memory.
    unsafe {
        let four = _mm_add_ps(_mm256_extractf128_ps::<1>(lanes), _mm256_castps256_ps128(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}
