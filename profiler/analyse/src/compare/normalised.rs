//! Figures relative to the work per token: bytes, effective bandwidth, share of the roofline.
//!
//! ```text
//! bytes a token      = weights and cache that the cost model counts / tokens of the phase
//! effective B/s      = bytes a token x tokens per second of the clean pass
//! of the roofline    = least time that the ceilings allow for the ops / (tokens / tokens per second of the clean pass)
//! ```

use engine_api::Phase;

use super::comparison::NormalisedRow;
use super::pairing::{Group, GroupPair};
use crate::summary::mean_of;
use record::{Case, METRICS, Metric, Reasons, Recorded};
use statistics::mean;

/// A figure of one case.
type OfCase = fn(&Case, &ForwardPass) -> Option<f64>;

/// A forward pass.
struct ForwardPass {
    phase: Phase,
    /// The metric that is its tokens per second.
    rate: &'static str,
}

const PASSES: [ForwardPass; 2] = [
    ForwardPass { phase: Phase::Prefill, rate: "prefill_tps" },
    ForwardPass { phase: Phase::Decode, rate: "decode_tps" },
];

impl ForwardPass {
    fn metric(&self) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.name == self.rate)
    }
}

/// Name, unit and what it is.
const FIGURES: [(&str, &str, OfCase); 3] = [
    ("bytes_per_token", "B", bytes_per_token),
    ("effective_bytes_per_s", "B/s", |case, pass| Some(bytes_per_token(case, pass)? * rate(case, pass)?)),
    ("roofline", "share", |case, pass| {
        let sum = case.sums.iter().find(|sum| sum.phase == pass.phase)?;
        Some(sum.attainable_s.value()? * rate(case, pass)? / tokens(case, pass)?)
    }),
];

/// One row for each phase and figure.
pub(super) fn rows(pair: &GroupPair<'_>) -> Vec<NormalisedRow> {
    let mut rows = Vec::new();
    for pass in &PASSES {
        for (metric, unit, of) in FIGURES {
            let row = NormalisedRow {
                phase: pass.phase.into(),
                metric: metric.to_owned(),
                unit: unit.to_owned(),
                baseline: middle(&pair.baseline, pass, of),
                other: middle(&pair.other, pass, of),
                notes: Reasons::new(),
            };
            rows.push(row);
        }
    }
    rows.retain(|row| row.baseline.is_present() || row.other.is_present());
    rows
}

/// Mean over the prompts that have it.
fn middle(group: &Group<'_>, pass: &ForwardPass, of: OfCase) -> Recorded<f64> {
    let found = mean(&group.cases.iter().filter_map(|case| of(case, pass)).collect::<Vec<_>>());
    Recorded::of(found, "it needs operations of the traced pass with costs, and measured ceilings")
}

fn bytes_per_token(case: &Case, pass: &ForwardPass) -> Option<f64> {
    let rows = || case.ops.iter().filter(|row| row.phase == pass.phase);
    rows().next()?;
    let streamed: Option<f64> = rows().map(|row| row.streamed_bytes.value()).sum();
    Some(streamed? / tokens(case, pass)?)
}

fn tokens(case: &Case, pass: &ForwardPass) -> Option<f64> {
    let count = pass.metric()?.tokens?;
    case.clean_samples().find_map(count).filter(|tokens| *tokens > 0).map(|tokens| tokens as f64)
}

fn rate(case: &Case, pass: &ForwardPass) -> Option<f64> {
    mean_of(pass.metric()?, [case])
}
