//! Activations as signed bytes, for products with quantised weights.
#![allow(unsafe_code, reason = "threads write parts of buffers that do not overlap")]

use std::ops::Range;

use half::f16;

use super::activation_row::Row;
use super::formats::{Blocking, Grouping};
use super::pool::{Parts, each_if_worth};
use super::simd::{PART, Part, Simd};
use super::tiles::Tiles;

/// Activations of a block with one scale in [`Blocking::Super`].
const SUPERBLOCK: usize = 256;
/// Activations that a thread converts together.
const SPAN: usize = 8 * SUPERBLOCK;

/// The scales of a block of 32, in the types and the order that a dot product needs. With `d = max |x| / 127`, rounded to f16, and `q =
/// round(x / d)`, ties to even. Source: `quantize_row_q8_1` of ggml-cpu.
#[derive(Clone, Copy, Debug, Default)]
struct SmallScales {
    /// `d` and `d sum(q)`, rounded to f16 (Q8_1's `s`).
    with_minimum: [f32; 2],
    /// The factors of a block of weights whose quants are 8 too large: `d` and `-8 d sum(q)`.
    with_eight: [f32; 2],
}

/// Rows of activations `[rows, width]` in blocks.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// The blocks that the buffers contain; `None` before the first conversion.
    blocking: Option<Blocking>,
    /// `[rows, width / 32]`
    parts: Vec<Part>,
    /// `[rows, width / 32]`, for [`Blocking::Small`].
    with_minimum: Vec<[f32; 2]>,
    with_eight: Vec<[f32; 2]>,
    /// `[rows, width / 256]`, for [`Blocking::Super`].
    scales: Vec<f32>,
    /// The sums of 16 quants each, `[rows, width / 256]`, for [`Blocking::Super`].
    sums: Vec<[i16; 16]>,
    /// The same rows for products with panels of weights.
    tiles: Tiles,
    /// The weights for which the tiles contain all rows in their order; `None` for others.
    tiles_of: Option<Grouping>,
}

impl Activations {
    /// Marks the content as out of date: the rows were written.
    pub(super) fn invalidate(&mut self) {
        self.blocking = None;
        self.tiles_of = None;
    }

    /// Converts whole rows, unless they are converted already.
    pub(super) fn fill<S: Simd>(&mut self, data: &[f32], blocking: Blocking) {
        if self.blocking == Some(blocking) {
            return;
        }
        self.invalidate();
        self.blocking = Some(blocking);
        let (blocks, superblocks) = (data.len() / PART, data.len() / SUPERBLOCK);
        self.parts.resize(blocks, Part::default());
        let spans = data.len().div_ceil(SPAN);
        let cost = data.len() * 4;
        let data = |span: usize| &data[span * SPAN..data.len().min((span + 1) * SPAN)];
        match blocking {
            Blocking::Small => {
                self.with_minimum.resize(blocks, [0.0; 2]);
                self.with_eight.resize(blocks, [0.0; 2]);
                let (parts, with_minimum) = (Parts::new(&mut self.parts), Parts::new(&mut self.with_minimum));
                let with_eight = Parts::new(&mut self.with_eight);
                each_if_worth::<S>(spans, cost, |spans| {
                    for span in spans {
                        let blocks = span * (SPAN / PART)..blocks.min((span + 1) * (SPAN / PART));
                        // SAFETY: the blocks of one span; no other work item has them.
                        let parts = unsafe { parts.part(blocks.clone()) };
                        // SAFETY: as above.
                        let with_minimum = unsafe { with_minimum.part(blocks.clone()) };
                        // SAFETY: as above.
                        let with_eight = unsafe { with_eight.part(blocks) };
                        S::call(&|out| small_blocks(data(span), out), (parts, with_minimum, with_eight));
                    }
                });
            }
            Blocking::Super => {
                self.scales.resize(superblocks, 0.0);
                self.sums.resize(superblocks, [0; 16]);
                let (parts, scales) = (Parts::new(&mut self.parts), Parts::new(&mut self.scales));
                let sums = Parts::new(&mut self.sums);
                each_if_worth::<S>(spans, cost, |spans| {
                    for span in spans {
                        const PER_BLOCK: usize = SUPERBLOCK / PART;
                        let blocks = span * (SPAN / SUPERBLOCK)..superblocks.min((span + 1) * (SPAN / SUPERBLOCK));
                        // SAFETY: the blocks of one span; no other work item has them.
                        let parts = unsafe { parts.part(blocks.start * PER_BLOCK..blocks.end * PER_BLOCK) };
                        // SAFETY: as above.
                        let scales = unsafe { scales.part(blocks.clone()) };
                        // SAFETY: as above.
                        let sums = unsafe { sums.part(blocks) };
                        S::call(&|out| superblocks_of(data(span), out), (parts, scales, sums));
                    }
                });
            }
        }
    }

