//! Products of quantised weights with few rows of activations: each weight is used once, and comes from the mapped file.
//!
//! In each block the products are summed exactly in integers; the sums are scaled and added in f32, in eight lanes, in one order on all
//! processors.

use super::activation_row::Row;
use super::formats::{
    Format, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, Small, Superblock,
};
use super::simd::Simd;

/// Rows of weights that are multiplied together: two independent sums.
const TOGETHER: usize = 2;

/// A type of weights with products of rows.
pub(super) trait RowProducts: Format {
    /// The products of `R` rows of weights with a row of activations.
    fn row_products<S: Simd, const R: usize>(w: [&[Self]; R], x: Row<'_>) -> [f32; R];
}

/// The products of `out.len()` rows of weights, `per_row` blocks each, with one row of activations.
///
/// Rows that are multiplied together are far from each other: the processor's prefetchers follow streams in different pages, and lose
/// those that alternate within a page.
pub(super) fn one_row<S: Simd, F: RowProducts>(w: &[F], per_row: usize, x: Row<'_>, out: &mut [f32]) {
    let stride = out.len() / TOGETHER;
    let work = |out: &mut [f32]| {
        let (first, second) = out.split_at_mut(stride);
        let (of_first, of_second) = w.split_at(stride * per_row);
        let rows = of_first.chunks_exact(per_row).zip(of_second.chunks_exact(per_row));
        for ((first, second), (of_first, of_second)) in first.iter_mut().zip(second).zip(rows) {
            [*first, *second] = F::row_products::<S, TOGETHER>([of_first, of_second], x);
        }
    };
    S::call(&work, &mut *out);
    if !out.len().is_multiple_of(TOGETHER) {
        let last = out.len() - 1;
        [out[last]] = S::call(&|w| F::row_products::<S, 1>([w], x), &w[last * per_row..][..per_row]);
    }
}

macro_rules! row_products {
    ($products:ident: $($format:ident),*) => {
        $(impl RowProducts for $format {
            #[inline(always)]
            fn row_products<S: Simd, const R: usize>(w: [&[Self]; R], x: Row<'_>) -> [f32; R] {
                $products::<S, Self, R>(w, x)
            }
        })*
    };
}

row_products!(small: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Iq4Nl, Iq4Xs, Mxfp4);
row_products!(superblocks: Q2K, Q3K, Q4K, Q5K, Q6K);

#[inline(always)]
fn small<S: Simd, F: Small, const R: usize>(w: [&[F]; R], x: Row<'_>) -> [f32; R] {
    let blocks = w.iter().map(|row| row.len()).min().unwrap_or(0).min(x.parts.len() / F::PARTS);
    let mut sums = [S::zero_sums(); R];
    let mut offsets = [S::factors(&[0.0; 2]); R];
    for block in 0..blocks {
        for part in 0..F::PARTS {
            let at = block * F::PARTS + part;
            let of_x = if F::WITH_EIGHT { &x.with_eight[at] } else { &x.with_minimum[at] };
            let (of_x, quants) = (S::factors(of_x), S::activations(&x.parts[at]));
            for r in 0..R {
                let w = &w[r][block];
                let factors = w.factors::<S>(part);
                sums[r] = S::add_scaled(sums[r], w.products::<S>(part, quants), factors, of_x);
                if F::HAS_OFFSET {
                    offsets[r] = S::add_factors(offsets[r], factors, of_x);
                }
            }
        }
    }
    std::array::from_fn(|r| if F::HAS_OFFSET { S::sum(sums[r]) + S::second(offsets[r]) } else { S::sum(sums[r]) })
}

#[inline(always)]
fn superblocks<S: Simd, F: Superblock, const R: usize>(w: [&[F]; R], x: Row<'_>) -> [f32; R] {
    const PARTS: usize = 8;
    let blocks = w.iter().map(|row| row.len()).min().unwrap_or(0).min(x.scales.len());
    let mut sums = [S::zero_sums(); R];
    let mut minimums = [S::zero_sums(); R];
    for block in 0..blocks {
        let parts = &x.parts[block * PARTS..][..PARTS];
        let of_x = x.scales[block];
        for r in 0..R {
            let w = &w[r][block];
            let Scales { scales, offsets } = w.scales();
            let mut ints = S::zero_ints();
            for (part, x) in parts.iter().enumerate() {
                let scales = [scales[2 * part], scales[2 * part + 1]];
                ints = S::add_scaled_products(ints, w.quants::<S>(part), S::activations(x), scales);
            }
            let [d, dmin] = w.factors();
            let offsets = S::products_of_16(&offsets, &x.sums[block]);
            if F::HAS_MINIMUM {
                minimums[r] = S::add_scaled(minimums[r], offsets, S::factors(&[dmin, 0.0]), S::factors(&[of_x, 0.0]));
            } else {
                ints = S::subtract(ints, offsets);
            }
            sums[r] = S::add_scaled(sums[r], ints, S::factors(&[d, 0.0]), S::factors(&[of_x, 0.0]));
        }
    }
    std::array::from_fn(|r| if F::HAS_MINIMUM { S::sum(sums[r]) - S::sum(minimums[r]) } else { S::sum(sums[r]) })
}
