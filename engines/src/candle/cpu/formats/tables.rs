//! Blocks whose quants are indices of a table of values: IQ4_NL, IQ4_XS and MXFP4.

use half::f16;
use models::blocks::{IQ4_VALUES, MXFP4_VALUES, half_power_of_two};

use super::small::Small;
use super::{Blocking, Format};
use crate::candle::cpu::simd::{PART, Simd, Width};

/// 4 bits with a scale.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Iq4Nl {
    d: f16,
    quants: [u8; 16],
}

/// 256 weights of 4 bits in eight groups, each with a scale of 6 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Iq4Xs {
    d: f16,
    scales_high: [u8; 2],
    scales_low: [u8; 4],
    quants: [[u8; 16]; 8],
}

/// Floats of 4 bits with a power of two.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in super::super) struct Mxfp4 {
    exponent: u8,
    quants: [u8; 16],
}

/// The implementation of a type whose parts are `quants`, half bytes that are indices of a table.
macro_rules! table_format {
    ($format:ident, $parts:expr, $table:expr, $self:ident, $part:ident, $quants:expr) => {
        impl Format for $format {
            const ELEMENTS: usize = PART * $parts;
            const ZERO: i32 = 128;
            const WIDTH: Width = Width::Eight;
            const BLOCKING: Blocking = Blocking::Small;

            #[inline(always)]
            fn quants<S: Simd>(&$self, $part: usize) -> S::Bytes {
                S::xor(S::look_up(&$table, S::nibbles($quants)), 128)
            }

            #[inline(always)]
            fn scales_and_minimums(&self, scales: &mut [f32], _minimums: &mut [f32]) {
                for (group, scale) in scales.iter_mut().enumerate() {
                    *scale = self.scale_of(group);
                }
            }
        }

        impl Small for $format {
            const PARTS: usize = $parts;

            #[inline(always)]
            fn factors<S: Simd>(&self, part: usize) -> S::Factors {
                S::factors(&[self.scale_of(part), 0.0])
            }

            #[inline(always)]
            fn products<S: Simd>(&$self, $part: usize, x: S::Bytes) -> S::Ints {
                S::signed_products(S::look_up(&$table, S::nibbles($quants)), x)
            }
        }
    };
}

table_format!(Iq4Nl, 1, IQ4_VALUES, self, _part, &self.quants);
table_format!(Iq4Xs, 8, IQ4_VALUES, self, part, &self.quants[part]);
table_format!(Mxfp4, 1, MXFP4_VALUES, self, _part, &self.quants);

impl Iq4Nl {
    #[inline(always)]
    fn scale_of(&self, _group: usize) -> f32 {
        self.d.to_f32()
    }
}

impl Iq4Xs {
    #[inline(always)]
    fn scale_of(&self, group: usize) -> f32 {
        let high = u16::from_le_bytes(self.scales_high) >> (2 * group) & 3;
        let low = u16::from(self.scales_low[group / 2] >> (4 * (group % 2)) & 15);
        self.d.to_f32() * (f32::from(low | high << 4) - 32.0)
    }
}

impl Mxfp4 {
    #[inline(always)]
    fn scale_of(&self, _group: usize) -> f32 {
        half_power_of_two(self.exponent)
    }
}
