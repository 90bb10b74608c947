//! Energy of a stepped request: per phase, and over the request.

use engine_api::Phase;
use meter::{Counter, Energy, EnergySpan};
use record::{PhaseOrOther, Reason};

use crate::protocol::SteppedFigures;

/// What the value of decode includes.
const TOGETHER: &str = "the energy of decode, sample and detokenize together: it is read once after them, because a reading at each token would disturb them";
const PART_OF_DECODE: &str = "part of decode: energy is not read at each token";

/// Adds each energy counter of the last request, with a value or its reason.
pub(crate) fn add_energy(figures: &mut SteppedFigures, energy: &mut Energy) {
    let (spans, whole) = energy.take();
    let counters: Vec<_> = energy.counters().collect();
    add(figures, &counters, &spans, whole.as_ref());
}

/// `counters` are in the order of the spans' joules.
fn add(figures: &mut SteppedFigures, counters: &[&'static Counter], spans: &[EnergySpan], whole: Option<&EnergySpan>) {
    for (index, counter) in counters.iter().enumerate() {
        for row in figures.phases.iter_mut().filter(|row| row.count > 0 && row.phase != PhaseOrOther::Other) {
            let span = spans.iter().find(|span| span.phase.is_some_and(|phase| row.phase == phase));
            let is_part = [Phase::Sample, Phase::Detokenize].into_iter().any(|phase| row.phase == phase);
            let value = match span {
                _ if is_part => Err(Reason::new(PART_OF_DECODE)),
                Some(span) => span.joules[index].clone(),
                None => Err(Reason::new("it was not read at the end of this phase")),
            };
            if row.phase == Phase::Decode && value.is_ok() {
                row.notes.insert(counter.name.to_owned(), TOGETHER.to_owned());
            }
            row.counters.insert(counter.name.to_owned(), value.into());
        }
        let value = match whole {
            Some(span) => span.joules[index].clone(),
            None => Err(Reason::new("it was not read over the whole request")),
        };
        figures.counters.values.insert(counter.name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use meter::registered_counter;
    use record::{PhaseRow, Recorded};
    use traces::Nanos;

    use super::*;

    #[test]
    fn long_phases_have_values_and_the_others_reasons() {
        let counter = registered_counter("energy_package_j").unwrap();
        let row = |phase: &str, count| PhaseRow {
            phase: PhaseOrOther::from_name(phase),
            count,
            ..PhaseRow::absent("not measured")
        };
        let rows = vec![
            row("tokenize", 1),
            row("prefill", 1),
            row("decode", 9),
            row("sample", 10),
            row("detokenize", 0),
            row("other", 30),
        ];
        let span = |phase, joules| EnergySpan { phase, time: Nanos::from_millis(50), joules: vec![joules] };
        let spans = [
            span(Some(Phase::Tokenize), Err(Reason::new("too short"))),
            span(Some(Phase::Prefill), Ok(2.0)),
            span(Some(Phase::Decode), Ok(5.0)),
        ];
        let mut figures = SteppedFigures { phases: rows, ..SteppedFigures::default() };
        let whole = span(None, Ok(7.5));
        add(&mut figures, &[counter], &spans, Some(&whole));
        let rows = &figures.phases;
        let found: Vec<_> = rows.iter().map(|row| row.counters.get("energy_package_j").cloned()).collect();
        let absent = |reason: &str| Some(Recorded::absent(reason));
        let expected = [absent("too short"), Some(2.0.into()), Some(5.0.into()), absent(PART_OF_DECODE), None, None];
        assert_eq!(found, expected);
        assert_eq!(rows[2].notes["energy_package_j"], TOGETHER);
        assert_eq!(figures.counters.values["energy_package_j"], Recorded::Present(7.5));
        assert!(figures.counters.reasons().is_empty());
    }
}
