//! Attention over a latent cache: one row per position, which is the key of all heads, and whose first elements are their value.
//!
//! Rows are converted to f32 in blocks, and all heads use each block. For one row ([`decode`]) the threads divide the positions, for many
//! rows ([`prefill`]) they divide the rows. No result depends on the assignment of parts to threads.
#![allow(unsafe_code, reason = "threads write parts of one output that do not overlap")]

use std::ops::Range;

use models::LatentAttention;

use super::attention::{each_item, score, softmax_visible, with_scratch};
use super::cache::{Cache, Ring, Stored};
use super::pool::{Parts, each, each_part};
use super::simd::{LANES, Simd};
use crate::candle::kernels::HeadPart;

/// Positions per work item of a decode step.
const SPLIT: usize = 256;
/// Positions that are converted together: 32 rows of 576 are 74 kB.
const BLOCK: usize = 32;
/// Rows (tokens x heads) per work item of a prefill, and its maximum number of scores: 1 MiB.
const TILE_ROWS: usize = 64;
const TILE_SCORES: usize = 256 * 1024;

/// The shape of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    heads: usize,
    /// Elements of a cached row that are the value.
    rank: usize,
    scale: f32,
}

impl Shape {
    pub(super) fn new(attention: &LatentAttention) -> Self {
        Self { heads: attention.heads, rank: attention.rank, scale: attention.scale() }
    }
}

/// `out = softmax(scale q c^T) c[..rank]` per head and row. Source: arXiv:2405.04434, appendix C.
///
/// `q` is `[rows, heads * width]`, `out` `[rows, heads * rank]`; row 0 is at `position`, and the cache contains the rows of all. `scores`
/// is a buffer that is reused between calls.
pub(super) fn attend<S: Simd>(
    q: &[f32],
    cache: &Cache,
    position: usize,
    shape: Shape,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    match cache {
        Cache::F16(ring) => attend_in::<S, _>(q, ring, position, shape, scores, out),
        Cache::F32(ring) => attend_in::<S, _>(q, ring, position, shape, scores, out),
        Cache::Q8_0(ring) => attend_in::<S, _>(q, ring, position, shape, scores, out),
    }
}

fn attend_in<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    if q.len() == shape.heads * ring.head_dim() {
        decode::<S, _>(q, ring, position, shape, scores, out);
    } else {
        prefill::<S, _>(q, ring, position, shape, out);
    }
}

