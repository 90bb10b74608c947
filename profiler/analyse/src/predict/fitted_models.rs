//! Models fitted to the runs of an engine: costs of ops, overheads of a token, memory, loading.
//!
//! Times of other runs and other thread counts are first converted to the ceilings of the estimate: multiplied by the ratio
//! of the ceilings that decide them.

use std::collections::{BTreeMap, BTreeSet};

use engine_api::KvTypes;
use models::DType;
use models::cost::OpKind;

use super::call::{Call, Class, Key, Regime};
use super::ceiling_basis::CeilingBasis;
use super::extrapolation::{MeasuredSizes, PositionRange};
use super::fit::{Fit, Point, fit};
use super::observe::{
    CaseObservations, Footprint, ForwardPass, Observation, RunObservations, TokenOverhead, memory_share,
};
use super::rates::Rates;
use record::Reason;
use statistics::median;

/// Relative error of using the fit of another type of weights or of the cache: kernels differ by more than their bits.
const TRANSFERRED: f64 = 0.25;
/// Relative error of using a fit to other parts of the layer.
const OTHER_PART: f64 = 0.15;
/// Relative error of attention over more or fewer positions than any run covered.
const OTHER_CONTEXT: f64 = 0.5;
/// Beyond the measured range by this factor, something was never measured.
const NEAR: f64 = 1.5;
/// Relative error that other batch sizes than those measured add.
const OTHER_BATCH: f64 = 0.15;
/// Relative error that another thread count than those measured adds.
const OTHER_THREADS: f64 = 0.15;

/// The fitted cost of the ops of one class.
#[derive(Debug, Clone)]
struct FittedCost {
    fit: Fit,
    /// Measured / fitted, per kind of op.
    kinds: BTreeMap<OpKind, f64>,
    /// Rows per call that were measured.
    tokens: (f64, f64),
    /// Positions that attention saw.
    context: PositionRange,
}

/// What an op's time is estimated to be.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    /// Seconds.
    pub(super) seconds: f64,
    /// The fitted cost that was used, whose error all its calls share, and that relative error.
    pub(super) cost: (Key, f64),
    /// The share of it that memory's bandwidth decides.
    pub(super) memory: f64,
    /// The measured positions, where attention sees positions outside of them.
    pub(super) beyond: Option<PositionRange>,
}

impl Timed {
    /// Of an op that the engine does not have: its work is part of another one.
    const fn none(call: &Call) -> Self {
        Self { seconds: 0.0, cost: (call.key, 0.0), memory: 0.0, beyond: None }
    }
}

/// The models of an engine.
#[derive(Debug, Clone, Default)]
pub(super) struct FittedModels {
    costs: BTreeMap<Key, FittedCost>,
    gaps: BTreeMap<ForwardPass, f64>,
    spreads: BTreeMap<ForwardPass, f64>,
    /// The parts of an output token that are no forward pass.
    pub(super) token: Option<TokenOverhead>,
    /// Peak memory besides file, cache, activations, logits and copies of weights, from the size of the vocabulary and of the file.
    pub(super) overhead: Option<Fit>,
    /// Seconds to load from the page cache, from the same.
    pub(super) load: Option<Fit>,
    /// The smallest and the largest file that `load` is fitted to.
    pub(super) loaded: (f64, f64),
    /// The measured sizes of models.
    pub(super) far: MeasuredSizes,
    rates: Rates,
    /// Whether the engine computes the rows of an expert one after the other.
    experts_by_row: bool,
    /// The measured thread counts, where the requested one is not among them.
    pub(super) other_threads: Option<BTreeSet<usize>>,
    basis: CeilingBasis,
}

