//! Trace files: their content, truncation, appending and errors.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod support;

use std::fs;

use support::{PID, batch, process, span, written};
use traces::chrome::{self, Item, Process, Writer};
use traces::record::{Batch, Category, Event, Value};
use traces::summary::summarise;
use traces::{Nanos, check, clock};

#[test]
fn a_file_truncated_at_any_line_end_has_no_error_but_is_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let events = (0..60).map(|n| span(PID, "decode", Category::Phase, n * 100, 90)).collect();
    let path = written(folder.path(), &[batch(events)]);
    let whole = fs::read(&path).unwrap();
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place + 1);
    for (lines, end) in ends.enumerate() {
        for end in [end, end - 1] {
            fs::write(&path, &whole[..end]).unwrap();
            let report = check::check(&path).unwrap();
            assert_eq!(report.errors(), 0, "cut at byte {end}: {report:?}");
            let closed = lines > report.counts.records as usize;
            assert_eq!(closed, !report.problems.iter().any(|p| p.text.contains("not closed")), "cut at byte {end}");
        }
    }
}

#[test]
fn counters_metadata_and_dropped_records_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let _clock = clock::VirtualClock::install();
    clock::advance(Nanos::from_secs(5));
    let mut writer = Writer::since(clock::now(), &path, process()).unwrap();
    writer.metadata("case", &[("threads", Value::from(2_u64)), ("engine", Value::Text("mock"))]).unwrap();
    writer.counter("memory MB", &[("anon", 12.5), ("file", 98.0), ("swap", f64::NAN)], Nanos(6_000_000_001)).unwrap();
    let op =
        Event { layer: Some(3), shape: [1, 576, 576], ..span(PID + 1, "q_proj", Category::Op, 7_000_000_000, 31_004) };
    writer.write(&Batch { dropped: 12, ..batch(vec![op]) }).unwrap();
    let written = writer.finish().unwrap();
    assert_eq!((written.records, written.dropped), (9, 12));
    assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
    insta::assert_snapshot!("file", fs::read_to_string(&path).unwrap());

    let report = check::check(&path).unwrap();
    assert_eq!(report.errors(), 0, "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.text.starts_with("12 records were dropped")));
    assert_eq!(summarise(&chrome::read(&path).unwrap()).unwrap().dropped, 12);
}

#[test]
fn a_truncated_part_of_a_worker_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("worker.json");
    let worker = Process { pid: 90, name: "worker".into() };
    let mut writer = Writer::create(&part, worker).unwrap();
    writer
        .write(&batch(vec![span(90, "load", Category::Phase, 10, 5), span(91, "decode", Category::Phase, 20, 5)]))
        .unwrap();
    drop(writer);
    let mut bytes = fs::read(&part).unwrap();
    bytes.extend_from_slice(b",{\"ph\":\"X\",\"na");
    fs::write(&part, bytes).unwrap();

    let path = folder.path().join("trace.json");
    let mut writer = Writer::create(&path, process()).unwrap();
    writer.write(&batch(vec![span(PID, "run", Category::Tool, 0, 100)])).unwrap();
    let appended = writer.append(&part).unwrap();
    assert_eq!((appended.records, appended.broken, appended.closed), (9, 1, false));
    assert!(writer.append(folder.path().join("absent.json")).is_err());
    writer.finish().unwrap();

    let report = check::check(&path).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.counts.processes, report.counts.threads, report.counts.spans), (2, 3, 3));
}

#[test]
fn a_file_with_another_epoch_is_not_appended() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, epoch: u64| {
        let path = folder.path().join(name);
        let mut writer = Writer::since(Nanos(epoch), &path, process()).unwrap();
        writer.write(&batch(vec![span(PID, "run", Category::Tool, epoch + 1_500, 100)])).unwrap();
        (path, writer)
    };
    let (same, _) = write("same.json", 70);
    let (other, _) = write("other.json", 80);
    let (path, mut writer) = write("trace.json", 70);
    assert_eq!(writer.append(&same).unwrap().records, 6);
    let error = writer.append(&other).unwrap_err();
    assert!(error.to_string().ends_with("count from 80 ns of the machine's clock, expected 70 ns"), "{error}");
    assert_eq!(error.advice(), Some("write both files with the same epoch"));
    writer.finish().unwrap();
    assert_eq!(chrome::read(&path).unwrap().axis().unwrap().unwrap().epoch, Nanos(70));
    assert_eq!(fs::read_to_string(&path).unwrap().matches("\"ts\":1.500,").count(), 2);
    // Files of other tools, and of older versions of this one, have no `clock` record.
    let foreign = folder.path().join("foreign.json");
    fs::write(&foreign, "[{\"ph\":\"X\",\"name\":\"a\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":1}]").unwrap();
    assert_eq!(chrome::read(&foreign).unwrap().axis().unwrap(), None);
}

#[test]
fn a_span_can_be_written_as_begin_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let mut writer = Writer::create(&path, process()).unwrap();
    let request = span(PID, "request", Category::Request, 10, 90);
    writer.begin(&request).unwrap();
    writer
        .write(&batch(vec![span(PID, "q_proj", Category::Op, 10, 20), span(PID, "k_proj", Category::Op, 40, 20)]))
        .unwrap();
    let open = check::check(&path).unwrap();
    assert_eq!(open.errors(), 0, "{open:?}");
    assert!(open.problems.iter().any(|problem| problem.text == "begins and never ends"));
    writer.end(&request).unwrap();
    writer.finish().unwrap();
    assert_eq!(check::check(&path).unwrap().problems, []);
    let rows = summarise(&chrome::read(&path).unwrap()).unwrap().rows;
    let own: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.category.as_str(), row.own.0)).collect();
    assert_eq!(own, [("request", "request", 50), ("k_proj", "op", 20), ("q_proj", "op", 20)]);
}

#[test]
fn a_shape_is_written_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let op = |tid, shape| Event { shape, ..span(tid, "q_proj", Category::Op, 0, 0) };
    let shapes = [[9, 64, 64], [9, 64, 64], [1, 64, 64], [1, 64, 64], [0, 0, 0], [1, 64, 64]];
    let events = shapes.iter().map(|&shape| op(PID, shape)).chain([op(PID + 1, [1, 64, 64])]).collect();
    let path = written(folder.path(), &[batch(events)]);
    let mut found = Vec::new();
    chrome::read(path)
        .unwrap()
        .visit(|item| {
            if let Item::Record(record) = item
                && record.name == "q_proj"
            {
                found.push(record.args.map_or("", |args| args.get()).to_owned());
            }
        })
        .unwrap();
    let (prompt, token) = (r#"{"shape":[9,64,64]}"#, r#"{"shape":[1,64,64]}"#);
    assert_eq!(found, [prompt, "", token, "", "", token, token]);
}

#[test]
fn errors_have_the_file_the_reason_and_advice() {
    let error = |path: &str| {
        let error = Writer::create(path, process()).unwrap_err();
        (error.to_string(), error.advice())
    };
    assert_eq!(
        error("/no/such/folder/trace.json"),
        (
            "cannot create trace file /no/such/folder/trace.json: No such file or directory (os error 2)".to_owned(),
            "create its folder first"
        )
    );
    #[cfg(target_os = "linux")]
    assert_eq!(
        error("/dev/full"),
        (
            "cannot write trace file /dev/full: No space left on device (os error 28)".to_owned(),
            "free some space (the file is readable up to here)"
        )
    );
}
