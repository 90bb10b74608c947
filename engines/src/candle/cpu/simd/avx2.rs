//! AVX2 with FMA and F16C, and the same with AVX-VNNI.
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]

use std::arch::x86_64::{
    __m128, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_castsi128_ps, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32,
    _mm_fmadd_ps, _mm_loadl_epi64, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps, _mm_mul_ps, _mm_set1_epi16,
    _mm_srli_epi16, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_broadcastss_ps, _mm256_castps256_ps128, _mm256_castsi128_si256,
    _mm256_cmpeq_epi8, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_dpbusd_avx_epi32, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_inserti128_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_permute2f128_ps, _mm256_permute2x128_si256,
    _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_ps, _mm256_sign_epi8,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi8, _mm256_sub_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use half::f16;

use super::scalar::multiply_add;
use super::{LANES, Lanes, PART, Part, Quad, Simd, Width};

/// AVX2, FMA and F16C.
pub(in super::super) type Avx2 = Registers256<false>;
/// The same, with dot products of bytes.
pub(in super::super) type AvxVnni = Registers256<true>;

/// Registers of 256 bits. `DOT`: with dot products of bytes.
#[derive(Clone, Copy)]
pub(in super::super) struct Registers256<const DOT: bool>;

/// Sixteen lanes in two registers.
#[derive(Clone, Copy)]
pub(in super::super) struct Lanes256([__m256; 2]);

impl Lanes for Lanes256 {
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn splat(number: f32) -> Self {
        // SAFETY: the instruction set has the instruction.
        Self([unsafe { _mm256_set1_ps(number) }; 2])
    }

    #[inline(always)]
    fn load(elements: &[f32; LANES]) -> Self {
        // SAFETY: 64 readable bytes; loads need no alignment, and the instruction set has them.
        unsafe { Self([_mm256_loadu_ps(elements.as_ptr()), _mm256_loadu_ps(elements[8..].as_ptr())]) }
    }

    #[inline(always)]
    fn part(elements: &[f32]) -> Self {
        let mut all = [0.0; LANES];
        all[..elements.len()].copy_from_slice(elements);
        Self::load(&all)
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        // SAFETY: 64 writable bytes; stores need no alignment, and the instruction set has them.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(out[8..].as_mut_ptr(), self.0[1]);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { Self([_mm256_add_ps(self.0[0], other.0[0]), _mm256_add_ps(self.0[1], other.0[1])]) }
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { Self([_mm256_mul_ps(self.0[0], other.0[0]), _mm256_mul_ps(self.0[1], other.0[1])]) }
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { Self([_mm256_fmadd_ps(a.0[0], b.0[0], self.0[0]), _mm256_fmadd_ps(a.0[1], b.0[1], self.0[1])]) }
    }

    /// Eight at a time: each step halves the lanes of two registers and packs them into one.
    #[inline(always)]
    fn sums(all: [Self; LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (all, out) in all.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            let first = pack::<0b01_00_01_00, 0b11_10_11_10>(fours(all[0], all[4]), fours(all[1], all[5]));
            let second = pack::<0b01_00_01_00, 0b11_10_11_10>(fours(all[2], all[6]), fours(all[3], all[7]));
            // SAFETY: 32 writable bytes; the store needs no alignment, and the instruction set has it.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), pack::<0b10_00_10_00, 0b11_01_11_01>(first, second)) };
        }
        out
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let eight = self.halved();
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

impl Lanes256 {
    /// Lanes `i` plus lanes `i + 8`.
    #[inline(always)]
    fn halved(self) -> __m256 {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { _mm256_add_ps(self.0[0], self.0[1]) }
    }
}

/// Lanes `i`, `i + 4`, `i + 8` and `i + 12` of each, four and four.
#[inline(always)]
fn fours(a: Lanes256, b: Lanes256) -> __m256 {
    let (a, b) = (a.halved(), b.halved());
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe { _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)) }
}

/// Sum of the lanes of `a` and `b` that `FIRST` selects within each group of four and those that `SECOND` selects.
#[inline(always)]
fn pack<const FIRST: i32, const SECOND: i32>(a: __m256, b: __m256) -> __m256 {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe { _mm256_add_ps(_mm256_shuffle_ps::<FIRST>(a, b), _mm256_shuffle_ps::<SECOND>(a, b)) }
}

#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx2<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
    work(argument)
}