impl FittedModels {
    /// Fits the models to observations, for `threads` threads under `basis`: to the cases with that thread count, or else to all.
    /// `experts_by_row`: see [`engine_api::WeightUse`].
    pub(super) fn fit(seen: &[RunObservations], threads: usize, basis: CeilingBasis, experts_by_row: bool) -> Self {
        let all = || seen.iter().flat_map(|seen| &seen.cases);
        let same = all().any(|case| case.threads == threads);
        let cases: Vec<_> = all().filter(|case| !same || case.threads == threads).collect();
        let mut points: BTreeMap<Key, Vec<TrainingPoint<'_>>> = BTreeMap::new();
        let mut gaps: BTreeMap<ForwardPass, Vec<f64>> = BTreeMap::new();
        let mut spreads: BTreeMap<ForwardPass, Vec<f64>> = BTreeMap::new();
        let mut rates = Rates::default();
        for case in &cases {
            for Observation { call, seconds, share, memory } in &case.ops {
                let value = seconds * basis.factor_from(&case.basis, *memory);
                rates.add(call, value, *share);
                let point = Point { group: None, features: call.features.clone(), value, weight: *share };
                points.entry(call.key).or_default().push(TrainingPoint { call, point });
            }
            for (pass, gap) in &case.gaps {
                gaps.entry(*pass).or_default().push(gap * basis.factor_from(&case.basis, 0.0));
            }
            for (pass, spread) in &case.spreads {
                spreads.entry(*pass).or_default().push(*spread);
            }
        }
        let middle = |lists: BTreeMap<ForwardPass, Vec<f64>>| {
            lists.into_iter().filter_map(|(pass, values)| Some((pass, median(&values)?))).collect()
        };
        let tokens: Vec<&TokenOverhead> = seen.iter().flat_map(|seen| &seen.tokens).collect();
        let of = |part: fn(&TokenOverhead) -> f64| median(&tokens.iter().map(|token| part(token)).collect::<Vec<_>>());
        Self {
            costs: points.into_iter().filter_map(|(key, points)| Some((key, FittedCost::of(&points)?))).collect(),
            gaps: middle(gaps),
            spreads: middle(spreads),
            token: of(|token| token.sample_per_entry)
                .zip(of(|token| token.rest))
                .map(|(sample_per_entry, rest)| TokenOverhead { sample_per_entry, rest }),
            overhead: fit_footprint(seen, |footprint| footprint.overhead, overhead_features),
            load: fit_footprint(seen, |footprint| footprint.warm_load, load_features),
            loaded: range(
                seen.iter()
                    .flat_map(|seen| &seen.footprints)
                    .filter(|footprint| footprint.warm_load.is_some())
                    .map(|footprint| footprint.file_bytes),
            ),
            far: MeasuredSizes::of(
                cases.iter().map(|case: &&CaseObservations| (case.model.as_str(), case.bytes_per_token)),
            ),
            rates,
            experts_by_row,
            other_threads: (!same).then(|| all().map(|case| case.threads).collect()),
            basis,
        }
    }

    /// Seconds between two ops of a phase.
    pub(super) fn gap(&self, pass: ForwardPass) -> Option<f64> {
        self.gaps.get(&pass).copied()
    }

    /// Relative spread of a phase from request to request, one standard deviation.
    pub(super) fn spread(&self, pass: ForwardPass) -> f64 {
        self.spreads.get(&pass).copied().unwrap_or(0.0)
    }

    /// The time of a call. `notes` receives the substitutes for costs that were not measured.
    ///
    /// # Errors
    /// The op that was never measured.
    pub(super) fn time(&self, call: &Call, notes: &mut BTreeSet<String>) -> Result<Timed, Reason> {
        if let Some(timed) = self.by_rows(call, notes)? {
            return Ok(timed);
        }
        let (key, cost, seconds, mut error) = match self.costs.get(&call.key) {
            Some(cost) => (call.key, cost, self.own(cost, call), cost.fit.error),
            None => match call.key.class {
                Class::Product(own) | Class::Experts(own) => {
                    let (key, other, cost) = self.nearest(own, call.key.regime).ok_or_else(|| missing(call))?;
                    let seconds = self.stored_otherwise(call, (own, other), cost, notes);
                    (key, cost, seconds, cost.fit.error.hypot(TRANSFERRED))
                }
                Class::Attention(own) | Class::KvWrite(own) => match self.nearest_cache(call, own) {
                    Some((key, other, cost)) => {
                        let seconds = self.cached_otherwise(call, (own, other), cost, notes);
                        (key, cost, seconds, cost.fit.error.hypot(TRANSFERRED))
                    }
                    None if matches!(call.key.class, Class::Attention(_)) => return Err(missing(call)),
                    None => return Ok(Timed::none(call)),
                },
                Class::Small(_) => return Ok(Timed::none(call)),
            },
        };
        if call.tokens < cost.tokens.0 / NEAR || call.tokens > cost.tokens.1 * NEAR {
            notes.insert(format!(
                "passes of {:.0} tokens were never measured, only of {:.0} to {:.0} tokens",
                call.tokens, cost.tokens.0, cost.tokens.1
            ));
            error = error.hypot(OTHER_BATCH);
        }
        if let Class::Product(dtype) = key.class
            && !cost.kinds.contains_key(&call.kind)
        {
            let known: Vec<&str> = cost.kinds.keys().map(|kind| kind.name()).collect();
            let rows = key.regime.rows();
            notes.insert(format!("products on {rows} in {} were measured for {} only", dtype.name(), known.join(", ")));
            error = error.hypot(OTHER_PART);
        }
        let outside = matches!(call.key.class, Class::Attention(_)) && cost.context.is_outside(call.positions, NEAR);
        if outside {
            error = error.hypot(OTHER_CONTEXT);
        }
        if self.other_threads.is_some() {
            error = error.hypot(OTHER_THREADS);
        }
        let memory = memory_share(call.streamed, self.basis.memory, seconds);
        Ok(Timed { seconds, cost: (key, error), memory, beyond: outside.then_some(cost.context) })
    }

