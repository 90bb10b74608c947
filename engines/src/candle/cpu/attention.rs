//! Causal attention over the KV cache, grouped queries and sliding windows included.
//!
//! Softmax runs online (arXiv:1805.02867): a block of positions at a time, with a running maximum and sum, so that no
//! row of scores is ever stored whole. The query heads of a group share each load of their keys and values; nothing is
//! repeated in memory. One row ([`decode`]) splits the positions over the threads, many rows ([`prefill`]) the rows.
#![allow(unsafe_code, reason = "threads write parts of one output that do not overlap")]

use std::cell::RefCell;
use std::ops::Range;

use super::cache::{Cache, Ring};
use super::element::Element;
use super::pool::{Parts, each, each_part};
use super::product::{View, multiply};
use super::vector;

/// Positions per work item of a decode step.
const SPLIT: usize = 256;
/// Positions that are converted and scored at once in a decode step: 32 rows of 128 are half of a 32 KiB cache.
const BLOCK: usize = 32;
/// Rows (tokens x heads of a group) per work item of a prefill.
const TILE_ROWS: usize = 64;
/// Positions per product in a prefill.
const TILE_COLUMNS: usize = 256;

/// What one attention works on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Query heads.
    pub(super) heads: usize,
    /// Key and value heads.
    pub(super) kv_heads: usize,
    /// A position sees itself and the `window - 1` before it.
    pub(super) window: Option<usize>,
}

impl Shape {
    /// Query heads that share a key and value head.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// The positions that `position` sees.
    fn seen_from(self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }
}

thread_local! {
    /// Each thread's scratch, kept between calls so that no call touches fresh pages.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<const N: usize>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N])) {
    SCRATCH.with_borrow_mut(|scratch| {
        let total: usize = lengths.iter().sum();
        if scratch.len() < total {
            scratch.resize(total, 0.0);
        }
        let mut rest = &mut scratch[..total];
        work(lengths.map(|length| {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(length);
            rest = behind;
            part
        }));
    });
}

/// `out = softmax(q k^T / sqrt(head_dim)) v` per head and row. Source: arXiv:1706.03762, equation 1.
///
/// `q` and `out` are `[rows, heads * head_dim]`; row 0 stands at `position`, and the cache holds the keys of all rows.
pub(super) fn attend(
    q: &[f32],
    cache: &Cache,
    position: usize,
    shape: Shape,
    partials: &mut Vec<f32>,
    out: &mut [f32],
) {
    match cache {
        Cache::F16(ring) => attend_in(q, ring, position, shape, partials, out),
        Cache::F32(ring) => attend_in(q, ring, position, shape, partials, out),
    }
}

fn attend_in<E: Element>(
    q: &[f32],
    ring: &Ring<E>,
    position: usize,
    shape: Shape,
    partials: &mut Vec<f32>,
    out: &mut [f32],
) {
    if q.len() == shape.heads * ring.head_dim() {
        decode(q, ring, shape.seen_from(position), shape, partials, out);
    } else {
        prefill(q, ring, position, shape, out);
    }
}

#[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
fn scale_of(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}

/// One row. Each work item scores up to [`SPLIT`] positions for one group of heads and leaves a partial result: per
/// head its maximum, its sum and `[head_dim]` weighted values. The partials are merged in order, so that the result
/// does not depend on which thread did what.
fn decode<E: Element>(
    q: &[f32],
    ring: &Ring<E>,
    seen: Range<usize>,
    shape: Shape,
    partials: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (d, group) = (ring.head_dim(), shape.group());
    let splits = seen.len().div_ceil(SPLIT);
    let record = d + 2;
    let needed = shape.kv_heads * splits * group * record;
    if partials.len() < needed {
        partials.resize(needed, 0.0);
    }
    let cost = seen.len() * shape.heads * d * 4;
    each_part(&mut partials[..needed], group * record, cost, |item, records| {
        let (head, split) = (item / splits, item % splits);
        let start = seen.start + split * SPLIT;
        let span = start..(start + SPLIT).min(seen.end);
        decode_span(&q[head * group * d..][..group * d], ring, head, span, records);
    });
    for (head, out) in out.chunks_exact_mut(d).enumerate() {
        let (kv_head, member) = (head / group, head % group);
        let records =
            (0..splits).map(|split| &partials[((kv_head * splits + split) * group + member) * record..][..record]);
        let most = records.clone().fold(f32::NEG_INFINITY, |most, record| most.max(record[0]));
        out.fill(0.0);
        let mut sum = 0.0;
        for record in records {
            let weight = vector::exp(record[0] - most);
            sum += weight * record[1];
            vector::add_scaled(out, weight, &record[2..]);
        }
        out.iter_mut().for_each(|x| *x /= sum);
    }
}