    /// All rows, which are `width` wide, in tiles for panels of such weights.
    pub(super) fn all_in_tiles<S: Simd>(&mut self, width: usize, grouping: Grouping) -> &Tiles {
        if self.tiles_of != Some(grouping) {
            let rows = self.parts.len() * PART / width;
            self.in_tiles::<S>(width, grouping, std::iter::once(0..rows), |row| row);
            self.tiles_of = Some(grouping);
        }
        &self.tiles
    }

    /// Groups of rows in tiles: row `i` of the groups is row `row(i)` of the activations.
    pub(super) fn in_tiles<S: Simd>(
        &mut self,
        width: usize,
        grouping: Grouping,
        groups: impl Iterator<Item = Range<usize>>,
        row: impl Fn(usize) -> usize + Sync,
    ) {
        let mut tiles = std::mem::take(&mut self.tiles);
        tiles.fill::<S>(width, grouping, groups, |i| self.row(row(i), width));
        (self.tiles, self.tiles_of) = (tiles, None);
    }

    /// The tiles of the last call.
    pub(super) fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    /// One of the rows, which are `width` wide.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, width: usize) -> Row<'_> {
        let blocks = |size: usize| row * (width / size)..(row + 1) * (width / size);
        let of_blocking = |blocking, size| if self.blocking == Some(blocking) { blocks(size) } else { 0..0 };
        let (small, superblocks) = (of_blocking(Blocking::Small, PART), of_blocking(Blocking::Super, SUPERBLOCK));
        Row {
            parts: &self.parts[blocks(PART)],
            with_minimum: &self.with_minimum[small.clone()],
            with_eight: &self.with_eight[small],
            scales: &self.scales[superblocks.clone()],
            sums: &self.sums[superblocks],
        }
    }
}

/// The largest magnitude; NaN is skipped.
#[inline(always)]
fn largest<const N: usize>(x: &[f32; N]) -> f32 {
    let mut most = [0f32; 8];
    for x in x.as_chunks::<8>().0 {
        for (most, x) in most.iter_mut().zip(x) {
            *most = if x.abs() > *most { x.abs() } else { *most };
        }
    }
    most.into_iter().fold(0f32, |most, x| if x > most { x } else { most })
}

/// Rounds `x factor` to the nearest integers, ties to even, and returns their sum; they are between -127 and 127.
#[inline(always)]
fn round<const N: usize>(x: &[f32; N], factor: f32, words: &mut [[i8; 4]]) -> i32 {
    let mut sum = 0;
    for (word, x) in words.iter_mut().zip(x.as_chunks::<4>().0) {
        for (quant, x) in word.iter_mut().zip(x) {
            #[allow(clippy::cast_possible_truncation, reason = "it is between -127 and 127")]
            let integer = (x * factor).round_ties_even() as i32;
            #[allow(clippy::cast_possible_truncation, reason = "as above")]
            {
                *quant = integer as i8;
            }
            sum += integer;
        }
    }
    sum
}

/// Converts blocks of 32.
#[inline(always)]
fn small_blocks(x: &[f32], (parts, with_minimum, with_eight): (&mut [Part], &mut [[f32; 2]], &mut [[f32; 2]])) {
    let outs = parts.iter_mut().zip(with_minimum.iter_mut().zip(with_eight));
    for (x, (part, (with_minimum, with_eight))) in x.as_chunks::<PART>().0.iter().zip(outs) {
        let scales = small_block(x, part);
        (*with_minimum, *with_eight) = (scales.with_minimum, scales.with_eight);
    }
}

/// Converts blocks of 256.
#[inline(always)]
fn superblocks_of(x: &[f32], (parts, scales, sums): (&mut [Part], &mut [f32], &mut [[i16; 16]])) {
    let outs = parts.as_chunks_mut::<{ SUPERBLOCK / PART }>().0.iter_mut().zip(scales.iter_mut().zip(sums));
    for (x, (parts, (scale, sums))) in x.as_chunks::<SUPERBLOCK>().0.iter().zip(outs) {
        *scale = superblock(x, parts, sums);
    }
}

