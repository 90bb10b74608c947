//! What runs have taught about an engine: laws of ops, overheads of a token, of memory, of loading.
//!
//! Times of other runs and other thread counts are first put on the ground that the estimate stands on: multiplied with the ratio
//! of the ceilings that decide them.

use std::collections::{BTreeMap, BTreeSet};

use models::DType;
use models::cost::OpKind;

use super::call::{Call, Class, Key, Regime};
use super::fit::{Fit, Point, fit};
use super::ground::Ground;
use super::observe::{CaseSeen, FootSeen, Observation, Pass, Seen, TokenSeen, memory_share};
use super::rates::Rates;
use super::reach::{Context, Far};
use statistics::median;

/// Relative error that a law of another type adds: kernels differ by more than their bits.
const TRANSFERRED: f64 = 0.25;
/// Relative error that a law adds which was learnt from other parts of the layer.
const OTHER_PART: f64 = 0.15;
/// Relative error of attention over more or fewer positions than any run covered.
const OTHER_CONTEXT: f64 = 0.5;
/// Beyond the measured range by this factor, something was never measured.
const NEAR: f64 = 1.5;
/// Relative error that other batch sizes than those measured add.
const OTHER_BATCH: f64 = 0.15;
/// Relative error that another thread count than those measured adds.
const OTHER_THREADS: f64 = 0.15;

/// What ops of one class cost on the ground.
#[derive(Debug, Clone)]
struct Law {
    fit: Fit,
    /// Measured / fitted, per kind: what a part of the layer has to itself.
    kinds: BTreeMap<OpKind, f64>,
    /// Rows per call that were measured.
    tokens: (f64, f64),
    /// Positions that attention saw.
    context: Context,
}

/// What an op's time is estimated to be.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    /// Seconds.
    pub(super) seconds: f64,
    /// The law that it rests on, whose error all its calls share, and that error, relative.
    pub(super) law: (Key, f64),
    /// The share of it that memory's bandwidth decides.
    pub(super) memory: f64,
    /// What the runs covered, where attention sees positions beyond.
    pub(super) beyond: Option<Context>,
}

/// What is known about an engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Knowledge {
    laws: BTreeMap<Key, Law>,
    gaps: BTreeMap<Pass, f64>,
    spreads: BTreeMap<Pass, f64>,
    /// The parts of an output token that are no forward pass.
    pub(super) token: Option<TokenSeen>,
    /// Peak memory beside file, cache, activations and logits, from the size of the vocabulary and of the file.
    pub(super) overhead: Option<Fit>,
    /// Seconds to load from the page cache, from the same.
    pub(super) load: Option<Fit>,
    /// The smallest and the largest file that `load` rests on.
    pub(super) loaded: (f64, f64),
    /// What sizes of models were measured.
    pub(super) far: Far,
    rates: Rates,
    /// The thread counts that were measured, where the asked one is not among them.
    pub(super) other_threads: Option<BTreeSet<usize>>,
    ground: Ground,
}

impl Knowledge {
    /// Learns from what was seen, for `threads` threads on `ground`: from cases with that many where there are some, else from all.
    pub(super) fn learn(seen: &[Seen], threads: usize, ground: Ground) -> Self {
        let all = || seen.iter().flat_map(|seen| &seen.cases);
        let same = all().any(|case| case.threads == threads);
        let cases: Vec<_> = all().filter(|case| !same || case.threads == threads).collect();
        let mut points: BTreeMap<Key, Vec<Learnt>> = BTreeMap::new();
        let mut gaps: BTreeMap<Pass, Vec<f64>> = BTreeMap::new();
        let mut spreads: BTreeMap<Pass, Vec<f64>> = BTreeMap::new();
        let mut rates = Rates::default();
        for case in &cases {
            for Observation { call, seconds, share, memory } in &case.ops {
                let value = seconds * ground.factor_from(&case.ground, *memory);
                rates.add(call, value, *share);
                let point = Point { features: call.features.clone(), value, weight: *share };
                points.entry(call.key).or_default().push(Learnt { call: call.clone(), point });
            }
            for (pass, gap) in &case.gaps {
                gaps.entry(*pass).or_default().push(gap * ground.factor_from(&case.ground, 0.0));
            }
            for (pass, spread) in &case.spreads {
                spreads.entry(*pass).or_default().push(*spread);
            }
        }
        let middle = |lists: BTreeMap<Pass, Vec<f64>>| {
            lists.into_iter().filter_map(|(pass, values)| Some((pass, median(&values)?))).collect()
        };
        let tokens: Vec<&TokenSeen> = seen.iter().flat_map(|seen| &seen.tokens).collect();
        let of = |part: fn(&TokenSeen) -> f64| median(&tokens.iter().map(|token| part(token)).collect::<Vec<_>>());
        Self {
            laws: points.into_iter().filter_map(|(key, points)| Some((key, Law::of(&points)?))).collect(),
            gaps: middle(gaps),
            spreads: middle(spreads),
            token: of(|token| token.sample_per_entry)
                .zip(of(|token| token.rest))
                .map(|(sample_per_entry, rest)| TokenSeen { sample_per_entry, rest }),
            overhead: footprint(seen, |foot| foot.overhead, overhead_features),
            load: footprint(seen, |foot| foot.warm_load, load_features),
            loaded: range(
                seen.iter()
                    .flat_map(|seen| &seen.feet)
                    .filter(|foot| foot.warm_load.is_some())
                    .map(|foot| foot.file_bytes),
            ),
            far: Far::of(cases.iter().map(|case: &&CaseSeen| (case.model.as_str(), case.bytes_per_token))),
            rates,
            other_threads: (!same).then(|| all().map(|case| case.threads).collect()),
            ground,
        }
    }

