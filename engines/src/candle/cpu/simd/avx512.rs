//! AVX-512 with dot products of bytes (VNNI).
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]

use std::arch::x86_64::{
    __m128, __m256, __m256i, __m512, __m512i, _mm256_abs_epi8, _mm256_dpbusd_epi32, _mm256_loadu_si256,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps,
};

use half::f16;

use super::avx2::Avx2;
use super::scalar::multiply_add;
use super::{LANES, Lanes, PART, Part, Quad, Simd, Width};

/// AVX-512 F, BW, DQ, VL and VNNI. Blocks of 32 weights use registers of 256 bits.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512;

/// Sixteen lanes in one register.
#[derive(Clone, Copy)]
pub(in super::super) struct Lanes512(__m512);

#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn with_avx512<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
    work(argument)
}

impl Lanes for Lanes512 {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: the instruction set has the instruction.
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    fn splat(number: f32) -> Self {
        // SAFETY: the instruction set has the instruction.
        Self(unsafe { _mm512_set1_ps(number) })
    }

    #[inline(always)]
    fn load(elements: &[f32; LANES]) -> Self {
        // SAFETY: 64 readable bytes; the load needs no alignment, and the instruction set has it.
        Self(unsafe { _mm512_loadu_ps(elements.as_ptr()) })
    }

