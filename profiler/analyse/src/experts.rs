//! The experts that traced requests used, over the cases of one engine, model, thread count and depth: what passes read, and how evenly
//! the tokens of a layer are spread.

use std::collections::BTreeMap;

use models::cost;
use record::plan::PlannedModel;
use record::{Case, ExpertPassRow, ExpertRow, PhaseOrOther};
use statistics::Balance;

/// What passes of one phase with the same number of tokens read.
#[derive(Debug, Clone, PartialEq)]
pub struct PassReads {
    /// The phase.
    pub phase: PhaseOrOther,
    /// Tokens of each pass.
    pub tokens: usize,
    /// Passes.
    pub passes: usize,
    /// Distinct experts per pass and layer, mean.
    pub distinct: f64,
    /// Bytes of experts per pass, mean.
    pub expert_bytes: Option<f64>,
    /// Bytes of weights and cache per pass, mean.
    pub streamed_bytes: Option<f64>,
}

/// How the tokens of a layer are spread over its experts in one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerBalance {
    /// The phase.
    pub phase: PhaseOrOther,
    /// The layer.
    pub layer: usize,
    /// Experts of the layer.
    pub experts: usize,
    /// Of these, used by at least one token.
    pub used: usize,
    /// Pairs of a token and an expert that it used.
    pub pairs: u64,
    /// The expert that most tokens used, the first one of several.
    pub busiest: usize,
    /// The figures.
    pub balance: Balance,
}

/// The work of a forward pass by the cost model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PassWork {
    /// Bytes of the weights that it reads.
    pub(crate) weight_bytes: f64,
    /// Floating-point operations.
    pub(crate) flops: f64,
}

/// What a pass reads of the weights of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WeightsRead {
    /// All of them.
    Whole,
    /// Of the experts those that its tokens use.
    Part(PassWork),
    /// It has experts, or may have some, and shape or types are not known.
    Unknown,
}

/// What a pass of so many tokens, from the start of the context, reads of a model: exact for one token, for several tokens and experts as for
/// an even choice.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tokens")]
pub(crate) fn weights_read(model: &PlannedModel, tokens: f64) -> WeightsRead {
    let Some(spec) = model.spec.as_ref() else {
        return match model.has_experts {
            Some(false) => WeightsRead::Whole,
            Some(true) => WeightsRead::Unknown,
            // Runs of the first version have no shapes, and no models with experts. Later ones state why a shape is absent.
            None if model.spec.stated_reason().is_none() => WeightsRead::Whole,
            None => WeightsRead::Unknown,
        };
    };
    if spec.layers.iter().all(|layer| layer.feed_forward.experts().is_none()) {
        return WeightsRead::Whole;
    }
    let Some(types) = model.types.as_ref() else { return WeightsRead::Unknown };
    // The type of the cache does not change the weights.
    let ops = cost::prefill_ops(spec, types, models::DType::F16, tokens.round() as usize, 0);
    WeightsRead::Part(PassWork {
        weight_bytes: ops.iter().map(|op| op.weight_bytes.as_f64()).sum(),
        flops: ops.iter().map(|op| op.flops.as_f64()).sum(),
    })
}

/// The rows of experts of a case; none where it has none.
fn rows(case: &Case) -> &[ExpertRow] {
    case.experts.as_deref().unwrap_or_default()
}

/// One entry for each phase and number of tokens, in this order.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "numbers of passes are far below 2^53")]
pub fn pass_reads(cases: &[&Case]) -> Vec<PassReads> {
    let mut groups: BTreeMap<(&PhaseOrOther, usize), Vec<&ExpertPassRow>> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.expert_passes) {
        groups.entry((&row.phase, row.pass_tokens)).or_default().push(row);
    }
    let reads = |((phase, tokens), rows): ((&PhaseOrOther, usize), Vec<&ExpertPassRow>)| {
        let passes: usize = rows.iter().map(|row| row.passes).sum();
        let mean = |of: &dyn Fn(&ExpertPassRow) -> Option<f64>| {
            let sum = rows.iter().map(|row| Some(of(row)? * row.passes as f64)).sum::<Option<f64>>()?;
            (passes > 0).then(|| sum / passes as f64)
        };
        Some(PassReads {
            phase: phase.clone(),
            tokens,
            passes,
            distinct: mean(&|row| Some(row.distinct))?,
            expert_bytes: mean(&|row| row.expert_bytes.value()),
            streamed_bytes: mean(&|row| row.streamed_bytes.value()),
        })
    };
    groups.into_iter().filter_map(reads).collect()
}

/// One entry for each phase and layer, in this order.
#[must_use]
pub fn layer_balance(cases: &[&Case]) -> Vec<LayerBalance> {
    let mut sums: BTreeMap<(&PhaseOrOther, usize), Vec<u64>> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| rows(case)) {
        let sum = sums.entry((&row.phase, row.layer)).or_default();
        if sum.len() < row.tokens.len() {
            sum.resize(row.tokens.len(), 0);
        }
        sum.iter_mut().zip(&row.tokens).for_each(|(sum, tokens)| *sum += tokens);
    }
    let of_layer = |((phase, layer), tokens): ((&PhaseOrOther, usize), Vec<u64>)| {
        let most = *tokens.iter().max()?;
        Some(LayerBalance {
            phase: phase.clone(),
            layer,
            experts: tokens.len(),
            used: tokens.iter().filter(|tokens| **tokens > 0).count(),
            pairs: tokens.iter().sum(),
            busiest: tokens.iter().position(|tokens| *tokens == most)?,
            balance: statistics::balance(&tokens)?,
        })
    };
    sums.into_iter().filter_map(of_layer).collect()
}

