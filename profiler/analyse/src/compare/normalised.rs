//! Figures relative to the work per token: bytes, effective bandwidth, share of the roofline.
//!
//! ```text
//! bytes a token      = weights and cache that the cost model counts / tokens of the phase
//! effective B/s      = bytes a token x tokens per second of the clean pass
//! of the roofline    = least time that the ceilings allow for the ops / (tokens / tokens per second of the clean pass)
//! ```

use super::comparison::NormalisedRow;
use super::pairing::{Group, GroupPair};
use record::{Case, Sample};
use statistics::mean;

/// A figure of one case.
type OfCase = fn(&Case, &Phase) -> Option<f64>;

/// A forward pass.
struct Phase {
    name: &'static str,
    /// Tokens that it computes in a request.
    tokens: fn(&Sample) -> Option<f64>,
    /// Tokens per second.
    rate: fn(&Sample) -> Option<f64>,
}

const PHASES: [Phase; 2] = [
    Phase {
        name: "prefill",
        tokens: |s| s.computed_prompt_tokens().map(|n| n as f64),
        rate: |s| s.prefill_tps.value(),
    },
    Phase {
        name: "decode",
        tokens: |s| s.output_tokens.value().map(|n| n.saturating_sub(1) as f64),
        rate: |s| s.decode_tps.value(),
    },
];

/// Name, unit and what it is.
const FIGURES: [(&str, &str, OfCase); 3] = [
    ("bytes_per_token", "B", bytes_per_token),
    ("effective_bytes_per_s", "B/s", |case, phase| Some(bytes_per_token(case, phase)? * rate(case, phase)?)),
    ("roofline", "share", |case, phase| {
        let sum = case.sums.iter().find(|sum| sum.phase == phase.name)?;
        Some(sum.attainable_s? * rate(case, phase)? / tokens(case, phase)?)
    }),
];

/// One row for each phase and figure.
pub(super) fn rows(pair: &GroupPair<'_>) -> Vec<NormalisedRow> {
    let mut rows = Vec::new();
    for phase in &PHASES {
        for (metric, unit, of) in FIGURES {
            let mut row = NormalisedRow {
                phase: phase.name.to_owned(),
                metric: metric.to_owned(),
                unit: unit.to_owned(),
                baseline: middle(&pair.baseline, phase, of),
                other: middle(&pair.other, phase, of),
                ..NormalisedRow::default()
            };
            for (field, value) in [("baseline", row.baseline), ("other", row.other)] {
                if value.is_none() {
                    let reason = "it needs ops of the traced pass with costs, and measured ceilings";
                    row.reasons.insert(field.to_owned(), reason.to_owned());
                }
            }
            rows.push(row);
        }
    }
    rows.retain(|row| row.baseline.is_some() || row.other.is_some());
    rows
}

/// Mean over the prompts that have it.
fn middle(group: &Group<'_>, phase: &Phase, of: OfCase) -> Option<f64> {
    mean(&group.cases.iter().filter_map(|case| of(case, phase)).collect::<Vec<_>>())
}

fn bytes_per_token(case: &Case, phase: &Phase) -> Option<f64> {
    let rows = || case.ops.iter().filter(|row| row.phase == phase.name);
    rows().next()?;
    let streamed: Option<f64> = rows().map(|row| row.streamed_bytes).sum();
    Some(streamed? / tokens(case, phase)?)
}

fn tokens(case: &Case, phase: &Phase) -> Option<f64> {
    case.clean_samples().find_map(phase.tokens).filter(|tokens| *tokens > 0.0)
}

fn rate(case: &Case, phase: &Phase) -> Option<f64> {
    mean(&case.clean_samples().filter_map(phase.rate).collect::<Vec<_>>())
}