    /// The time of products whose matrices get fewer rows of activations than any that was measured: those with experts, and short
    /// prompts. `None` for anything else, and where products of one row were never measured.
    ///
    /// ```text
    /// n t(r)                                               n matrices of r rows each
    /// t(r) = t(1) + (r - 1) (t(T) - t(1)) / (T - 1)        1 < r < T, with T the fewest rows that were measured
    /// n r t(1)                                             an engine that computes the rows of an expert one after the other
    /// ```
    ///
    /// Unit: seconds. Never below `bytes / bandwidth`. What is read and unpacked once for all rows is in `t(1)`, the arithmetic of a row in
    /// the slope. Rows that are computed alone find the weights in the cache after the first one, so that the last line is an upper limit.
    fn by_rows(&self, call: &Call, notes: &mut BTreeSet<String>) -> Result<Option<Timed>, Reason> {
        let is_experts = matches!(call.key.class, Class::Experts(_));
        let measured = self.costs.contains_key(&call.key);
        if call.key.regime != Regime::Many || (is_experts && measured) {
            return Ok(None);
        }
        let Some((matrices, product, rows)) = call.matrices() else { return Ok(None) };
        let Some(fewest) = self.fewest_rows(product.of_rows(2.0).key) else { return Ok(None) };
        let few = rows < if is_experts { fewest } else { fewest / NEAR };
        if !(is_experts || few) || !self.has_one_row() {
            return Ok(None);
        }
        let kind = call.kind.name();
        let (seconds, cost) = if is_experts && self.experts_by_row {
            notes.insert(format!(
                "{kind} on many tokens was never measured: this engine computes the rows of an expert one after the other, each at most as long as a product of one token"
            ));
            let timed = self.time(&product.one_by_one(matrices * rows), notes)?;
            (timed.seconds, timed.cost)
        } else if few {
            let what = if is_experts { "experts with" } else { "matrices with" };
            notes.insert(format!(
                "products of {what} {rows:.0} rows were never measured: their time is between those of one row and of {fewest:.0} rows"
            ));
            let (one, many) = (self.time(&product.of_rows(1.0), notes)?, self.time(&product.of_rows(fewest), notes)?);
            let slope = (many.seconds - one.seconds).max(0.0) / (fewest - 1.0);
            let error = one.cost.1.max(many.cost.1);
            (matrices * (rows - 1.0).max(0.0).mul_add(slope, one.seconds), (many.cost.0, error))
        } else {
            let timed = self.time(&product.of_rows(rows), notes)?;
            (matrices * timed.seconds, timed.cost)
        };
        let seconds = seconds.max(call.streamed / self.basis.memory);
        let memory = memory_share(call.streamed, self.basis.memory, seconds);
        Ok(Some(Timed { seconds, cost: (cost.0, cost.1.hypot(OTHER_BATCH)), memory, beyond: None }))
    }

    /// The fewest rows of the products on many tokens from which the time of this one is estimated.
    fn fewest_rows(&self, key: Key) -> Option<f64> {
        let Class::Product(own) = key.class else { return None };
        let cost = self.costs.get(&key).or_else(|| self.nearest(own, key.regime).map(|(_, _, cost)| cost))?;
        Some(cost.tokens.0)
    }

    /// Whether products of one row were measured.
    fn has_one_row(&self) -> bool {
        self.costs.keys().any(|key| matches!(key.class, Class::Product(_)) && key.regime == Regime::One)
    }

