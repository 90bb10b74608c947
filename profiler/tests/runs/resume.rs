//! A run that ended at any request and is resumed has what an uninterrupted one has: rows of all kinds.

use std::fs;

use record::plan::TraceLevel;
use serde_json::Value;

use crate::fixture::{Fixture, open, resumed, run, run_until};

/// What a run has measured, without what differs between two sessions: warm-up requests, when something happened, and how long it took.
/// The engine varies its times with the number of a request in its session, so that only the presence of a fraction is compared, and the
/// order of ops, which is that of their times, is left out.
fn content(file: &record::RunFile) -> Value {
    let mut file = file.clone();
    for case in &mut file.cases {
        case.samples.retain(|sample| !sample.warmup);
        let samples = case.samples.iter_mut().chain(&mut case.stepped).chain(&mut case.traced);
        samples.for_each(|sample| sample.started.clear());
        case.ops.sort_by_key(|row| (row.phase.to_string(), row.op.clone()));
        case.ops_round = None;
    }
    file.clear_findings();
    let mut value = serde_json::to_value(file).unwrap();
    let run = value.as_object_mut().unwrap();
    for name in ["name", "command_line", "started", "finished", "interrupted"] {
        run.remove(name);
    }
    without_fractions(&mut value);
    value
}

fn without_fractions(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(without_fractions),
        Value::Array(list) => list.iter_mut().for_each(without_fractions),
        Value::Number(number) if number.is_f64() => *value = Value::from("a number"),
        _ => {}
    }
}

/// The first place where two values differ.
fn difference(one: &Value, other: &Value, path: &str) -> Option<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let of = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
            let mut keys = a.keys().chain(b.keys());
            keys.find_map(|key| difference(&of(a, key), &of(b, key), &format!("{path}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(a, b, &format!("{path}[{index}]")))
        }
        _ => (one != other).then(|| format!("{path}: {one} and {other}")),
    }
}

#[test]
fn a_run_that_ends_after_any_request_is_continued_with_all_its_rows() {
    let fixture = Fixture::new();
    let mut options = fixture.options("whole", &[]);
    options.design.runs = 2;
    options.instruments.trace = TraceLevel::Ops;
    let whole = run(&options).unwrap();
    let requests: usize = fs::read_to_string(whole.dir.join("samples.jsonl")).unwrap().lines().count();
    let expected = content(&whole.file);
    assert!(requests > 12, "{requests}");
    for after in 1..requests {
        let mut options = options.clone();
        options.output.out = Some(fixture.path(&format!("cut-{after}")));
        let cut = run_until(&options, after).unwrap();
        // The same again, at once: nothing is measured, and nothing is lost.
        let cut = run_until(&resumed(&options, &cut), 1).unwrap();
        let rest = run(&resumed(&options, &cut)).unwrap();
        assert_eq!(difference(&expected, &content(&rest.file), ""), None, "after {after} requests");
        assert!(open(&rest.dir) == rest.file, "the journal is as the record");
        let lines = fs::read_to_string(rest.dir.join("samples.jsonl")).unwrap().lines().count();
        let cases = &rest.file.cases;
        let kept: usize = cases.iter().map(|case| case.samples.len() + case.stepped.len() + case.traced.len()).sum();
        assert_eq!(lines, kept);
    }
}

#[test]
fn the_journal_alone_gives_the_record() {
    let fixture = Fixture::new();
    let mut options = fixture.options("run", &[]);
    options.design.runs = 2;
    let whole = run(&options).unwrap();
    fs::remove_file(whole.dir.join("run.json")).unwrap();
    assert_eq!(difference(&content(&whole.file), &content(&open(&whole.dir)), ""), None);
    fs::write(whole.dir.join("run.json"), "{").unwrap();
    assert_eq!(open(&whole.dir).finished, whole.file.finished);
}

#[test]
fn a_trace_that_cannot_be_read_is_kept_and_another_one_begins() {
    let fixture = Fixture::new();
    let options = fixture.options("run", &[]);
    for damaged in ["", "\u{1}\u{2}", "{\"a\": 1}"] {
        let mut options = options.clone();
        options.output.out = Some(fixture.path(&format!("run-{}", damaged.len())));
        let cut = run_until(&options, 4).unwrap();
        fs::write(cut.dir.join("trace.json"), damaged).unwrap();
        let rest = run(&resumed(&options, &cut)).unwrap();
        assert!(rest.file.cases.iter().all(|case| case.status == record::Status::Ok), "{damaged:?}");
        assert!(traces::check::check(rest.dir.join("trace.json")).unwrap().problems.is_empty());
        let names: Vec<_> = fs::read_dir(&rest.dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
        let is_kept = names.iter().any(|name| {
            let name = name.to_string_lossy();
            name.starts_with("trace-damaged") || name.starts_with("trace-before-restart")
        });
        assert!(is_kept, "{damaged:?}: {names:?}");
    }
}

#[test]
fn a_folder_in_which_another_program_measures_is_refused() {
    let fixture = Fixture::new();
    let options = fixture.options("run", &[]);
    let done = run_until(&options, 3).unwrap();
    let lock = record::FolderLock::acquire(&done.dir).unwrap();
    let text = run(&resumed(&options, &done)).unwrap_err().to_string();
    assert!(text.contains(&format!("process {} measures run run now", std::process::id())), "{text}");
    drop(lock);
    run(&resumed(&options, &done)).unwrap();
}
