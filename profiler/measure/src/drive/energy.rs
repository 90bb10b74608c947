//! Energy of a stepped request: into the rows of its phases, and over all of it.

use std::collections::BTreeMap;

use engine_api::Phase;

use meter::{Counter, EnergySpan};
use record::{PhaseRow, Reasons};

/// What the value of decode covers.
const TOGETHER: &str = "the energy of decode, sample and detokenize together: it is read once behind them, since reading it at each token would cost more than it tells";
const PART_OF_DECODE: &str = "part of decode: energy is not read at each token";

/// Where the values go: the rows of the phases, and the counters of the request with their reasons.
type Target<'a> = (&'a mut Vec<PhaseRow>, &'a mut BTreeMap<String, Option<f64>>, &'a mut Reasons);

/// Adds each energy counter, with a value or its reason. `counters` are in the order of the spans' joules.
pub fn add_energy(
    (rows, counters_of_request, reasons_of_request): Target<'_>,
    counters: &[&'static Counter],
    spans: &[EnergySpan],
    whole: Option<&EnergySpan>,
) {
    for (place, counter) in counters.iter().enumerate() {
        for row in rows.iter_mut().filter(|row| row.count > 0 && row.phase != "other") {
            let span = spans.iter().find(|span| span.phase.is_some_and(|phase| phase.name() == row.phase));
            let part = [Phase::Sample, Phase::Detokenize].iter().any(|phase| phase.name() == row.phase);
            let value = match span.and_then(|span| span.joules.get(place)) {
                _ if part => Err(PART_OF_DECODE.to_owned()),
                Some(value) => value.clone(),
                None => Err("it was not read at the end of this phase".to_owned()),
            };
            if row.phase == Phase::Decode.name() && value.is_ok() {
                row.reasons.insert(counter.name.to_owned(), TOGETHER.to_owned());
            }
            set(&mut row.counters, &mut row.reasons, counter, value);
        }
        let value = whole.and_then(|span| span.joules.get(place)).cloned();
        let value = value.unwrap_or_else(|| Err("it was not read over the whole request".to_owned()));
        set(counters_of_request, reasons_of_request, counter, value);
    }
}

fn set(
    counters: &mut BTreeMap<String, Option<f64>>,
    reasons: &mut Reasons,
    counter: &Counter,
    value: Result<f64, String>,
) {
    let value = value.map_err(|reason| reasons.insert(counter.name.to_owned(), reason)).ok();
    counters.insert(counter.name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use traces::Nanos;

    use super::*;
    use meter::find;

    #[test]
    fn long_phases_have_values_and_the_others_reasons() {
        let counter = find("energy_package_j").unwrap();
        let row = |phase: &str, count| PhaseRow { phase: phase.to_owned(), count, ..PhaseRow::default() };
        let mut rows = vec![
            row("tokenize", 1),
            row("prefill", 1),
            row("decode", 9),
            row("sample", 10),
            row("detokenize", 0),
            row("other", 30),
        ];
        let span = |phase, joules| EnergySpan { phase, time: Nanos::from_millis(50), joules: vec![joules] };
        let spans = [
            span(Some(Phase::Tokenize), Err("too short".to_owned())),
            span(Some(Phase::Prefill), Ok(2.0)),
            span(Some(Phase::Decode), Ok(5.0)),
        ];
        let (mut counters, mut reasons) = (BTreeMap::new(), Reasons::new());
        let whole = span(None, Ok(7.5));
        add_energy((&mut rows, &mut counters, &mut reasons), &[counter], &spans, Some(&whole));
        let values: Vec<_> = rows.iter().map(|row| row.counters.get("energy_package_j").copied()).collect();
        assert_eq!(values, [Some(None), Some(Some(2.0)), Some(Some(5.0)), Some(None), None, None]);
        assert!(rows[0].reasons["energy_package_j"].contains("too short"));
        assert!(rows[2].reasons["energy_package_j"].contains("together"));
        assert!(rows[3].reasons["energy_package_j"].contains("part of decode"));
        assert_eq!((counters["energy_package_j"], reasons.len()), (Some(7.5), 0));
    }
}
