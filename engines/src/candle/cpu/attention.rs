//! Causal attention over the KV cache, grouped queries and sliding windows included.
//!
//! All scores of a row are stored, one per slot of the cache, before the softmax; slots that are not visible to the row get weight
//! zero. Each output is therefore one sum over the slots in one order ([`Lanes`]), independent of tiles and threads. The query
//! heads of a group share each load of their keys and values; nothing is repeated in memory. For one row ([`decode`]) the threads
//! divide slots and elements, for many rows ([`prefill`]) they divide the rows.
//!
//! The two accumulate values differently, as llama.cpp does (`ggml_vec_dot_f32` for one row, `llamafile_sgemm` for many): one row
//! uses four registers of lanes per sum, many rows use one, because sixteen sums run in parallel there.
#![allow(unsafe_code, reason = "threads write parts of one output that do not overlap")]

use std::array;
use std::cell::Cell;
use std::ops::Range;

use models::Attention;

use super::cache::{Cache, Ring, Stored};
use super::pool::{Parts, each, each_if_worth, each_part};
use super::simd::{LANES, Lanes, Simd};
use super::vector;

/// Slots per work item of a decode step's scores.
const SPLIT: usize = 256;
/// Keys that are converted and scored together in a decode step: 32 rows of 128 fill half of a 32 KiB cache.
const BLOCK: usize = 32;
/// Elements of a head per work item of a decode step's outputs.
const ELEMENTS: usize = 8;
/// Rows (tokens x heads of a group) per work item of a prefill, and its maximum number of scores: 1 MiB.
const TILE_ROWS: usize = 64;
const TILE_SCORES: usize = 256 * 1024;
/// Keys that are converted together in a prefill.
const TILE_KEYS: usize = 256;

/// The shape of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Query heads.
    pub(super) heads: usize,
    /// Key and value heads.
    pub(super) kv_heads: usize,
    /// Sliding window: a position attends to itself and the `window - 1` positions before it.
    pub(super) window: Option<usize>,
    /// Factor of the scores.
    pub(super) scale: f32,
}

impl Shape {
    pub(super) fn new(attention: &Attention) -> Self {
        let &Attention { heads, kv_heads, window, .. } = attention;
        Self { heads, kv_heads, window, scale: attention.score_scale() }
    }

    /// Number of query heads that share a key and value head.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// The positions that are visible to `position`.
    fn visible_to(self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }
}

thread_local! {
    /// Scratch memory of each thread, kept between calls so that its pages stay resident. It is taken out while it is used.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with scratch buffers of these lengths, each aligned to a cache line: a register of lanes is as long as a line, and
/// a load across two lines takes twice the time. Calls inside of `work` get other memory, which is not kept.
#[inline(always)]
pub(super) fn with_scratch<const N: usize>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N])) {
    const LINE: usize = 64;
    let mut scratch = SCRATCH.take();
    let total = lengths.iter().map(|length| length.next_multiple_of(LANES)).sum::<usize>();
    let needed = total + LINE / size_of::<f32>();
    if scratch.len() < needed {
        scratch.resize(needed, 0.0);
    }
    let start = scratch.as_ptr().align_offset(LINE).min(needed - total);
    let mut rest = &mut scratch[start..][..total];
    work(lengths.map(|length| {
        let (part, behind) = std::mem::take(&mut rest).split_at_mut(length.next_multiple_of(LANES));
        rest = behind;
        &mut part[..length]
    }));
    SCRATCH.set(scratch);
}

/// `out = softmax(scale q k^T) v` per head and row. Source: arXiv:1706.03762, equation 1.
///
/// `q` and `out` are `[rows, heads * head_dim]`; row 0 is at `position`, and the cache contains the keys of all rows. `scores` is a
/// buffer that is reused between calls. `sinks` are `[heads]`, see [`vector::softmax`].
pub(super) fn attend<S: Simd>(
    q: &[f32],
    cache: &Cache,
    position: usize,
    shape: Shape,
    sinks: Option<&[f32]>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    match cache {
        Cache::F16(ring) => attend_in::<S, _>(q, ring, position, shape, sinks, scores, out),
        Cache::F32(ring) => attend_in::<S, _>(q, ring, position, shape, sinks, scores, out),
        Cache::Q8_0(ring) => attend_in::<S, _>(q, ring, position, shape, sinks, scores, out),
    }
}

