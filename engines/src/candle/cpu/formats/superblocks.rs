//! Blocks of 256 weights in groups whose scales are integers: ggml's `k-quants`.

use half::f16;

use super::{Blocking, Format};
use crate::candle::cpu::simd::{Simd, Width};

/// Weights of a block.
pub(in super::super) const SUPERBLOCK: usize = 256;

/// A block of 256 weights, `d scale (q - zero) - dmin minimum`, multiplied with activations in blocks of 256.
pub(in super::super) trait Superblock: Format {
    /// `d` and `dmin`; the second one is unused in types without minimum.
    fn factors(&self) -> [f32; 2];
    /// The scales of all parts of 16 weights, and what is multiplied with the sums of 16 activations each: the minimums, or scales times
    /// zero point.
    fn scales(&self) -> Scales;
}

/// The integers of a block for each part of 16 weights.
#[derive(Clone, Copy)]
pub(in super::super) struct Scales {
    pub(in super::super) scales: [i16; 16],
    pub(in super::super) offsets: [i16; 16],
}

impl Scales {
    /// Those of each part. The loop is written out, because the compiler does not inline the functions of arrays of this length.
    #[inline(always)]
    fn of_parts(scale: impl Fn(usize) -> i16, offset: impl Fn(usize) -> i16) -> Self {
        let mut out = Self { scales: [0; 16], offsets: [0; 16] };
        for part in 0..16 {
            out.scales[part] = scale(part);
            out.offsets[part] = offset(part);
        }
        out
    }
}

/// 2 bits in groups of 16, with scales and minimums of 4 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q2K {
    /// Low half: scale, high half: minimum.
    scales: [u8; 16],
    quants: [[u8; 32]; 2],
    d: f16,
    dmin: f16,
}

/// 3 bits in groups of 16, with scales of 6 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q3K {
    /// The third bits.
    high: [u8; 32],
    quants: [[u8; 32]; 2],
    scales: [u8; 12],
    d: f16,
}

/// The scales and minimums of 6 bits of eight groups of 32.
#[derive(Clone, Copy)]
#[repr(C)]
struct SixBitScales {
    d: f16,
    dmin: f16,
    scales: [u8; 12],
}

/// 4 bits in groups of 32, with scales and minimums of 6 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q4K {
    scales: SixBitScales,
    quants: [[u8; 32]; 4],
}

/// 5 bits in groups of 32, with scales and minimums of 6 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q5K {
    scales: SixBitScales,
    /// The fifth bits.
    high: [u8; 32],
    quants: [[u8; 32]; 4],
}

/// 6 bits in groups of 16, with scales of 8 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Q6K {
    low: [[[u8; 32]; 2]; 2],
    high: [[u8; 32]; 2],
    scales: [i8; 16],
    d: f16,
}

impl SixBitScales {
    /// Eight scales and eight minimums of 6 bits in 12 bytes: the lower four of each have a byte, whose two high bits belong to the upper four.
    #[inline(always)]
    fn unpacked(&self) -> ([u8; 8], [u8; 8]) {
        let bytes = &self.scales;
        const LOW_SIX: u32 = 0x3f3f_3f3f;
        const LOW_FOUR: u32 = 0x0f0f_0f0f;
        const TWO: u32 = 0x0303_0303;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (a, b, c) = (word(0), word(4), word(8));
        let join = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32).to_le_bytes();
        let scales = join(a & LOW_SIX, (c & LOW_FOUR) | (a >> 6 & TWO) << 4);
        let minimums = join(b & LOW_SIX, (c >> 4 & LOW_FOUR) | (b >> 6 & TWO) << 4);
        (scales, minimums)
    }

    /// `d` and `dmin`.
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        [self.d.to_f32(), self.dmin.to_f32()]
    }

    /// See [`Format::scales_and_minimums`].
    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        let (of_groups, minimums_of_groups) = self.unpacked();
        let [d, dmin] = self.factors();
        for group in 0..8 {
            scales[group] = d * f32::from(of_groups[group]);
            minimums[group] = -dmin * f32::from(minimums_of_groups[group]);
        }
    }

    /// See [`Superblock::scales`]: each group has two parts.
    #[inline(always)]
    fn of_parts(&self) -> Scales {
        let (scales, minimums) = self.unpacked();
        Scales::of_parts(|part| i16::from(scales[part / 2]), |part| i16::from(minimums[part / 2]))
    }
}

/// The shift of part `0..4` of 32 in 128 quants of 2 bits.
#[inline(always)]
fn two_bits<S: Simd>(quants: S::Bytes, quarter: usize) -> S::Bytes {
    match quarter {
        0 => S::shifted::<0>(quants, 3),
        1 => S::shifted::<2>(quants, 3),
        2 => S::shifted::<4>(quants, 3),
        _ => S::shifted::<6>(quants, 3),
    }
}

/// `value` in each byte whose bit `bit` is set.
#[inline(always)]
fn bit_of<S: Simd>(bytes: S::Bytes, bit: usize, value: u8) -> S::Bytes {
    match bit {
        0 => S::where_bit::<0>(bytes, value),
        1 => S::where_bit::<1>(bytes, value),
        2 => S::where_bit::<2>(bytes, value),
        3 => S::where_bit::<3>(bytes, value),
        4 => S::where_bit::<4>(bytes, value),
        5 => S::where_bit::<5>(bytes, value),
        6 => S::where_bit::<6>(bytes, value),
        _ => S::where_bit::<7>(bytes, value),
    }
}