    #[inline(always)]
    fn part(elements: &[f32]) -> Self {
        debug_assert!(elements.len() < LANES, "{} elements are no part", elements.len());
        let mask = (1u16 << (elements.len() % LANES)) - 1;
        // SAFETY: the mask has a bit for each element; what it leaves out is not read.
        Self(unsafe { _mm512_maskz_loadu_ps(mask, elements.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        // SAFETY: 64 writable bytes; the store needs no alignment, and the instruction set has it.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    /// Each step halves the lanes of two registers and packs them into one, so that sixteen sums take fifteen additions and not four
    /// each. Without a loop everything stays in registers.
    #[inline(always)]
    fn sums(all: [Self; LANES]) -> [f32; LANES] {
        // The packing permutes its operands; this order of the arguments undoes the permutation.
        let quarters_0 = quarter(halve(all[0], all[4]), halve(all[8], all[12]));
        let quarters_1 = quarter(halve(all[1], all[5]), halve(all[9], all[13]));
        let quarters_2 = quarter(halve(all[2], all[6]), halve(all[10], all[14]));
        let quarters_3 = quarter(halve(all[3], all[7]), halve(all[11], all[15]));
        let pairs_0 = pack::<0b01_00_01_00, 0b11_10_11_10>(quarters_0, quarters_1);
        let pairs_1 = pack::<0b01_00_01_00, 0b11_10_11_10>(quarters_2, quarters_3);
        let sums = pack::<0b10_00_10_00, 0b11_01_11_01>(pairs_0, pairs_1);
        let mut out = [0.0; LANES];
        Self(sums).store(&mut out);
        out
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        Self::sums([self; LANES])[0]
    }
}

/// Lanes `i` and `i + 8` of each, eight and eight.
#[inline(always)]
fn halve(a: Lanes512, b: Lanes512) -> __m512 {
    pack_fours::<0b01_00_01_00, 0b11_10_11_10>(a.0, b.0)
}

/// Lanes `i` and `i + 4` of each eight, four by four.
#[inline(always)]
fn quarter(a: __m512, b: __m512) -> __m512 {
    pack_fours::<0b10_00_10_00, 0b11_01_11_01>(a, b)
}

/// Sum of the groups of four lanes of `a` and `b` that `FIRST` selects and those that `SECOND` selects.
#[inline(always)]
fn pack_fours<const FIRST: i32, const SECOND: i32>(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe { _mm512_add_ps(_mm512_shuffle_f32x4::<FIRST>(a, b), _mm512_shuffle_f32x4::<SECOND>(a, b)) }
}

/// As [`pack_fours`], for the lanes within each group of four.
#[inline(always)]
fn pack<const FIRST: i32, const SECOND: i32>(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe { _mm512_add_ps(_mm512_shuffle_ps::<FIRST>(a, b), _mm512_shuffle_ps::<SECOND>(a, b)) }
}

impl Simd for Avx512 {
    const MANY_REGISTERS: bool = true;

    type Lanes = Lanes512;
    type Bytes = __m256i;
    type Ints = __m256i;
    type Sums = __m256;
    type Factors = __m128;
    type WideInts = __m512i;

    #[inline(always)]
    fn call<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
        // SAFETY: the processor has the features: the level was detected.
        unsafe { with_avx512(work, argument) }
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        multiply_add::<true>(a, b, c)
    }

    #[inline(always)]
    fn widen(source: &[f16], out: &mut [f32]) {
        let (sources, source_rest) = source.as_chunks::<LANES>();
        let (outs, out_rest) = out.as_chunks_mut::<LANES>();
        for (source, out) in sources.iter().zip(outs) {
            // SAFETY: 32 readable and 64 writable bytes; they need no alignment, and the instruction set has the instructions.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(source.as_ptr().cast()))) };
        }
        for (source, out) in source_rest.iter().zip(out_rest) {
            *out = source.to_f32();
        }
    }

    #[inline(always)]
    fn bytes(bytes: &[u8; PART]) -> __m256i {
        Avx2::bytes(bytes)
    }

    #[inline(always)]
    fn activations(part: &Part) -> __m256i {
        Avx2::activations(part)
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> __m256i {
        Avx2::nibbles(bytes)
    }

    #[inline(always)]
    fn store_bytes(bytes: __m256i, out: &mut [u8; PART]) {
        Avx2::store_bytes(bytes, out);
    }

    #[inline(always)]
    fn shifted<const N: i32>(bytes: __m256i, mask: u8) -> __m256i {
        Avx2::shifted::<N>(bytes, mask)
    }

    #[inline(always)]
    fn shifted_left<const N: i32>(bytes: __m256i, mask: u8) -> __m256i {
        Avx2::shifted_left::<N>(bytes, mask)
    }

    #[inline(always)]
    fn where_bit<const N: i32>(bytes: __m256i, value: u8) -> __m256i {
        Avx2::where_bit::<N>(bytes, value)
    }

    #[inline(always)]
    fn by_bits(bits: u32, value: u8) -> __m256i {
        Avx2::by_bits(bits, value)
    }

    #[inline(always)]
    fn or(a: __m256i, b: __m256i) -> __m256i {
        Avx2::or(a, b)
    }

    #[inline(always)]
    fn xor(bytes: __m256i, value: u8) -> __m256i {
        Avx2::xor(bytes, value)
    }

    #[inline(always)]
    fn minus(bytes: __m256i, value: u8) -> __m256i {
        Avx2::minus(bytes, value)
    }

    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: __m256i) -> __m256i {
        Avx2::look_up(table, indices)
    }

    #[inline(always)]
    fn unsigned_products(w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x) }
    }

    #[inline(always)]
    fn signed_products(w: __m256i, x: __m256i) -> __m256i {
        // The instruction requires one unsigned operand.
        // SAFETY: the instruction set has the instructions; no operand is memory.
        let (magnitude, signed) = unsafe { (_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) };
        Self::unsigned_products(magnitude, signed)
    }

    #[inline(always)]
    fn add_scaled_products(ints: __m256i, w: __m256i, x: __m256i, scales: [i16; 2]) -> __m256i {
        Avx2::add_scaled_products(ints, w, x, scales)
    }

    #[inline(always)]
    fn zero_ints() -> __m256i {
        Avx2::zero_ints()
    }

    #[inline(always)]
    fn products_of_16(a: &[i16; 16], b: &[i16; 16]) -> __m256i {
        Avx2::products_of_16(a, b)
    }

    #[inline(always)]
    fn subtract(a: __m256i, b: __m256i) -> __m256i {
        Avx2::subtract(a, b)
    }

    #[inline(always)]
    fn zero_sums() -> __m256 {
        Avx2::zero_sums()
    }

    #[inline(always)]
    fn add_scaled(sums: __m256, ints: __m256i, a: __m128, b: __m128) -> __m256 {
        Avx2::add_scaled(sums, ints, a, b)
    }

    #[inline(always)]
    fn sum(sums: __m256) -> f32 {
        Avx2::sum(sums)
    }

    #[inline(always)]
    fn factors(numbers: &[f32; 2]) -> __m128 {
        Avx2::factors(numbers)
    }

    #[inline(always)]
    fn factors_of_halves(bits: u32) -> __m128 {
        Avx2::factors_of_halves(bits)
    }

    #[inline(always)]
    fn add_factors(c: __m128, a: __m128, b: __m128) -> __m128 {
        Avx2::add_factors(c, a, b)
    }

    #[inline(always)]
    fn second(factors: __m128) -> f32 {
        Avx2::second(factors)
    }

    #[inline(always)]
    fn quads(rows: &[[u8; PART]; LANES]) -> [Quad; PART / 4] {
        Avx2::quads(rows)
    }

    #[inline(always)]
    fn products<const M: usize>(w: &[Quad], x: &[[[i8; 4]; M]], offsets: &[i32; M], _width: Width) -> [__m512i; M] {
        // SAFETY: the instruction set has the instruction.
        let mut ints = offsets.map(|offset| unsafe { _mm512_set1_epi32(offset) });
        for (w, x) in w.iter().zip(x) {
            // SAFETY: 64 readable bytes; the load needs no alignment, and the instruction set has it.
            let w = unsafe { _mm512_loadu_si512(w.0.as_ptr().cast()) };
            for m in 0..M {
                let x = i32::from_le_bytes(x[m].map(i8::cast_unsigned));
                // SAFETY: the instruction set has the instructions.
                ints[m] = unsafe { _mm512_dpbusd_epi32(ints[m], w, _mm512_set1_epi32(x)) };
            }
        }
        ints
    }

    #[inline(always)]
    fn to_lanes(ints: __m512i) -> Lanes512 {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        Lanes512(unsafe { _mm512_cvtepi32_ps(ints) })
    }
}