fn attend_in<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    sinks: Option<&[f32]>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    if q.len() == shape.heads * ring.head_dim() {
        decode::<S, _>(q, ring, position, shape, sinks, scores, out);
    } else {
        prefill::<S, _>(q, ring, position, shape, sinks, out);
    }
}

/// One row: scores, then weights, then outputs, each divided among the threads.
fn decode<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    sinks: Option<&[f32]>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (d, group) = (ring.head_dim(), shape.group());
    let slots = ring.used(position + 1);
    let stride = slots.next_multiple_of(LANES);
    if scores.len() < shape.heads * stride {
        scores.resize(shape.heads * stride, 0.0);
    }
    let scores = &mut scores[..shape.heads * stride]; // [heads, stride]
    let splits = slots.div_ceil(SPLIT);
    let parts = Parts::new(scores);
    each_item::<S>(shape.kv_heads * splits, slots * shape.heads * d, |item| {
        let (head, split) = (item / splits, item % splits);
        with_scratch([BLOCK * d], |[wide]| {
            for start in (split * SPLIT..slots.min((split + 1) * SPLIT)).step_by(BLOCK) {
                let span = start..slots.min(start + BLOCK);
                let keys = ring.keys::<S>(head, span.clone(), wide);
                for member in head * group..(head + 1) * group {
                    // SAFETY: the slots of one split of one head; no other work item has these slots and this head.
                    let scores = unsafe { parts.part(member * stride + span.start..member * stride + span.end) };
                    score::<S>(&q[member * d..][..d], keys, shape.scale, scores);
                }
            }
        });
    });
    let visible = ring.slots(shape.visible_to(position));
    each_part::<S, _>(scores, stride, shape.heads * stride * 8, |head, scores| {
        softmax_visible::<S>(scores, &visible, sinks.map(|sinks| sinks[head]));
    });
    let scores = &*scores;
    let chunks = d.div_ceil(ELEMENTS);
    let out = Parts::new(out);
    each_item::<S>(shape.kv_heads * chunks, slots * shape.heads * d, |item| {
        let (head, first) = (item / chunks, item % chunks * ELEMENTS);
        with_scratch([slots], |[wide]| {
            for element in first..d.min(first + ELEMENTS) {
                let values = ring.values::<S>(head, element, slots, wide);
                for member in head * group..(head + 1) * group {
                    let at = member * d + element;
                    // SAFETY: one element of one head; no other work item has it.
                    let out = unsafe { out.part(at..at + 1) };
                    out[0] = vector::dot::<S>(&scores[member * stride..][..slots], values);
                }
            }
        });
    });
}

/// Calls `work` for every item, on all threads if the number of multiplications justifies waking them.
pub(super) fn each_item<S: Simd>(items: usize, cost: usize, work: impl Fn(usize) + Sync) {
    each_if_worth::<S>(items, cost, |items| {
        for item in items {
            work(item);
        }
    });
}

/// `scores_i = scale q k_i`; `q` is `[head_dim]`, `keys` `[scores, head_dim]`.
#[inline(always)]
pub(super) fn score<S: Simd>(q: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
    // Constant lengths for the common widths, so that the query stays in registers.
    match q.len() {
        64 => score_in_width::<S, 64>(q, keys, scale, scores),
        128 => score_in_width::<S, 128>(q, keys, scale, scores),
        256 => score_in_width::<S, 256>(q, keys, scale, scores),
        _ => {
            let work = |(q, keys, scores): (&[f32], &[f32], &mut [f32])| score_of::<S>(q, keys, scale, scores);
            S::call(&work, (q, keys, scores));
        }
    }
}

#[inline(always)]
fn score_in_width<S: Simd, const D: usize>(q: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
    let work = |(q, keys, scores): (&[f32], &[f32], &mut [f32])| score_of::<S>(&q[..D], keys, scale, scores);
    S::call(&work, (q, keys, scores));
}

