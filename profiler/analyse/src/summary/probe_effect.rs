//! The probe effect: the latency of a pass relative to the clean request of the same round.
//!
//! ```text
//! stepped, traced, counted = median over rounds of (pass latency / pass tokens) / (clean latency / clean tokens)
//! clean           = median pace of the last half of the clean rounds / median pace of the first half
//! ```
//! The requests of one round ran one after the other, so slow drift cancels. The last ratio shows the effect of drift alone.
//! With an odd number of rounds the middle one is in neither half. It needs four rounds.

use record::{Case, ProbeEffect, Reasons, Recorded, Sample};
use statistics::median;

/// Why a pass has no ratio.
const NO_PAIR: &str = "no round has a request of this pass and a clean one";

/// The drift needs two rounds in each half.
const LEAST_ROUNDS_OF_DRIFT: usize = 4;

/// The ratios of one case.
pub fn probe_effect(case: &Case) -> ProbeEffect {
    let measured: Vec<&Sample> = case.clean_samples().collect();
    // The halves of fewer rounds are single requests, whose difference is no drift.
    let half = if measured.len() < LEAST_ROUNDS_OF_DRIFT { 0 } else { measured.len() / 2 };
    let of = |samples: &[&Sample]| median(&samples.iter().filter_map(|sample| sample.pace()).collect::<Vec<_>>());
    let (first, last) = (of(&measured[..half]), of(&measured[measured.len() - half..]));
    let clean = last.zip(first.filter(|&pace| pace > 0.0)).map(|(last, first)| last / first);
    let ratio = |pass: &[Sample]| Recorded::of(paired(&measured, pass), NO_PAIR);
    ProbeEffect {
        case: case.id.clone(),
        stepped: ratio(&case.stepped),
        traced: ratio(&case.traced),
        counted: (!case.counted.is_empty()).then(|| ratio(&case.counted)),
        clean: Recorded::of(clean, "fewer than four clean rounds have a latency per token"),
        notes: Reasons::new(),
    }
}

/// `None` where no round has requests of both passes.
fn paired(clean: &[&Sample], pass: &[Sample]) -> Option<f64> {
    let ratio = |sample: &Sample| {
        let partner = clean.iter().find(|other| other.round == sample.round)?;
        Some(sample.pace()? / partner.pace().filter(|&pace| pace > 0.0)?)
    };
    median(&pass.iter().filter(|sample| sample.counts()).filter_map(ratio).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, latency: f64) -> Sample {
        Sample { round, latency_s: latency.into(), output_tokens: 10.into(), ..Sample::absent("not measured") }
    }

    #[test]
    fn rounds_are_paired_so_that_drift_cancels() {
        // The machine slows down to half its speed; the pass always costs 10 %.
        let case = Case {
            samples: vec![
                Sample { warmup: true, ..sample(0, 9.0) },
                sample(0, 1.0),
                sample(1, 1.0),
                sample(2, 3.0),
                sample(3, 2.0),
                sample(4, 2.0),
            ],
            stepped: vec![sample(0, 1.1), sample(3, 2.2)],
            ..Case::default()
        };
        let probe = probe_effect(&case);
        assert!((probe.stepped.value().unwrap() - 1.1).abs() < 1e-9);
        assert!(
            (probe.clean.value().unwrap() - 2.0).abs() < 1e-9,
            "rounds 3 and 4 against 0 and 1; round 2 is in neither half"
        );
        assert_eq!(probe.traced.reason().unwrap(), &NO_PAIR);
    }

    #[test]
    fn few_rounds_show_no_drift() {
        for rounds in 0..4 {
            let samples = (0..rounds).map(|round| sample(round, 1.0 + round as f64)).collect();
            assert!(probe_effect(&Case { samples, ..Case::default() }).clean.is_absent(), "{rounds} rounds");
        }
    }
}