/// One row: scores, then weights, then the sums of the parts of the positions, then their sum.
fn decode<S: Simd, C: Stored>(
    q: &[f32],
    ring: &Ring<C>,
    position: usize,
    shape: Shape,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (width, Shape { heads, rank, scale }) = (ring.head_dim(), shape);
    let slots = position + 1;
    let stride = slots.next_multiple_of(LANES);
    let splits = slots.div_ceil(SPLIT);
    let needed = heads * (stride + splits * rank);
    if scores.len() < needed {
        scores.resize(needed, 0.0);
    }
    let (scores, sums) = scores[..needed].split_at_mut(heads * stride); // [heads, stride], [splits, heads, rank]
    let span = |split: usize| split * SPLIT..slots.min((split + 1) * SPLIT);
    let parts = Parts::new(scores);
    each_item::<S>(splits, slots * heads * width, |split| {
        in_blocks::<S, _>(ring, span(split), |block, rows| {
            for head in 0..heads {
                // SAFETY: the positions of one split; no other work item has them.
                let scores = unsafe { parts.part(head * stride + block.start..head * stride + block.end) };
                score::<S>(&q[head * width..][..width], rows, scale, scores);
            }
        });
    });
    each_part::<S, _>(scores, stride, heads * stride * 8, |_, scores| {
        softmax_visible::<S>(scores, &[0..slots, slots..slots], None);
    });
    let scores = &*scores;
    each_part::<S, _>(sums, heads * rank, slots * heads * rank, |split, sums| {
        sums.fill(0.0);
        in_blocks::<S, _>(ring, span(split), |block, rows| {
            for (head, sum) in sums.chunks_exact_mut(rank).enumerate() {
                add_weighted::<S>(rows, width, &scores[head * stride..][block.clone()], sum);
            }
        });
    });
    out.fill(0.0);
    for sums in sums.chunks_exact(heads * rank) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

/// Many rows: tiles of rows, each over all positions that are visible to it.
fn prefill<S: Simd, C: Stored>(q: &[f32], ring: &Ring<C>, position: usize, shape: Shape, out: &mut [f32]) {
    let (width, Shape { heads, rank, scale }) = (ring.head_dim(), shape);
    let rows = q.len() / (heads * width);
    let tile = (TILE_ROWS.min(TILE_SCORES / (position + rows)) / heads).max(1);
    let tiles = rows.div_ceil(tile);
    let out = Parts::new(out);
    each::<S>(tiles, |items| {
        for item in items {
            // The last rows have the most visible positions. They run first, so that the threads finish together.
            let first = (tiles - 1 - item) * tile;
            let tokens = first..(first + tile).min(rows);
            let slots = position + tokens.end;
            let stride = slots.next_multiple_of(LANES);
            let q = &q[tokens.start * heads * width..tokens.end * heads * width];
            let visible = |row: usize| position + tokens.start + row / heads + 1;
            // SAFETY: the rows of these tokens; no other work item has them.
            let out = unsafe { out.part(tokens.start * heads * rank..tokens.end * heads * rank) };
            out.fill(0.0);
            with_scratch([tokens.len() * heads * stride], |[scores]| {
                in_blocks::<S, _>(ring, 0..slots, |block, keys| {
                    for (row, (q, scores)) in q.chunks_exact(width).zip(scores.chunks_exact_mut(stride)).enumerate() {
                        let end = block.end.min(visible(row));
                        if block.start < end {
                            score::<S>(q, &keys[..(end - block.start) * width], scale, &mut scores[block.start..end]);
                        }
                    }
                });
                for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
                    softmax_visible::<S>(scores, &[0..visible(row), visible(row)..visible(row)], None);
                }
                in_blocks::<S, _>(ring, 0..slots, |block, keys| {
                    for (row, (scores, out)) in scores.chunks_exact(stride).zip(out.chunks_exact_mut(rank)).enumerate()
                    {
                        let end = block.end.min(visible(row));
                        if block.start < end {
                            add_weighted::<S>(keys, width, &scores[block.start..end], out);
                        }
                    }
                });
            });
        }
    });
}

/// Calls `work` with blocks of positions and their rows `[block, width]` in f32.
#[inline(always)]
fn in_blocks<S: Simd, C: Stored>(ring: &Ring<C>, positions: Range<usize>, mut work: impl FnMut(Range<usize>, &[f32])) {
    // Its own buffer: callers keep scores in the scratch memory of the thread.
    let mut wide = vec![0.0; BLOCK * ring.head_dim()];
    for start in positions.clone().step_by(BLOCK) {
        let block = start..positions.end.min(start + BLOCK);
        work(block.clone(), ring.keys::<S>(0, block, &mut wide));
    }
}

/// `out += sum over i of weights[i] rows[i][..out.len()]`, four rows at a time.
#[inline(always)]
fn add_weighted<S: Simd>(rows: &[f32], width: usize, weights: &[f32], out: &mut [f32]) {
    let rank = out.len();
    let row = |at: usize| &rows[at * width..][..rank];
    let (fours, rest) = weights.as_chunks::<4>();
    for (at, weights) in fours.iter().enumerate() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| row(4 * at + i));
        for (e, out) in out.iter_mut().enumerate() {
            let first = S::fused(weights[1], b[e], S::fused(weights[0], a[e], *out));
            *out = S::fused(weights[3], d[e], S::fused(weights[2], c[e], first));
        }
    }
    for (at, weight) in rest.iter().enumerate() {
        for (out, x) in out.iter_mut().zip(row(4 * fours.len() + at)) {
            *out = S::fused(*weight, *x, *out);
        }
    }
}

/// Parts of heads `[heads, rows, taken]` of `x` `[rows, heads * width]`.
pub(super) fn split_heads<S: Simd>(x: &[f32], heads: usize, part: HeadPart, out: &mut [f32]) {
    let HeadPart { width, first, taken } = part;
    let rows = x.len() / (heads * width);
    let cost = out.len();
    each_part::<S, _>(out, taken, cost, |at, out| {
        let (head, row) = (at / rows, at % rows);
        out.copy_from_slice(&x[(row * heads + head) * width + first..][..taken]);
    });
}

