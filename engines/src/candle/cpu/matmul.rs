//! Products of activations with weights, `out = x w^T`: the choice of the kernel by type, and the division of the work.
#![allow(unsafe_code, reason = "threads write columns of one output that do not overlap")]

use std::cell::RefCell;

use candle_core::quantized::GgmlType;

use super::element::Element;
use super::pool::{Parts, each, each_part};
use super::product::{Target, View, multiply_into};
use super::rows::{Plain, Rows};
use super::vector;
use super::weight::{Blocks, Data, Weight};

/// Outputs per work item for one row: the number that candle's dot products compute together.
const QUAD: usize = 4;
/// Rows of activations per work item.
const TILE_ROWS: usize = 128;
/// Outputs per work item for many rows: sixteen rows of 2,048 4-bit weights fill half of a 32 KiB cache.
const TILE_COLUMNS: usize = 16;

/// `out = x w^T`; `x` is `[rows, w.columns]`, `out` becomes `[rows, w.rows]`.
pub(super) fn matmul(x: &mut Rows, weight: &Weight, out: &mut Rows) {
    let out = out.resize(x.count());
    match &weight.data {
        Data::F32(w) => floats(x, weight, w, out),
        Data::F16(w) => floats(x, weight, w, out),
        Data::BF16(w) => floats(x, weight, w, out),
        Data::Q4_0(w) => own::q4_0(x, weight, w, out),
        Data::Q4_1(w) => own::q4_1(x, weight, w, out),
        Data::Q5_0(w) => by_candle(x, weight, w, out),
        Data::Q5_1(w) => by_candle(x, weight, w, out),
        Data::Q8_0(w) => own::q8_0(x, weight, w, out),
        Data::Q2K(w) => by_candle(x, weight, w, out),
        Data::Q3K(w) => by_candle(x, weight, w, out),
        Data::Q4K(w) => by_candle(x, weight, w, out),
        Data::Q5K(w) => by_candle(x, weight, w, out),
        Data::Q6K(w) => by_candle(x, weight, w, out),
    }
}

/// The kernels of this crate, if the build has their instructions.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
mod own {
    use candle_core::quantized::k_quants::{BlockQ4_0, BlockQ4_1, BlockQ8_0};

    use super::super::dots::{Format, Q4_0, Q4_1, Q8_0, dots};
    use super::super::q8::{self, Q8};
    use super::{Blocks, QUAD, Rows, Weight, each_part, tiles};

    pub(super) fn q4_0(x: &mut Rows, weight: &Weight, w: &Blocks<BlockQ4_0>, out: &mut [f32]) {
        // SAFETY: both are an f16 and 16 bytes.
        multiply(x, weight, unsafe { w.cast::<Q4_0>() }, out);
    }

    pub(super) fn q4_1(x: &mut Rows, weight: &Weight, w: &Blocks<BlockQ4_1>, out: &mut [f32]) {
        // SAFETY: both are two f16 and 16 bytes.
        multiply(x, weight, unsafe { w.cast::<Q4_1>() }, out);
    }

    pub(super) fn q8_0(x: &mut Rows, weight: &Weight, w: &Blocks<BlockQ8_0>, out: &mut [f32]) {
        // SAFETY: both are an f16 and 32 bytes.
        multiply(x, weight, unsafe { w.cast::<Q8_0>() }, out);
    }

    fn multiply<F: Format>(x: &mut Rows, weight: &Weight, w: &[F], out: &mut [f32]) {
        let (m, k, n) = (x.count(), weight.columns, weight.rows);
        let per_row = k / q8::BLOCK;
        let x = x.packed::<Q8>(q8::BLOCK, q8::quantise);
        let w = |row: usize| &w[row * per_row..][..per_row];
        let x = |row: usize| &x[row * per_row..][..per_row];
        if m == 1 {
            each_part(out, QUAD, n * k, |quad, out| {
                let first = quad * QUAD;
                if let [a, b, c, d] = out {
                    let four = [w(first), w(first + 1), w(first + 2), w(first + 3)];
                    [[*a], [*b], [*c], [*d]] = dots(four, [x(0)]);
                } else {
                    out.iter_mut().enumerate().for_each(|(at, out)| [[*out]] = dots([w(first + at)], [x(0)]));
                }
            });
            return;
        }
        // Four rows of activations and two of weights: eight independent sums for the processor's pipelines.
        tiles(m, n, out, |rows, columns, store| {
            let mut row = rows.start;
            while row < rows.end {
                let four = row + 4 <= rows.end;
                let mut column = columns.start;
                while column < columns.end {
                    let two = column + 2 <= columns.end;
                    match (four, two) {
                        (true, true) => {
                            let rows = [x(row), x(row + 1), x(row + 2), x(row + 3)];
                            let [a, b] = dots([w(column), w(column + 1)], rows);
                            for m in 0..4 {
                                store(row + m, column, &[a[m], b[m]]);
                            }
                        }
                        (true, false) => {
                            let [a] = dots([w(column)], [x(row), x(row + 1), x(row + 2), x(row + 3)]);
                            a.iter().enumerate().for_each(|(m, a)| store(row + m, column, &[*a]));
                        }
                        (false, true) => {
                            let [[a], [b]] = dots([w(column), w(column + 1)], [x(row)]);
                            store(row, column, &[a, b]);
                        }
                        (false, false) => store(row, column, &dots([w(column)], [x(row)])[0]),
                    }
                    column += if two { 2 } else { 1 };
                }
                row += if four { 4 } else { 1 };
            }
        });
    }
}

/// In other builds candle's kernels compute all quantised types.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
mod own {
    pub(super) use super::{by_candle as q4_0, by_candle as q4_1, by_candle as q8_0};
}

/// candle's kernels: the activations are quantised once, then every output is one integer dot product.
fn by_candle<T: GgmlType<VecDotType: Plain>>(x: &mut Rows, weight: &Weight, w: &Blocks<T>, out: &mut [f32]) {
    let (m, k, n) = (x.count(), weight.columns, weight.rows);
    let per_row = k / T::BLCK_SIZE;
    let x = x.packed(T::VecDotType::BLCK_SIZE, T::VecDotType::from_float);
    let w: &[T] = w;
    let w = |row: usize| &w[row * per_row..][..per_row];
    let quad = |x: &[T::VecDotType], row: usize| {
        <[f32; QUAD]>::from(T::vec_dot_4(k, w(row), w(row + 1), w(row + 2), w(row + 3), x))
    };
    if m == 1 {
        each_part(out, QUAD, n * k, |index, out| {
            if out.len() == QUAD {
                out.copy_from_slice(&quad(x, index * QUAD));
            } else {
                out.iter_mut().enumerate().for_each(|(at, out)| *out = T::vec_dot(k, w(index * QUAD + at), x));
            }
        });
        return;
    }
    tiles(m, n, out, |rows, columns, store| {
        for row in rows {
            let x = &x[row * per_row..][..per_row];
            let mut column = columns.start;
            while column < columns.end {
                if column + QUAD <= columns.end {
                    store(row, column, &quad(x, column));
                    column += QUAD;
                } else {
                    store(row, column, &[T::vec_dot(k, w(column), x)]);
                    column += 1;
                }
            }
        }
    });
}

/// Divides `[m, n]` outputs into tiles, one work item each. `work(rows, columns, store)` computes a tile and stores its outputs with
/// `store(row, column, outputs)`.
fn tiles(
    m: usize,
    n: usize,
    out: &mut [f32],
    work: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>, &dyn Fn(usize, usize, &[f32])) + Sync,
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

fn with_wide(length: usize, work: impl FnOnce(&mut [f32])) {
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