#[inline(always)]
fn score_of<S: Simd>(q: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
    let d = q.len();
    let (by_sixteen, rest) = scores.as_chunks_mut::<LANES>();
    let behind = &keys[by_sixteen.len() * LANES * d..];
    for (scores, keys) in by_sixteen.iter_mut().zip(keys.chunks_exact(LANES * d)) {
        let mut products = [S::Lanes::zero(); LANES];
        for (products, key) in products.iter_mut().zip(keys.chunks_exact(d)) {
            *products = S::Lanes::products(q, key);
        }
        for (score, sum) in scores.iter_mut().zip(S::Lanes::sums(products)) {
            *score = sum * scale;
        }
    }
    for (score, key) in rest.iter_mut().zip(behind.chunks_exact(d)) {
        *score = vector::dot::<S>(q, key) * scale;
    }
}

/// Softmax over the scores of a row; slots outside the two ranges of `visible` get weight zero.
#[inline(always)]
pub(super) fn softmax_visible<S: Simd>(scores: &mut [f32], visible: &[Range<usize>; 2], sink: Option<f32>) {
    let [first, second] = visible;
    let (live, behind) = scores.split_at_mut(second.end.next_multiple_of(LANES));
    live[..first.start].fill(f32::NEG_INFINITY);
    live[first.end..second.start].fill(f32::NEG_INFINITY);
    live[second.end..].fill(f32::NEG_INFINITY);
    S::call(&|live: &mut [f32]| vector::softmax::<S>(live, sink), live);
    behind.fill(0.0);
}

/// Many rows: tiles of rows, each over all slots that are visible to it.
fn prefill<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    sinks: Option<&[f32]>,
    out: &mut [f32],
) {
    let (d, group) = (ring.head_dim(), shape.group());
    let rows = q.len() / (shape.heads * d);
    let tile = (TILE_ROWS.min(TILE_SCORES / ring.used(position + rows)) / group).max(1);
    let tiles = rows.div_ceil(tile);
    let out = Parts::new(out);
    each::<S>(tiles * shape.kv_heads, |items| {
        for item in items {
            let head = item % shape.kv_heads;
            // The last rows have the most visible positions. They run first, so that the threads finish together.
            let first = (tiles - 1 - item / shape.kv_heads) * tile;
            let tokens = first..(first + tile).min(rows);
            let sinks = sinks.map(|sinks| &sinks[head * group..(head + 1) * group]);
            prefill_tile::<S, _>(q, ring, position, shape, sinks, head, tokens, &out);
        }
    });
}

/// One group of heads, with its `sinks`, for the rows `tokens`.
#[allow(clippy::too_many_arguments, reason = "the inputs of attention, and the part of it that is computed")]
#[inline(always)]
fn prefill_tile<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    sinks: Option<&[f32]>,
    head: usize,
    tokens: Range<usize>,
    out: &Parts<'_, f32>,
) {
    let (d, group) = (ring.head_dim(), shape.group());
    let slots = ring.used(position + tokens.end);
    let stride = slots.next_multiple_of(LANES);
    let rows = tokens.len() * group;
    // Row r is head r % group of token r / group; `place` is its offset in `q` and `out`, `visible` are its slots.
    let place = |row: usize| (tokens.start + row / group) * shape.heads * d + (head * group + row % group) * d;
    let visible = |row: usize| ring.slots(shape.visible_to(position + tokens.start + row / group));
    with_scratch([TILE_KEYS * d, 4 * stride, rows * stride], |[wide_keys, wide_values, scores]| {
        for start in (0..slots).step_by(TILE_KEYS) {
            let span = start..slots.min(start + TILE_KEYS);
            let keys = ring.keys::<S>(head, span.clone(), wide_keys);
            for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
                let end = span.end.min(visible(row)[1].end.next_multiple_of(LANES));
                if span.start < end {
                    score::<S>(&q[place(row)..][..d], keys, shape.scale, &mut scores[span.start..end]);
                }
            }
        }
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            softmax_visible::<S>(scores, &visible(row), sinks.map(|sinks| sinks[row % group]));
        }
        for element in (0..d).step_by(4) {
            let four: [usize; 4] = array::from_fn(|i| (element + i).min(d - 1));
            let mut rest = &mut *wide_values;
            let values = four.map(|element| {
                let (wide, behind) = std::mem::take(&mut rest).split_at_mut(stride);
                rest = behind;
                ring.values::<S>(head, element, slots, wide)
            });
            for first in (0..rows).step_by(4) {
                let four: [usize; 4] = array::from_fn(|i| (first + i).min(rows - 1));
                let live = four.map(|row| visible(row)[1].end).into_iter().fold(0, usize::max);
                let weights = four.map(|row| &scores[row * stride..][..live]);
                let sums = weighted_sums::<S>(weights, values.map(|values| &values[..live]));
                for (row, sums) in four.into_iter().zip(sums) {
                    let end = d.min(element + 4);
                    // SAFETY: elements of one head of one token; no other work item has this group and this token.
                    let out = unsafe { out.part(place(row) + element..place(row) + end) };
                    out.copy_from_slice(&sums[..end - element]);
                }
            }
        }
    });
}