/// One group over one span; `q` is `[group, head_dim]`, `records` `[group, 2 + head_dim]`.
fn decode_span<E: Element>(q: &[f32], ring: &Ring<E>, head: usize, span: Range<usize>, records: &mut [f32]) {
    let d = ring.head_dim();
    let scale = scale_of(d);
    let group = q.len() / d;
    for record in records.chunks_exact_mut(d + 2) {
        record.fill(0.0);
        record[0] = f32::NEG_INFINITY;
    }
    with_scratch([BLOCK * d, group * BLOCK], |[wide, scores]| {
        let mut position = span.start;
        while position < span.end {
            let (keys, values) = ring.run(head, position, span.end.min(position + BLOCK));
            let run = keys.len() / d;
            let rows = E::widen(keys, &mut wide[..run * d]);
            for (at, key) in rows.chunks_exact(d).enumerate() {
                for (member, q) in q.chunks_exact(d).enumerate() {
                    scores[member * BLOCK + at] = scale * vector::dot(q, key);
                }
            }
            let rows = E::widen(values, &mut wide[..run * d]);
            for (record, scores) in records.chunks_exact_mut(d + 2).zip(scores.chunks_exact_mut(BLOCK)) {
                if let [most, sum, sums @ ..] = record {
                    soften(&mut scores[..run], most, sum, sums);
                    vector::add_rows(sums, &scores[..run], rows);
                }
            }
            position += run;
        }
    });
}

/// One step of the online softmax: scores become weights; what was summed so far is scaled to the new maximum.
fn soften(scores: &mut [f32], most: &mut f32, sum: &mut f32, sums: &mut [f32]) {
    let highest = vector::max(scores);
    if highest > *most {
        let shrink = vector::exp(*most - highest);
        *most = highest;
        *sum *= shrink;
        sums.iter_mut().for_each(|x| *x *= shrink);
    }
    // Where every score is NaN or -inf there is no maximum yet; NaN passes on, and masked rows weigh nothing.
    let shift = if *most == f32::NEG_INFINITY { 0.0 } else { *most };
    *sum += vector::exp_and_sum(scores, shift);
}

/// Many rows: blocks of queries against blocks of keys, as matrix products.
fn prefill<E: Element>(q: &[f32], ring: &Ring<E>, position: usize, shape: Shape, out: &mut [f32]) {
    let (d, group) = (ring.head_dim(), shape.group());
    let width = shape.heads * d;
    let rows = q.len() / width;
    let tile = (TILE_ROWS / group).max(1);
    let tiles = rows.div_ceil(tile);
    let out = Parts::new(out);
    each(tiles * shape.kv_heads, |items| {
        for item in items {
            let head = item % shape.kv_heads;
            // The last rows see most positions: they go first, so that no thread is left alone with them.
            let first = (tiles - 1 - item / shape.kv_heads) * tile;
            let tokens = first..(first + tile).min(rows);
            prefill_tile(q, ring, position, shape, head, tokens, &out);
        }
    });
}