#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avxvnni")]
fn with_avx_vnni<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
    work(argument)
}

/// Sums of four products of an unsigned and a signed byte. Sums of pairs are below 2^15: 128 * 127 * 2.
#[inline(always)]
fn products_of_four(unsigned: __m256i, signed: __m256i) -> __m256i {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1)) }
}

/// Adds sums of four products of an unsigned and a signed byte.
#[inline(always)]
fn add_products_of_four<const DOT: bool>(ints: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    unsafe {
        if DOT {
            _mm256_dpbusd_avx_epi32(ints, unsigned, signed)
        } else {
            _mm256_add_epi32(ints, products_of_four(unsigned, signed))
        }
    }
}

/// The two halves of four weights of sixteen rows.
#[inline(always)]
fn halves_of(w: &Quad) -> [__m256i; 2] {
    // SAFETY: 64 readable bytes; loads need no alignment, and the instruction set has them.
    unsafe { [_mm256_loadu_si256(w.0.as_ptr().cast()), _mm256_loadu_si256(w.0[8..].as_ptr().cast())] }
}

/// Four activations in each group of four bytes.
#[inline(always)]
fn repeated(x: [i8; 4]) -> __m256i {
    // SAFETY: the instruction set has the instruction; no operand is memory.
    unsafe { _mm256_set1_epi32(i32::from_le_bytes(x.map(i8::cast_unsigned))) }
}

/// [`Simd::products`] without dot products of bytes: sums of pairs are added in 16 bits over `STEPS` steps, which must not overflow.
#[inline(always)]
fn narrow_products<const M: usize, const STEPS: usize>(
    w: &[Quad],
    x: &[[[i8; 4]; M]],
    offsets: &[i32; M],
) -> [[__m256i; 2]; M] {
    // SAFETY: the instruction set has the instruction.
    let mut ints = offsets.map(|offset| unsafe { [_mm256_set1_epi32(offset); 2] });
    for (w, x) in w.chunks_exact(STEPS).zip(x.chunks_exact(STEPS)) {
        // SAFETY: the instruction set has the instruction.
        let mut pairs = [[unsafe { _mm256_setzero_si256() }; 2]; M];
        for (w, x) in w.iter().zip(x) {
            let w = halves_of(w);
            for m in 0..M {
                let x = repeated(x[m]);
                for half in 0..2 {
                    // SAFETY: the instruction set has the instructions; no operand is memory.
                    pairs[m][half] = unsafe { _mm256_add_epi16(pairs[m][half], _mm256_maddubs_epi16(w[half], x)) };
                }
            }
        }
        for (ints, pairs) in ints.as_flattened_mut().iter_mut().zip(pairs.as_flattened()) {
            // SAFETY: the instruction set has the instructions; no operand is memory.
            *ints = unsafe { _mm256_add_epi32(*ints, _mm256_madd_epi16(*pairs, _mm256_set1_epi16(1))) };
        }
    }
    ints
}

/// Eight rows of eight words as eight columns.
#[inline(always)]
fn transposed(rows: &[[u8; PART]; 8]) -> [__m256i; 8] {
    // SAFETY: 32 readable bytes each; loads need no alignment, and the instruction set has the instructions.
    unsafe {
        let row = |at: usize| _mm256_loadu_si256(rows[at].as_ptr().cast());
        // Pairs of rows, word by word; then fours of rows; each in the two halves of a register.
        let pair = |at: usize| {
            let (a, b) = (row(at), row(at + 1));
            [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)]
        };
        let four = |at: usize| {
            let (a, b) = (pair(at), pair(at + 2));
            [
                _mm256_unpacklo_epi64(a[0], b[0]),
                _mm256_unpackhi_epi64(a[0], b[0]),
                _mm256_unpacklo_epi64(a[1], b[1]),
                _mm256_unpackhi_epi64(a[1], b[1]),
            ]
        };
        let (a, b) = (four(0), four(4));
        [
            _mm256_permute2x128_si256::<0x20>(a[0], b[0]),
            _mm256_permute2x128_si256::<0x20>(a[1], b[1]),
            _mm256_permute2x128_si256::<0x20>(a[2], b[2]),
            _mm256_permute2x128_si256::<0x20>(a[3], b[3]),
            _mm256_permute2x128_si256::<0x31>(a[0], b[0]),
            _mm256_permute2x128_si256::<0x31>(a[1], b[1]),
            _mm256_permute2x128_si256::<0x31>(a[2], b[2]),
            _mm256_permute2x128_si256::<0x31>(a[3], b[3]),
        ]
    }
}

