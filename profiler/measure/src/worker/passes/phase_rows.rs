//! The rows of a stepped request: time, CPU time and counters per phase.

use std::collections::BTreeMap;

use engine_api::Phase;
use meter::{Counter, Tally};
use record::{PhaseRow, Reasons};

use super::stepped::PhaseCounts;
use super::timing::Timing;

/// The phases of a request in the order of reports.
const ORDER: [Phase; 5] = [Phase::Tokenize, Phase::Prefill, Phase::Decode, Phase::Sample, Phase::Detokenize];

/// The totals of counters, each with a value or a reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    /// Name to value.
    pub(crate) values: BTreeMap<String, Option<f64>>,
    /// Name to why it is absent, or how far it is extrapolated.
    pub(crate) reasons: Reasons,
}

/// The totals of a tally. `counted` are its counters, each with its index.
pub(crate) fn totals(tally: &Tally, counted: &[(usize, &'static Counter)]) -> Totals {
    let mut totals = Totals::default();
    for &(index, counter) in counted {
        let value = match tally.value(index, counter) {
            Ok(counted) => {
                if counted.counted_share < 1.0 {
                    let share = counted.counted_share * 100.0;
                    totals.reasons.insert(
                        counter.name.to_owned(),
                        format!("extrapolated: it counted {share:.0} % of the time (multiplexed)"),
                    );
                }
                Some(counted.value)
            }
            Err(reason) => {
                totals.reasons.insert(counter.name.to_owned(), reason.into());
                None
            }
        };
        totals.values.insert(counter.name.to_owned(), value);
    }
    totals
}

/// One row per phase, `other` last. The time of a phase that did not occur is `null`.
pub(crate) fn phase_rows(
    timing: &Timing,
    counts: &PhaseCounts,
    counted: &[(usize, &'static Counter)],
) -> Vec<PhaseRow> {
    let latency = timing.latency.as_secs_f64();
    let share = |time: f64| (latency > 0.0).then(|| time / latency);
    let mut rows: Vec<PhaseRow> = ORDER
        .iter()
        .map(|&phase| {
            let name = phase.name().to_owned();
            let count = timing.count(phase);
            if count == 0 {
                let reasons = Reasons::from([("time_s".to_owned(), "it did not occur in this request".to_owned())]);
                return PhaseRow { phase: name, reasons, ..PhaseRow::default() };
            }
            let time = timing.phase(phase).as_secs_f64();
            let Totals { values, mut reasons } = match counts.get(&phase) {
                Some(tally) => totals(tally, counted),
                None => not_read(counted),
            };
            let cpu_s = cpu(&values);
            if cpu_s.is_none() {
                reasons.insert("cpu_s".to_owned(), "CPU time was not read".to_owned());
            }
            let (time_s, share) = (Some(time), share(time));
            PhaseRow { phase: name, count, time_s, share, cpu_s, counters: values, reasons, ..PhaseRow::default() }
        })
        .collect();
    let other = timing.other.as_secs_f64();
    let reason = "one reading of the counters is the end of a phase and the begin of the next one: what is counted between phases belongs to the phases";
    rows.push(PhaseRow {
        phase: "other".to_owned(),
        count: timing.spans.len().saturating_sub(1),
        time_s: Some(other),
        share: share(other),
        reasons: Reasons::from([("cpu_s".to_owned(), reason.to_owned()), ("counters".to_owned(), reason.to_owned())]),
        ..PhaseRow::default()
    });
    rows
}

/// Counters that were not read in a phase.
fn not_read(counted: &[(usize, &'static Counter)]) -> Totals {
    let names = || counted.iter().map(|(_, counter)| counter.name.to_owned());
    Totals {
        values: names().map(|name| (name, None)).collect(),
        reasons: names().map(|name| (name, "it was not read in this phase".to_owned())).collect(),
    }
}

fn cpu(values: &BTreeMap<String, Option<f64>>) -> Option<f64> {
    Some(values.get("cpu_user_s").copied()?? + values.get("cpu_system_s").copied()??)
}

#[cfg(test)]
mod tests {
    use traces::Nanos;

    use super::super::timing::PhaseSpan;
    use super::*;
    use meter::{CounterReading, Reading, registered_counter};

    #[test]
    fn rows_add_up_to_the_latency_and_have_reasons() {
        let span = |phase, start, end| PhaseSpan { phase, start: Nanos(start), end: Nanos(end) };
        let timing = Timing {
            spans: vec![
                span(Phase::Prefill, 0, 60),
                span(Phase::Sample, 70, 80),
                span(Phase::Decode, 85, 95),
                span(Phase::Sample, 95, 100),
            ],
            latency: Nanos(100),
            other: Nanos(15),
            tokens: vec![],
        };
        let counters =
            [(0, registered_counter("cpu_user_s").unwrap()), (1, registered_counter("cpu_system_s").unwrap())];
        let mut after = Reading::default();
        after.counters[0] = CounterReading { value: 30, valid: true, ..CounterReading::default() };
        after.counters[1] = CounterReading { value: 10, valid: true, ..CounterReading::default() };
        let mut before = Reading::default();
        before.counters.iter_mut().for_each(|tick| tick.valid = true);
        let mut tally = Tally::default();
        tally.add(&before, &after);
        let rows = phase_rows(&timing, &PhaseCounts::from([(Phase::Prefill, tally)]), &counters);
        let sum: f64 = rows.iter().filter_map(|row| row.time_s).sum();
        assert!((sum - 100e-9).abs() < 1e-15);
        assert_eq!(
            rows.iter().map(|row| row.phase.as_str()).collect::<Vec<_>>(),
            ["tokenize", "prefill", "decode", "sample", "detokenize", "other"]
        );
        assert_eq!((rows[0].time_s, rows[3].count, rows[5].count), (None, 2, 3));
        assert!((rows[1].cpu_s.unwrap() - 40e-6).abs() < 1e-12);
        assert!(rows[2].cpu_s.is_none() && rows[2].reasons.contains_key("cpu_s"));
        assert_eq!((rows[2].counters["cpu_user_s"], rows[2].reasons.contains_key("cpu_user_s")), (None, true));
        assert!((rows[5].share.unwrap() - 0.15).abs() < 1e-9);
    }
}
