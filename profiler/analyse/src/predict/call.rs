//! A call of an op, reduced to what its time depends on.

use engine_api::KvTypes;
use models::cost::{OpCost, OpKind, WeightTypes};
use models::{DType, Experts};

/// Ops that share one fitted cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Products with weights of one type: their time depends on sizes, not on the layer's part.
    Product(DType),
    /// Products of many tokens with experts whose weights are of one type: each expert gets few of the rows.
    Experts(DType),
    /// Attention over a cache of these types.
    Attention(KvTypes),
    /// Writing to a cache of these types.
    KvWrite(KvTypes),
    /// Every other op, each with a fitted cost of its own.
    Small(OpKind),
}

/// One row at a time, or many: other kernels, other limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Regime {
    /// One token: a decode, and the output projection of a prefill.
    One,
    /// A batch of tokens.
    Many,
}

impl Regime {
    /// The rows of activations in notes.
    pub(super) const fn rows(self) -> &'static str {
        match self {
            Self::One => "one token",
            Self::Many => "many tokens",
        }
    }
}

/// The key of a fitted cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) regime: Regime,
}

/// One call of an op, or the mean of several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) key: Key,
    pub(super) kind: OpKind,
    /// Rows at once.
    pub(super) tokens: f64,
    /// What its time is a sum of, see [`Call::of`].
    pub(super) features: Vec<f64>,
    /// Weights and cache that it reads and writes, in bytes.
    pub(super) streamed: f64,
    /// Floating-point operations.
    pub(super) flops: f64,
    /// Of attention: the mean number of positions that a query sees; else 0.
    pub(super) positions: f64,
    /// Of products with experts on many tokens.
    pub(super) rows: Option<ExpertRows>,
}

/// The rows of activations that the experts of a layer get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExpertRows {
    /// Pairs of a token and an expert.
    pub(super) pairs: f64,
    /// Different experts.
    pub(super) distinct: f64,
}

/// A product of one matrix with rows of activations: the same matrix for any number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MatrixProduct {
    kind: OpKind,
    dtype: DType,
    /// Bytes of the matrix.
    weights: f64,
    /// Its outputs.
    outputs: f64,
    /// Operations per row of activations.
    flops: f64,
    /// The share of the overhead of a call: matrices of one call share it.
    overhead: f64,
}

impl MatrixProduct {
    /// Of so many rows of activations.
    pub(super) fn of_rows(&self, rows: f64) -> Call {
        let Self { kind, dtype, weights, outputs, flops, overhead } = *self;
        let (regime, features) = if rows > 1.0 {
            (Regime::Many, vec![flops * rows, outputs * rows, overhead, weights])
        } else {
            (Regime::One, vec![weights, outputs, overhead])
        };
        Call {
            key: Key { class: Class::Product(dtype), regime },
            kind,
            tokens: rows.max(1.0),
            features,
            streamed: weights,
            flops: flops * rows,
            positions: 0.0,
            rows: None,
        }
    }

    /// So many products of one row each, in one call: the arithmetic of each row is that of a single one.
    pub(super) fn one_by_one(&self, rows: f64) -> Call {
        let Self { weights, outputs, flops, .. } = *self;
        Call {
            features: vec![weights * rows, outputs * rows, 1.0],
            streamed: weights * rows,
            flops: flops * rows,
            ..self.of_rows(1.0)
        }
    }
}

