//! Files: what is written is read back, checked and summed up, however the file was cut.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use traces::check::{self, Severity};
use traces::chrome::{self, Form, Item, Process, Writer};
use traces::record::{Args, Batch, Category, Event, Kind, Thread, Value};
use traces::summary::{Row, summarise};
use traces::{Nanos, clock};

const PID: u32 = 71;

fn process() -> Process {
    Process { pid: PID, name: "inferometer".into() }
}

fn span(tid: u32, name: &'static str, category: Category, start: u64, duration: u64) -> Event {
    let kind = if category == Category::Op { Kind::Op } else { Kind::Span };
    let (start, duration) = (Nanos(start), Nanos(duration));
    Event { kind, category, name, tid, start, duration, layer: None, shape: [0; 3], args: Args::default() }
}

fn batch(events: Vec<Event>) -> Batch {
    let mut tids: Vec<u32> = events.iter().map(|event| event.tid).collect();
    tids.sort_unstable();
    tids.dedup();
    let threads = tids.into_iter().map(|tid| Thread { tid, name: format!("thread {tid}") }).collect();
    Batch { events, threads, dropped: 0 }
}

fn written(folder: &Path, batches: &[Batch]) -> PathBuf {
    let path = folder.join("trace.json");
    let mut writer = Writer::create(&path, process()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    path
}

/// The spans of a file, as `(tid, name, category, start, duration)`.
fn spans(path: &Path) -> Vec<(u64, String, String, i64, i64)> {
    let mut all = Vec::new();
    let visit = |item: Item<'_>| match item {
        Item::Record(record) if record.phase == chrome::Phase::Complete => all.push((
            record.tid.unwrap(),
            record.name.to_string(),
            record.category.to_string(),
            record.start.unwrap().nanos,
            record.duration.unwrap().nanos,
        )),
        Item::Record(_) => {}
        Item::Broken(broken) => panic!("{broken:?}"),
    };
    chrome::read(path).unwrap().visit(visit).unwrap();
    all
}

/// A tree of spans: how long each waits before it begins and after its children, and its children.
#[derive(Debug, Clone)]
struct Tree {
    name: &'static str,
    before: u64,
    after: u64,
    children: Vec<Tree>,
}

impl Tree {
    /// Its events from `time` on, parents first; when it ends, and the sum of all own times.
    fn lay(&self, tid: u32, time: u64, events: &mut Vec<Event>) -> (u64, u64) {
        let start = time + self.before;
        let place = events.len();
        events.push(span(tid, self.name, Category::Op, start, 0));
        let (mut end, mut total) = (start, 0);
        for child in &self.children {
            let (child_end, own) = child.lay(tid, end, events);
            total += own;
            end = child_end;
        }
        end += self.after;
        events[place].duration = Nanos(end - start);
        (end, total + (end - start) - self.children.iter().zip(children(events, place)).map(|(_, d)| d).sum::<u64>())
    }
}

