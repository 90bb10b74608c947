//! Quantised weights: for each type of blocks the activations that it is multiplied with, and its dot products.
#![allow(unsafe_code, reason = "blocks are read as another type with the same layout")]

use std::ops::Range;

use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0,
};

use super::q8::{self, Q8};
use super::rows::Plain;
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
use super::table_blocks::{self, TableBlock};
use super::table_blocks::{Iq4Nl, Iq4Xs, Mxfp4};

/// Rows of weights that one row of activations is multiplied with together, where the weights are in the cache.
const QUAD: usize = 4;

/// A type of blocks of weights.
pub(super) trait Quantised: Send + Sync + Sized + 'static {
    /// Blocks of activations.
    type Activations: Plain;
    /// Elements of a block of weights.
    const BLOCK: usize;
    /// Elements of a block of activations.
    const ACTIVATION_BLOCK: usize;

    /// Quantises a row of activations.
    fn pack(x: &[f32], out: &mut [Self::Activations]);

    /// The product of one row of weights with one of activations.
    fn one(w: &[Self], x: &[Self::Activations]) -> f32;

    /// The products of four rows of weights with one of activations.
    fn four(w: &[&[Self]; QUAD], x: &[Self::Activations]) -> [f32; QUAD];

    /// The products of `out.len()` rows of weights with one row of activations.
    ///
    /// Each weight is used once and comes from memory. Rows that are multiplied together are therefore far from each other: the
    /// processor's prefetchers follow streams in different pages, and lose those that alternate within a page.
    #[inline(always)]
    fn one_row<'a>(w: &impl Fn(usize) -> &'a [Self], x: &[Self::Activations], out: &mut [f32]) {
        apart(out, |rows: [usize; 1]| rows.map(|row| Self::one(w(row), x)));
    }

    /// The products of the rows `columns` of weights with the rows `rows` of activations: `store(row, column, outputs)` gets them.
    #[inline(always)]
    fn tile<'a>(
        w: &impl Fn(usize) -> &'a [Self],
        x: &impl Fn(usize) -> &'a [Self::Activations],
        rows: Range<usize>,
        columns: Range<usize>,
        store: &dyn Fn(usize, usize, &[f32]),
    ) {
        for row in rows {
            let x = x(row);
            let mut column = columns.start;
            while column + QUAD <= columns.end {
                store(row, column, &Self::four(&[w(column), w(column + 1), w(column + 2), w(column + 3)], x));
                column += QUAD;
            }
            (column..columns.end).for_each(|column| store(row, column, &[Self::one(w(column), x)]));
        }
    }
}

/// Fills `out`: `products` computes the outputs of `N` rows, which are as far from each other as possible.
#[inline(always)]
fn apart<const N: usize>(out: &mut [f32], products: impl Fn([usize; N]) -> [f32; N]) {
    let stride = out.len() / N;
    for first in 0..stride {
        let rows: [usize; N] = std::array::from_fn(|i| first + i * stride);
        for (row, product) in rows.into_iter().zip(products(rows)) {
            out[row] = product;
        }
    }
    for (row, out) in out.iter_mut().enumerate().skip(N * stride) {
        *out = products([row; N])[0];
    }
}

/// Types that candle's kernels multiply.
macro_rules! by_candle {
    ($($block:ident),* $(,)?) => {
        $(impl Quantised for $block {
            type Activations = <$block as GgmlType>::VecDotType;
            const BLOCK: usize = <$block as GgmlType>::BLCK_SIZE;
            const ACTIVATION_BLOCK: usize = Self::BLOCK;

            fn pack(x: &[f32], out: &mut [Self::Activations]) {
                Self::Activations::from_float(x, out);
            }

            fn one(w: &[Self], x: &[Self::Activations]) -> f32 {
                Self::vec_dot(w.len() * Self::BLOCK, w, x)
            }

            fn four(w: &[&[Self]; QUAD], x: &[Self::Activations]) -> [f32; QUAD] {
                Self::vec_dot_4(w[0].len() * Self::BLOCK, w[0], w[1], w[2], w[3], x).into()
            }
        })*
    };
}

by_candle!(BlockQ5_0, BlockQ5_1, BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K);

// In builds without the instructions of this crate's kernels, candle's compute these types too.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
by_candle!(BlockQ4_0, BlockQ4_1, BlockQ8_0);

