//! Neon with dot products of bytes.
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, vaddq_f32, vandq_u8, vceqq_u8, vcombine_u8, vcvtq_f32_s32,
    vdup_n_u8, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, veorq_u8, vfmaq_f32, vgetq_lane_f32, vld1q_s8,
    vld1q_s32, vld1q_u8, vmlaq_n_s32, vorrq_u8, vqtbl1q_u8, vreinterpretq_s8_s32, vreinterpretq_s8_u8,
    vreinterpretq_u8_s8, vshlq_u8, vst1q_f32, vst1q_u8, vsubq_s32, vsubq_u8,
};
use std::arch::asm;
use std::array::from_fn;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::scalar::{ArrayLanes, Scalar, multiply_add};
use super::{LANES, PART, Part, Quad, Simd, Width};

/// Neon with the instruction `sdot`.
#[derive(Clone, Copy)]
pub(in super::super) struct Neon;

#[target_feature(enable = "neon,dotprod,fp16")]
fn with_neon<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
    work(argument)
}

/// `sums` plus sums of four products of signed bytes; the intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers only; the instruction set has it.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Sums of four products of signed bytes.
#[inline(always)]
fn products_of_four(w: [uint8x16_t; 2], x: [uint8x16_t; 2]) -> [int32x4_t; 2] {
    // SAFETY: the instruction set has the instructions; no operand is memory.
    from_fn(|half| unsafe { sdot(vdupq_n_s32(0), vreinterpretq_s8_u8(w[half]), vreinterpretq_s8_u8(x[half])) })
}

impl Simd for Neon {
    const MANY_REGISTERS: bool = false;

    type Lanes = ArrayLanes<true>;
    type Bytes = [uint8x16_t; 2];
    type Ints = [int32x4_t; 2];
    type Sums = [float32x4_t; 2];
    type Factors = [f32; 2];
    type WideInts = [int32x4_t; 4];

    #[inline(always)]
    fn call<A, R>(work: &impl Fn(A) -> R, argument: A) -> R {
        // SAFETY: the processor has the features: the level was detected.
        unsafe { with_neon(work, argument) }
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        multiply_add::<true>(a, b, c)
    }

    #[inline(always)]
    fn widen(source: &[f16], out: &mut [f32]) {
        source.convert_to_f32_slice(out);
    }

    #[inline(always)]
    fn bytes(bytes: &[u8; PART]) -> [uint8x16_t; 2] {
        // SAFETY: 32 readable bytes; the instruction set has the instruction.
        unsafe { [vld1q_u8(bytes.as_ptr()), vld1q_u8(bytes[16..].as_ptr())] }
    }

    #[inline(always)]
    fn activations(part: &Part) -> [uint8x16_t; 2] {
        let bytes = part.0.as_flattened();
        // SAFETY: 32 readable bytes; the instruction set has the instructions.
        unsafe { [vreinterpretq_u8_s8(vld1q_s8(bytes.as_ptr())), vreinterpretq_u8_s8(vld1q_s8(bytes[16..].as_ptr()))] }
    }

    #[inline(always)]
    fn nibbles(bytes: &[u8; 16]) -> [uint8x16_t; 2] {
        // SAFETY: 16 readable bytes; the instruction set has the instructions.
        unsafe {
            let bytes = vld1q_u8(bytes.as_ptr());
            [vandq_u8(bytes, vdupq_n_u8(15)), vshlq_u8(bytes, vdupq_n_s8(-4))]
        }
    }

    #[inline(always)]
    fn store_bytes(bytes: [uint8x16_t; 2], out: &mut [u8; PART]) {
        // SAFETY: 32 writable bytes; the instruction set has the instruction.
        unsafe {
            vst1q_u8(out.as_mut_ptr(), bytes[0]);
            vst1q_u8(out[16..].as_mut_ptr(), bytes[1]);
        }
    }

