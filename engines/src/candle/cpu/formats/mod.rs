//! The types of quantised weights: for each the layout of a block, described once for all kernels.
//!
//! A block of 32 or 256 weights consists of groups of 16 or 32 that share a scale, and in some types a minimum. A weight is `scale (q -
//! zero) + minimum`, with an unsigned quant `q` and a zero point of the type. Source of the layouts: `ggml-common.h`, see
//! `models::blocks`, which defines the same numbers for single weights.

mod small;
mod superblocks;
mod tables;

pub(super) use self::small::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Small};
pub(super) use self::superblocks::{Q2K, Q3K, Q4K, Q5K, Q6K, Scales, Superblock};
pub(super) use self::tables::{Iq4Nl, Iq4Xs, Mxfp4};

use super::simd::{Simd, Width};

/// Which activations the weights of a type are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    /// Blocks of 32 with a scale, as ggml's Q8_0 and Q8_1.
    Small,
    /// Blocks of 256 with a scale, as ggml's `Q8_K`.
    Super,
}

/// How the weights of a type are grouped: all that products with panels depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    pub(super) blocking: Blocking,
    /// Weights of a group.
    pub(super) size: usize,
    /// The zero point.
    pub(super) zero: i32,
    /// Whether groups have a minimum.
    pub(super) has_minimum: bool,
    /// The bits of quants.
    pub(super) width: Width,
}

/// A type of blocks of weights. All bit patterns are valid, and there is no padding.
pub(super) trait Format: Copy + Send + Sync + 'static {
    /// Weights of a block.
    const ELEMENTS: usize;
    /// Weights of a group.
    const GROUP: usize = 32;
    /// The zero point.
    const ZERO: i32;
    /// Whether groups have a minimum.
    const HAS_MINIMUM: bool = false;
    /// The bits of quants.
    const WIDTH: Width;
    /// The activations.
    const BLOCKING: Blocking;
    /// The same together.
    const GROUPING: Grouping = Grouping {
        blocking: Self::BLOCKING,
        size: Self::GROUP,
        zero: Self::ZERO,
        has_minimum: Self::HAS_MINIMUM,
        width: Self::WIDTH,
    };

    /// The unsigned quants of 32 successive weights.
    fn quants<S: Simd>(&self, part: usize) -> S::Bytes;
    /// The scale and, if the type has one, the minimum of each group. The slices have that length; `minimums` is unused in types without.
    fn scales_and_minimums(&self, scales: &mut [f32], minimums: &mut [f32]);
}

#[cfg(test)]
mod tests;
