//! A phase as the sum of its parts, with the time between the operations as one of them.
//!
//! ```text
//! prefill, decode   time = sum of the ops + unattributed
//! other phases      time = the phase itself: no op is marked in tokenizing, sampling, detokenizing, nor between the phases
//! ```
//! Times are those of the traced request that the ops are of. Its marks slow it down; the probe effect shows by how much.

use engine_api::Phase;

use crate::summary::PHASE_TIMES;
use record::{Case, OpFindings, OpRow, PhaseOrOther, PhaseSum, Reason, Recorded, RecordedList, Sample};

/// The phases that are forward passes.
const FORWARD: [Phase; 2] = [Phase::Prefill, Phase::Decode];

/// The sums of the phases of a case in the order of a request. `ops` are the findings of its ops.
pub(super) fn of(case: &Case, ops: &[OpFindings]) -> RecordedList<PhaseSum> {
    if let Some(reason) = case.ops.reason() {
        return RecordedList::absent(reason.clone());
    }
    let Some(sample) = traced(case) else { return RecordedList::absent("no traced request has a valid time") };
    let sums = PHASE_TIMES.iter().filter_map(|(phase, time)| Some(sum(case, ops, phase, time(sample).value()?)));
    RecordedList::new(sums.collect(), "no phase of the traced request has a time")
}

/// The time of the traced request of a case, and how much of it at least no thread of the process ran:
///
/// ```text
/// latency - CPU time of all threads,  0 where threads used more
/// ```
///
/// Unit: seconds. `None` where the CPU time is not known, and where a server computed.
#[must_use]
pub fn not_running(case: &Case) -> Option<(f64, f64)> {
    let sample = traced(case).filter(|_| case.server.is_none())?;
    let latency = sample.latency_s.value()?;
    Some((latency, (latency - sample.cpu_s.value()?).max(0.0)))
}

/// The traced request that the ops are of: by its round, or that of median latency (the lower of two) in files without the round.
fn traced(case: &Case) -> Option<&Sample> {
    let mut valid: Vec<(f64, &Sample)> =
        case.traced.iter().filter_map(|sample| Some((sample.latency_s.value()?, sample))).collect();
    valid.sort_by(|a, b| a.0.total_cmp(&b.0));
    let of_round = valid.iter().find(|(_, sample)| Some(sample.round) == case.ops_round);
    of_round.or_else(|| valid.get(valid.len().saturating_sub(1) / 2)).map(|(_, sample)| *sample)
}

fn sum(case: &Case, ops: &[OpFindings], phase: &PhaseOrOther, time_s: f64) -> PhaseSum {
    let empty = PhaseSum {
        phase: phase.clone(),
        time_s,
        ops_s: time_s,
        ..PhaseSum::absent("no operation is marked in this phase")
    };
    if FORWARD.iter().all(|forward| phase != forward) {
        return empty;
    }
    let rows = || case.ops.iter().zip(ops).filter(|(row, _)| row.phase == *phase);
    let ops_s: f64 = rows().map(|(row, _)| row.time_s).sum();
    let unattributed_s = whole_nanos(time_s - ops_s);
    // The sum is unknown where one op has no value; a phase without ops has no sum.
    type OfOp = for<'a> fn(&'a OpRow, &'a OpFindings) -> Result<f64, &'a Reason>;
    let whole = |of: OfOp| -> Recorded<f64> {
        if rows().next().is_none() {
            return Recorded::absent("no operation of this phase was traced");
        }
        let named = |row: &OpRow, reason: &Reason| Reason::new(format!("{}: {reason}", row.op));
        rows().map(|(row, op)| of(row, op).map_err(|reason| named(row, reason))).sum::<Result<f64, Reason>>().into()
    };
    let attainable_s = whole(|_, op| op.attainable.as_ref().map(|attainable| attainable.seconds));
    let roofline = match attainable_s.as_result() {
        Ok(_) if time_s <= 0.0 => Err(Reason::new("the phase took no time")),
        Ok(attainable_s) => Ok(attainable_s / time_s),
        Err(reason) => Err(reason.clone()),
    };
    PhaseSum {
        ops_s,
        unattributed_s,
        unattributed_share: if time_s > 0.0 { unattributed_s / time_s } else { 0.0 },
        attainable_s,
        roofline: roofline.into(),
        bytes: whole(|row, _| row.bytes.as_result().copied()),
        flops: whole(|row, _| row.flops.as_result().copied()),
        ..empty
    }
}

