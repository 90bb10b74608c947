//! Products of quantised weights with many rows of activations: sixteen rows of weights are unpacked into a panel, which stays in the
//! cache while all rows of activations are multiplied with it.
//!
//! The products of a group are summed exactly in integers; the sums are scaled and added in f32, one group after the other. Each
//! output is a sum in this order, independent of tiles and threads, and of the number of rows of activations.

use std::cell::Cell;

use super::formats::{Blocking, Format, Grouping};
use super::simd::{LANES, Lanes, PART, Quad, Simd, Width};
use super::tiles::{Tile, Tiles};

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

/// Calls `store(row, outputs)` with the products of at most sixteen rows of weights, `per_row` blocks each, with each row of activations.
pub(super) fn products<S: Simd, F: Format>(w: &[F], per_row: usize, tiles: &[Tile], store: impl Fn(usize, &[f32])) {
    let mut panel = PANEL.take();
    panel.fill::<S, F>(w, per_row);
    let mut outputs = [[0.0; LANES]; Tiles::HIGHEST];
    for tile in tiles {
        panel.multiply::<S>(F::GROUPING, tile, &mut outputs);
        for (row, outputs) in tile.rows.clone().zip(&outputs) {
            store(row, &outputs[..w.len() / per_row]);
        }
    }
    PANEL.set(panel);
}

impl Panel {
    /// Unpacks at most sixteen rows of weights.
    fn fill<S: Simd, F: Format>(&mut self, w: &[F], per_row: usize) {
        let blocks = per_row;
        let groups = F::ELEMENTS / F::GROUP;
        self.quants.resize(blocks * F::ELEMENTS / 4, Quad::default());
        self.scales.resize(blocks * groups, Line::default());
        self.minimums.resize(if F::HAS_MINIMUM { blocks * groups } else { 0 }, Line::default());
        // Rows that are missing repeat the first one; their products are not stored.
        let mut rows: [&[F]; LANES] = [&w[..per_row]; LANES];
        for (row, w) in rows.iter_mut().zip(w.chunks_exact(per_row)) {
            *row = w;
        }
        S::call(&|panel: &mut Self| panel.unpack::<S, F>(&rows), self);
    }

    #[inline(always)]
    fn unpack<S: Simd, F: Format>(&mut self, rows: &[&[F]; LANES]) {
        let (parts, groups) = (F::ELEMENTS / PART, F::ELEMENTS / F::GROUP);
        let mut bytes = [[0; PART]; LANES];
        let (mut scales, mut minimums) = ([0.0; 16], [0.0; 16]);
        for block in 0..rows[0].len() {
            for part in 0..parts {
                for (bytes, row) in bytes.iter_mut().zip(rows) {
                    S::store_bytes(row[block].quants::<S>(part), bytes);
                }
                let first = (block * parts + part) * (PART / 4);
                self.quants[first..first + PART / 4].copy_from_slice(&S::quads(&bytes));
            }
            for (at, row) in rows.iter().enumerate() {
                row[block].scales_and_minimums(&mut scales[..groups], &mut minimums[..groups]);
                for group in 0..groups {
                    self.scales[block * groups + group].0[at] = scales[group];
                    if F::HAS_MINIMUM {
                        self.minimums[block * groups + group].0[at] = minimums[group];
                    }
                }
            }
        }
    }

    /// The products with a tile of rows of activations.
    fn multiply<S: Simd>(&self, grouping: Grouping, tile: &Tile, out: &mut [[f32; LANES]; Tiles::HIGHEST]) {
        if S::MANY_REGISTERS {
            self.multiply_tile::<S, 8>(grouping, tile, out);
        } else {
            self.multiply_tile::<S, 4>(grouping, tile, out);
        }
    }

    /// The same for tiles of `M` rows.
    fn multiply_tile<S: Simd, const M: usize>(&self, grouping: Grouping, tile: &Tile, out: &mut [[f32; LANES]]) {
        let Grouping { blocking, size, has_minimum, width, .. } = grouping;
        match (blocking, size, has_minimum) {
            (Blocking::Small, _, false) => S::call(&|out| store(self.small::<S, M, false>(tile, width), out), out),
            (Blocking::Small, _, true) => S::call(&|out| store(self.small::<S, M, true>(tile, width), out), out),
            (Blocking::Super, 16, false) => {
                S::call(&|out| store(self.superblocks::<S, M, 16, false>(tile, width), out), out);
            }
            (Blocking::Super, 16, true) => {
                S::call(&|out| store(self.superblocks::<S, M, 16, true>(tile, width), out), out);
            }
            (Blocking::Super, _, false) => {
                S::call(&|out| store(self.superblocks::<S, M, 32, false>(tile, width), out), out);
            }
            (Blocking::Super, _, true) => {
                S::call(&|out| store(self.superblocks::<S, M, 32, true>(tile, width), out), out);
            }
        }
    }

    #[inline(always)]
    fn small<S: Simd, const M: usize, const MINIMUM: bool>(&self, tile: &Tile, width: Width) -> [S::Lanes; M] {
        let mut sums = [S::Lanes::zero(); M];
        let groups = self.quants.as_chunks::<{ PART / 4 }>().0.iter().zip(&self.scales);
        let words = tile.words.as_chunks::<M>().0.as_chunks::<{ PART / 4 }>().0;
        let (offsets, scales) = (tile.offsets.as_chunks::<M>().0, tile.scales.as_chunks::<M>().0);
        let weights = tile.weights.as_chunks::<M>().0;
        for (group, ((quants, scales_of_w), words)) in groups.zip(words).enumerate() {
            let ints = S::products(quants, words, &offsets[group], width);
            let scales_of_w = S::Lanes::load(&scales_of_w.0);
            for m in 0..M {
                let scale = scales_of_w.times(S::Lanes::splat(scales[group][m]));
                sums[m] = sums[m].plus(S::to_lanes(ints[m]), scale);
            }
            if MINIMUM {
                let minimums = S::Lanes::load(&self.minimums[group].0);
                for m in 0..M {
                    sums[m] = sums[m].plus(minimums, S::Lanes::splat(weights[group][m]));
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn superblocks<S: Simd, const M: usize, const GROUP: usize, const MINIMUM: bool>(
        &self,
        tile: &Tile,
        width: Width,
    ) -> [S::Lanes; M] {
        let (per_block, steps) = (SUPERBLOCK / GROUP, GROUP / 4);
        let words = tile.words.as_chunks::<M>().0;
        let (offsets, weights) = (tile.offsets.as_chunks::<M>().0, tile.weights.as_chunks::<M>().0);
        let mut sums = [S::Lanes::zero(); M];
        for (block, scales) in tile.scales.as_chunks::<M>().0.iter().enumerate() {
            let mut inner = [S::Lanes::zero(); M];
            for group in block * per_block..(block + 1) * per_block {
                let span = group * steps..(group + 1) * steps;
                let ints = S::products(&self.quants[span.clone()], &words[span], &offsets[group], width);
                let scales_of_w = S::Lanes::load(&self.scales[group].0);
                for m in 0..M {
                    inner[m] = inner[m].plus(S::to_lanes(ints[m]), scales_of_w);
                }
                if MINIMUM {
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

/// Stores the outputs of each row of activations.
#[inline(always)]
fn store<L: Lanes, const M: usize>(sums: [L; M], out: &mut [[f32; LANES]]) {
    for (sums, out) in sums.into_iter().zip(out) {
        sums.store(out);
    }
}