    /// The time of a call by the cost of its own class. For attention beyond the measured positions, where the fit cannot separate
    /// rate and overhead:
    ///
    /// ```text
    /// cost(m positions) + max( dFLOP / F, dbytes / B )      m = most positions measured, d: what n > m positions add to m
    /// ```
    ///
    /// Unit: seconds; `F`, `B` are the operations and the bytes per second that products of the same regime achieved.
    fn own(&self, cost: &FittedCost, call: &Call) -> f64 {
        let separates = cost.context.is_wide() && cost.fit.coefficients.first().is_some_and(|rate| *rate > 0.0);
        let is_attention = matches!(call.key.class, Class::Attention(_));
        if !is_attention || separates || call.positions <= cost.context.most {
            return cost.seconds(call.kind, &call.features);
        }
        let part = cost.context.most / call.positions;
        let (flops, bytes) = (call.flops * (1.0 - part), call.streamed * (1.0 - part));
        let beyond = self.rates.of_products(call.key.regime).map_or_else(
            || (bytes / self.basis.memory).max(self.basis.compute.map_or(0.0, |peak| flops / peak)),
            |rate| (flops / rate.flops).max(bytes / rate.bytes),
        );
        cost.seconds(call.kind, &call.over(part)) + beyond
    }

    /// The time of a product in a type (`types.0`) that was never measured, from the cost of another one (`types.1`). With
    /// `r` = bytes of the one / bytes of the other, `t` = the other's time for the same operations:
    ///
    /// ```text
    /// max(a, b)    a = t (1 - s + s r)      the same operations per second; the memory-bound share s = u^2 scales with the bytes
    ///              b = t r                  one row: the same bytes per second
    ///              b = bytes / B            many rows, B what the other's products of one row achieve: their own bytes per second
    ///                                       are those of arithmetic, not of reading
    /// ```
    ///
    /// Unit: seconds. Never below `bytes / bandwidth`. More bytes are never as fast or faster.
    fn stored_otherwise(
        &self,
        call: &Call,
        types: (DType, DType),
        cost: &FittedCost,
        notes: &mut BTreeSet<String>,
    ) -> f64 {
        let (own, other) = types;
        let ratio = own.bytes_per_elem() / other.bytes_per_elem();
        let time = cost.seconds(call.kind, &call.stored_as(own, other));
        let memory = memory_share(call.streamed / ratio, self.basis.memory, time);
        let operations = time * (1.0 - memory + memory * ratio);
        let bytes = match call.key.regime {
            Regime::One => time * ratio,
            Regime::Many => self.rates.of_type(other).map_or(0.0, |rate| call.weights() / rate.bytes),
        };
        let rows = call.key.regime.rows();
        let which = if bytes > operations { "bytes" } else { "operations" };
        notes.insert(format!(
            "products on {rows} in {} were never measured: they are estimated with the {which} per second of {}, which has the nearest bits per weight (the slower of operations and bytes)",
            own.name(),
            other.name()
        ));
        operations.max(bytes).max(call.streamed / self.basis.memory)
    }

    /// The time of attention, or of a write, with a cache of types (`types.0`) that were never measured, from the cost of others
    /// (`types.1`). With `r`, `t` and `s` as for products of one row:
    ///
    /// ```text
    /// max(t (1 - s + s r), t r)
    /// ```
    ///
    /// Unit: seconds. Never below `bytes / bandwidth`.
    fn cached_otherwise(
        &self,
        call: &Call,
        (own, other): (KvTypes, KvTypes),
        cost: &FittedCost,
        notes: &mut BTreeSet<String>,
    ) -> f64 {
        let ratio = bytes_per_pair(own) / bytes_per_pair(other);
        let time = self.own(cost, call);
        let memory = memory_share(call.streamed / ratio, self.basis.memory, time);
        let (operations, bytes) = (time * (1.0 - memory + memory * ratio), time * ratio);
        let (kind, rows) = (call.kind.name(), call.key.regime.rows());
        let which = if bytes > operations { "bytes" } else { "operations" };
        notes.insert(format!(
            "{kind} on {rows} with a KV cache of {own} was never measured: it is estimated with the {which} per second of a cache of {other} (the slower of operations and bytes)"
        ));
        operations.max(bytes).max(call.streamed / self.basis.memory)
    }