    /// Seconds between two ops of a phase.
    pub(super) fn gap(&self, pass: Pass) -> Option<f64> {
        self.gaps.get(&pass).copied()
    }

    /// Relative spread of a phase from request to request, one standard deviation.
    pub(super) fn spread(&self, pass: Pass) -> f64 {
        self.spreads.get(&pass).copied().unwrap_or(0.0)
    }

    /// The time of a call, and in `notes` what had to stand in for a law that is not there. `Err`: what was never measured.
    pub(super) fn time(&self, call: &Call, notes: &mut BTreeSet<String>) -> Result<Timed, String> {
        let (key, law, seconds, mut error) = match self.laws.get(&call.key) {
            Some(law) => (call.key, law, self.own(law, call), law.fit.error),
            None => match call.key.class {
                Class::Product(own) => {
                    let (key, other, law) = self.nearest(own, call.key.regime).ok_or_else(|| missing(call))?;
                    let seconds = self.stored_otherwise(call, (own, other), law, notes);
                    (key, law, seconds, law.fit.error.hypot(TRANSFERRED))
                }
                Class::Attention => return Err(missing(call)),
                // The engine has no such op: its work is a part of another one.
                Class::Small(_) => {
                    return Ok(Timed { seconds: 0.0, law: (call.key, 0.0), memory: 0.0, beyond: None });
                }
            },
        };
        if call.tokens < law.tokens.0 / NEAR || call.tokens > law.tokens.1 * NEAR {
            notes.insert(format!(
                "passes of {:.0} tokens: measured were {:.0} to {:.0}",
                call.tokens, law.tokens.0, law.tokens.1
            ));
            error = error.hypot(OTHER_BATCH);
        }
        if let Class::Product(dtype) = key.class
            && !law.kinds.contains_key(&call.kind)
        {
            let known: Vec<&str> = law.kinds.keys().map(|kind| kind.name()).collect();
            notes.insert(format!("{} was measured on {} only", dtype.name(), known.join(", ")));
            error = error.hypot(OTHER_PART);
        }
        let outside = call.key.class == Class::Attention && law.context.is_outside(call.positions, NEAR);
        if outside {
            error = error.hypot(OTHER_CONTEXT);
        }
        if self.other_threads.is_some() {
            error = error.hypot(OTHER_THREADS);
        }
        let memory = memory_share(call.streamed, self.ground.memory, seconds);
        Ok(Timed { seconds, law: (key, error), memory, beyond: outside.then_some(law.context) })
    }

    /// The time of a call by the law of its own class. Of attention that sees more positions than runs from which the law could
    /// have told a rate from an overhead:
    ///
    /// ```text
    /// law(m positions) + max( dFLOP / F, dbytes / B )      m = most positions measured, d: what n > m positions add to m
    /// ```
    ///
    /// Unit: seconds; `F`, `B` are the operations and the bytes per second that products of the same regime achieved.
    fn own(&self, law: &Law, call: &Call) -> f64 {
        let separates = law.context.is_wide() && law.fit.coefficients.first().is_some_and(|rate| *rate > 0.0);
        if call.key.class != Class::Attention || separates || call.positions <= law.context.most {
            return law.seconds(call.kind, &call.features);
        }
        let part = law.context.most / call.positions;
        let (flops, bytes) = (call.flops * (1.0 - part), call.streamed * (1.0 - part));
        let beyond = self.rates.of_products(call.key.regime).map_or_else(
            || (bytes / self.ground.memory).max(self.ground.compute.map_or(0.0, |peak| flops / peak)),
            |rate| (flops / rate.flops).max(bytes / rate.bytes),
        );
        law.seconds(call.kind, &call.over(part)) + beyond
    }

