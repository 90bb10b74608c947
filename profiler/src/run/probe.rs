//! The probe effect: what a pass costs against the clean request of the same round.
//!
//! ```text
//! ratio = median over rounds of (pass latency / pass tokens) / (clean latency / clean tokens)
//! ```
//! Pairs of one round ran one after the other, so slow drift cancels.

use crate::results::{Case, Probe, Sample};
use crate::statistics;

/// The ratios of one case.
pub(super) fn of(case: &Case) -> Probe {
    Probe {
        stepped: paired(&case.samples, &case.stepped),
        traced: paired(&case.samples, &case.traced),
        ..statistics::probe(case)
    }
}

fn paired(clean: &[Sample], pass: &[Sample]) -> Option<f64> {
    let ratio = |sample: &Sample| {
        let partner = clean.iter().find(|other| !other.warmup && other.round == sample.round)?;
        Some(pace(sample)? / pace(partner).filter(|&pace| pace > 0.0)?)
    };
    statistics::median(&pass.iter().filter(|sample| !sample.warmup).filter_map(ratio).collect::<Vec<_>>())
}

/// Seconds per output token.
#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
pub(super) fn pace(sample: &Sample) -> Option<f64> {
    Some(sample.latency_s? / sample.output_tokens.filter(|&tokens| tokens > 0)? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, latency: f64) -> Sample {
        Sample { round, latency_s: Some(latency), output_tokens: Some(10), ..Sample::default() }
    }

    #[test]
    fn rounds_are_paired_so_that_drift_cancels() {
        // The machine slows down to half its speed; the pass always costs 10 %.
        let case = Case {
            samples: vec![Sample { warmup: true, ..sample(0, 9.0) }, sample(0, 1.0), sample(1, 2.0), sample(2, 2.0)],
            stepped: vec![sample(0, 1.1), sample(1, 2.2)],
            ..Case::default()
        };
        let probe = of(&case);
        assert!((probe.stepped.unwrap() - 1.1).abs() < 1e-9);
        assert_eq!(probe.traced, None);
    }
}