    /// The cost of the same op with the types of the cache that have the nearest bytes, by their ratio.
    fn nearest_cache(&self, call: &Call, own: KvTypes) -> Option<(Key, KvTypes, &FittedCost)> {
        let distance = |other: KvTypes| (bytes_per_pair(other) / bytes_per_pair(own)).ln().abs();
        let same_regime = self.costs.iter().filter(|(key, _)| key.regime == call.key.regime);
        let same_op = same_regime.filter_map(|(key, cost)| match (key.class, call.key.class) {
            (Class::Attention(other), Class::Attention(_)) | (Class::KvWrite(other), Class::KvWrite(_)) => {
                Some((*key, other, cost))
            }
            _ => None,
        });
        same_op.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
    }

    /// The cost of the type with the nearest bits per weight, by their ratio.
    fn nearest(&self, own: DType, regime: Regime) -> Option<(Key, DType, &FittedCost)> {
        let distance = |other: DType| (other.bytes_per_elem() / own.bytes_per_elem()).ln().abs();
        self.costs
            .iter()
            .filter_map(|(key, cost)| match key.class {
                Class::Product(dtype) if key.regime == regime => Some((*key, dtype, cost)),
                _ => None,
            })
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
    }
}

/// Bytes of an element of the keys and one of the values.
fn bytes_per_pair(types: KvTypes) -> f64 {
    types.keys.dtype().bytes_per_elem() + types.values.dtype().bytes_per_elem()
}

fn missing(call: &Call) -> Reason {
    let rows = match call.key.regime {
        Regime::One => "one token",
        Regime::Many => "many tokens at once",
    };
    Reason::new(format!("no run traced {} on {rows}", call.kind.name()))
}

/// A call with its measured time.
struct TrainingPoint<'a> {
    call: &'a Call,
    point: Point<'a>,
}

impl FittedCost {
    fn of(points: &[TrainingPoint<'_>]) -> Option<Self> {
        let all: Vec<Point<'_>> = points.iter().map(|training| training.point.clone()).collect();
        let fit = fit(&all)?;
        let mut ratios: BTreeMap<OpKind, (f64, f64, f64)> = BTreeMap::new();
        for TrainingPoint { call, point } in points {
            let ratio = (point.value / fit.value(&point.features)).ln();
            if ratio.is_finite() {
                let sum = ratios.entry(call.kind).or_default();
                *sum = (sum.0 + point.weight * ratio, sum.1 + point.weight, sum.2 + 1.0);
            }
        }
        // A single point may be chance: it counts half.
        let factor = |(sum, weight, n): (f64, f64, f64)| (sum / weight * n / (n + 1.0)).exp();
        let (least, most) = range(points.iter().map(|training| training.call.positions));
        Some(Self {
            fit,
            kinds: ratios.into_iter().map(|(kind, sum)| (kind, factor(sum))).collect(),
            tokens: range(points.iter().map(|training| training.call.tokens)),
            context: PositionRange { least, most },
        })
    }

    /// Seconds of a call with these features.
    fn seconds(&self, kind: OpKind, features: &[f64]) -> f64 {
        self.fit.value(features) * self.kinds.get(&kind).copied().unwrap_or(1.0)
    }
}

/// The least and the greatest value; infinity and 0 without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (least.min(value), most.max(value)))
}

/// A fit of a figure that grows with vocabulary (tokenizer) and file. All cases of a model have one vocabulary and one file: they repeat one
/// measurement.
fn fit_footprint(
    seen: &[RunObservations],
    value: fn(&Footprint) -> Option<f64>,
    features: fn(f64, f64) -> [f64; 3],
) -> Option<Fit> {
    let mut points = Vec::new();
    for footprint in seen.iter().flat_map(|seen| &seen.footprints) {
        let Some(value) = value(footprint).filter(|value| *value > 0.0) else { continue };
        let features = features(footprint.vocab, footprint.file_bytes).to_vec();
        points.push(Point { group: Some(&footprint.model), features, value, weight: 1.0 });
    }
    fit(&points)
}

/// The features of [`FittedModels::overhead`]: the program, then the tokenizer, then what an engine keeps of the file.
pub(super) fn overhead_features(vocab: f64, file_bytes: f64) -> [f64; 3] {
    [1.0, vocab, file_bytes]
}

/// The features of [`FittedModels::load`]: the tokenizer and the file, then the constant part.
pub(super) fn load_features(vocab: f64, file_bytes: f64) -> [f64; 3] {
    [vocab, file_bytes, 1.0]
}