/// All times are whole nanoseconds: what is less than half of one is rounding.
fn whole_nanos(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{file, row};
    use super::*;
    use crate::attribution::{attribute, roofline};

    fn sample(round: usize, latency: f64, decode: f64) -> Sample {
        Sample {
            round,
            latency_s: latency.into(),
            prefill_s: 0.2.into(),
            decode_s: decode.into(),
            sample_s: 0.01.into(),
            detokenize_s: 0.002.into(),
            other_s: 0.001.into(),
            ..Sample::absent("not measured")
        }
    }

    fn case() -> Case {
        let mut case = Case {
            threads: 2,
            traced: vec![sample(0, 3.0, 2.0), sample(1, 2.0, 1.0)],
            ops: [
                row("prefill", "q_proj", 1, 0.15, [1e9, 1e8, 1e3]),
                row("decode", "q_proj", 4, 0.6, [1e9, 4e9, 1e3]),
                row("decode", "lm_head", 4, 0.3, [1e9, 2e9, 1e3]),
            ]
            .into(),
            ops_round: Some(1),
            ..Case::default()
        };
        case.ops.iter_mut().for_each(|row| row.share = row.time_s / if row.phase == Phase::Decode { 1.0 } else { 0.2 });
        case
    }

    /// Without ceilings.
    fn sums(case: &Case) -> RecordedList<PhaseSum> {
        of(case, &roofline::of(&case.ops, &Err(Reason::new("none"))))
    }

    #[test]
    fn shares_and_the_unattributed_make_the_phase() {
        let file = file(case());
        let case = &file.cases[0];
        let sums = attribute(&file, case).sums;
        let names: Vec<_> = sums.iter().map(|sum| sum.phase.name()).collect();
        assert_eq!(names, ["prefill", "decode", "sample", "detokenize", "other"], "a merged phase is left out");
        for sum in &sums {
            assert!((sum.ops_s + sum.unattributed_s - sum.time_s).abs() < 1e-12);
        }
        let decode = &sums[1];
        let shares: f64 = case.ops.iter().filter(|row| row.phase == Phase::Decode).map(|row| row.share).sum();
        assert!((shares + decode.unattributed_share - 1.0).abs() < 1e-12);
        assert!((decode.unattributed_share - 0.1).abs() < 1e-12);
        // 6 GB at 10 GB/s.
        assert!((decode.roofline.value().unwrap() - 0.6).abs() < 1e-3, "{decode:?}");
        assert!((decode.bytes.value().unwrap() - 6e9).abs() < 1e4);
        assert!(
            (sums[2].ops_s - 0.01).abs() < 1e-12
                && sums[2].roofline.reason().unwrap() == &"no operation is marked in this phase"
        );
        let latency: f64 = sums.iter().map(|sum| sum.time_s).sum();
        assert!((latency - 1.213).abs() < 1e-12);
    }

    #[test]
    fn the_request_is_the_one_of_the_ops() {
        let mut case = case();
        let decode = |case: &Case| sums(case)[1].time_s;
        assert!((decode(&case) - 1.0).abs() < 1e-12);
        case.ops_round = None;
        assert!((decode(&case) - 1.0).abs() < 1e-12, "the lower of two");
        case.ops_round = Some(0);
        assert!((decode(&case) - 2.0).abs() < 1e-12);
        case.ops = RecordedList::absent("no ops were traced");
        assert_eq!(sums(&case).reason().unwrap(), &"no ops were traced");
    }

    #[test]
    fn time_in_which_nothing_ran() {
        let mut case = case();
        assert_eq!(not_running(&case), None, "no CPU time is known");
        case.traced[1].cpu_s = 0.5.into();
        assert_eq!(not_running(&case), Some((2.0, 1.5)));
        case.traced[1].cpu_s = 3.5.into();
        assert_eq!(not_running(&case), Some((2.0, 0.0)), "two threads ran");
        case.server = Some(record::ServerFile::absent("not reported"));
        assert_eq!(not_running(&case), None);
    }

    #[test]
    fn the_sum_is_unknown_where_one_op_has_no_cost() {
        let mut case = case();
        case.ops[2].flops = Recorded::absent("no cost");
        let sums = sums(&case);
        assert_eq!(sums[1].flops.reason().unwrap(), &"lm_head: no cost");
        assert!(sums[1].bytes.is_present());
    }

    proptest! {
        #[test]
        fn parts_always_add_up_to_the_whole(times in prop::collection::vec(0.0..10.0f64, 1..20), rest in 0.0..5.0f64) {
            let whole = times.iter().sum::<f64>() + rest;
            let ops = times.iter().map(|&time| row("decode", "q_proj", 1, time, [1.0, 1.0, 1.0])).collect();
            let case = Case { ops: RecordedList::new(ops, "unused"), traced: vec![sample(0, whole, whole)], ..Case::default() };
            let sum = &sums(&case)[1];
            prop_assert!((sum.ops_s + sum.unattributed_s - whole).abs() <= 0.5e-9 + 1e-12 * whole, "times here are no whole nanoseconds");
            prop_assert!((sum.unattributed_s - rest).abs() <= 1e-9);
        }
    }
}
