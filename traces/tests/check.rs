//! The check of valid and invalid files, and the summary of a small one.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod support;

use std::fs;

use support::{PID, batch, span, written};
use traces::Nanos;
use traces::check::{self, Severity};
use traces::chrome::{self, Form};
use traces::record::{Batch, Category};
use traces::summary::{Row, summarise};

#[test]
fn the_summary_is_by_name_and_phase() {
    let folder = tempfile::tempdir().unwrap();
    let events = vec![
        span(PID, "request", Category::Request, 0, 1000),
        span(PID, "prefill", Category::Phase, 0, 400),
        span(PID, "q_proj", Category::Op, 100, 200),
        span(PID, "decode", Category::Phase, 400, 500),
        span(PID, "q_proj", Category::Op, 410, 50),
        span(PID, "q_proj", Category::Op, 500, 150),
        span(PID + 1, "q_proj", Category::Op, 500, 70),
    ];
    let summary = summarise(&chrome::read(written(folder.path(), &[batch(events)])).unwrap()).unwrap();
    let row = |name: &str, category: &str, phase: Option<&str>, count, total, own, min, max| Row {
        name: name.into(),
        category: category.into(),
        phase: phase.map(Into::into),
        pass: None,
        count,
        total: Nanos(total),
        own: Nanos(own),
        min: Nanos(min),
        max: Nanos(max),
    };
    assert_eq!(
        summary.rows,
        [
            row("decode", "phase", None, 1, 500, 300, 500, 500),
            row("prefill", "phase", None, 1, 400, 200, 400, 400),
            row("q_proj", "op", Some("decode"), 2, 200, 200, 50, 150),
            row("q_proj", "op", Some("prefill"), 1, 200, 200, 200, 200),
            row("request", "request", None, 1, 1000, 100, 1000, 1000),
            row("q_proj", "op", None, 1, 70, 70, 70, 70),
        ]
    );
    assert_eq!((summary.wall, summary.threads, summary.spans), (Nanos(1000), 2, 7));
    assert_eq!(summary.rows[2].mean(), Nanos(100));
}

#[test]
fn ids_that_are_texts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.json");
    let file = r#"{"traceEvents":[
        {"ph":"X","pid":"Spans","tid":"Profiler","ts":10,"dur":5,"name":"step","cat":"op"},
        {"ph":"X","pid":"Spans","tid":"Profiler","ts":11,"dur":2,"name":"inner","cat":"op"},
        {"ph":"X","pid":"Spans","tid":"stream 7","ts":10,"dur":5,"name":"kernel","cat":"op"},
        {"ph":"X","pid":"GPU 0","tid":"Profiler","ts":12,"dur":9,"name":"kernel","cat":"op"},
        {"ph":"M","pid":"7","name":"process_name","args":{"name":"python"}},
        {"ph":"C","pid":7,"ts":12,"name":"memory","args":{"bytes":1}},
        {"ph":"B","pid":"Spans","tid":null,"ts":1,"name":"nobody"}]}"#;
    fs::write(&path, file).unwrap();
    let report = check::check(&path).unwrap();
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["error: line 8, pid \"Spans\" \"nobody\", `tid`: is missing"]);
    assert_eq!((report.counts.processes, report.counts.threads, report.counts.spans), (3, 3, 4));
    let summary = summarise(&chrome::read(&path).unwrap()).unwrap();
    let own = |name: &str| summary.rows.iter().find(|row| row.name == *name).map(|row| (row.count, row.own));
    assert_eq!(own("step"), Some((1, Nanos(3000))), "the threads of one process are apart");
    assert_eq!(own("kernel"), Some((2, Nanos(14000))));
}

#[test]
fn files_of_other_tools_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.json");
    let file = r#"{"displayTimeUnit":"ms","otherData":{"a":[1]},"traceEvents":[
        {"ph":"B","pid":1,"tid":2,"ts":10,"name":"outer","cat":"x"},{"ph":"B","pid":1,"tid":2,"ts":12.5,"name":"inner"},
        {"ph":"E","pid":1,"tid":2,"ts":20},{"ph":"E","pid":1,"tid":2,"ts":30,"name":"outer"},
        {"ph":"b","pid":1,"tid":2,"ts":3,"id":"0x1","name":"async"},{"ph":"e","pid":1,"tid":2,"ts":4,"id":"0x1","name":"async"},
        {"ph":"M","pid":1,"name":"process_name","args":{"name":"p"}},{"ph":"M","pid":1,"tid":2,"name":"thread_name","args":{"name":"t"}}
    ],"more":"after"}"#;
    fs::write(&path, file).unwrap();
    let report = check::check(&path).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.counts.spans, report.counts.depth, report.counts.others), (2, 2, 2));
    assert_eq!(
        report.unchecked,
        [
            "1 async records (`ph` 'b'): only their fields' types",
            "1 async records (`ph` 'e'): only their fields' types"
        ]
    );
    let trace = chrome::read(&path).unwrap();
    assert_eq!(trace.form(), Form::Object);
    let rows = summarise(&trace).unwrap().rows;
    let own: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.own.as_nanos())).collect();
    assert_eq!(own, [("outer", 12_500), ("inner", 7_500)]);
}

#[test]
fn every_problem_has_its_line_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    fs::write(&path, include_str!("bad_trace.json")).unwrap();
    let report = check::check(&path).unwrap();
    let mut text: String = report.problems.iter().map(|problem| format!("{problem}\n")).collect();
    text += &format!("\n{:#?}\n{:#?}", report.counts, report.unchecked);
    insta::assert_snapshot!("problems", text);
    assert!(report.problems.iter().any(|problem| problem.severity == Severity::Warning));
}

#[test]
fn spans_deeper_than_perfetto_keeps_give_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    let nested = |depth: u64| -> Batch {
        batch((0..depth).map(|n| span(PID, "deep", Category::Tool, n, 2 * (depth - n))).collect())
    };
    let report = check::check(written(folder.path(), &[nested(512)])).unwrap();
    assert_eq!((report.problems, report.counts.depth), (vec![], 512));
    let report = check::check(written(folder.path(), &[nested(600)])).unwrap();
    let texts: Vec<_> = report.problems.iter().map(|problem| problem.text.as_str()).collect();
    assert_eq!(texts, ["is inside 599 others: Perfetto drops the ends of spans deeper than 511"]);
}
