//! Repeated and additional rounds: disturbances, `--precision`, `--budget`.

use measure::plan::{Design, Options};
use measure::run::Outcome;
use record::plan::{PromptChoice, TraceLevel};
use record::{Case, Sample, Status, StoppedBy};
use redaction::Sensitive;
use traces::Nanos;

use crate::fixture::{Fixture, open, resumed, run, run_until};

/// Two workers, two prompts, three rounds without jitter. A session has two requests of warm-up, and two of its prompt in the first
/// round, a clean and a stepped one; the session of the last prompt has all later requests. Its last round begins with request 9.
fn disturbed_options(fixture: &Fixture, out: &str, disturbance: Option<&str>) -> Options {
    let mut settings = vec![("jitter_percent", "0")];
    settings.extend(disturbance.map(|requests| ("spell", requests)));
    let mut options = fixture.options(out, &settings);
    (options.design.runs, options.design.warmup) = (3, Some(1));
    options.engine.threads = vec![1, 2];
    options.instruments.trace = TraceLevel::Off;
    options
}

/// Rounds whose request counts, and rounds that were repeated.
fn rounds(case: &Case) -> (Vec<usize>, Vec<usize>) {
    let of = |which: fn(&Sample) -> bool| {
        case.samples.iter().filter(|sample| which(sample)).map(|sample| sample.round).collect::<Vec<_>>()
    };
    (of(Sample::counts), of(|sample| sample.repeated))
}

#[test]
fn a_disturbed_block_is_repeated_and_no_figure_includes_it() {
    let fixture = Fixture::new();
    let quiet = run(&disturbed_options(&fixture, "quiet", None)).unwrap();
    let disturbed = run(&disturbed_options(&fixture, "disturbed", Some("9-9:50"))).unwrap();
    let again: Vec<&Case> = disturbed.file.cases.iter().filter(|case| !rounds(case).1.is_empty()).collect();
    assert_eq!(again.len(), 2, "one prompt on both workers");
    assert_eq!(again[0].prompt, again[1].prompt);
    for case in &disturbed.file.cases {
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        let (counting, repeated) = rounds(case);
        assert_eq!(counting, [0, 1, 2]);
        assert!(repeated.is_empty() || repeated == [2]);
    }
    let first = again[0].samples.iter().find(|sample| sample.repeated).unwrap();
    let second = again[0].samples.last().unwrap();
    insta::assert_snapshot!(first.disturbed.as_ref().unwrap(), @"other programs used 0.50 of the processors (usually 0.00)");
    assert!(second.disturbed.is_none() && first.latency_s.value().unwrap() > 1.9 * second.latency_s.value().unwrap());
    for (a, b) in quiet.file.summaries.iter().zip(&disturbed.file.summaries) {
        assert_eq!(a.metrics.get("decode_tps").unwrap(), b.metrics.get("decode_tps").unwrap());
        assert_eq!(a.samples, b.samples);
    }
    let warning = disturbed.file.warnings.iter().find(|warning| warning.contains("prompt rounds")).unwrap();
    insta::assert_snapshot!(warning, @"1 of 6 prompt rounds (one prompt in one round, on all engines) was disturbed, first because other programs used 0.50 of the processors (usually 0.00): 1 measured again, 0 still disturbed in the attempt that counts; the earlier attempts are in results.csv (`repeated`) and in no figure");
    assert!(!quiet.file.warnings.iter().any(|warning| warning.contains("prompt rounds")));
    let table = std::fs::read_to_string(disturbed.dir.join("results.csv")).unwrap();
    assert_eq!(table.lines().filter(|line| line.contains("other programs used 0.50")).count(), 2);
    let read = open(&disturbed.dir);
    assert_eq!(read, disturbed.file);
}

#[test]
fn a_permanent_disturbance_exhausts_the_repetitions_and_has_a_warning() {
    let fixture = Fixture::new();
    let outcome = run(&disturbed_options(&fixture, "run", Some("9-99:50"))).unwrap();
    for case in &outcome.file.cases {
        assert_eq!((case.status, rounds(case)), (Status::Ok, (vec![0, 1, 2], vec![2, 2, 2])));
        assert!(case.samples.last().unwrap().disturbed.is_some(), "kept with its reason");
    }
    let warning = outcome.file.warnings.iter().find(|warning| warning.contains("prompt rounds")).unwrap();
    assert!(warning.contains("2 of 6 prompt rounds") && warning.contains("2 still disturbed"), "{warning}");
}

