//! Products of activations with weights, `out = x w^T`: the choice of the kernel by type, and the division of the work.
#![allow(unsafe_code, reason = "threads write columns of one output that do not overlap")]

use std::cell::Cell;

use super::element::Element;
use super::panel;
use super::pool::{Parts, each, each_part, each_range, threads};
use super::product::{Target, View, multiply_into};
use super::row_products::{RowProducts, one_row};
use super::rows::Rows;
use super::simd::{LANES, Simd};
use super::vector;
use super::weight::{Data, Weight, by_kind};

/// Outputs per work item for one row.
const PART: usize = 4;
/// Work items per thread that are enough, if there are fewer panels.
const ITEMS_PER_THREAD: usize = 4;

/// From so many rows of activations on, weights are unpacked into panels.
pub(super) const MANY_ROWS: usize = 4;

/// `out = x w^T`; `x` is `[rows, w.columns]`, `out` becomes `[rows, w.rows]`.
pub(super) fn matmul<S: Simd>(x: &mut Rows, weight: &Weight, out: &mut Rows) {
    let out = out.resize(x.count());
    by_kind!(&weight.data, w, floats => floats::<S, _>(x, weight, w, out), quantised => {
        quantised::<S, _>(x, weight, w, out);
    });
}

/// The activations are quantised once, then every output is a sum of integer products of groups.
fn quantised<S: Simd, F: RowProducts>(x: &mut Rows, weight: &Weight, w: &[F], out: &mut [f32]) {
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let per_row = k / F::ELEMENTS;
    let x = x.quantised::<S>(F::BLOCKING);
    if m < MANY_ROWS {
        for (row, out) in out.chunks_exact_mut(n).enumerate() {
            let x = x.row(row, k);
            each_range::<S, _>(out, n * k, |rows, out| {
                one_row::<S, F>(&w[rows.start * per_row..rows.end * per_row], per_row, x, out);
            });
        }
        return;
    }
    let tiles = x.all_in_tiles::<S>(k, F::GROUPING).of_group(0);
    let panels = n.div_ceil(LANES);
    let parts = (threads() * ITEMS_PER_THREAD).div_ceil(panels).min(tiles.len());
    let per_part = tiles.len().div_ceil(parts);
    let out = Parts::new(out);
    each::<S>(parts * panels, |items| {
        for item in items {
            let first = item % panels * LANES;
            let w = &w[first * per_row..n.min(first + LANES) * per_row];
            let store = |row: usize, outputs: &[f32]| {
                // SAFETY: the rows of this part of the tiles, and the columns of this panel; no other item has both.
                let out = unsafe { out.part(row * n + first..row * n + first + outputs.len()) };
                out.copy_from_slice(outputs);
            };
            let start = (item / panels * per_part).min(tiles.len());
            let tiles = &tiles[start..tiles.len().min(start + per_part)];
            panel::products::<S, F>(w, per_row, tiles, store);
        }
    });
}

thread_local! {
    /// Weights of one work item in f32. They are taken out while they are used.
    static WIDE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with a buffer of this thread.
#[inline(always)]
pub(super) fn with_wide(length: usize, work: impl FnOnce(&mut [f32])) {
    let mut wide = WIDE.take();
    if wide.len() < length {
        wide.resize(length, 0.0);
    }
    work(&mut wide[..length]);
    WIDE.set(wide);
}

/// Float weights: a panel is converted to f32 and used while it is in the cache, so that no second copy of the weights exists.
fn floats<S: Simd, E: Element>(x: &Rows, weight: &Weight, w: &[E], out: &mut [f32]) {
    /// Elements that are converted together for one row: 1,024 f32 fill an eighth of the first-level cache.
    const SPAN: usize = 1024;
    /// Elements of a panel: 1 MiB of f32, the size of a second-level cache.
    const PANEL: usize = 256 * 1024;
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let x = x.read();
    if m == 1 {
        each_part::<S, _>(out, PART, n * k, |part, out| {
            with_wide(SPAN, |wide| {
                for (at, out) in out.iter_mut().enumerate() {
                    let row = &w[(part * PART + at) * k..][..k];
                    let spans = row.chunks(SPAN).zip(x.chunks(SPAN));
                    *out = spans.map(|(w, x)| vector::dot::<S>(E::widen::<S>(w, &mut wide[..w.len()]), x)).sum();
                }
            });
        });
        return;
    }
    let columns = (PANEL / k).clamp(16, 128);
    let out = Parts::new(out);
    each::<S>(n.div_ceil(columns), |panels| {
        for panel in panels {
            let first = panel * columns;
            let count = columns.min(n - first);
            with_wide(count * k, |wide| {
                let w = View::new(E::widen::<S>(&w[first * k..][..count * k], wide), count, k);
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
    use crate::candle::cpu::simd::{Level, with_simd};
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
            let shapes = [(1, 8), (1, 5), (2, 33), (7, 16), (131, 18)];
            for (level, (m, n)) in Level::available().flat_map(|level| shapes.map(|shape| (level, shape))) {
                let weight = quantised(dtype, n, k, &noise(n * k, 0.5));
                let numbers = noise(m * k, 2.0);
                let (mut x, mut out) = (Rows::new(m, k), Rows::new(m, n));
                x.resize(m).copy_from_slice(&numbers);
                with_simd!(level, S => matmul::<S>(&mut x, &weight, &mut out));
                let mut wide = vec![0.0; k];
                for column in 0..n {
                    weight.row(column, &mut wide);
                    for row in 0..m {
                        let terms = wide.iter().zip(&numbers[row * k..]).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                        let error = (f64::from(out.read()[row * n + column]) - exact).abs() / size;
                        let bound = if dtype.is_quantised() { 2e-3 } else { 3e-6 };
                        let level = level.name();
                        assert!(error < bound, "{level}, {dtype}, {m} x {k} x {n}, output {row}, {column}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_nan_in_the_activations_reaches_the_output() {
        for (dtype, rows) in [(DType::Q4_1, 1), (DType::Q4_1, 5), (DType::Q8_0, 5), (DType::Q4_K, 1), (DType::Q6_K, 5)]
        {
            let weight = quantised(dtype, 4, 256, &noise(1024, 0.0));
            let (mut x, mut out) = (Rows::new(rows, 256), Rows::new(rows, 4));
            x.resize(rows)[17] = f32::NAN;
            with_simd!(Level::detect(), S => matmul::<S>(&mut x, &weight, &mut out));
            assert!(out.read()[..4].iter().all(|x| x.is_nan()), "{dtype}, {rows} rows");
            assert!(out.read()[4..].iter().all(|x| x.is_finite()), "{dtype}, {rows} rows");
        }
    }
}