/// `out_ij = sum_p weights_ip values_jp`: sixteen sums of sixteen lanes. As many as fit into the registers are computed together.
#[inline(always)]
fn weighted_sums<S: Simd>(weights: [&[f32]; 4], values: [&[f32]; 4]) -> [[f32; 4]; 4] {
    let work = |(weights, values): ([&[f32]; 4], [&[f32]; 4])| {
        if S::MANY_REGISTERS {
            let sums = lanes_of_sums::<S, 4>(weights, values);
            let [a, b, c, d] = sums;
            let all = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]];
            let all = S::Lanes::sums(all);
            let (fours, _) = all.as_chunks::<4>();
            return [fours[0], fours[1], fours[2], fours[3]];
        }
        let mut out = [[0.0; 4]; 4];
        for i in [0, 2] {
            for j in [0, 2] {
                let sums = lanes_of_sums::<S, 2>([weights[i], weights[i + 1]], [values[j], values[j + 1]]);
                for (i, sums) in (i..i + 2).zip(sums) {
                    for (j, sum) in (j..j + 2).zip(sums) {
                        out[i][j] = sum.sum();
                    }
                }
            }
        }
        out
    };
    S::call(&work, (weights, values))
}

/// The lanes of `N` times `N` sums.
#[inline(always)]
fn lanes_of_sums<S: Simd, const N: usize>(weights: [&[f32]; N], values: [&[f32]; N]) -> [[S::Lanes; N]; N] {
    let length = weights[0].len();
    let mut sums = [[S::Lanes::zero(); N]; N];
    for start in (0..length / LANES * LANES).step_by(LANES) {
        let mut of_values = [S::Lanes::zero(); N];
        for j in 0..N {
            of_values[j] = load::<S>(values[j], start);
        }
        for i in 0..N {
            let weights = load::<S>(weights[i], start);
            for j in 0..N {
                sums[i][j] = sums[i][j].plus(weights, of_values[j]);
            }
        }
    }
    if !length.is_multiple_of(LANES) {
        let rest = length / LANES * LANES;
        for i in 0..N {
            for j in 0..N {
                sums[i][j] = sums[i][j].plus(S::Lanes::part(&weights[i][rest..]), S::Lanes::part(&values[j][rest..]));
            }
        }
    }
    sums
}

/// Sixteen numbers from `start` on.
#[inline(always)]
fn load<S: Simd>(numbers: &[f32], start: usize) -> S::Lanes {
    numbers[start..].first_chunk().map_or_else(S::Lanes::zero, S::Lanes::load)
}

#[cfg(test)]
mod tests {
    use super::super::cache::CacheFormat;
    use super::super::simd::{Level, with_simd};
    use super::*;

    fn noise(length: usize, seed: u32) -> Vec<f32> {
        (0..length).map(|i| ((i as f32 + 1.0) * (0.37 + seed as f32 * 0.11)).sin() * 1.5).collect()
    }

