//! Blocks of 32 weights.

use half::f16;

use super::{Blocking, Format};
use crate::candle::cpu::simd::{PART, Simd, Width};

/// A block that consists of parts of 32 weights with one or two factors each, multiplied with activations in blocks of 32.
pub(in super::super) trait Small: Format {
    /// Parts of 32 weights.
    const PARTS: usize = 1;
    /// Whether the second factors count: those of a minimum or of a zero point.
    const HAS_OFFSET: bool = false;

    /// Whether the quants are 8 too large, so that the factors of activations are those with -8 times their sum.
    const WITH_EIGHT: bool = false;

    /// The scale of a part and, with an offset, what the second factor of the activations is multiplied with.
    fn factors<S: Simd>(&self, part: usize) -> S::Factors;
    /// Products of a part and activations, summed in groups of four.
    fn products<S: Simd>(&self, part: usize, x: S::Bytes) -> S::Ints;
}

/// 4 bits with a scale: `d (q - 8)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q4_0 {
    d: f16,
    quants: [u8; 16],
}

/// 4 bits with a scale and a minimum: `d q + m`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q4_1 {
    d: f16,
    m: f16,
    quants: [u8; 16],
}

/// 5 bits with a scale: `d (q - 16)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q5_0 {
    d: f16,
    /// The fifth bits.
    high: [u8; 4],
    quants: [u8; 16],
}

/// 5 bits with a scale and a minimum: `d q + m`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q5_1 {
    d: f16,
    m: f16,
    /// The fifth bits.
    high: [u8; 4],
    quants: [u8; 16],
}

/// 8 bits with a scale: `d q`, with signed quants.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q8_0 {
    d: f16,
    quants: [u8; PART],
}

/// A scale and a minimum as two halves.
#[inline(always)]
fn halves<S: Simd>(d: f16, m: f16) -> S::Factors {
    S::factors_of_halves(u32::from(d.to_bits()) | u32::from(m.to_bits()) << 16)
}

/// A scale alone.
#[inline(always)]
fn half<S: Simd>(d: f16) -> S::Factors {
    S::factors_of_halves(u32::from(d.to_bits()))
}

/// Half bytes with a fifth bit each.
#[inline(always)]
fn five_bits<S: Simd>(quants: &[u8; 16], high: [u8; 4]) -> S::Bytes {
    S::or(S::nibbles(quants), S::by_bits(u32::from_le_bytes(high), 16))
}

impl Format for Q4_0 {
    const ELEMENTS: usize = PART;
    const ZERO: i32 = 8;
    const WIDTH: Width = Width::Four;
    const BLOCKING: Blocking = Blocking::Small;

    #[inline(always)]
    fn quants<S: Simd>(&self, _part: usize) -> S::Bytes {
        S::nibbles(&self.quants)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
        scales[0] = self.d.to_f32();
    }
}

impl Small for Q4_0 {
    const HAS_OFFSET: bool = true;
    const WITH_EIGHT: bool = true;

    /// Both factors are the scale: the second one is multiplied with -8 times the sum of the activations.
    #[inline(always)]
    fn factors<S: Simd>(&self, _part: usize) -> S::Factors {
        halves::<S>(self.d, self.d)
    }

    #[inline(always)]
    fn products<S: Simd>(&self, part: usize, x: S::Bytes) -> S::Ints {
        S::unsigned_products(self.quants::<S>(part), x)
    }
}

impl Format for Q4_1 {
    const ELEMENTS: usize = PART;
    const ZERO: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const WIDTH: Width = Width::Four;
    const BLOCKING: Blocking = Blocking::Small;

    #[inline(always)]
    fn quants<S: Simd>(&self, _part: usize) -> S::Bytes {
        S::nibbles(&self.quants)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        scales[0] = self.d.to_f32();
        minimums[0] = self.m.to_f32();
    }
}

impl Small for Q4_1 {
    const HAS_OFFSET: bool = true;

    #[inline(always)]
    fn factors<S: Simd>(&self, _part: usize) -> S::Factors {
        halves::<S>(self.d, self.m)
    }

    #[inline(always)]
    fn products<S: Simd>(&self, part: usize, x: S::Bytes) -> S::Ints {
        S::unsigned_products(self.quants::<S>(part), x)
    }
}

impl Format for Q5_0 {
    const ELEMENTS: usize = PART;
    const ZERO: i32 = 16;
    const WIDTH: Width = Width::Six;
    const BLOCKING: Blocking = Blocking::Small;

    #[inline(always)]
    fn quants<S: Simd>(&self, _part: usize) -> S::Bytes {
        five_bits::<S>(&self.quants, self.high)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
        scales[0] = self.d.to_f32();
    }
}

impl Small for Q5_0 {
    #[inline(always)]
    fn factors<S: Simd>(&self, _part: usize) -> S::Factors {
        half::<S>(self.d)
    }

    #[inline(always)]
    fn products<S: Simd>(&self, part: usize, x: S::Bytes) -> S::Ints {
        S::signed_products(S::minus(self.quants::<S>(part), 16), x)
    }
}

impl Format for Q5_1 {
    const ELEMENTS: usize = PART;
    const ZERO: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const WIDTH: Width = Width::Six;
    const BLOCKING: Blocking = Blocking::Small;

    #[inline(always)]
    fn quants<S: Simd>(&self, _part: usize) -> S::Bytes {
        five_bits::<S>(&self.quants, self.high)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        scales[0] = self.d.to_f32();
        minimums[0] = self.m.to_f32();
    }
}

impl Small for Q5_1 {
    const HAS_OFFSET: bool = true;

    #[inline(always)]
    fn factors<S: Simd>(&self, _part: usize) -> S::Factors {
        halves::<S>(self.d, self.m)
    }

    #[inline(always)]
    fn products<S: Simd>(&self, part: usize, x: S::Bytes) -> S::Ints {
        S::unsigned_products(self.quants::<S>(part), x)
    }
}

impl Format for Q8_0 {
    const ELEMENTS: usize = PART;
    const ZERO: i32 = 128;
    const WIDTH: Width = Width::Eight;
    const BLOCKING: Blocking = Blocking::Small;

    #[inline(always)]
    fn quants<S: Simd>(&self, _part: usize) -> S::Bytes {
        S::xor(S::bytes(&self.quants), 128)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
        scales[0] = self.d.to_f32();
    }
}

impl Small for Q8_0 {
    #[inline(always)]
    fn factors<S: Simd>(&self, _part: usize) -> S::Factors {
        half::<S>(self.d)
    }

    #[inline(always)]
    fn products<S: Simd>(&self, _part: usize, x: S::Bytes) -> S::Ints {
        S::signed_products(S::bytes(&self.quants), x)
    }
}