impl Call {
    /// The features of a call, from its cost:
    ///
    /// ```text
    /// product, one row     weight bytes; rows of the matrix (each ends with a sum and a store); 1
    /// product, many rows   FLOP; tokens x outputs (the same); 1; weight bytes (unpacked once)
    ///                      of experts, summed over pairs and experts
    /// attention            FLOP; activation bytes; 1
    /// others               activation bytes; 1
    /// ```
    ///
    /// A coefficient of the first is the inverse of a rate, of the last an overhead: time = overhead + amount / (efficiency x
    /// ceiling), as in the roofline model (Williams et al., CACM 52(4), 2009) plus an overhead per call.
    ///
    /// `kv` are the types of the cache, `experts` those of the op's layer.
    pub(super) fn of(cost: &OpCost, types: &WeightTypes, kv: KvTypes, experts: Option<&Experts>) -> Self {
        let [tokens, inputs, outputs] = cost.shape.map(|size| size as f64);
        let regime = if cost.shape[0] > 1 { Regime::Many } else { Regime::One };
        let (flops, weights) = (cost.flops.as_f64(), cost.weight_bytes.as_f64());
        let of_experts = matches!(cost.kind, OpKind::ExpertsGateUp | OpKind::ExpertsDown) && regime == Regime::Many;
        let rows = experts.filter(|_| of_experts).map(|experts| ExpertRows {
            pairs: tokens * experts.used as f64,
            distinct: experts.expected_distinct(cost.shape[0]),
        });
        let moved = (cost.activation_bytes + cost.state_bytes).as_f64();
        let (class, features) = match (cost.kind, types.read_by(cost.kind, cost.layer), regime) {
            (kind, Some(dtype), Regime::One) if kind.is_matmul() => {
                (Class::Product(dtype), vec![weights, outputs, 1.0])
            }
            (kind, Some(dtype), Regime::Many) if kind.is_matmul() => {
                let class = if rows.is_some() { Class::Experts(dtype) } else { Class::Product(dtype) };
                (class, vec![flops, tokens * outputs, 1.0, weights])
            }
            (OpKind::Attention, ..) => (Class::Attention(kv), vec![flops, moved, 1.0]),
            (OpKind::KvWrite, ..) => (Class::KvWrite(kv), vec![moved, 1.0]),
            (kind, ..) => (Class::Small(kind), vec![moved, 1.0]),
        };
        Self {
            key: Key { class, regime },
            kind: cost.kind,
            tokens,
            features,
            streamed: cost.streamed_bytes().as_f64(),
            flops,
            positions: if cost.kind == OpKind::Attention { seen_by_each(tokens, inputs) } else { 0.0 },
            rows,
        }
    }

    /// The matrices of a product on many tokens: how many there are, one of them, and the rows of activations of each.
    pub(super) fn matrices(&self) -> Option<(f64, MatrixProduct, f64)> {
        let (Class::Product(dtype) | Class::Experts(dtype)) = self.key.class else { return None };
        let &[flops, outputs, _, weights] = self.features.as_slice() else { return None };
        let ExpertRows { pairs, distinct } = self.rows.unwrap_or(ExpertRows { pairs: self.tokens, distinct: 1.0 });
        let product = MatrixProduct {
            kind: self.kind,
            dtype,
            weights: weights / distinct,
            outputs: outputs / pairs,
            flops: flops / pairs,
            overhead: 1.0 / distinct,
        };
        Some((distinct, product, pairs / distinct))
    }

    /// The features of the same attention over a part (a share) of the positions.
    pub(super) fn over(&self, part: f64) -> Vec<f64> {
        let mut features = self.features.clone();
        if let Some(flops) = features.first_mut() {
            *flops *= part;
        }
        features
    }

    /// Bytes of the weights of a product.
    pub(super) fn weights(&self) -> f64 {
        let weights = match self.key.regime {
            Regime::One => self.features.first(),
            Regime::Many => self.features.last(),
        };
        weights.copied().unwrap_or(0.0)
    }

    /// The features of the same product with weights of another type.
    pub(super) fn stored_as(&self, own: DType, other: DType) -> Vec<f64> {
        let ratio = other.bytes_per_elem() / own.bytes_per_elem();
        let mut features = self.features.clone();
        let weights = match self.key.regime {
            Regime::One => features.first_mut(),
            Regime::Many => features.last_mut(),
        };
        if let Some(bytes) = weights {
            *bytes *= ratio;
        }
        features
    }
}

/// The mean number of positions that each of `tokens` queries sees, of which the last sees `last`:
///
/// ```text
/// last - (tokens - 1) / 2
/// ```
///
/// Not below a half of `last`, where a window cuts.
fn seen_by_each(tokens: f64, last: f64) -> f64 {
    (last - (tokens - 1.0) / 2.0).max(last / 2.0)
}

/// The mean call of several of one kind; `None` of none, or where they are of different classes (layers of mixed types).
pub(super) fn mean(calls: &[Call]) -> Option<Call> {
    let first = calls.first()?;
    if calls.iter().any(|call| call.key != first.key) {
        return None;
    }
    let n = calls.len() as f64;
    let average = |value: &dyn Fn(&Call) -> f64| calls.iter().map(value).sum::<f64>() / n;
    Some(Call {
        features: (0..first.features.len()).map(|at| average(&|call| call.features[at])).collect(),
        tokens: average(&|call| call.tokens),
        streamed: average(&|call| call.streamed),
        flops: average(&|call| call.flops),
        positions: average(&|call| call.positions),
        ..first.clone()
    })
}