/// One group of heads for the rows `tokens`.
fn prefill_tile<E: Element>(
    q: &[f32],
    ring: &Ring<E>,
    position: usize,
    shape: Shape,
    head: usize,
    tokens: Range<usize>,
    out: &Parts<'_, f32>,
) {
    let (d, group) = (ring.head_dim(), shape.group());
    let width = shape.heads * d;
    let rows = tokens.len() * group;
    let scale = scale_of(d);
    let seen = shape.seen_from(position + tokens.start).start..position + tokens.end;
    let lengths = [rows * d, TILE_COLUMNS * d, rows * TILE_COLUMNS, rows * d, rows, rows];
    with_scratch(lengths, |[queries, wide, scores, sums, most, sum]| {
        // [tokens * group, head_dim], scaled: row r is head r % group of token r / group.
        for (token, queries) in tokens.clone().zip(queries.chunks_exact_mut(group * d)) {
            let source = &q[token * width + head * group * d..][..group * d];
            queries.iter_mut().zip(source).for_each(|(query, q)| *query = scale * q);
        }
        sums.fill(0.0);
        sum.fill(0.0);
        most.fill(f32::NEG_INFINITY);
        let mut start = seen.start;
        while start < seen.end {
            let (keys, values) = ring.run(head, start, seen.end.min(start + TILE_COLUMNS));
            let run = keys.len() / d;
            let scores = &mut scores[..rows * run];
            let keys = View::new(E::widen(keys, &mut wide[..run * d]), run, d);
            multiply(View::new(queries, rows, d), keys.transposed(), scores, false);
            for row in 0..rows {
                let scores = &mut scores[row * run..][..run];
                let visible = shape.seen_from(position + tokens.start + row / group);
                let before = visible.start.saturating_sub(start).min(run);
                let end = visible.end.saturating_sub(start).min(run);
                scores[..before].fill(f32::NEG_INFINITY);
                scores[end..].fill(f32::NEG_INFINITY);
                if before < end {
                    soften(&mut scores[before..end], &mut most[row], &mut sum[row], &mut sums[row * d..][..d]);
                }
                scores[..before].fill(0.0);
                scores[end..].fill(0.0);
            }
            let values = View::new(E::widen(values, &mut wide[..run * d]), run, d);
            multiply(View::new(scores, rows, run), values, sums, true);
            start += run;
        }
        for (token, (sums, sum)) in tokens.clone().zip(sums.chunks_exact(group * d).zip(sum.chunks_exact(group))) {
            let start = token * width + head * group * d;
            // SAFETY: the heads of one group of one token; no other work item has this group and this token.
            let out = unsafe { out.part(start..start + group * d) };
            for ((out, sums), sum) in out.chunks_exact_mut(d).zip(sums.chunks_exact(d)).zip(sum) {
                out.iter_mut().zip(sums).for_each(|(out, x)| *out = x / sum);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KvType;

    fn noise(length: usize, seed: u32) -> Vec<f32> {
        (0..length).map(|i| ((i as f32 + 1.0) * (0.37 + seed as f32 * 0.11)).sin() * 1.5).collect()
    }

    /// Attention as the formula says, with all scores of a row in memory.
    fn plain(q: &[f32], keys: &[f32], values: &[f32], position: usize, shape: Shape, d: usize) -> Vec<f32> {
        let (width, kv_width) = (shape.heads * d, shape.kv_heads * d);
        let mut out = vec![0.0; q.len()];
        for (row, head) in (0..q.len() / width).flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
            let q = &q[row * width + head * d..][..d];
            let kv = |m: &[f32], p: usize| m[p * kv_width + head / shape.group() * d..][..d].to_vec();
            let seen = shape.seen_from(position + row);
            let scores: Vec<f64> = seen
                .clone()
                .map(|p| {
                    q.iter().zip(kv(keys, p)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>()
                        / (d as f64).sqrt()
                })
                .collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
            for (p, score) in seen.zip(&scores) {
                for (i, value) in kv(values, p).iter().enumerate() {
                    out[row * width + head * d + i] += ((score - most).exp() / sum * f64::from(*value)) as f32;
                }
            }
        }
        out
    }

    fn check(kind: KvType, rows: usize, position: usize, window: Option<usize>, capacity: usize, tolerance: f32) {
        let (shape, d) = (Shape { heads: 6, kv_heads: 2, window }, 16);
        let total = position + rows;
        let (keys, values) = (noise(total * 2 * d, 1), noise(total * 2 * d, 2));
        let q = noise(rows * 6 * d, 3);
        let mut cache = Cache::new(kind, 2, capacity, d);
        for p in 0..total {
            let row = p * 2 * d..(p + 1) * 2 * d;
            cache.write(&keys[row.clone()], &values[row], p);
        }
        let mut out = vec![f32::NAN; q.len()];
        attend(&q, &cache, position, shape, &mut Vec::new(), &mut out);
        let expected = plain(&q, &keys, &values, position, shape, d);
        for (at, (out, expected)) in out.iter().zip(&expected).enumerate() {
            assert!(
                (out - expected).abs() < tolerance,
                "{kind:?}, {rows} rows at {position}, window {window:?}, element {at}: {out}, not {expected}"
            );
        }
    }

    #[test]
    fn one_row_over_short_and_split_contexts() {
        for position in [0, 1, 31, 32, 255, 256, 700] {
            check(KvType::F32, 1, position, None, 701, 1e-5);
        }
        check(KvType::F16, 1, 300, None, 301, 4e-3);
    }

    #[test]
    fn many_rows_from_the_start_and_behind_a_context() {
        for (rows, position) in [(2, 0), (21, 0), (50, 0), (300, 0), (7, 33), (70, 400)] {
            check(KvType::F32, rows, position, None, rows + position, 1e-5);
        }
        check(KvType::F16, 40, 20, None, 60, 4e-3);
    }

    #[test]
    fn windows_across_the_seam_of_the_ring() {
        // The ring holds the window and the batch, as the decoder sizes it.
        for (rows, position, window) in [(1, 100, 16), (1, 5, 16), (20, 0, 16), (20, 57, 16), (9, 90, 40), (3, 3, 1)] {
            check(KvType::F32, rows, position, Some(window), window + rows, 1e-5);
        }
    }
}