/// Rows `[rows, heads * width]` whose heads are the parts one after another, each `[heads, rows, its width]`.
pub(super) fn join_heads<S: Simd>(parts: &[&[f32]], heads: usize, rows: usize, out: &mut [f32]) {
    let width = out.len() / (heads * rows);
    let cost = out.len();
    each_part::<S, _>(out, width, cost, |at, out| {
        let (row, head) = (at / heads, at % heads);
        let mut rest = out;
        for part in parts {
            let taken = part.len() / (heads * rows);
            let (here, behind) = rest.split_at_mut(taken);
            here.copy_from_slice(&part[(head * rows + row) * taken..][..taken]);
            rest = behind;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::cache::CacheFormat;
    use super::super::simd::{Level, Scalar, with_simd};
    use super::*;

    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    /// By the definition, in f64, with every row after the others.
    #[test]
    fn one_row_and_many_rows_follow_the_definition() {
        let (heads, rank, width, rows) = (3, 40, 48, 300);
        let shape = Shape { heads, rank, scale: 0.3 };
        let (q, cached) = (numbers(rows * heads * width, 0.37), numbers(rows * width, 0.11));
        let mut cache = Cache::latent(CacheFormat::F32, rows, width);
        cache.write_latent(&cached, 0);
        let mut expected = vec![0.0; rows * heads * rank];
        for (row, (q, out)) in q.chunks_exact(heads * width).zip(expected.chunks_exact_mut(heads * rank)).enumerate() {
            for (q, out) in q.chunks_exact(width).zip(out.chunks_exact_mut(rank)) {
                let keys = cached.chunks_exact(width).take(row + 1);
                let dot = |key: &[f32]| q.iter().zip(key).map(|(a, b)| f64::from(a * b)).sum::<f64>() * 0.3;
                let terms: Vec<f64> = keys.clone().map(|key| dot(key).exp()).collect();
                let sum: f64 = terms.iter().sum();
                for (e, out) in out.iter_mut().enumerate() {
                    let value = keys.clone().zip(&terms).map(|(key, term)| f64::from(key[e]) * term).sum::<f64>();
                    *out = (value / sum) as f32;
                }
            }
        }
        let close = |found: &[f32], expected: &[f32]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-5);
        for level in Level::available() {
            let (mut scores, mut out) = (Vec::new(), vec![0.0; expected.len()]);
            with_simd!(level, S => attend::<S>(&q, &cache, 0, shape, &mut scores, &mut out));
            assert!(close(&out, &expected), "{}, all rows at once", level.name());
            // In parts, and row by row.
            let behind = (&q[40 * heads * width..], &mut out[40 * heads * rank..]);
            with_simd!(level, S => attend::<S>(behind.0, &cache, 40, shape, &mut scores, behind.1));
            assert!(close(&out, &expected), "{}, rows after others", level.name());
            for row in [0, 1, 15, 255, 256, 299] {
                let mut one = vec![0.0; heads * rank];
                let q = &q[row * heads * width..][..heads * width];
                with_simd!(level, S => attend::<S>(q, &cache, row, shape, &mut scores, &mut one));
                assert!(close(&one, &expected[row * heads * rank..][..heads * rank]), "{}, row {row}", level.name());
            }
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "these numbers are exact")]
    fn heads_are_split_and_joined() {
        // Two rows of two heads of three elements.
        let x = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 100.0, 101.0, 102.0, 110.0, 111.0, 112.0];
        let (mut first, mut rest) = ([0.0; 8], [0.0; 4]);
        split_heads::<Scalar>(&x, 2, HeadPart { width: 3, first: 0, taken: 2 }, &mut first);
        split_heads::<Scalar>(&x, 2, HeadPart { width: 3, first: 2, taken: 1 }, &mut rest);
        assert_eq!(first, [0.0, 1.0, 100.0, 101.0, 10.0, 11.0, 110.0, 111.0]);
        assert_eq!(rest, [2.0, 102.0, 12.0, 112.0]);
        let mut joined = [0.0; 12];
        join_heads::<Scalar>(&[&first, &rest], 2, 2, &mut joined);
        assert_eq!(joined, x);
    }
}
