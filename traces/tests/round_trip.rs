//! Random traces: written spans are read back, checked and add up, also from truncated files.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use support::{PID, batch, span, written};
use traces::chrome::{self, Id, Item};
use traces::record::{Batch, Category, Event};
use traces::summary::summarise;
use traces::{Nanos, check};

/// The spans of a file, as `(tid, name, category, start, duration)`.
fn spans(path: &Path) -> Vec<(Id, String, String, i64, i64)> {
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

/// A tree of spans: the time before its start, its children, and the time after them.
#[derive(Debug, Clone)]
struct Tree {
    name: &'static str,
    before: u64,
    after: u64,
    children: Vec<Tree>,
}

impl Tree {
    /// Appends its events from `time` on, parents first; returns its end and the sum of all own times.
    fn append(&self, tid: u32, time: u64, events: &mut Vec<Event>) -> (u64, u64) {
        let start = time + self.before;
        let place = events.len();
        events.push(span(tid, self.name, Category::Op, start, 0));
        let (mut end, mut total) = (start, 0);
        for child in &self.children {
            let (child_end, own) = child.append(tid, end, events);
            total += own;
            end = child_end;
        }
        end += self.after;
        events[place].duration = Nanos(end - start);
        (end, total + (end - start) - self.children.iter().zip(children(events, place)).map(|(_, d)| d).sum::<u64>())
    }
}

/// Durations of the spans directly inside the one at `place`, which come after it.
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
    #[test]
    fn nested_spans_are_read_back_and_add_up(threads in prop::collection::vec(trees(), 1..3), parts in 1..4_usize) {
        let mut events = Vec::new();
        let mut roots = 0;
        for (thread, trees) in threads.iter().enumerate() {
            let mut time = 1_000;
            for tree in trees {
                let first = events.len();
                time = tree.append(PID + thread as u32, time, &mut events).0;
                roots += events[first].duration.0;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        // In several batches in reverse: parents may come before or after their children.
        let part = events.len().div_ceil(parts);
        let batches: Vec<Batch> = events.chunks(part).rev().map(|events| batch(events.to_vec())).collect();
        let path = written(folder.path(), &batches);

        let mut expected: Vec<_> = events
            .iter()
            .map(|e| (Id::Number(e.tid.into()), e.name.to_owned(), "op".to_owned(), e.start.0 as i64, e.duration.0 as i64))
            .collect();
        let mut found = spans(&path);
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);

        let report = check::check(&path).unwrap();
        prop_assert_eq!(&report.problems, &vec![]);
        prop_assert_eq!(report.counts.spans, events.len() as u64);

        // The own times add up to the time of the outermost spans.
        let summary = summarise(&chrome::read(&path).unwrap()).unwrap();
        prop_assert_eq!(summary.rows.iter().map(|row| row.own).sum::<Nanos>(), Nanos(roots));
        prop_assert_eq!(summary.rows.iter().map(|row| row.count).sum::<u64>(), events.len() as u64);
    }

    #[test]
    fn a_truncated_file_is_read_up_to_its_end(count in 1..12_u64, cut in 0.0..1.0_f64) {
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
                // A line that lacks only its newline is a complete record.
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
    fn arbitrary_bytes_never_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..400), head in prop::sample::select(vec!["", "[", "[\n{", "{\"traceEvents\":[", "{\"a\":"])) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        fs::write(&path, [head.as_bytes(), &bytes].concat()).unwrap();
        if chrome::read(&path).is_ok() {
            let report = check::check(&path).unwrap();
            prop_assert!(report.errors() + report.warnings() == report.problems.len());
        }
    }
}
