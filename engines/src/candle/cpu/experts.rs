//! Products of pairs of a token and an expert with the weights of the experts, and the weighted sums of their outputs.
//!
//! All pairs of an expert are computed together, so that its weights are read once per pass. A work item is a tile of the outputs of
//! one expert. No result depends on the assignment of items to threads.
#![allow(unsafe_code, reason = "threads write columns of one output that do not overlap")]

use std::ops::Range;

use super::Cpu;
use super::element::Element;
use super::elementwise;
use super::formats::Format;
use super::matmul::{MANY_ROWS, with_wide};
use super::panel;
use super::pool::{Parts, each, each_part};
use super::product::{Target, View, multiply_into};
use super::row_products::{RowProducts, one_row};
use super::rows::Rows;
use super::simd::{LANES, Simd};
use super::vector;
use super::weight::{Blocks, Data, Stored, by_kind};
use crate::EngineError;
use crate::candle::failed;
use crate::candle::kernels::{Linear, PairInput};
use crate::candle::routing::{Group, Routing};

/// `out[p] = x[input of p] weight[expert of p]^T (+ bias)` for each pair `p`; `x` has a row for each token or for each pair.
pub(super) fn products<S: Simd>(
    x: &mut Rows,
    input: PairInput,
    experts: &[Linear<Cpu>],
    routing: &Routing,
    out: &mut Rows,
) -> Result<(), EngineError> {
    let Some(Linear { weight, .. }) = experts.first() else { return Err(different("a layer without experts")) };
    let products = Products { experts, routing, input, inputs: weight.columns, outputs: weight.rows };
    let out = out.resize(routing.tokens().len());
    by_kind!(&weight.data, w, floats => products.floats::<S, _>(&products.all_like(w)?, x, out), quantised => {
        products.quantised::<S, _>(&products.all_like(w)?, x, out);
    });
    for Group { expert, pairs } in routing.groups() {
        if let Some(bias) = &experts[*expert].bias {
            elementwise::add_bias::<S>(&mut out[pairs.start * products.outputs..pairs.end * products.outputs], bias);
        }
    }
    Ok(())
}

/// `out[t] = sum over the ranks of token t of weight x[pair]`, the best rank first.
pub(super) fn sum<S: Simd>(x: &[f32], routing: &Routing, width: usize, out: &mut [f32]) {
    let used = routing.used();
    each_part::<S, _>(out, width, x.len() * 2, |token, out| {
        out.fill(0.0);
        let ranks = token * used..(token + 1) * used;
        for (pair, weight) in routing.pairs()[ranks.clone()].iter().zip(&routing.weights()[ranks]) {
            let x = &x[*pair as usize * width..][..width];
            for (out, x) in out.iter_mut().zip(x) {
                *out += weight * x;
            }
        }
    });
}

fn different(found: &str) -> EngineError {
    failed("experts", format!("expected weights of one type and shape, found {found}"))
}

/// The products of one pass with one projection of all experts.
struct Products<'a> {
    experts: &'a [Linear<Cpu>],
    routing: &'a Routing,
    input: PairInput,
    /// Columns of each weight.
    inputs: usize,
    /// Rows of each weight.
    outputs: usize,
}