    /// The time of a product in a type (`types.0`) that was never measured, from the law of another one (`types.1`). With
    /// `r` = bytes of the one / bytes of the other, `t` = the other's time for the same operations:
    ///
    /// ```text
    /// max(a, b)    a = t (1 - s + s r)      the same operations per second; what memory decides, s = u^2, follows the bytes
    ///              b = t r                  one row: the same bytes per second
    ///              b = bytes / B            many rows, B what the other's products of one row achieve: their own bytes per second
    ///                                       are those of arithmetic, not of reading
    /// ```
    ///
    /// Unit: seconds. Never below `bytes / bandwidth`. More bytes are never as fast or faster.
    fn stored_otherwise(&self, call: &Call, types: (DType, DType), law: &Law, notes: &mut BTreeSet<String>) -> f64 {
        let (own, other) = types;
        let ratio = own.bytes_per_elem() / other.bytes_per_elem();
        let time = law.seconds(call.kind, &call.stored_as(own, other));
        let memory = memory_share(call.streamed / ratio, self.ground.memory, time);
        let operations = time * (1.0 - memory + memory * ratio);
        let bytes = match call.key.regime {
            Regime::One => time * ratio,
            Regime::Many => self.rates.of_type(other).map_or(0.0, |rate| call.weights() / rate.bytes),
        };
        let (rows, which) = (
            if call.key.regime == Regime::One { "one token" } else { "many tokens" },
            if bytes > operations { "bytes" } else { "operations" },
        );
        notes.insert(format!(
            "{} was never measured: products on {rows} at the {which} per second of {}, whose bits per weight are the nearest (of operations and bytes the slower)",
            own.name(),
            other.name()
        ));
        operations.max(bytes).max(call.streamed / self.ground.memory)
    }

    /// The law of the type whose bits per weight are the nearest, in proportion.
    fn nearest(&self, own: DType, regime: Regime) -> Option<(Key, DType, &Law)> {
        let distance = |other: DType| (other.bytes_per_elem() / own.bytes_per_elem()).ln().abs();
        self.laws
            .iter()
            .filter_map(|(key, law)| match key.class {
                Class::Product(dtype) if key.regime == regime => Some((*key, dtype, law)),
                _ => None,
            })
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
    }
}

fn missing(call: &Call) -> String {
    let rows = match call.key.regime {
        Regime::One => "one token",
        Regime::Many => "many tokens at once",
    };
    format!("no run has traced {} on {rows}", call.kind.name())
}

/// A call and what it took.
struct Learnt {
    call: Call,
    point: Point,
}

impl Law {
    fn of(points: &[Learnt]) -> Option<Self> {
        let all: Vec<Point> = points.iter().map(|learnt| learnt.point.clone()).collect();
        let fit = fit(&all)?;
        let mut ratios: BTreeMap<OpKind, (f64, f64, f64)> = BTreeMap::new();
        for Learnt { call, point } in points {
            let ratio = (point.value / fit.value(&point.features)).ln();
            if ratio.is_finite() {
                let sum = ratios.entry(call.kind).or_default();
                *sum = (sum.0 + point.weight * ratio, sum.1 + point.weight, sum.2 + 1.0);
            }
        }
        // A single point may be chance: it moves its kind half of the way.
        let factor = |(sum, weight, n): (f64, f64, f64)| (sum / weight * n / (n + 1.0)).exp();
        let (least, most) = range(points.iter().map(|learnt| learnt.call.positions));
        Some(Self {
            fit,
            kinds: ratios.into_iter().map(|(kind, sum)| (kind, factor(sum))).collect(),
            tokens: range(points.iter().map(|learnt| learnt.call.tokens)),
            context: Context { least, most },
        })
    }

    /// Seconds of a call with these features.
    fn seconds(&self, kind: OpKind, features: &[f64]) -> f64 {
        self.fit.value(features) * self.kinds.get(&kind).copied().unwrap_or(1.0)
    }
}

/// The least and the most; of nothing, infinity and 0.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (least.min(value), most.max(value)))
}

/// A law of something that grows with vocabulary (tokenizer) and file.
fn footprint(seen: &[Seen], value: fn(&FootSeen) -> Option<f64>, features: fn(f64, f64) -> [f64; 3]) -> Option<Fit> {
    let point = |foot: &FootSeen| {
        let value = value(foot).filter(|value| *value > 0.0)?;
        Some(Point { features: features(foot.vocab, foot.file_bytes).to_vec(), value, weight: 1.0 })
    };
    fit(&seen.iter().flat_map(|seen| &seen.feet).filter_map(point).collect::<Vec<_>>())
}

/// The features of [`Knowledge::overhead`]: the program, then the tokenizer, then copies of weights.
pub(super) fn overhead_features(vocab: f64, file_bytes: f64) -> [f64; 3] {
    [1.0, vocab, file_bytes]
}

/// The features of [`Knowledge::load`]: the tokenizer and the file, then what every load costs.
pub(super) fn load_features(vocab: f64, file_bytes: f64) -> [f64; 3] {
    [vocab, file_bytes, 1.0]
}
