//! Products of activations with weights, `out = x w^T`: quantised weights by candle's dot products, float weights in f32.
#![allow(unsafe_code, reason = "threads write columns of one output that do not overlap")]

use std::cell::RefCell;

use candle_core::quantized::GgmlType;

use super::element::Element;
use super::pool::{Parts, each, each_part};
use super::product::{Target, View, multiply_into};
use super::rows::Rows;
use super::vector;
use super::weight::{Data, Weight};

/// Rows of activations per work item: one column block of weights stays in the first-level cache while they pass.
const TILE_ROWS: usize = 128;
/// Outputs per work item.
const TILE_COLUMNS: usize = 16;
/// Outputs that one call of a dot product makes.
const QUAD: usize = 4;

/// `out = x w^T`; `x` is `[rows, w.columns]`, `out` becomes `[rows, w.rows]`.
pub(super) fn matmul(x: &mut Rows, weight: &Weight, out: &mut Rows) {
    let out = out.resize(x.count());
    match &weight.data {
        Data::F32(w) => floats(x, weight, w, out),
        Data::F16(w) => floats(x, weight, w, out),
        Data::BF16(w) => floats(x, weight, w, out),
        Data::Q4_0(w) => quantised(x, weight, w, out),
        Data::Q4_1(w) => quantised(x, weight, w, out),
        Data::Q5_0(w) => quantised(x, weight, w, out),
        Data::Q5_1(w) => quantised(x, weight, w, out),
        Data::Q8_0(w) => quantised(x, weight, w, out),
        Data::Q2K(w) => quantised(x, weight, w, out),
        Data::Q3K(w) => quantised(x, weight, w, out),
        Data::Q4K(w) => quantised(x, weight, w, out),
        Data::Q5K(w) => quantised(x, weight, w, out),
        Data::Q6K(w) => quantised(x, weight, w, out),
    }
}

/// Quantised weights: the activations are quantised once, then every output is one dot product of integers.
fn quantised<T: GgmlType>(x: &mut Rows, weight: &Weight, w: &[T], out: &mut [f32]) {
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let per_row = k / T::BLCK_SIZE;
    let x = x.packed::<T::VecDotType>();
    let w = |row: usize| &w[row * per_row..][..per_row];
    let dots = |x: &[T::VecDotType], row: usize, out: &mut [f32]| {
        if let [a, b, c, d] = out {
            (*a, *b, *c, *d) = T::vec_dot_4(k, w(row), w(row + 1), w(row + 2), w(row + 3), x);
        } else {
            out.iter_mut().enumerate().for_each(|(at, out)| *out = T::vec_dot(k, w(row + at), x));
        }
    };
    if m == 1 {
        each_part(out, QUAD, n * k, |quad, out| dots(x, quad * QUAD, out));
        return;
    }
    let column_tiles = n.div_ceil(TILE_COLUMNS);
    let out = Parts::new(out);
    each(m.div_ceil(TILE_ROWS) * column_tiles, |items| {
        for item in items {
            let rows = item / column_tiles * TILE_ROWS;
            let first = item % column_tiles * TILE_COLUMNS;
            let end = n.min(first + TILE_COLUMNS);
            for row in rows..m.min(rows + TILE_ROWS) {
                // SAFETY: each work item has rows and columns of its own.
                let out = unsafe { out.part(row * n + first..row * n + end) };
                let x = &x[row * per_row..][..per_row];
                for (quad, out) in out.chunks_mut(QUAD).enumerate() {
                    dots(x, first + quad * QUAD, out);
                }
            }
        }
    });
}

thread_local! {
    /// Weights of one work item in f32.
    static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_wide(length: usize, work: impl FnOnce(&mut [f32])) {
    WIDE.with_borrow_mut(|wide| {
        if wide.len() < length {
            wide.resize(length, 0.0);
        }
        work(&mut wide[..length]);
    });
}

/// Float weights: a panel of them is converted to f32 and used while it is in the cache, so no second copy exists.
fn floats<E: Element>(x: &Rows, weight: &Weight, w: &[E], out: &mut [f32]) {
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let x = x.read();
    if m == 1 {
        // 1024 elements of f32 are an eighth of the first-level cache: the dot product reads what was just converted.
        const SPAN: usize = 1024;
        each_part(out, QUAD, n * k, |quad, out| {
            with_wide(SPAN, |wide| {
                for (at, out) in out.iter_mut().enumerate() {
                    let row = &w[(quad * QUAD + at) * k..][..k];
                    let spans = row.chunks(SPAN).zip(x.chunks(SPAN));
                    *out = spans.map(|(w, x)| vector::dot(E::widen(w, &mut wide[..w.len()]), x)).sum();
                }
            });
        });
        return;
    }
    /// Elements of a panel: 1 MiB of f32, the second-level cache of the processors of these years.
    const PANEL: usize = 256 * 1024;
    let columns = (PANEL / k).clamp(16, 128);
    let out = Parts::new(out);
    each(n.div_ceil(columns), |panels| {
        for panel in panels {
            let first = panel * columns;
            let count = columns.min(n - first);
            with_wide(count * k, |wide| {
                let w = View::new(E::widen(&w[first * k..][..count * k], wide), count, k);
                let target = Target { parts: &out, column: first, stride: n };
                // SAFETY: each panel has columns of its own.
                unsafe { multiply_into(View::new(x, m, k), w.transposed(), &target, false) };
            });
        }
    });
}