/// Half bytes of part `0..8`: two parts share 32 bytes.
#[inline(always)]
fn four_bits<S: Simd>(quants: &[[u8; 32]; 4], part: usize) -> S::Bytes {
    let quants = S::bytes(&quants[part / 2]);
    if part.is_multiple_of(2) { S::shifted::<0>(quants, 15) } else { S::shifted::<4>(quants, 15) }
}

impl Format for Q2K {
    const ELEMENTS: usize = SUPERBLOCK;
    const GROUP: usize = 16;
    const ZERO: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const WIDTH: Width = Width::Four;
    const BLOCKING: Blocking = Blocking::Super;

    #[inline(always)]
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes {
        two_bits::<S>(S::bytes(&self.quants[part / 4]), part % 4)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        for (group, byte) in self.scales.iter().enumerate() {
            scales[group] = d * f32::from(byte & 15);
            minimums[group] = -dmin * f32::from(byte >> 4);
        }
    }
}

impl Superblock for Q2K {
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        [self.d.to_f32(), self.dmin.to_f32()]
    }

    #[inline(always)]
    fn scales(&self) -> Scales {
        Scales::of_parts(|part| i16::from(self.scales[part] & 15), |part| i16::from(self.scales[part] >> 4))
    }
}

impl Q3K {
    /// The scale of a group: 4 bits in the first eight bytes and 2 bits in the last four, minus 32.
    #[inline(always)]
    fn scale_of(&self, group: usize) -> i16 {
        let low = self.scales[group % 8] >> (4 * (group / 8)) & 15;
        let high = self.scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        i16::from(low | high << 4) - 32
    }
}

impl Format for Q3K {
    const ELEMENTS: usize = SUPERBLOCK;
    const GROUP: usize = 16;
    const ZERO: i32 = 4;
    const WIDTH: Width = Width::Four;
    const BLOCKING: Blocking = Blocking::Super;

    #[inline(always)]
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes {
        let low = two_bits::<S>(S::bytes(&self.quants[part / 4]), part % 4);
        S::or(low, bit_of::<S>(S::bytes(&self.high), part, 4))
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
        let d = self.d.to_f32();
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = d * f32::from(self.scale_of(group));
        }
    }
}

impl Superblock for Q3K {
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        [self.d.to_f32(); 2]
    }

    #[inline(always)]
    fn scales(&self) -> Scales {
        Scales::of_parts(|part| self.scale_of(part), |part| 4 * self.scale_of(part))
    }
}

impl Format for Q4K {
    const ELEMENTS: usize = SUPERBLOCK;
    const ZERO: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const WIDTH: Width = Width::Four;
    const BLOCKING: Blocking = Blocking::Super;

    #[inline(always)]
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes {
        four_bits::<S>(&self.quants, part)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        self.scales.scales_and_minimums(scales, minimums);
    }
}

impl Superblock for Q4K {
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        self.scales.factors()
    }

    #[inline(always)]
    fn scales(&self) -> Scales {
        self.scales.of_parts()
    }
}

impl Format for Q5K {
    const ELEMENTS: usize = SUPERBLOCK;
    const ZERO: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const WIDTH: Width = Width::Six;
    const BLOCKING: Blocking = Blocking::Super;

    #[inline(always)]
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes {
        S::or(four_bits::<S>(&self.quants, part), bit_of::<S>(S::bytes(&self.high), part, 16))
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]) {
        self.scales.scales_and_minimums(scales, minimums);
    }
}

impl Superblock for Q5K {
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        self.scales.factors()
    }

    #[inline(always)]
    fn scales(&self) -> Scales {
        self.scales.of_parts()
    }
}

impl Format for Q6K {
    const ELEMENTS: usize = SUPERBLOCK;
    const GROUP: usize = 16;
    const ZERO: i32 = 32;
    const WIDTH: Width = Width::Six;
    const BLOCKING: Blocking = Blocking::Super;

    #[inline(always)]
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes {
        let (half, quarter) = (part / 4, part % 4);
        let low = S::bytes(&self.low[half][quarter % 2]);
        let low = if quarter < 2 { S::shifted::<0>(low, 15) } else { S::shifted::<4>(low, 15) };
        // Two bits of the byte, moved to bits 4 and 5.
        let high = S::bytes(&self.high[half]);
        let high = match quarter {
            0 => S::shifted_left::<4>(high, 0x30),
            1 => S::shifted_left::<2>(high, 0x30),
            2 => S::shifted::<0>(high, 0x30),
            _ => S::shifted::<2>(high, 0x30),
        };
        S::or(low, high)
    }

    #[inline(always)]
    fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
        let d = self.d.to_f32();
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = d * f32::from(self.scales[group]);
        }
    }
}

impl Superblock for Q6K {
    #[inline(always)]
    fn factors(&self) -> [f32; 2] {
        [self.d.to_f32(); 2]
    }

    #[inline(always)]
    fn scales(&self) -> Scales {
        Scales::of_parts(|part| i16::from(self.scales[part]), |part| 32 * i16::from(self.scales[part]))
    }
}
