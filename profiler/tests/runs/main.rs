//! Complete runs on the mock engine: what is kept after failures, and that two runs are equal.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod fixture;
#[path = "../nulls/mod.rs"]
mod nulls;
mod resume;
mod rounds;

use engine_api::Advice as _;
use measure::plan::Options;
use measure::run::Outcome;
use record::ErrorKind;
use record::Status;
use redaction::Sensitive;
use traces::Nanos;

use fixture::{Fixture, case, open, resumed, run, run_until};

/// `long` has its seventh decode in its first request; `short` has at most six in any session.
const SEVENTH: &str = "decode:7";

/// Fields of `run.json` whose `null` is a fact: options that are not set, parts that a model or a case does not have.
const FACTS: [&str; 14] = [
    "cases[].error",
    "cases[].layers[].layer",
    "cases[].ops_round",
    "cases[].output",
    "cases[].series",
    "cases[].trace",
    "environment.engines[].variant",
    "plan.batch",
    "plan.context",
    "plan.models[].spec.rope.scaling",
    "plan.models[].spec.window",
    "plan.timeout_s",
    "plan.warmup",
    "tool.revision",
];

/// Lists of a case that have a row or a reason.
const LISTS: [&str; 7] = ["phases", "ops", "layers", "workers", "sums", "allocations", "memory_timeline"];

fn only_long_fails(kind: &str, timeout: Option<Nanos>) -> (Outcome, Status, String) {
    let fixture = Fixture::new();
    let mut options = fixture.options("run", &[(kind, SEVENTH)]);
    options.design.timeout = timeout;
    let outcome = run(&options).unwrap();
    let short = case(&outcome, "short");
    assert_eq!((short.status, short.error.as_deref()), (Status::Ok, None), "the other case continues");
    assert!(short.samples.iter().any(|sample| !sample.warmup && sample.latency_s.is_present()));
    let long = case(&outcome, "long");
    let (status, error) = (long.status, long.error.clone().unwrap());
    assert_eq!(open(&outcome.dir).cases.len(), 2);
    (outcome, status, error)
}

#[test]
fn an_abort_affects_one_case_and_names_the_phase() {
    let (_, status, error) = only_long_fails("abort", None);
    assert_eq!(status, Status::Failed);
    assert!(error.contains("was ended by signal 6 (SIGABRT) in phase decode; peak memory"), "{error}");
}

#[test]
fn a_hang_affects_one_case_after_the_timeout() {
    let (_, status, error) = only_long_fails("hang", Some(Nanos::from_millis(400)));
    assert_eq!(status, Status::Timeout);
    assert!(
        error.starts_with("the request took longer than `timeout` 0.4 s and was ended in phase decode; peak memory"),
        "{error}"
    );
}

#[test]
fn a_failure_affects_one_case_and_keeps_the_worker() {
    let (outcome, status, error) = only_long_fails("fail", None);
    assert_eq!(status, Status::Failed);
    assert_eq!(error, "engine mock failed in decode: requested by the setting fail=decode:7");
    assert!(
        outcome.file.warnings.iter().any(|warning| warning.contains("1 of 2 cases failed")),
        "{:?}",
        outcome.file.warnings
    );
}

#[test]
fn a_model_that_cannot_be_loaded_fails_every_case_of_its_worker() {
    let fixture = Fixture::new();
    let outcome = run(&fixture.options("run", &[("abort", "load")])).unwrap();
    for case in &outcome.file.cases {
        assert_eq!(case.status, Status::Failed);
        let error = case.error.as_ref().unwrap();
        assert!(
            error.starts_with("loading failed: the worker was ended by signal 6 (SIGABRT) in phase load"),
            "{error}"
        );
    }
}

#[test]
fn time_between_phases_is_other_and_everything_adds_up() {
    let fixture = Fixture::new();
    let quiet = run(&fixture.options("quiet", &[])).unwrap();
    let slow = run(&fixture.options("slow", &[("gap_us", "500")])).unwrap();
    for (outcome, pauses) in [(&quiet, false), (&slow, true)] {
        for case in &outcome.file.cases {
            for sample in case.samples.iter().chain(&case.traced) {
                let parts = [
                    sample.tokenize_s.value(),
                    sample.prefill_s.value(),
                    sample.decode_s.value(),
                    sample.sample_s.value(),
                    sample.detokenize_s.value(),
                    sample.other_s.value(),
                ];
                let sum: f64 = parts.into_iter().flatten().sum();
                assert!((sum - sample.latency_s.value().unwrap()).abs() < 1e-12, "{sample:?}");
                let phases = 2 + 3 * sample.output_tokens.value().unwrap() - 1;
                let expected = if pauses { (phases - 1) as f64 * 500e-6 } else { 0.0 };
                assert!(
                    (sample.other_s.value().unwrap() - expected).abs() < 1e-12,
                    "{} != {expected}",
                    sample.other_s.value().unwrap()
                );
            }
            let rows: f64 = case.phases.iter().filter_map(|row| row.time_s.value()).sum();
            assert!(
                case.stepped.iter().any(|sample| (sample.latency_s.value().unwrap() - rows).abs() < 1e-12),
                "rows of one request add up"
            );
        }
    }
    assert!(
        slow.file.warnings.iter().any(|warning| warning.contains("the phases do not account for the whole latency")),
        "{:?}",
        slow.file.warnings
    );
}

