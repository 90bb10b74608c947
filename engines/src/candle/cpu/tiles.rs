//! Activations in tiles of a few rows, in the order in which panels of weights are multiplied with them.

use std::ops::Range;

use super::activation_row::Row;
use super::formats::{Blocking, Grouping};
use super::pool::each_part;
use super::simd::{PART, Simd};

/// Tiles of `M` rows. Rows that are missing in the last tile of a group are zeros.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    tiles: Vec<Tile>,
    /// The tiles of each group.
    groups: Vec<Range<usize>>,
}

/// The activations of `M` rows.
#[derive(Debug, Default)]
pub(super) struct Tile {
    /// The rows of the groups.
    pub(super) rows: Range<usize>,
    /// Four activations of each row, `[width / 4, M]`.
    pub(super) words: Vec<[i8; 4]>,
    /// `-zero` times the sum of the activations, `[width / group, M]`.
    pub(super) offsets: Vec<i32>,
    /// Scales, `[width / 32, M]` or `[width / 256, M]`.
    pub(super) scales: Vec<f32>,
    /// What minimums are multiplied with, `[width / group, M]`: scale times sum, in [`Blocking::Super`] the sum. Empty without minimums.
    pub(super) weights: Vec<f32>,
}

impl Tiles {
    /// The most rows of a tile.
    pub(super) const HIGHEST: usize = 8;

    /// The rows of a tile.
    pub(super) const fn height<S: Simd>() -> usize {
        if S::MANY_REGISTERS { Self::HIGHEST } else { 4 }
    }

    /// The tiles of a group.
    pub(super) fn of_group(&self, group: usize) -> &[Tile] {
        &self.tiles[self.groups[group].clone()]
    }

    /// Fills tiles with groups of rows.
    pub(super) fn fill<'a, S: Simd>(
        &mut self,
        width: usize,
        grouping: Grouping,
        groups: impl Iterator<Item = Range<usize>>,
        row: impl Fn(usize) -> Row<'a> + Sync,
    ) {
        self.groups.clear();
        let mut count = 0;
        for rows in groups {
            let first = count;
            for start in rows.clone().step_by(Self::height::<S>()) {
                if count == self.tiles.len() {
                    self.tiles.push(Tile::default());
                }
                self.tiles[count].rows = start..rows.end.min(start + Self::height::<S>());
                count += 1;
            }
            self.groups.push(first..count);
        }
        let tiles = &mut self.tiles[..count];
        each_part::<S, _>(tiles, 1, count * Self::height::<S>() * width, |_, tiles| {
            for tile in tiles {
                tile.fill(width, grouping, Self::height::<S>(), &row);
            }
        });
    }
}

impl Tile {
    /// Fills a tile of `height` rows.
    fn fill<'a>(&mut self, width: usize, grouping: Grouping, height: usize, row: &impl Fn(usize) -> Row<'a>) {
        let Grouping { blocking, size, zero, has_minimum, .. } = grouping;
        let groups = width / size;
        self.words.clear();
        self.words.resize(width / 4 * height, [0; 4]);
        self.offsets.clear();
        self.offsets.resize(groups * height, 0);
        self.scales.clear();
        self.weights.clear();
        self.weights.resize(if has_minimum { groups * height } else { 0 }, 0.0);
        self.scales.resize(
            match blocking {
                Blocking::Small => width / PART,
                Blocking::Super => width / 256,
            } * height,
            0.0,
        );
        for (m, x) in self.rows.clone().map(row).enumerate() {
            for (word, words) in x.parts.iter().flat_map(|part| &part.0).zip(self.words.chunks_exact_mut(height)) {
                words[m] = *word;
            }
            match blocking {
                Blocking::Small => {
                    for (group, [scale, weighted]) in x.with_minimum.iter().enumerate() {
                        self.scales[group * height + m] = *scale;
                        if has_minimum {
                            self.weights[group * height + m] = *weighted;
                        }
                    }
                    if zero != 0 {
                        for (group, part) in x.parts.iter().enumerate() {
                            let sum: i32 = part.0.as_flattened().iter().map(|q| i32::from(*q)).sum();
                            self.offsets[group * height + m] = -zero * sum;
                        }
                    }
                }
                Blocking::Super => {
                    for (block, (scale, sums)) in x.scales.iter().zip(x.sums).enumerate() {
                        self.scales[block * height + m] = *scale;
                        for (at, sums) in sums.chunks_exact(size / 16).enumerate() {
                            let sum: i32 = sums.iter().map(|sum| i32::from(*sum)).sum();
                            let at = (block * (256 / size) + at) * height + m;
                            self.offsets[at] = -zero * sum;
                            if has_minimum {
                                #[allow(clippy::cast_precision_loss, reason = "the sum of 32 bytes is exact")]
                                {
                                    self.weights[at] = sum as f32;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
