//! Warnings about a bandwidth that drifts during a run, from the run file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use analyse::warnings::{Warning, after};
use record::{CeilingProbe, Ceilings, RecordedList, RunFile, Spread, ThreadCeilings};

/// A recorded run with these probes, on a machine with a ceiling of 40 GB/s.
fn run(rates: &[f64]) -> RunFile {
    let mut file =
        analyse::complete(record::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-v1")).unwrap());
    let ceiling = Spread { median: 40e9, low: 39e9, high: 41e9, n: 7 };
    let entry = ThreadCeilings { threads: 2, memory_read: ceiling.into(), ..ThreadCeilings::absent("not measured") };
    file.ceilings = Ceilings { threads: vec![entry], ..Ceilings::absent("not measured") }.into();
    let probe =
        |&rate: &f64| CeilingProbe { threads: 2, memory_read: rate.into(), ..CeilingProbe::absent("not probed") };
    file.ceiling_probes = RecordedList::new(rates.iter().map(probe).collect(), "none");
    file
}

fn of_bandwidth(file: &RunFile) -> Vec<Warning> {
    let is_one = |warning: &Warning| matches!(warning, Warning::Bandwidth { .. });
    after(file, &[]).into_iter().filter(is_one).collect()
}

#[test]
fn a_steady_bandwidth_has_no_warning() {
    assert_eq!(of_bandwidth(&run(&[40e9, 41e9, 39.5e9, 40.2e9])), []);
    assert_eq!(of_bandwidth(&run(&[])), []);
}

#[test]
fn a_drift_has_a_warning() {
    let found = of_bandwidth(&run(&[40e9, 38e9, 35e9]));
    assert!(
        matches!(found.as_slice(), [Warning::Bandwidth { probes, of_ceiling: None }] if probes.threads == 2),
        "{found:?}"
    );
    let dip = of_bandwidth(&run(&[40e9, 33e9, 40e9]));
    assert!(matches!(dip.as_slice(), [Warning::Bandwidth { probes, .. }] if probes.range > 0.1), "{dip:?}");
}

#[test]
fn ceilings_that_differ_from_probes_have_a_warning() {
    let found = of_bandwidth(&run(&[20e9, 20.5e9, 20e9]));
    assert!(
        matches!(found.as_slice(), [Warning::Bandwidth { of_ceiling: Some(ratio), .. }] if (ratio - 0.5).abs() < 0.02),
        "{found:?}"
    );
    assert!(found[0].text().contains("a new measurement of the machine"));
    let both = of_bandwidth(&run(&[20e9, 15e9, 20e9]));
    assert!(
        matches!(both.as_slice(), [Warning::Bandwidth { of_ceiling: Some(_), .. }]),
        "one fact, one warning: {both:?}"
    );
}
