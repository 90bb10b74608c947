//! Files: what the writer puts into them, cut, appended, and their size.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod support;

use std::fs;

use support::{PID, batch, process, span, written};
use traces::chrome::{self, Item, Process, Writer};
use traces::record::{Batch, Category, Event, Value};
use traces::summary::summarise;
use traces::{Nanos, check, clock};

#[test]
fn a_file_cut_at_every_line_end_is_fine_but_unclosed() {
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
fn counters_metadata_and_losses_are_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let _clock = clock::VirtualClock::install();
    clock::advance(Nanos::from_secs(5));
    let mut writer = Writer::create(&path, process()).unwrap();
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
fn parts_of_workers_are_appended_cut_or_not() {
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
fn a_span_takes_at_most_120_bytes() {
    const OPS: [(&str, [u32; 3]); 15] = [
        ("attn_norm", [1, 4096, 0]),
        ("q_proj", [1, 4096, 4096]),
        ("k_proj", [1, 4096, 1024]),
        ("v_proj", [1, 4096, 1024]),
        ("rope", [1, 5120, 0]),
        ("kv_write", [1, 1024, 0]),
        ("attention", [1, 0, 32]),
        ("o_proj", [1, 4096, 4096]),
        ("attn_residual", [1, 4096, 0]),
        ("ffn_norm", [1, 4096, 0]),
        ("gate_proj", [1, 4096, 14_336]),
        ("up_proj", [1, 4096, 14_336]),
        ("silu_mul", [1, 14_336, 0]),
        ("down_proj", [1, 14_336, 4096]),
        ("ffn_residual", [1, 4096, 0]),
    ];
    const TOKENS: u32 = 200;
    const LAYERS: u32 = 32;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let process = Process { pid: 65_432, name: "inferometer".into() };
    let mut writer = Writer::create(&path, process).unwrap();
    // A machine that has been up for two hours.
    let mut time = 7_200_000_000_000;
    for token in 0..TOKENS {
        let mut events = Vec::new();
        for layer in 0..LAYERS {
            for (name, mut shape) in OPS {
                if name == "attention" {
                    shape[1] = 64 + token;
                }
                events.push(Event { layer: Some(layer), shape, ..span(65_432, name, Category::Op, time, 19_123) });
                time += 20_000;
            }
        }
        writer.write(&batch(events)).unwrap();
    }
    let written = writer.finish().unwrap();
    let spans = u64::from(TOKENS * LAYERS) * OPS.len() as u64;
    assert!(written.bytes <= 120 * spans, "{} bytes per span", written.bytes as f64 / spans as f64);
    assert_eq!(check::check(&path).unwrap().problems, []);
}

#[test]
fn a_shape_is_written_where_it_changes() {
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
fn errors_name_the_file_the_reason_and_the_next_step() {
    let error = |path: &str| Writer::create(path, process()).unwrap_err().to_string();
    assert_eq!(
        error("/no/such/folder/trace.json"),
        "cannot create trace file /no/such/folder/trace.json: No such file or directory (os error 2); create its folder first"
    );
    #[cfg(target_os = "linux")]
    assert_eq!(
        error("/dev/full"),
        "cannot write trace file /dev/full: No space left on device (os error 28); \
         free some space; what was written so far is readable"
    );
}
