//! The rows of a stepped request: time, CPU time and counters per phase.

use std::collections::BTreeMap;

use engine_api::Phase;
use meter::{Counter, Tally};
use record::{CounterTotals, PhaseOrOther, PhaseRow, Reason, Reasons, Recorded, RecordedMap};

use super::stepped::PhaseCounts;
use super::timing::Timing;

/// The phases of a request in the order of reports.
const ORDER: [Phase; 5] = [Phase::Tokenize, Phase::Prefill, Phase::Decode, Phase::Sample, Phase::Detokenize];

/// The totals of a tally. `counted` are its counters, each with its index.
pub(crate) fn totals(tally: &Tally, counted: &[(usize, &'static Counter)]) -> CounterTotals {
    let mut totals = CounterTotals::default();
    for &(index, counter) in counted {
        let found = tally.value(index, counter);
        if let Ok(counted) = &found
            && counted.counted_share < 1.0
        {
            let share = counted.counted_share * 100.0;
            let note = format!("extrapolated: it counted {share:.0} % of the time (multiplexed)");
            totals.notes.insert(counter.name.to_owned(), note);
        }
        totals.values.insert(counter.name.to_owned(), found.map(|counted| counted.value).into());
    }
    totals
}

/// One row per phase, `other` last. The time of a phase that did not occur is `null`. No phase has more CPU time than `processors` can
/// give; `None` where time is virtual.
pub(crate) fn phase_rows(
    timing: &Timing,
    counts: &PhaseCounts,
    counted: &[(usize, &'static Counter)],
    processors: Option<usize>,
) -> Vec<PhaseRow> {
    let latency = timing.latency.as_secs_f64();
    let share = |time: f64| -> Recorded<f64> {
        if latency > 0.0 { (time / latency).into() } else { Recorded::absent("the request took no time") }
    };
    let mut rows: Vec<PhaseRow> = ORDER
        .iter()
        .map(|&phase| {
            let count = timing.count(phase);
            if count == 0 {
                return PhaseRow { phase: phase.into(), ..PhaseRow::absent("it did not occur in this request") };
            }
            let time = timing.phase(phase).as_secs_f64();
            let CounterTotals { mut values, notes } = match counts.get(&phase) {
                Some(tally) => totals(tally, counted),
                None => not_read(counted),
            };
            if let Some(processors) = processors {
                withhold_impossible_cpu_time(&mut values, time * processors as f64);
            }
            PhaseRow {
                phase: phase.into(),
                count,
                time_s: time.into(),
                share: share(time),
                cpu_s: cpu_time(&values).into(),
                counters: values,
                counted_s: BTreeMap::new(),
                derived: BTreeMap::new(),
                notes,
            }
        })
        .collect();
    let other = timing.other.as_secs_f64();
    let reason = "one reading of the counters is the end of a phase and the begin of the next one: what is counted between phases belongs to the phases";
    rows.push(PhaseRow {
        phase: PhaseOrOther::Other,
        count: timing.spans.len().saturating_sub(1),
        time_s: other.into(),
        share: share(other),
        notes: Reasons::from([("counters".to_owned(), reason.to_owned())]),
        ..PhaseRow::absent(reason)
    });
    rows
}

/// Counters that were not read in a phase.
fn not_read(counted: &[(usize, &'static Counter)]) -> CounterTotals {
    let absent = |(_, counter): &(usize, &'static Counter)| {
        (counter.name.to_owned(), Recorded::absent("it was not read in this phase"))
    };
    CounterTotals { values: counted.iter().map(absent).collect(), ..CounterTotals::default() }
}

const CPU_TIMES: [&str; 2] = ["cpu_user_s", "cpu_system_s"];

/// Of the process, in user and in system mode, in seconds.
fn cpu_time(values: &RecordedMap) -> Result<f64, Reason> {
    let not_read = || Reason::new("CPU time was not read");
    let times = CPU_TIMES.map(|name| Result::from(values.get(name).cloned().ok_or_else(not_read)?));
    times.into_iter().sum()
}

/// The kernel adds the time of threads on other processors when their time slice ends, so that a short phase can get what was used
/// before it. A phase that is long beside such a slice may have a little too much: that stays.
fn withhold_impossible_cpu_time(values: &mut RecordedMap, most_s: f64) {
    const BESIDE_SLICES: f64 = 1.1;
    if cpu_time(values).is_ok_and(|used| used > BESIDE_SLICES * most_s) {
        let reason = "the phase is shorter than the steps in which the kernel counts CPU time: it counted more than all processors can give";
        values.extend(CPU_TIMES.map(|name| (name.to_owned(), Recorded::absent(reason))));
    }
}

#[cfg(test)]
mod tests {
    use traces::Nanos;

    use super::super::timing::PhaseSpan;
    use super::*;
    use meter::{CounterReading, Reading, registered_counter};

    #[test]
    fn cpu_time_that_no_machine_can_give_is_withheld() {
        let values = |user: f64| {
            RecordedMap::from([
                ("cpu_user_s".to_owned(), user.into()),
                ("cpu_system_s".to_owned(), 0.001.into()),
                ("minor_faults".to_owned(), 3.0.into()),
            ])
        };
        let mut possible = values(0.017);
        withhold_impossible_cpu_time(&mut possible, 0.02);
        assert_eq!(possible, values(0.017));
        let mut impossible = values(0.022);
        withhold_impossible_cpu_time(&mut impossible, 0.02);
        assert!(cpu_time(&impossible).is_err_and(|reason| reason.as_str().contains("shorter than the steps")));
        assert!(impossible["cpu_system_s"].value().is_none() && impossible["minor_faults"].value() == Some(3.0));
        assert_eq!(cpu_time(&RecordedMap::new()), Err(Reason::new("CPU time was not read")));
    }

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
        let rows = phase_rows(&timing, &PhaseCounts::from([(Phase::Prefill, tally)]), &counters, None);
        let sum: f64 = rows.iter().filter_map(|row| row.time_s.value()).sum();
        assert!((sum - 100e-9).abs() < 1e-15);
        assert_eq!(
            rows.iter().map(|row| row.phase.name()).collect::<Vec<_>>(),
            ["tokenize", "prefill", "decode", "sample", "detokenize", "other"]
        );
        assert_eq!((rows[0].time_s.value(), rows[3].count, rows[5].count), (None, 2, 3));
        let absent = [&rows[0].time_s, &rows[0].share, &rows[0].cpu_s].map(|value| value.reason().unwrap().as_str());
        assert_eq!(absent, ["it did not occur in this request"; 3]);
        assert!((rows[1].cpu_s.value().unwrap() - 40e-6).abs() < 1e-12);
        assert_eq!(rows[2].cpu_s.reason().unwrap(), &"it was not read in this phase");
        assert_eq!(rows[2].counters["cpu_user_s"].reason().unwrap(), &"it was not read in this phase");
        assert!((rows[5].share.value().unwrap() - 0.15).abs() < 1e-9);
    }
}
