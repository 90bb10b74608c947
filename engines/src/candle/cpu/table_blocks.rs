//! Blocks whose quants are indices of a table of values: IQ4_NL, IQ4_XS and MXFP4, which candle does not have. Source of layouts and
//! tables: `ggml-common.h`, see `models::blocks`.

use half::f16;
use models::blocks::{IQ4_VALUES, MXFP4_VALUES, half_power_of_two};

use super::q8::Q8;

/// A block of one or more parts of 32 elements, each with a scale: a weight is `scale table[quant]`.
pub(super) trait TableBlock: Copy + Send + Sync + 'static {
    /// The table.
    const VALUES: [i8; 16];
    /// Parts of 32 elements.
    const PARTS: usize;

    /// The scale of a part.
    fn scale(&self, part: usize) -> f32;
    /// The quants of a part: byte `i` holds element `i` in its low half and element `i + 16` in its high half.
    fn quants(&self, part: usize) -> &[u8; 16];
}

/// 32 weights of 4 bits with a scale.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Iq4Nl {
    d: f16,
    quants: [u8; 16],
}

/// 256 weights of 4 bits in eight parts, each with a scale of 6 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Iq4Xs {
    d: f16,
    scales_high: u16,
    scales_low: [u8; 4],
    quants: [[u8; 16]; 8],
}

/// 32 floats of 4 bits with a power of two.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Mxfp4 {
    exponent: u8,
    quants: [u8; 16],
}

impl TableBlock for Iq4Nl {
    const VALUES: [i8; 16] = IQ4_VALUES;
    const PARTS: usize = 1;

    #[inline(always)]
    fn scale(&self, _part: usize) -> f32 {
        self.d.to_f32()
    }

    #[inline(always)]
    fn quants(&self, _part: usize) -> &[u8; 16] {
        &self.quants
    }
}

impl TableBlock for Iq4Xs {
    const VALUES: [i8; 16] = IQ4_VALUES;
    const PARTS: usize = 8;

    #[inline(always)]
    fn scale(&self, part: usize) -> f32 {
        let high = u16::from_le(self.scales_high) >> (2 * part) & 3;
        let low = u16::from(self.scales_low[part / 2] >> (4 * (part % 2)) & 15);
        self.d.to_f32() * (f32::from(low | high << 4) - 32.0)
    }

    #[inline(always)]
    fn quants(&self, part: usize) -> &[u8; 16] {
        &self.quants[part]
    }
}

impl TableBlock for Mxfp4 {
    const VALUES: [i8; 16] = MXFP4_VALUES;
    const PARTS: usize = 1;

    #[inline(always)]
    fn scale(&self, _part: usize) -> f32 {
        half_power_of_two(self.exponent)
    }

    #[inline(always)]
    fn quants(&self, _part: usize) -> &[u8; 16] {
        &self.quants
    }
}

/// Converts blocks to f32; `out` has the length of their elements.
pub(super) fn widen<T: TableBlock>(blocks: &[T], out: &mut [f32]) {
    let parts = blocks.iter().flat_map(|block| (0..T::PARTS).map(move |part| (block, part)));
    for ((block, part), out) in parts.zip(out.chunks_exact_mut(32)) {
        let scale = block.scale(part);
        for (i, byte) in block.quants(part).iter().enumerate() {
            out[i] = scale * f32::from(T::VALUES[usize::from(byte & 15)]);
            out[i + 16] = scale * f32::from(T::VALUES[usize::from(byte >> 4)]);
        }
    }
}

/// The product of a row of weights with one of activations, without vector instructions.
#[cfg_attr(
    all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"),
    allow(dead_code, reason = "this build has vector instructions for it; tests compare them with this function")
)]
pub(super) fn dot<T: TableBlock>(w: &[T], x: &[Q8]) -> f32 {
    let parts = w.iter().flat_map(|block| (0..T::PARTS).map(move |part| (block, part)));
    let product = |((block, part), x): ((&T, usize), &Q8)| {
        let (low, high) = x.quants.split_at(16);
        let terms = block.quants(part).iter().zip(low).zip(high).map(|((byte, low), high)| {
            let value = |quant: u8| i32::from(T::VALUES[usize::from(quant)]);
            value(byte & 15) * i32::from(*low) + value(byte >> 4) * i32::from(*high)
        });
        #[allow(clippy::cast_precision_loss, reason = "32 products of bytes are below 2^24")]
        let sum = terms.sum::<i32>() as f32;
        block.scale(part) * x.scale() * sum
    };
    parts.zip(x).map(product).sum()
}