#[cfg(test)]
mod tests {
    use engine_api::Phase;
    use record::{Reason, RecordedList};

    use super::*;

    fn row(phase: Phase, layer: usize, tokens: &[u64]) -> ExpertRow {
        ExpertRow { phase: phase.into(), layer, tokens: tokens.to_vec(), ..ExpertRow::absent("no cost") }
    }

    fn pass(tokens: usize, passes: usize, distinct: f64, bytes: Option<f64>) -> ExpertPassRow {
        let bytes = record::Recorded::of(bytes, "not known");
        ExpertPassRow {
            phase: Phase::Decode.into(),
            pass_tokens: tokens,
            passes,
            distinct,
            expert_bytes: bytes.clone(),
            streamed_bytes: bytes,
            ..ExpertPassRow::absent("no cost")
        }
    }

    /// Qwen 3 30B A3B computes with about a tenth of its weights: with 8 of 128 experts.
    #[test]
    fn a_token_reads_the_experts_that_it_uses() {
        let planned = |name: &str| {
            let spec = models::registry::find(name).unwrap().spec();
            let types = cost::WeightTypes::uniform(&spec, models::DType::F16);
            PlannedModel { spec: spec.into(), types: types.into(), ..PlannedModel::absent("not recorded") }
        };
        let part = |tokens| match weights_read(&planned("qwen-3-30b-a3b"), tokens) {
            WeightsRead::Part(work) => work,
            other => panic!("{other:?}"),
        };
        assert_eq!(weights_read(&planned("smollm2-135m"), 1.0), WeightsRead::Whole);
        let work = part(1.0);
        // 3.0e9 of the parameters without the table of embeddings, of which a token reads a row.
        assert!((work.weight_bytes / 2.0 / 3.04e9 - 1.0).abs() < 0.02, "{}", work.weight_bytes / 2.0);
        assert!((work.flops / 2.0 / 3.04e9 - 1.0).abs() < 0.03, "{}", work.flops / 2.0);
        let many = part(512.0);
        assert!(many.weight_bytes > 9.0 * work.weight_bytes, "almost all experts");
    }

    #[test]
    fn what_a_model_without_a_shape_reads_is_known_only_without_experts() {
        let planned = |has_experts, reason: Reason| PlannedModel { has_experts, ..PlannedModel::absent(reason) };
        let opaque = || Reason::new("the architecture is not described");
        assert_eq!(weights_read(&planned(Some(false), opaque()), 1.0), WeightsRead::Whole);
        assert_eq!(weights_read(&planned(Some(true), opaque()), 1.0), WeightsRead::Unknown);
        assert_eq!(weights_read(&planned(None, opaque()), 1.0), WeightsRead::Unknown, "a run of an earlier version");
        assert_eq!(weights_read(&planned(None, Reason::unrecorded()), 1.0), WeightsRead::Whole, "of the first one");
        let mut untyped = planned(Some(true), opaque());
        untyped.spec = models::registry::find("qwen-3-30b-a3b").unwrap().spec().into();
        assert_eq!(weights_read(&untyped, 1.0), WeightsRead::Unknown);
    }

    #[test]
    fn cases_are_added_up() {
        let case = |tokens: [u64; 4], passes: Vec<ExpertPassRow>| Case {
            experts: Some([row(Phase::Prefill, 1, &[1; 4]), row(Phase::Decode, 0, &tokens)].into()),
            expert_passes: passes,
            ..Case::default()
        };
        let without = Case { experts: Some(RecordedList::absent("not stated")), ..Case::default() };
        let cases = [
            case([3, 1, 0, 0], vec![pass(1, 3, 2.0, Some(10.0)), pass(7, 1, 4.0, None)]),
            case([3, 0, 0, 1], vec![pass(1, 1, 4.0, Some(20.0))]),
            without,
        ];
        let cases: Vec<&Case> = cases.iter().collect();
        let reads = pass_reads(&cases);
        let figures: Vec<_> =
            reads.iter().map(|of| (of.tokens, of.passes, of.distinct, of.expert_bytes, of.streamed_bytes)).collect();
        assert_eq!(figures, [(1, 4, 2.5, Some(12.5), Some(12.5)), (7, 1, 4.0, None, None)]);
        let layers = layer_balance(&cases);
        let found: Vec<_> = layers
            .iter()
            .map(|of| (of.phase.name(), of.layer, of.used, of.pairs, of.busiest, of.balance.max_to_mean))
            .collect();
        assert_eq!(found, [("prefill", 1, 4, 8, 0, 1.0), ("decode", 0, 3, 8, 0, 3.0)]);
    }
}