/// Durations of the spans directly inside the one at `place`, which stands before them.
fn children(events: &[Event], place: usize) -> Vec<u64> {
    let mut durations = Vec::new();
    let mut next = place + 1;
    while let Some(child) = events.get(next) {
        durations.push(child.duration.0);
        let end = child.end();
        next += 1;
        while events.get(next).is_some_and(|event| event.end() <= end) {
            next += 1;
        }
    }
    durations
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let name = prop::sample::select(vec!["q_proj", "a \"quoted\" name", "zeile\n2", "漢字", "tab\t\\"]);
    let leaf = (name.clone(), 0..9_000_u64, 1..9_000_u64).prop_map(|(name, before, after)| Tree {
        name,
        before,
        after,
        children: Vec::new(),
    });
    let tree = leaf.prop_recursive(5, 24, 4, move |inner| {
        (name.clone(), 0..9_000_u64, 1..9_000_u64, prop::collection::vec(inner, 0..4))
            .prop_map(|(name, before, after, children)| Tree { name, before, after, children })
    });
    prop::collection::vec(tree, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nested_spans_survive_and_add_up(threads in prop::collection::vec(trees(), 1..3), parts in 1..4_usize) {
        let mut events = Vec::new();
        let mut roots = 0;
        for (thread, trees) in threads.iter().enumerate() {
            let mut time = 1_000;
            for tree in trees {
                let first = events.len();
                time = tree.lay(PID + thread as u32, time, &mut events).0;
                roots += events[first].duration.0;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        // Drained in several parts, each in its own order: parents may come before or after their children.
        let part = events.len().div_ceil(parts);
        let batches: Vec<Batch> = events.chunks(part).rev().map(|events| batch(events.to_vec())).collect();
        let path = written(folder.path(), &batches);

        let mut expected: Vec<_> = events
            .iter()
            .map(|e| (u64::from(e.tid), e.name.to_owned(), "op".to_owned(), e.start.0 as i64, e.duration.0 as i64))
            .collect();
        let mut found = spans(&path);
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);

        let report = check::check(&path).unwrap();
        prop_assert_eq!(&report.problems, &vec![]);
        prop_assert_eq!(report.counts.spans, events.len() as u64);

        // All time is somebody's own, and nobody's twice.
        let summary = summarise(&chrome::read(&path).unwrap()).unwrap();
        prop_assert_eq!(summary.rows.iter().map(|row| row.own).sum::<Nanos>(), Nanos(roots));
        prop_assert_eq!(summary.rows.iter().map(|row| row.count).sum::<u64>(), events.len() as u64);
    }

    #[test]
    fn a_file_cut_anywhere_is_read_up_to_the_cut(count in 1..12_u64, cut in 0.0..1.0_f64) {
        let folder = tempfile::tempdir().unwrap();
        let events = (0..count).map(|n| span(PID, "decode \\ \"x\" 漢", Category::Phase, n * 100, 90)).collect();
        let path = written(folder.path(), &[batch(events)]);
        let whole = fs::read(&path).unwrap();
        let length = (whole.len() as f64 * cut) as usize;
        fs::write(&path, &whole[..length]).unwrap();
        match chrome::read(&path) {
            Err(error) => prop_assert!(length == 0, "{}", error),
            Ok(trace) => {
                let kept = &whole[..length];
                let (mut records, mut broken) = (0, Vec::new());
                trace.visit(|item| match item {
                    Item::Record(_) => records += 1,
                    Item::Broken(place) => broken.push(place),
                }).unwrap();
                // A line without its newline is whole where only that is missing.
                let lines: Vec<&[u8]> = kept.split(|&byte| byte == b'\n').collect();
                let complete = |line: &&&[u8]| line.trim_ascii_end().ends_with(b"}") && line.iter().filter(|b| **b == b'{').count() == line.iter().filter(|b| **b == b'}').count();
                prop_assert_eq!(records, lines.iter().filter(complete).count());
                let last = lines.last().unwrap();
                let partial = last.iter().any(|byte| !b"[], ".contains(byte)) && !complete(&last);
                let expected: Vec<u64> = if partial { vec![lines.len() as u64] } else { vec![] };
                prop_assert_eq!(broken.iter().map(|place| place.line).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..400), head in prop::sample::select(vec!["", "[", "[\n{", "{\"traceEvents\":[", "{\"a\":"])) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        fs::write(&path, [head.as_bytes(), &bytes].concat()).unwrap();
        if chrome::read(&path).is_ok() {
            let report = check::check(&path).unwrap();
            prop_assert!(report.errors() + report.warnings() == report.problems.len());
        }
    }
}

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
fn the_summary_tells_name_and_phase() {
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
fn files_of_others_are_read_and_judged() {
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
fn every_problem_is_told_with_line_and_place() {
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
fn deeper_than_perfetto_keeps_is_warned_about_once() {
    let folder = tempfile::tempdir().unwrap();
    let nested = |depth: u64| -> Batch {
        batch((0..depth).map(|n| span(PID, "deep", Category::Tool, n, 2 * (depth - n))).collect())
    };
    let report = check::check(written(folder.path(), &[nested(512)])).unwrap();
    assert_eq!((report.problems, report.counts.depth), (vec![], 512));
    let report = check::check(written(folder.path(), &[nested(600)])).unwrap();
    let texts: Vec<_> = report.problems.iter().map(|problem| problem.text.as_str()).collect();
    assert_eq!(texts, ["lies inside 599 others: Perfetto loses the ends of spans deeper than 511"]);
}