#[test]
fn two_runs_are_equal_byte_for_byte() {
    let fixture = Fixture::new();
    let files = |out: &str| {
        let outcome = run(&fixture.options(out, &[])).unwrap();
        // The folder's name is part of run.json.
        let aside = fixture.path(&format!("{out}-kept-{}", fixture.folder.path().read_dir().unwrap().count()));
        std::fs::rename(&outcome.dir, &aside).unwrap();
        let mut names: Vec<_> =
            aside.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        names.sort();
        names
            .iter()
            .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect::<Vec<_>>()
    };
    let (one, other) = (files("run"), files("run"));
    let names: Vec<_> = one.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    for expected in [
        "run.json",
        "samples.jsonl",
        "results.csv",
        "trace.json",
        "trace-01-short.json",
        "trace-02-long.json",
        "report.md",
        "report.html",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} is missing in {names:?}");
    }
    for ((name, a), (_, b)) in one.iter().zip(&other) {
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn an_interrupted_run_keeps_its_results_and_can_be_resumed() {
    let fixture = Fixture::new();
    let mut options = fixture.options("run", &[]);
    options.design.runs = 3;
    let cut = run_until(&options, 9).unwrap();
    assert!(cut.file.interrupted);
    assert_eq!(open(&cut.dir), cut.file, "run.json is complete");
    assert!(
        cut.file
            .cases
            .iter()
            .all(|case| case.status == Status::Skipped && case.error.as_ref().unwrap().contains("of 3 rounds"))
    );
    let before = cut.file.cases.iter().flat_map(|case| &case.samples).count();

    let rest = run(&resumed(&options, &cut)).unwrap();
    assert!(!rest.file.interrupted);
    for case in &rest.file.cases {
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        let mut rounds: Vec<_> =
            case.samples.iter().filter(|sample| !sample.warmup).map(|sample| sample.round).collect();
        rounds.sort_unstable();
        assert_eq!(rounds, [0, 1, 2], "every round once");
        assert_eq!((case.stepped.len(), case.traced.len()), (2, 2));
        assert!(case.output.is_some() && case.memory.load_s.is_present() && !case.ops.is_empty());
    }
    assert!(rest.file.cases.iter().flat_map(|case| &case.samples).count() > before);
    let lines = std::fs::read_to_string(rest.dir.join("samples.jsonl")).unwrap().lines().count();
    let kept: usize =
        rest.file.cases.iter().map(|case| case.samples.len() + case.stepped.len() + case.traced.len()).sum();
    assert_eq!(lines, kept);
    let report = traces::check::check(rest.dir.join("trace.json"));
    assert!(report.unwrap().problems.is_empty());
}

/// One prompt has its first round, and the other none of it: each is warmed up directly before what it misses.
#[test]
fn a_resumed_run_warms_up_each_case_directly_before_its_first_request() {
    let fixture = Fixture::new();
    let mut options = fixture.options("run", &[]);
    (options.design.runs, options.design.warmup) = (4, Some(1));
    // The first round of both prompts, and the second of one of them.
    let whole = run(&{
        let mut whole = options.clone();
        whole.output.out = Some(fixture.path("whole"));
        whole
    })
    .unwrap();
    let lines = |dir: &std::path::Path| -> Vec<(String, bool, usize)> {
        let text = std::fs::read_to_string(dir.join("samples.jsonl")).unwrap();
        let line = |line: &str| {
            let sample: record::Sample = serde_json::from_str(line).unwrap();
            (sample.case, sample.warmup, sample.round)
        };
        text.lines().map(line).collect()
    };
    let second = lines(&whole.dir).iter().position(|(_, warmup, round)| !warmup && *round == 1).unwrap();
    let cut = run_until(&options, second + 3).unwrap();
    let before = lines(&cut.dir).len();
    let rest = run(&resumed(&options, &cut)).unwrap();
    let added = lines(&rest.dir).split_off(before);
    for case in &rest.file.cases {
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        let first = added.iter().position(|(id, warmup, _)| *id == case.id && !warmup).unwrap();
        let (id, warmup, _) = &added[first - 1];
        assert!(*warmup && *id == case.id, "{} follows {id}: {added:?}", case.id);
        assert!(added[first].2 > 0, "the first round was complete: {added:?}");
    }
}

#[test]
fn a_different_plan_cannot_be_resumed() {
    let fixture = Fixture::new();
    let options = fixture.options("run", &[]);
    let done = run(&options).unwrap();
    let mut other = resumed(&options, &done);
    other.design.seed = 5;
    let error = run(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.with_advice().contains("has another plan: `seed` differs: 20240817 there, 5 here"), "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("resume")), "{}", error.with_advice());
    let again = run(&resumed(&options, &done)).unwrap();
    assert_eq!(again.file.cases, done.file.cases, "nothing remained");
}

#[test]
fn depth_fills_the_context_and_costs_time() {
    let fixture = Fixture::new();
    let mut options = fixture.options("run", &[]);
    options.workload.depths = vec![0, 256];
    let outcome = run(&options).unwrap();
    let decode = |depth: usize| {
        let case = outcome.file.cases.iter().find(|case| case.depth == depth && case.prompt == "long").unwrap();
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        (case.memory.kv_used_bytes.value().unwrap(), case.samples.last().unwrap().prompt_tokens.value().unwrap())
    };
    let (shallow, deep) = (decode(0), decode(256));
    assert_eq!(shallow.1, deep.1, "the filler is not part of the prompt");
    // K and V, 2 layers, 2 heads of 64, 2 bytes each.
    assert_eq!(deep.0 - shallow.0, 256 * 2 * 2 * 2 * 64 * 2);
}

#[test]
fn invalid_options_are_errors_before_the_run() {
    let fixture = Fixture::new();
    let error_of = |change: &dyn Fn(&mut Options)| {
        let mut options = fixture.options("never", &[]);
        change(&mut options);
        let error = run(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(!fixture.path("never").exists(), "nothing was written");
        error.with_advice().replace(&fixture.folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(error_of(&|o| o.workload.new_tokens = Some(4000)), @"prompt `long` on tiny: 20 prompt tokens and 4000 new tokens need a context of 4020, the model has 512; shorten the prompt, or lower `new_tokens` or `depths`");
    insta::assert_snapshot!(error_of(&|o| o.engine.context = Some(8)), @"prompt `long` on tiny: 20 prompt tokens and 8 new tokens need a context of 28, `context` gives 8; raise `context`, or leave it out");
    insta::assert_snapshot!(error_of(&|o| o.workload.depths = vec![600]), @"prompt `long` on tiny: depth 600, 20 prompt tokens and 8 new tokens need a context of 628, the model has 512; shorten the prompt, or lower `new_tokens` or `depths`");
    insta::assert_snapshot!(error_of(&|o| o.subject.engines = vec!["mokc".to_owned()]), @"no engine is called `mokc`; did you mean `mock`? known engines: candle, llama-cpp, mlx, mock, openai");
    insta::assert_snapshot!(error_of(&|o| o.subject.models = vec!["./nowhere.gguf".to_owned()]), @"cannot open ./nowhere.gguf: No such file or directory (os error 2); check the path");
    insta::assert_snapshot!(error_of(&|o| o.engine.settings = vec![("mokc".to_owned(), "a".to_owned(), Sensitive::setting("a", "b"))]), @"`settings` mokc.a=b: engine mokc takes no part in this run; did you mean `mock`?; the engines of this run are mock");
    assert!(
        error_of(&|o| o.subject.models = vec!["smollm2-135".to_owned()])
            .starts_with("no model is called `smollm2-135`; did you mean `smollm2-135m`?")
    );
}

#[test]
fn every_absent_figure_of_a_run_has_its_reason() {
    let fixture = Fixture::new();
    for settings in [&[][..], &[("fail", SEVENTH)], &[("abort", "load")]] {
        let outcome = run(&fixture.options("run", settings)).unwrap();
        let text = std::fs::read_to_string(outcome.dir.join("run.json")).unwrap();
        let file = serde_json::from_str(&text).unwrap();
        let found = nulls::without_reason(&file, &FACTS);
        assert!(found.is_empty(), "{settings:?}: {found:#?}");
        for case in file["cases"].as_array().unwrap() {
            for list in LISTS {
                let is_empty = case[list].as_array().unwrap().is_empty();
                assert_eq!(is_empty, case["reasons"][list].is_string(), "{settings:?}: {list} of {}", case["reasons"]);
            }
        }
        std::fs::remove_dir_all(&outcome.dir).unwrap();
    }
}
