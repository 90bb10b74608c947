//! Products of quantised weights with many rows of activations: sixteen rows of weights are unpacked into a panel, which stays in the
//! cache while all rows of activations are multiplied with it.
//!
//! The products of a group are summed exactly in integers; the sums are scaled and added in f32, one group after the other. Each
//! output is a sum in this order, independent of tiles and threads, and of the number of rows of activations.
use std::cell::Cell;
use std::ops::Range;

use super::formats::{Blocking, Format};
use super::simd::{LANES, Lanes, PART, Quad, Simd};
use super::tiles::Tile;

/// Activations of a block in [`Blocking::Super`].
const SUPERBLOCK: usize = 256;

/// One number for each of sixteen rows, in one cache line.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// Sixteen rows of weights.
#[derive(Default)]
pub(super) struct Panel {
    /// `[columns / 4]`
    quants: Vec<Quad>,
    /// `[columns / group]`
    scales: Vec<Line>,
    /// `[columns / group]`, empty without minimums.
    minimums: Vec<Line>,
}

thread_local! {
    /// The panel of each thread. It is taken out while it is used.
    static PANEL: Cell<Panel> = Cell::default();
}

/// Where the products of a panel go: `store(row, outputs)` gets the outputs of one row of activations.
pub(super) trait Store: Fn(usize, &[f32]) {}
impl<T: Fn(usize, &[f32])> Store for T {}

/// The products of the rows `columns` of weights, at most sixteen, with rows of activations.
#[inline(always)]
pub(super) fn products<'a, S: Simd, F: Format>(
    w: impl Fn(usize) -> &'a [F],
    columns: Range<usize>,
    tiles: &[Tile],
    store: impl Store,
) {
    let mut panel = PANEL.take();
    S::call(&|panel: &mut Panel| panel.unpack::<S, F>(columns.clone().map(&w)), &mut panel);
    for tile in tiles {
        let work = |panel: &Panel| {
            if S::MANY_REGISTERS {
                panel.multiply::<S, F, 8>(tile, columns.len(), &store);
            } else {
                panel.multiply::<S, F, 4>(tile, columns.len(), &store);
            }
        };
        S::call(&work, &panel);
    }
    PANEL.set(panel);
}

impl Panel {
    /// Unpacks at most sixteen rows of weights of the same length.
    #[inline(always)]
    fn unpack<'a, S: Simd, F: Format>(&mut self, rows: impl Iterator<Item = &'a [F]>) {
        // Rows that are missing repeat the first one; their products are not stored.
        let mut all: [&[F]; LANES] = [&[]; LANES];
        let mut used = 0;
        for (at, row) in rows.enumerate().take(LANES) {
            all[at] = row;
            used = at + 1;
        }
        for at in used..LANES {
            all[at] = all[0];
        }
        let blocks = all[0].len();
        let (parts, groups) = (F::ELEMENTS / PART, F::ELEMENTS / F::GROUP);
        self.quants.resize(blocks * F::ELEMENTS / 4, Quad::default());
        self.scales.resize(blocks * groups, Line::default());
        self.minimums.resize(if F::HAS_MINIMUM { blocks * groups } else { 0 }, Line::default());
        let mut rows = [[0; PART]; LANES];
        let (mut scales, mut minimums) = ([0.0; 16], [0.0; 16]);
        for block in 0..blocks {
            for part in 0..parts {
                for (row, w) in rows.iter_mut().zip(&all) {
                    S::store_bytes(w[block].quants::<S>(part), row);
                }
                let first = (block * parts + part) * (PART / 4);
                self.quants[first..first + PART / 4].copy_from_slice(&S::quads(&rows));
            }
            for (at, w) in all.iter().enumerate() {
                w[block].scales_and_minimums(&mut scales[..groups], &mut minimums[..groups]);
                for group in 0..groups {
                    self.scales[block * groups + group].0[at] = scales[group];
                    if F::HAS_MINIMUM {
                        self.minimums[block * groups + group].0[at] = minimums[group];
                    }
                }
            }
        }
    }

    /// The products with a tile of `M` rows of activations.
    #[inline(always)]
    fn multiply<S: Simd, F: Format, const M: usize>(&self, tile: &Tile, used: usize, store: &impl Store) {
        let sums = match F::BLOCKING {
            Blocking::Small => self.small::<S, F, M>(tile),
            Blocking::Super => self.superblocks::<S, F, M>(tile),
        };
        for (row, sums) in tile.rows.clone().zip(sums) {
            let mut outputs = [0.0; LANES];
            sums.store(&mut outputs);
            store(row, &outputs[..used]);
        }
    }

    #[inline(always)]
    fn small<S: Simd, F: Format, const M: usize>(&self, tile: &Tile) -> [S::Lanes; M] {
        let mut sums = [S::Lanes::zero(); M];
        let groups = self.quants.as_chunks::<{ PART / 4 }>().0.iter().zip(&self.scales);
        let words = tile.words.as_chunks::<M>().0.as_chunks::<{ PART / 4 }>().0;
        let (offsets, scales) = (tile.offsets.as_chunks::<M>().0, tile.scales.as_chunks::<M>().0);
        let weights = tile.weights.as_chunks::<M>().0;
        for (group, ((quants, scales_of_w), words)) in groups.zip(words).enumerate() {
            let ints = S::products(quants, words, &offsets[group], F::WIDTH);
            let scales_of_w = S::Lanes::load(&scales_of_w.0);
            for m in 0..M {
                let scale = scales_of_w.times(S::Lanes::splat(scales[group][m]));
                sums[m] = sums[m].plus(S::to_lanes(ints[m]), scale);
            }
            if F::HAS_MINIMUM {
                let minimums = S::Lanes::load(&self.minimums[group].0);
                for m in 0..M {
                    sums[m] = sums[m].plus(minimums, S::Lanes::splat(weights[group][m]));
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn superblocks<S: Simd, F: Format, const M: usize>(&self, tile: &Tile) -> [S::Lanes; M] {
        let (per_block, steps) = (SUPERBLOCK / F::GROUP, F::GROUP / 4);
        let words = tile.words.as_chunks::<M>().0;
        let (offsets, weights) = (tile.offsets.as_chunks::<M>().0, tile.weights.as_chunks::<M>().0);
        let mut sums = [S::Lanes::zero(); M];
        for (block, scales) in tile.scales.as_chunks::<M>().0.iter().enumerate() {
            let mut inner = [S::Lanes::zero(); M];
            for group in block * per_block..(block + 1) * per_block {
                let span = group * steps..(group + 1) * steps;
                let ints = S::products(&self.quants[span.clone()], &words[span], &offsets[group], F::WIDTH);
                let scales_of_w = S::Lanes::load(&self.scales[group].0);
                for m in 0..M {
                    inner[m] = inner[m].plus(S::to_lanes(ints[m]), scales_of_w);
                }
                if F::HAS_MINIMUM {
                    let minimums = S::Lanes::load(&self.minimums[group].0);
                    for m in 0..M {
                        inner[m] = inner[m].plus(minimums, S::Lanes::splat(weights[group][m]));
                    }
                }
            }
            for m in 0..M {
                sums[m] = sums[m].plus(inner[m], S::Lanes::splat(scales[m]));
            }
        }
        sums
    }
}