impl<const DOT: bool> Simd for Registers256<DOT> {
    const MANY_REGISTERS: bool = false;

    type Lanes = Lanes256;
    type Bytes = __m256i;
    type Ints = __m256i;
    type Sums = __m256;
    type Factors = __m128;
    type WideInts = [__m256i; 2];

    #[inline(always)]
    fn call<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
        // SAFETY: the processor has the features: the level was detected.
        unsafe { if DOT { with_avx_vnni(work, argument) } else { with_avx2(work, argument) } }
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        multiply_add::<true>(a, b, c)
    }

    #[inline(always)]
    fn widen(source: &[f16], out: &mut [f32]) {
        let (sources, source_rest) = source.as_chunks::<8>();
        let (outs, out_rest) = out.as_chunks_mut::<8>();
        for (source, out) in sources.iter().zip(outs) {
            // SAFETY: 16 readable and 32 writable bytes; they need no alignment, and the instruction set has the instructions.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(source.as_ptr().cast()))) };
        }
        for (source, out) in source_rest.iter().zip(out_rest) {
            *out = source.to_f32();
        }
    }

    #[inline(always)]
    fn bytes(bytes: &[u8; PART]) -> __m256i {
        // SAFETY: 32 readable bytes; the load needs no alignment, and the instruction set has it.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn activations(part: &Part) -> __m256i {
        // SAFETY: 32 readable bytes; the load needs no alignment, and the instruction set has it.
        unsafe { _mm256_loadu_si256(part.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> __m256i {
        // SAFETY: 16 readable bytes; the load needs no alignment, and the instruction set has the instructions.
        unsafe {
            let low = _mm_loadu_si128(bytes.as_ptr().cast());
            let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), _mm_srli_epi16::<4>(low));
            _mm256_and_si256(both, _mm256_set1_epi8(15))
        }
    }

    #[inline(always)]
    fn store_bytes(bytes: __m256i, out: &mut [u8; PART]) {
        // SAFETY: 32 writable bytes; the store needs no alignment, and the instruction set has it.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
    }

    #[inline(always)]
    fn shifted<const N: i32>(bytes: __m256i, mask: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_and_si256(_mm256_srli_epi16::<N>(bytes), _mm256_set1_epi8(mask.cast_signed())) }
    }

    #[inline(always)]
    fn shifted_left<const N: i32>(bytes: __m256i, mask: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_and_si256(_mm256_slli_epi16::<N>(bytes), _mm256_set1_epi8(mask.cast_signed())) }
    }

    #[inline(always)]
    fn where_bit<const N: i32>(bytes: __m256i, value: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            let bit = _mm256_set1_epi8((1u8 << N).cast_signed());
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            _mm256_and_si256(is_set, _mm256_set1_epi8(value.cast_signed()))
        }
    }

    #[inline(always)]
    fn by_bits(bits: u32, value: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            // Byte i becomes the byte of `bits` that has bit i, of which only that bit stays.
            let byte_of = _mm256_set_epi64x(
                0x0303_0303_0303_0303,
                0x0202_0202_0202_0202,
                0x0101_0101_0101_0101,
                0x0000_0000_0000_0000,
            );
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits.cast_signed()), byte_of);
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            _mm256_and_si256(is_set, _mm256_set1_epi8(value.cast_signed()))
        }
    }

    #[inline(always)]
    fn or(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn xor(bytes: __m256i, value: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_xor_si256(bytes, _mm256_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    fn minus(bytes: __m256i, value: u8) -> __m256i {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_sub_epi8(bytes, _mm256_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: __m256i) -> __m256i {
        // SAFETY: 16 readable bytes; the load needs no alignment, and the instruction set has the instructions.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices)
        }
    }

    #[inline(always)]
    fn unsigned_products(w: __m256i, x: __m256i) -> __m256i {
        if DOT { add_products_of_four::<DOT>(Self::zero_ints(), w, x) } else { products_of_four(w, x) }
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
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            let scales = _mm256_set_m128i(_mm_set1_epi16(scales[1]), _mm_set1_epi16(scales[0]));
            _mm256_add_epi32(ints, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), scales))
        }
    }

    #[inline(always)]
    fn zero_ints() -> __m256i {
        // SAFETY: the instruction set has the instruction.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn products_of_16(a: &[i16; 16], b: &[i16; 16]) -> __m256i {
        // SAFETY: 32 readable bytes each; loads need no alignment, and the instruction set has the instructions.
        unsafe { _mm256_madd_epi16(_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) }
    }

    #[inline(always)]
    fn subtract(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn zero_sums() -> __m256 {
        // SAFETY: the instruction set has the instruction.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    fn add_scaled(sums: __m256, ints: __m256i, a: __m128, b: __m128) -> __m256 {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm256_fmadd_ps(_mm256_broadcastss_ps(_mm_mul_ps(a, b)), _mm256_cvtepi32_ps(ints), sums) }
    }

    #[inline(always)]
    fn sum(sums: __m256) -> f32 {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            let four = _mm_add_ps(_mm256_extractf128_ps::<1>(sums), _mm256_castps256_ps128(sums));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn factors(numbers: &[f32; 2]) -> __m128 {
        // SAFETY: 8 readable bytes; the load needs no alignment, and the instruction set has it.
        unsafe { _mm_castsi128_ps(_mm_loadl_epi64(numbers.as_ptr().cast())) }
    }

    #[inline(always)]
    fn factors_of_halves(bits: u32) -> __m128 {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm_cvtph_ps(_mm_cvtsi32_si128(bits.cast_signed())) }
    }

    #[inline(always)]
    fn add_factors(c: __m128, a: __m128, b: __m128) -> __m128 {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        unsafe { _mm_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn second(factors: __m128) -> f32 {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe { _mm_cvtss_f32(_mm_movehdup_ps(factors)) }
    }

    #[inline(always)]
    fn quads(rows: &[[u8; PART]; LANES]) -> [Quad; PART / 4] {
        let mut out = [Quad::default(); PART / 4];
        for (half, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
            for (out, column) in out.iter_mut().zip(transposed(rows)) {
                // SAFETY: 32 writable bytes; the store needs no alignment, and the instruction set has it.
                unsafe { _mm256_storeu_si256(out.0[8 * half..].as_mut_ptr().cast(), column) };
            }
        }
        out
    }

    #[inline(always)]
    fn products<const M: usize>(w: &[Quad], x: &[[[i8; 4]; M]], offsets: &[i32; M], width: Width) -> [[__m256i; 2]; M] {
        match width {
            Width::Four if !DOT => return narrow_products::<M, 4>(w, x, offsets), // 4 * 2 * 15 * 127 < 2^15
            Width::Six if !DOT => return narrow_products::<M, 2>(w, x, offsets),  // 2 * 2 * 63 * 127 < 2^15
            Width::Four | Width::Six | Width::Eight => {}
        }
        // Without dot products, pairs of products with all bytes overflow 16 bits: signed weights then, whose zero point is zero.
        // SAFETY: the instruction set has the instruction.
        let mut ints = offsets.map(|offset| [unsafe { _mm256_set1_epi32(if DOT { offset } else { 0 }) }; 2]);
        for (w, x) in w.iter().zip(x) {
            let w = halves_of(w);
            for m in 0..M {
                let x = repeated(x[m]);
                for half in 0..2 {
                    ints[m][half] = if DOT {
                        add_products_of_four::<DOT>(ints[m][half], w[half], x)
                    } else {
                        let w = Self::xor(w[half], 0x80);
                        // SAFETY: the instruction set has the instruction; no operand is memory.
                        unsafe { _mm256_add_epi32(ints[m][half], Self::signed_products(w, x)) }
                    };
                }
            }
        }
        ints
    }

    #[inline(always)]
    fn to_lanes(ints: [__m256i; 2]) -> Lanes256 {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        Lanes256([unsafe { _mm256_cvtepi32_ps(ints[0]) }, unsafe { _mm256_cvtepi32_ps(ints[1]) }])
    }
}
