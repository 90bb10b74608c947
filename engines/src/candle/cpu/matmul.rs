//! Products of activations with weights, `out = x w^T`: the choice of the kernel by type, and the division of the work.
#![allow(unsafe_code, reason = "threads write columns of one output that do not overlap")]

use std::cell::RefCell;
use std::ops::Range;

use super::element::Element;
use super::pool::{Parts, each, each_part, each_range};
use super::product::{Target, View, multiply_into};
use super::quantised::Quantised;
use super::rows::Rows;
use super::vector;
use super::weight::{Data, Weight, by_kind};

/// Rows of activations per work item.
const TILE_ROWS: usize = 128;
/// Outputs per work item for one row.
const PART: usize = 4;
/// Outputs per work item for many rows: sixteen rows of 2,048 4-bit weights fill half of a 32 KiB cache.
pub(super) const TILE_COLUMNS: usize = 16;

/// `out = x w^T`; `x` is `[rows, w.columns]`, `out` becomes `[rows, w.rows]`.
pub(super) fn matmul(x: &mut Rows, weight: &Weight, out: &mut Rows) {
    let out = out.resize(x.count());
    by_kind!(&weight.data, w, floats => floats(x, weight, w, out), quantised => quantised(x, weight, w, out));
}

/// The activations are quantised once, then every output is a sum of integer products of blocks.
fn quantised<T: Quantised>(x: &mut Rows, weight: &Weight, w: &[T], out: &mut [f32]) {
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let (per_row, packed_row) = (k / T::BLOCK, k / T::ACTIVATION_BLOCK);
    let x = x.packed(T::ACTIVATION_BLOCK, T::pack);
    let w = |row: usize| &w[row * per_row..][..per_row];
    if m == 1 {
        each_range(out, n * k, |rows, out| T::one_row(&|row| w(rows.start + row), x, out));
        return;
    }
    let x = |row: usize| &x[row * packed_row..][..packed_row];
    tiles(m, n, out, |rows, columns, store| T::tile(&w, &x, rows, columns, store));
}

/// Divides `[m, n]` outputs into tiles, one work item each. `work(rows, columns, store)` computes a tile and stores its outputs with
/// `store(row, column, outputs)`.
fn tiles(
    m: usize,
    n: usize,
    out: &mut [f32],
    work: impl Fn(Range<usize>, Range<usize>, &dyn Fn(usize, usize, &[f32])) + Sync,
) {
    let column_tiles = n.div_ceil(TILE_COLUMNS);
    let out = Parts::new(out);
    each(m.div_ceil(TILE_ROWS) * column_tiles, |items| {
        for item in items {
            let first_row = item / column_tiles * TILE_ROWS;
            let first_column = item % column_tiles * TILE_COLUMNS;
            let rows = first_row..m.min(first_row + TILE_ROWS);
            let columns = first_column..n.min(first_column + TILE_COLUMNS);
            let store = |row: usize, column: usize, outputs: &[f32]| {
                assert!(rows.contains(&row) && columns.contains(&column) && column + outputs.len() <= columns.end);
                // SAFETY: the span is inside this item's rows and columns, which no other item has.
                let out = unsafe { out.part(row * n + column..row * n + column + outputs.len()) };
                out.copy_from_slice(outputs);
            };
            work(rows.clone(), columns.clone(), &store);
        }
    });
}

thread_local! {
    /// Weights of one work item in f32.
    static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a buffer of this thread.
pub(super) fn with_wide(length: usize, work: impl FnOnce(&mut [f32])) {
    WIDE.with_borrow_mut(|wide| {
        if wide.len() < length {
            wide.resize(length, 0.0);
        }
        work(&mut wide[..length]);
    });
}

/// Float weights: a panel is converted to f32 and used while it is in the cache, so that no second copy of the weights exists.
fn floats<E: Element>(x: &Rows, weight: &Weight, w: &[E], out: &mut [f32]) {
    /// Elements that are converted together for one row: 1,024 f32 fill an eighth of the first-level cache.
    const SPAN: usize = 1024;
    /// Elements of a panel: 1 MiB of f32, the size of a second-level cache.
    const PANEL: usize = 256 * 1024;
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let x = x.read();
    if m == 1 {
        each_part(out, PART, n * k, |part, out| {
            with_wide(SPAN, |wide| {
                for (at, out) in out.iter_mut().enumerate() {
                    let row = &w[(part * PART + at) * k..][..k];
                    let spans = row.chunks(SPAN).zip(x.chunks(SPAN));
                    *out = spans.map(|(w, x)| vector::dot(E::widen(w, &mut wide[..w.len()]), x)).sum();
                }
            });
        });
        return;
    }
    let columns = (PANEL / k).clamp(16, 128);
    let out = Parts::new(out);
    each(n.div_ceil(columns), |panels| {
        for panel in panels {
            let first = panel * columns;
            let count = columns.min(n - first);
            with_wide(count * k, |wide| {
                let w = View::new(E::widen(&w[first * k..][..count * k], wide), count, k);
                let target = Target { parts: &out, column: first, stride: n };
                // SAFETY: the columns of different panels do not overlap.
                unsafe { multiply_into(View::new(x, m, k), w.transposed(), &target) };
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::cpu::weight::tests::quantised;
    use models::DType;

    fn noise(length: usize, seed: f32) -> Vec<f32> {
        (0..length).map(|i| ((i as f32 + 1.0) * 0.618 + seed).sin() * (1.0 + (i as f32 * 0.01).cos())).collect()
    }

    /// Every type, also with odd numbers of rows and columns, against sums in f64 over the dequantised weights.
    #[test]
    fn products_equal_those_of_the_dequantised_weights() {
        let k = 512;
        for dtype in DType::ALL.into_iter().filter(|dtype| !matches!(dtype, DType::Q8_1 | DType::Q8_K)) {
            for (m, n) in [(1, 8), (1, 5), (2, 33), (7, 16), (131, 18)] {
                let weight = quantised(dtype, n, k, &noise(n * k, 0.5));
                let numbers = noise(m * k, 2.0);
                let (mut x, mut out) = (Rows::new(m, k), Rows::new(m, n));
                x.resize(m).copy_from_slice(&numbers);
                matmul(&mut x, &weight, &mut out);
                let mut wide = vec![0.0; k];
                for column in 0..n {
                    weight.row(column, &mut wide);
                    for row in 0..m {
                        let terms = wide.iter().zip(&numbers[row * k..]).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                        let error = (f64::from(out.read()[row * n + column]) - exact).abs() / size;
                        let bound = if dtype.is_quantised() { 2e-3 } else { 3e-6 };
                        assert!(error < bound, "{dtype}, {m} x {k} x {n}, output {row}, {column}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_nan_in_the_activations_reaches_the_output() {
        let weight = quantised(DType::Q4_1, 4, 256, &noise(1024, 0.0));
        let (mut x, mut out) = (Rows::new(1, 256), Rows::new(1, 4));
        x.resize(1)[17] = f32::NAN;
        matmul(&mut x, &weight, &mut out);
        assert!(out.read().iter().all(|x| x.is_nan()));
    }
}