    #[inline(always)]
    fn shifted<const N: i32>(bytes: [uint8x16_t; 2], mask: u8) -> [uint8x16_t; 2] {
        #[allow(clippy::cast_possible_truncation, reason = "a shift below 8")]
        // SAFETY: the instruction set has the instructions; no operand is memory.
        bytes.map(|bytes| unsafe { vandq_u8(vshlq_u8(bytes, vdupq_n_s8(-(N as i8))), vdupq_n_u8(mask)) })
    }

    #[inline(always)]
    fn shifted_left<const N: i32>(bytes: [uint8x16_t; 2], mask: u8) -> [uint8x16_t; 2] {
        #[allow(clippy::cast_possible_truncation, reason = "a shift below 8")]
        // SAFETY: the instruction set has the instructions; no operand is memory.
        bytes.map(|bytes| unsafe { vandq_u8(vshlq_u8(bytes, vdupq_n_s8(N as i8)), vdupq_n_u8(mask)) })
    }

    #[inline(always)]
    fn where_bit<const N: i32>(bytes: [uint8x16_t; 2], value: u8) -> [uint8x16_t; 2] {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        bytes.map(|bytes| unsafe {
            let bit = vdupq_n_u8(1 << N);
            vandq_u8(vceqq_u8(vandq_u8(bytes, bit), bit), vdupq_n_u8(value))
        })
    }

    #[inline(always)]
    fn by_bits(bits: u32, value: u8) -> [uint8x16_t; 2] {
        let [a, b, c, d] = bits.to_le_bytes();
        const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        // SAFETY: 16 readable bytes; the instruction set has the instructions.
        [[a, b], [c, d]].map(|[low, high]| unsafe {
            let bit = vld1q_u8(BITS.as_ptr());
            let bytes = vcombine_u8(vdup_n_u8(low), vdup_n_u8(high));
            vandq_u8(vceqq_u8(vandq_u8(bytes, bit), bit), vdupq_n_u8(value))
        })
    }

    #[inline(always)]
    fn or(a: [uint8x16_t; 2], b: [uint8x16_t; 2]) -> [uint8x16_t; 2] {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        from_fn(|half| unsafe { vorrq_u8(a[half], b[half]) })
    }

    #[inline(always)]
    fn xor(bytes: [uint8x16_t; 2], value: u8) -> [uint8x16_t; 2] {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        bytes.map(|bytes| unsafe { veorq_u8(bytes, vdupq_n_u8(value)) })
    }