#[test]
fn a_run_that_ends_before_a_block_is_repeated_is_resumed_there() {
    let fixture = Fixture::new();
    let options = disturbed_options(&fixture, "run", Some("9-9:50"));
    // 8 of warm-up, 8 + 8 + 4 of the rounds, and the first of two repetitions.
    let cut = run_until(&options, 29).unwrap();
    let open = cut.file.cases.iter().filter(|case| case.status == Status::Skipped);
    assert_eq!(open.filter(|case| case.error.as_ref().unwrap().contains("disturbed")).count(), 2);
    let rest = run(&resumed(&options, &cut)).unwrap();
    for case in &rest.file.cases {
        assert_eq!((case.status, rounds(case).0), (Status::Ok, vec![0, 1, 2]), "{:?}", case.error);
        assert!(case.samples.iter().filter(|sample| sample.counts()).all(|sample| sample.disturbed.is_none()));
    }
}

/// One prompt on an engine and on the same engine under another name with different jitter.
fn precise(fixture: &Fixture, out: &str, percent: f64) -> Options {
    let mut options = fixture.options(out, &[("jitter_percent", "20")]);
    options.engine.settings.push(("again".to_owned(), "seed".to_owned(), Sensitive::setting("seed", "7")));
    options.subject.engines = vec!["mock".to_owned(), "again=mock".to_owned()];
    (options.design.runs, options.design.precision) = (3, Some(percent / 100.0));
    options.workload.prompts = PromptChoice::Text("Hello there".to_owned());
    options.workload.new_tokens = Some(4);
    options.instruments.trace = TraceLevel::Off;
    options
}

#[test]
fn rounds_continue_until_the_precision_is_reached() {
    let fixture = Fixture::new();
    let outcome = run(&precise(&fixture, "run", 3.0)).unwrap();
    let case = &outcome.file.cases[0];
    assert_eq!((case.status, case.error.as_deref()), (Status::Ok, None));
    let (counting, _) = rounds(case);
    assert!(counting.len() > 3, "more than -r: {}", counting.len());
    assert_eq!(outcome.file.precision.len(), 2, "{:#?}", outcome.file.precision);
    for found in &outcome.file.precision {
        assert!(found.reached && found.detectable.value().unwrap() <= 0.03 && found.stopped_by == StoppedBy::Precision);
        assert_eq!((found.rounds, found.baseline.as_deref()), (counting.len(), Some("mock")));
    }
    let report = std::fs::read_to_string(outcome.dir.join("report.md")).unwrap();
    assert!(report.contains("decode_tps of again against mock: differences of"), "{report}");
    // Four times the difference needs fewer rounds.
    let coarse = run(&precise(&fixture, "coarse", 12.0)).unwrap();
    assert!(rounds(&coarse.file.cases[0]).0.len() < counting.len());
    // A single engine has a precision, too.
    let mut alone = precise(&fixture, "alone", 3.0);
    alone.subject.engines = vec!["mock".to_owned()];
    alone.engine.settings = Vec::new();
    let alone = run(&alone).unwrap().file.precision;
    assert!(alone.len() == 2 && alone.iter().all(|found| found.reached && found.baseline.is_none()), "{alone:#?}");
}

#[test]
fn a_budget_ends_the_rounds_and_a_larger_one_continues_them() {
    let fixture = Fixture::new();
    let asked = precise(&fixture, "run", 0.2);
    let latency = {
        let mut plain = precise(&fixture, "plain", 1.0);
        plain.design.precision = None;
        let plain = run(&plain).unwrap();
        plain.file.summaries[0].metrics.get("latency_s").unwrap().mean
    };
    let budget = |times: f64| Some(Nanos::from_secs_f64(times * latency));
    let mut short = asked.clone();
    short.design.budget = budget(20.0);
    let short = run(&short).unwrap();
    let count = |outcome: &Outcome| rounds(&outcome.file.cases[0]).0.len();
    assert!((4..20).contains(&count(&short)), "{}", count(&short));
    assert_eq!(short.file.cases[0].status, Status::Ok, "the planned rounds are complete");
    let found = &short.file.precision[0];
    assert!(
        !found.reached && found.stopped_by == StoppedBy::Budget && found.more_rounds.value().unwrap() > 0,
        "{found:?}"
    );
    let report = std::fs::read_to_string(short.dir.join("report.md")).unwrap();
    assert!(report.contains("a difference of 0.2 % is not detectable within the budget"), "{report}");

    let mut more = resumed(&asked, &short);
    more.design.budget = budget(30.0);
    let more = run(&more).unwrap();
    assert!(count(&more) > count(&short));
    assert_eq!(more.file.precision.len(), short.file.precision.len());

    // Without a precision, the budget only reduces the rounds, to at least two.
    let mut cut = asked;
    cut.design = Design { precision: None, runs: 50, budget: budget(1.0), ..cut.design };
    cut.output.out = Some(fixture.path("cut"));
    let cut = run(&cut).unwrap();
    assert_eq!((count(&cut), cut.file.cases[0].status), (2, Status::Ok));
    let warning = cut.file.warnings.iter().find(|warning| warning.contains("budget")).unwrap();
    assert!(warning.contains("the budget was spent after 2 of 50 rounds"), "{warning}");
}