#[inline(always)]
fn small_block(x: &[f32; PART], part: &mut Part) -> SmallScales {
    let most = largest(x);
    let scale = most / 127.0;
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    // Rounding must not hide an activation that is not finite: the output becomes NaN.
    if !x.iter().fold(true, |finite, x| finite & x.is_finite()) {
        *part = Part::default();
        return SmallScales { with_minimum: [f32::NAN; 2], with_eight: [f32::NAN; 2] };
    }
    #[allow(clippy::cast_precision_loss, reason = "the sum of 32 bytes is exact")]
    let sum = round(x, inverse, &mut part.0) as f32;
    let rounded = f16::from_f32(scale).to_f32();
    SmallScales {
        with_minimum: [rounded, f16::from_f32(scale * sum).to_f32()],
        with_eight: [rounded, -8.0 * (rounded * sum)],
    }
}

/// Quantises 256 activations: the largest becomes -127. Returns the scale. Source: `quantize_row_q8_K_ref` of ggml.
#[inline(always)]
fn superblock(x: &[f32; SUPERBLOCK], parts: &mut [Part; SUPERBLOCK / PART], sums: &mut [i16; 16]) -> f32 {
    if !x.iter().fold(true, |finite, x| finite & x.is_finite()) {
        (*parts, *sums) = ([Part::default(); SUPERBLOCK / PART], [0; 16]);
        return f32::NAN;
    }
    let most = largest(x);
    if most == 0.0 {
        (*parts, *sums) = ([Part::default(); SUPERBLOCK / PART], [0; 16]);
        return 0.0;
    }
    // The first one with the largest magnitude decides about the sign.
    let signed = x.iter().copied().find(|x| x.abs() >= most).unwrap_or(most);
    let inverse = -127.0 / signed;
    for ((x, sum), words) in
        x.as_chunks::<16>().0.iter().zip(sums).zip(parts.iter_mut().flat_map(|part| part.0.as_chunks_mut::<4>().0))
    {
        #[allow(clippy::cast_possible_truncation, reason = "16 bytes")]
        {
            *sum = round(x, inverse, words) as i16;
        }
    }
    1.0 / inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::cpu::simd::{Level, with_simd};

    fn converted(x: &[f32], blocking: Blocking) -> Activations {
        let mut activations = Activations::default();
        with_simd!(Level::detect(), S => activations.fill::<S>(x, blocking));
        activations
    }

    fn quants(activations: &Activations) -> Vec<i8> {
        activations.parts.iter().flat_map(|part| part.0.as_flattened().to_vec()).collect()
    }

    #[test]
    fn the_largest_becomes_127_and_the_rest_follows() {
        let x: Vec<f32> = (0..32).map(|i| i as f32 - 20.0).collect();
        let block = converted(&x, Blocking::Small);
        let quants = quants(&block);
        assert_eq!((quants[0], quants[20]), (-127, 0));
        for (x, quant) in x.iter().zip(&quants) {
            assert!((f32::from(*quant) * block.with_minimum[0][0] - x).abs() < 0.1);
        }
        assert!((block.with_minimum[0][1] - x.iter().sum::<f32>()).abs() < 1.0);
    }

    #[test]
    fn superblocks_have_one_scale_and_the_sums_of_16() {
        let x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let block = converted(&x, Blocking::Super);
        let quants = quants(&block);
        for (x, quant) in x.iter().zip(&quants) {
            assert!((f32::from(*quant) * block.scales[0] - x).abs() < 0.013);
        }
        let sums: Vec<i16> = quants.chunks(16).map(|q| q.iter().map(|q| i16::from(*q)).sum()).collect();
        assert_eq!(block.sums[0].as_slice(), sums);
        assert!(quants.contains(&-127) || quants.contains(&127));
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_becomes_nan() {
        for (blocking, length) in [(Blocking::Small, 32), (Blocking::Super, 256)] {
            let scale = |x: &[f32]| {
                let block = converted(x, blocking);
                block.with_minimum.first().map_or_else(|| block.scales[0], |scales| scales[0])
            };
            let mut x = vec![0.0; length];
            assert!(quants(&converted(&x, blocking)).iter().all(|q| *q == 0));
            for number in [f32::NAN, f32::INFINITY] {
                x[5] = number;
                assert!(scale(&x).is_nan());
            }
        }
    }
}