    #[inline(always)]
    fn minus(bytes: [uint8x16_t; 2], value: u8) -> [uint8x16_t; 2] {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        bytes.map(|bytes| unsafe { vsubq_u8(bytes, vdupq_n_u8(value)) })
    }

    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: [uint8x16_t; 2]) -> [uint8x16_t; 2] {
        // SAFETY: 16 readable bytes; the instruction set has the instructions.
        indices.map(|indices| unsafe { vqtbl1q_u8(vreinterpretq_u8_s8(vld1q_s8(table.as_ptr())), indices) })
    }

    #[inline(always)]
    fn unsigned_products(w: [uint8x16_t; 2], x: [uint8x16_t; 2]) -> [int32x4_t; 2] {
        products_of_four(w, x) // at most 127: also signed
    }

    #[inline(always)]
    fn signed_products(w: [uint8x16_t; 2], x: [uint8x16_t; 2]) -> [int32x4_t; 2] {
        products_of_four(w, x)
    }

    #[inline(always)]
    fn add_scaled_products(
        ints: [int32x4_t; 2],
        w: [uint8x16_t; 2],
        x: [uint8x16_t; 2],
        scales: [i16; 2],
    ) -> [int32x4_t; 2] {
        let products = products_of_four(w, x);
        // SAFETY: the instruction set has the instruction; no operand is memory.
        from_fn(|half| unsafe { vmlaq_n_s32(ints[half], products[half], i32::from(scales[half])) })
    }

    #[inline(always)]
    fn zero_ints() -> [int32x4_t; 2] {
        // SAFETY: the instruction set has the instruction.
        [unsafe { vdupq_n_s32(0) }; 2]
    }

    #[inline(always)]
    fn products_of_16(a: &[i16; 16], b: &[i16; 16]) -> [int32x4_t; 2] {
        let ints = Scalar::products_of_16(a, b);
        // SAFETY: 16 readable bytes each; the instruction set has the instruction.
        unsafe { [vld1q_s32(ints.as_ptr()), vld1q_s32(ints[4..].as_ptr())] }
    }

    #[inline(always)]
    fn subtract(a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
        // SAFETY: the instruction set has the instruction; no operand is memory.
        from_fn(|half| unsafe { vsubq_s32(a[half], b[half]) })
    }

    #[inline(always)]
    fn zero_sums() -> [float32x4_t; 2] {
        // SAFETY: the instruction set has the instruction.
        [unsafe { vdupq_n_f32(0.0) }; 2]
    }

    #[inline(always)]
    fn add_scaled(sums: [float32x4_t; 2], ints: [int32x4_t; 2], a: [f32; 2], b: [f32; 2]) -> [float32x4_t; 2] {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        from_fn(|half| unsafe { vfmaq_f32(sums[half], vdupq_n_f32(a[0] * b[0]), vcvtq_f32_s32(ints[half])) })
    }

    #[inline(always)]
    fn sum(sums: [float32x4_t; 2]) -> f32 {
        // SAFETY: the instruction set has the instructions; no operand is memory.
        unsafe {
            let four = vaddq_f32(sums[1], sums[0]);
            (vgetq_lane_f32::<0>(four) + vgetq_lane_f32::<2>(four))
                + (vgetq_lane_f32::<1>(four) + vgetq_lane_f32::<3>(four))
        }
    }

    #[inline(always)]
    fn factors(numbers: &[f32; 2]) -> [f32; 2] {
        *numbers
    }

    #[inline(always)]
    fn factors_of_halves(bits: u32) -> [f32; 2] {
        Scalar::factors_of_halves(bits)
    }

    #[inline(always)]
    fn add_factors(c: [f32; 2], a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
        from_fn(|i| multiply_add::<true>(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn second(factors: [f32; 2]) -> f32 {
        factors[1]
    }

    #[inline(always)]
    fn quads(rows: &[[u8; PART]; LANES]) -> [Quad; PART / 4] {
        Scalar::quads(rows)
    }

    #[inline(always)]
    fn products<const M: usize>(
        w: &[Quad],
        x: &[[[i8; 4]; M]],
        offsets: &[i32; M],
        width: Width,
    ) -> [[int32x4_t; 4]; M] {
        // Both operands are signed: weights of all bytes lose their zero point of 128.
        let (offsets, bias) = if width == Width::Eight { ([0; M], 0x80) } else { (*offsets, 0) };
        // SAFETY: the instruction set has the instruction.
        let mut ints = offsets.map(|offset| [unsafe { vdupq_n_s32(offset) }; 4]);
        for (Quad(words), x) in w.iter().zip(x) {
            let w: [int8x16_t; 4] = from_fn(|four| {
                // SAFETY: 16 readable bytes; the instruction set has the instructions.
                unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(words[4 * four..].as_ptr().cast()), vdupq_n_u8(bias))) }
            });
            for m in 0..M {
                let word = i32::from_le_bytes(x[m].map(i8::cast_unsigned));
                for four in 0..4 {
                    // SAFETY: the instruction set has the instructions; no operand is memory.
                    ints[m][four] = unsafe { sdot(ints[m][four], w[four], vreinterpretq_s8_s32(vdupq_n_s32(word))) };
                }
            }
        }
        ints
    }

    #[inline(always)]
    fn to_lanes(ints: [int32x4_t; 4]) -> ArrayLanes<true> {
        let mut out = [0f32; LANES];
        for (ints, out) in ints.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: 16 writable bytes; the instruction set has the instructions.
            unsafe { vst1q_f32(out.as_mut_ptr(), vcvtq_f32_s32(ints)) };
        }
        ArrayLanes::from(out)
    }
}