impl<'a> Products<'a> {
    /// The elements of all experts, which have the type of the first one.
    fn all_like<T: Stored>(&self, _first: &Blocks<T>) -> Result<Vec<&'a Blocks<T>>, EngineError> {
        let shape = (self.outputs, self.inputs);
        let one = |expert: &'a Linear<Cpu>| {
            T::of(&expert.weight.data).filter(|_| expert.weight.shape() == shape).ok_or_else(|| different("several"))
        };
        self.experts.iter().map(one).collect()
    }

    /// The row of `x` that a pair reads.
    fn row(&self, pair: usize) -> usize {
        match self.input {
            PairInput::Tokens => self.routing.tokens()[pair] as usize,
            PairInput::Pairs => pair,
        }
    }

    fn quantised<S: Simd, F: RowProducts + Stored>(&self, experts: &[&Blocks<F>], x: &mut Rows, out: &mut [f32]) {
        let (k, per_row) = (self.inputs, self.inputs / <F as Format>::ELEMENTS);
        let x = x.quantised::<S>(F::BLOCKING);
        if self.routing.groups().iter().any(|group| group.pairs.len() >= MANY_ROWS) {
            let groups = self.routing.groups().iter().map(|group| group.pairs.clone());
            x.in_tiles::<S>(k, F::GROUPING, groups, |pair| self.row(pair));
        }
        let x = &*x;
        self.tiles::<S>(out, |group, columns, out| {
            let Group { expert, pairs } = &self.routing.groups()[group];
            let w = &experts[*expert][columns.start * per_row..columns.end * per_row];
            if pairs.len() < MANY_ROWS {
                for pair in pairs.clone() {
                    let out = out.of_pair(pair, columns.clone());
                    one_row::<S, F>(w, per_row, x.row(self.row(pair), k), out);
                }
                return;
            }
            let store = |pair: usize, outputs: &[f32]| out.store(pair, columns.start, outputs);
            panel::products::<S, F>(w, per_row, x.tiles().of_group(group), store);
        });
    }

    /// Float weights are converted to f32 tile by tile. Few pairs take dot products; for many their activations are copied together.
    fn floats<S: Simd, E: Element>(&self, experts: &[&Blocks<E>], x: &Rows, out: &mut [f32]) {
        /// From so many pairs on a matrix product is faster than the dot products.
        const MANY: usize = 4;
        /// Pairs that are multiplied together.
        const TOGETHER: usize = 64;
        let (k, n, x) = (self.inputs, self.outputs, x.read());
        self.tiles::<S>(out, |group, columns, out| {
            let Group { expert, pairs } = &self.routing.groups()[group];
            let w: &[E] = experts[*expert];
            let panel = &w[columns.start * k..columns.end * k];
            let row = |pair: usize| &x[self.row(pair) * k..][..k];
            if pairs.len() < MANY {
                with_wide(k, |wide| {
                    for (column, w) in columns.zip(panel.chunks_exact(k)) {
                        let w = E::widen::<S>(w, wide);
                        pairs.clone().for_each(|pair| out.store(pair, column, &[vector::dot::<S>(w, row(pair))]));
                    }
                });
                return;
            }
            with_wide((columns.len() + TOGETHER) * k, |wide| {
                let (wide, gathered) = wide.split_at_mut(columns.len() * k);
                let w = View::new(E::widen::<S>(panel, wide), columns.len(), k);
                for start in pairs.clone().step_by(TOGETHER) {
                    let some = start..pairs.end.min(start + TOGETHER);
                    for (gathered, pair) in gathered.chunks_exact_mut(k).zip(some.clone()) {
                        gathered.copy_from_slice(row(pair));
                    }
                    let x = View::new(gathered, some.len(), k);
                    let target = Target { parts: out.parts, column: start * n + columns.start, stride: n };
                    // SAFETY: the pairs and columns are those of this item, which no other item has.
                    unsafe { multiply_into(x, w.transposed(), &target) };
                }
            });
        });
    }

    /// Divides the outputs `[pairs, outputs]` into tiles: all pairs of one expert, some columns. `work` gets the index of the group of
    /// the expert.
    fn tiles<S: Simd>(&self, out: &mut [f32], work: impl Fn(usize, Range<usize>, &Tile<'_>) + Sync) {
        /// Outputs per work item where every expert has one pair: long streams of weights, and still several items for each thread.
        const ONE_PAIR_COLUMNS: usize = 128;
        let (n, groups) = (self.outputs, self.routing.groups());
        let columns = if groups.iter().all(|group| group.pairs.len() == 1) { ONE_PAIR_COLUMNS } else { LANES };
        let per_group = n.div_ceil(columns);
        let parts = Parts::new(out);
        each::<S>(groups.len() * per_group, |items| {
            for item in items {
                let (group, first) = (item / per_group, item % per_group * columns);
                let columns = first..n.min(first + columns);
                let tile =
                    Tile { parts: &parts, stride: n, pairs: groups[group].pairs.clone(), columns: columns.clone() };
                work(group, columns, &tile);
            }
        });
    }
}

/// The outputs that one work item writes.
struct Tile<'a> {
    parts: &'a Parts<'a, f32>,
    stride: usize,
    pairs: Range<usize>,
    columns: Range<usize>,
}

impl Tile<'_> {
    /// Writes outputs of a pair from a column on.
    fn store(&self, pair: usize, column: usize, outputs: &[f32]) {
        self.of_pair(pair, column..column + outputs.len()).copy_from_slice(outputs);
    }

    /// The outputs of a pair in some columns. A work item has one such borrow at a time.
    #[allow(clippy::mut_from_ref, reason = "the outputs are not borrowed from the tile")]
    fn of_pair(&self, pair: usize, columns: Range<usize>) -> &mut [f32] {
        let inside = self.columns.contains(&columns.start) && columns.end <= self.columns.end;
        assert!(self.pairs.contains(&pair) && inside, "outputs of another work item");
        let start = pair * self.stride;
        // SAFETY: the span is inside this item's pairs and columns, which no other item has.
        unsafe { self.parts.part(start + columns.start..start + columns.end) }
    }
}