    /// Attention by the formula, in f64.
    fn reference(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        position: usize,
        shape: Shape,
        sinks: Option<&[f32]>,
        d: usize,
    ) -> Vec<f32> {
        let (width, kv_width) = (shape.heads * d, shape.kv_heads * d);
        let mut out = vec![0.0; q.len()];
        for (row, head) in (0..q.len() / width).flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
            let q = &q[row * width + head * d..][..d];
            let kv = |m: &[f32], p: usize| m[p * kv_width + head / shape.group() * d..][..d].to_vec();
            let visible = shape.visible_to(position + row);
            let scores: Vec<f64> = visible
                .clone()
                .map(|p| {
                    q.iter().zip(kv(keys, p)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>()
                        / (d as f64).sqrt()
                })
                .collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sink = sinks.map_or(0.0, |sinks| (f64::from(sinks[head]) - most).exp());
            let sum: f64 = sink + scores.iter().map(|s| (s - most).exp()).sum::<f64>();
            for (p, score) in visible.zip(&scores) {
                for (i, value) in kv(values, p).iter().enumerate() {
                    out[row * width + head * d + i] += ((score - most).exp() / sum * f64::from(*value)) as f32;
                }
            }
        }
        out
    }

    fn check(
        format: CacheFormat,
        rows: usize,
        position: usize,
        window: Option<usize>,
        capacity: usize,
        tolerance: f32,
    ) {
        let d = 32;
        let shape = Shape { heads: 6, kv_heads: 2, window, scale: 1.0 / (d as f32).sqrt() };
        let total = position + rows;
        let (keys, values) = (noise(total * 2 * d, 1), noise(total * 2 * d, 2));
        let q = noise(rows * 6 * d, 3);
        let mut cache = Cache::new(format, 2, capacity, d);
        for p in 0..total {
            let row = p * 2 * d..(p + 1) * 2 * d;
            cache.write(&keys[row.clone()], &values[row], p);
        }
        let sinks = [None, Some(&[0.5, -3.0, 6.0, 0.0, 1.0, 40.0][..])];
        for (level, sinks) in Level::available().flat_map(|level| sinks.map(|sinks| (level, sinks))) {
            let mut out = vec![f32::NAN; q.len()];
            let mut scores = Vec::new();
            with_simd!(level, S => attend::<S>(&q, &cache, position, shape, sinks, &mut scores, &mut out));
            let expected = reference(&q, &keys, &values, position, shape, sinks, d);
            for (at, (out, expected)) in out.iter().zip(&expected).enumerate() {
                assert!(
                    (out - expected).abs() < tolerance,
                    "{}, {format:?}, {rows} rows at {position}, window {window:?}, element {at}: {out}, not {expected}",
                    level.name()
                );
            }
        }
    }

    #[test]
    fn one_row_over_short_and_split_contexts() {
        for position in [0, 1, 31, 32, 255, 256, 700] {
            check(CacheFormat::F32, 1, position, None, 701, 1e-5);
        }
        check(CacheFormat::F16, 1, 300, None, 301, 4e-3);
        check(CacheFormat::Q8_0, 1, 300, None, 301, 4e-2);
    }

    #[test]
    fn many_rows_from_the_start_and_behind_a_context() {
        for (rows, position) in [(2, 0), (21, 0), (50, 0), (300, 0), (7, 33), (70, 400)] {
            check(CacheFormat::F32, rows, position, None, rows + position, 1e-5);
        }
        check(CacheFormat::F16, 40, 20, None, 60, 4e-3);
        check(CacheFormat::Q8_0, 40, 20, None, 60, 4e-2);
    }

    #[test]
    fn windows_across_the_seam_of_the_ring() {
        // As in the decoder, the capacity is the window and a batch.
        for (rows, position, window) in [(1, 100, 16), (1, 5, 16), (20, 0, 16), (20, 57, 16), (9, 90, 40), (3, 3, 1)] {
            check(CacheFormat::F32, rows, position, Some(window), window + rows, 1e-5);
            check(CacheFormat::Q8_0, rows, position, Some(window), window + rows, 4e-2);
        }
    }
}
