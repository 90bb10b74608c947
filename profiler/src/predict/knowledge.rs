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
use super::observe::{FootSeen, Observation, Pass, Seen, TokenSeen, memory_share};
use crate::statistics::median;

/// Relative error that a law of another type adds: kernels differ by more than their bits.
const TRANSFERRED: f64 = 0.25;
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
        let mut points: BTreeMap<Key, Vec<(OpKind, f64, Point)>> = BTreeMap::new();
        let mut gaps: BTreeMap<Pass, Vec<f64>> = BTreeMap::new();
        let mut spreads: BTreeMap<Pass, Vec<f64>> = BTreeMap::new();
        for case in &cases {
            for Observation { call, seconds, share, memory } in &case.ops {
                let value = seconds * ground.factor_from(&case.ground, *memory);
                let point = Point { features: call.features.clone(), value, weight: *share };
                points.entry(call.key).or_default().push((call.kind, call.tokens, point));
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
        let least = call.streamed / self.ground.memory;
        let (key, law, features, transferred) = match self.laws.get(&call.key) {
            Some(law) => (call.key, law, call.features.clone(), 0.0),
            None => match call.key.class {
                Class::Product(own) => {
                    let (key, other, law) = self.nearest(own, call.key.regime).ok_or_else(|| missing(call))?;
                    notes.insert(format!(
                        "{} was never measured: times are those of {}, whose bits per weight are the nearest",
                        own.name(),
                        other.name()
                    ));
                    // Arithmetic per weight stays, bytes differ.
                    (key, law, call.stored_as(own, other), TRANSFERRED)
                }
                Class::Attention => return Err(missing(call)),
                // The engine has no such op: its work is a part of another one.
                Class::Small(_) => {
                    return Ok(Timed { seconds: 0.0, law: (call.key, 0.0), memory: 0.0 });
                }
            },
        };
        let mut error = law.fit.error.hypot(transferred);
        if call.tokens < law.tokens.0 / 1.5 || call.tokens > law.tokens.1 * 1.5 {
            notes.insert(format!(
                "passes of {:.0} tokens: measured were {:.0} to {:.0}",
                call.tokens, law.tokens.0, law.tokens.1
            ));
            error = error.hypot(OTHER_BATCH);
        }
        if self.other_threads.is_some() {
            error = error.hypot(OTHER_THREADS);
        }
        let own = law.fit.value(&features) * law.kinds.get(&call.kind).copied().unwrap_or(1.0);
        let seconds = if transferred > 0.0 { own.max(least) } else { own };
        let memory = memory_share(call.streamed, self.ground.memory, seconds);
        Ok(Timed { seconds, law: (key, error), memory })
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

impl Law {
    fn of(points: &[(OpKind, f64, Point)]) -> Option<Self> {
        let all: Vec<Point> = points.iter().map(|(_, _, point)| point.clone()).collect();
        let fit = fit(&all)?;
        let mut ratios: BTreeMap<OpKind, (f64, f64, f64)> = BTreeMap::new();
        for (kind, _, point) in points {
            let ratio = (point.value / fit.value(&point.features)).ln();
            if ratio.is_finite() {
                let sum = ratios.entry(*kind).or_default();
                *sum = (sum.0 + point.weight * ratio, sum.1 + point.weight, sum.2 + 1.0);
            }
        }
        // A single point may be chance: it moves its kind half of the way.
        let factor = |(sum, weight, n): (f64, f64, f64)| (sum / weight * n / (n + 1.0)).exp();
        let least = points.iter().map(|(_, tokens, _)| *tokens).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|(_, tokens, _)| *tokens).fold(0.0, f64::max);
        Some(Self {
            fit,
            kinds: ratios.into_iter().map(|(kind, sum)| (kind, factor(sum))).collect(),
            tokens: (least, most),
        })
    }
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