// In builds without the instructions of this crate's kernels, blocks with tables are multiplied one number at a time.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
macro_rules! by_table {
    ($($block:ident),* $(,)?) => {
        $(impl Quantised for $block {
            type Activations = Q8;
            const BLOCK: usize = q8::BLOCK * <$block as TableBlock>::PARTS;
            const ACTIVATION_BLOCK: usize = q8::BLOCK;

            fn pack(x: &[f32], out: &mut [Q8]) {
                q8::quantise(x, out);
            }

            fn one(w: &[Self], x: &[Q8]) -> f32 {
                table_blocks::dot(w, x)
            }

            fn four(w: &[&[Self]; QUAD], x: &[Q8]) -> [f32; QUAD] {
                w.map(|w| table_blocks::dot(w, x))
            }
        })*
    };
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma")))]
by_table!(Iq4Nl, Iq4Xs, Mxfp4);

#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
mod own {
    use super::super::dots::{Format, Q4_0, Q4_1, Q8_0, dots};
    use super::{BlockQ4_0, BlockQ4_1, BlockQ8_0, Iq4Nl, Iq4Xs, Mxfp4, Q8, QUAD, Quantised, Range, apart, q8};

    /// Rows of weights that are multiplied together with one row of activations: two independent sums.
    const TOGETHER: usize = 2;

    /// Types that the kernels of this crate multiply.
    macro_rules! own {
        ($($block:ident as $format:ident),* $(,)?) => {
            $(impl Quantised for $block {
                type Activations = Q8;
                const BLOCK: usize = q8::BLOCK * <$format as Format>::PARTS;
                const ACTIVATION_BLOCK: usize = q8::BLOCK;

                fn pack(x: &[f32], out: &mut [Q8]) {
                    q8::quantise(x, out);
                }

                fn one(w: &[Self], x: &[Q8]) -> f32 {
                    let [[out]] = dots([as_format::<Self, $format>(w)], [x]);
                    out
                }

                fn four(w: &[&[Self]; QUAD], x: &[Q8]) -> [f32; QUAD] {
                    dots(w.map(as_format::<Self, $format>), [x]).map(|[out]| out)
                }

                #[inline(always)]
                fn one_row<'a>(w: &impl Fn(usize) -> &'a [Self], x: &[Q8], out: &mut [f32]) {
                    apart::<TOGETHER>(out, |rows| dots(rows.map(|row| as_format::<Self, $format>(w(row))), [x]).map(|[out]| out));
                }

                #[inline(always)]
                fn tile<'a>(
                    w: &impl Fn(usize) -> &'a [Self],
                    x: &impl Fn(usize) -> &'a [Q8],
                    rows: Range<usize>,
                    columns: Range<usize>,
                    store: &dyn Fn(usize, usize, &[f32]),
                ) {
                    tile(&|row| as_format::<Self, $format>(w(row)), x, rows, columns, store);
                }
            })*
        };
    }

    own!(BlockQ4_0 as Q4_0, BlockQ4_1 as Q4_1, BlockQ8_0 as Q8_0, Iq4Nl as Iq4Nl, Iq4Xs as Iq4Xs, Mxfp4 as Mxfp4,);

    /// Blocks of a type as the kernels read them: the same numbers in the same places.
    #[inline(always)]
    fn as_format<T, F: Format>(blocks: &[T]) -> &[F] {
        const { assert!(size_of::<T>() == size_of::<F>() && align_of::<F>() <= align_of::<T>()) };
        // SAFETY: the same number of blocks of the same size at the same address. Both are f16 and bytes in the order of the file,
        // without invalid bit patterns.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) }
    }

    /// Four rows of activations and two of weights at a time: eight independent sums for the processor's pipelines. The rows of
    /// activations that are left take four of weights, which are in the cache by then.
    #[inline(always)]
    fn tile<'a, F: Format + 'a>(
        w: &impl Fn(usize) -> &'a [F],
        x: &impl Fn(usize) -> &'a [Q8],
        rows: Range<usize>,
        columns: Range<usize>,
        store: &dyn Fn(usize, usize, &[f32]),
    ) {
        let mut row = rows.start;
        while row < rows.end {
            let (mut column, together) = (columns.start, if row + 4 <= rows.end { 4 } else { 1 });
            while column < columns.end {
                let left = columns.end - column;
                column += match (together, left) {
                    (4, 2..) => {
                        let rows = [x(row), x(row + 1), x(row + 2), x(row + 3)];
                        let [a, b] = dots([w(column), w(column + 1)], rows);
                        (0..4).for_each(|at| store(row + at, column, &[a[at], b[at]]));
                        2
                    }
                    (4, _) => {
                        let [a] = dots([w(column)], [x(row), x(row + 1), x(row + 2), x(row + 3)]);
                        a.iter().enumerate().for_each(|(at, a)| store(row + at, column, &[*a]));
                        1
                    }
                    (_, QUAD..) => {
                        let four = [w(column), w(column + 1), w(column + 2), w(column + 3)];
                        store(row, column, &dots(four, [x(row)]).map(|[out]| out));
                        QUAD
                    }
                    _ => {
                        store(row, column, &dots([w(column)], [x(row)])[0]);
                        1
                    }
                };
            }
            row += together;
        }
    }
}
