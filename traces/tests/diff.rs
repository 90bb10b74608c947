//! The diff of two recordings: the ops that it reports as changed.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod support;

use std::path::Path;

use support::{PID, batch, process, span};
use traces::chrome::{self, Trace, Writer};
use traces::diff::{OpDiff, diff};
use traces::record::{Args, Category, Event, Value};

/// A request of `tokens` decode steps in which each op takes `time(op, token)`; 0 omits the op.
fn recording(folder: &Path, name: &str, tokens: u64, time: impl Fn(&str, u64) -> u64) -> Trace {
    let pass = |pass| Args::new(&[("pass", Value::Text(pass))]);
    let path = folder.join(name);
    let mut writer = Writer::create(&path, process()).unwrap();
    // A clean request before it: it has phases and no ops, and must not count.
    let clean = Event { args: pass("clean"), ..span(PID, "decode", Category::Phase, 0, 77_777) };
    writer.write(&batch(vec![clean])).unwrap();
    let mut at = 1_000_000;
    for token in 0..tokens {
        let phase = if token == 0 { "prefill" } else { "decode" };
        let mut ops = Vec::new();
        let start = at;
        for op in ["q_proj", "attention", "down_proj", "extra"] {
            let time = time(op, token);
            if time > 0 {
                ops.push(span(PID, op, Category::Op, at, time));
                at += time;
            }
        }
        let whole = Event { args: pass("traced"), ..span(PID, phase, Category::Phase, start, at - start) };
        ops.insert(0, whole);
        writer.write(&batch(ops)).unwrap();
        at += 100;
    }
    writer.finish().unwrap();
    chrome::read(path).unwrap()
}

/// Reproducible noise of three per cent, different for each op.
fn noisy(op: &str, token: u64, base: u64) -> u64 {
    base + base * ((token * 7919 + op.len() as u64 * 104_729) % 61) / 1000
}

fn usual(op: &str, token: u64) -> u64 {
    match op {
        "extra" => 0,
        op => noisy(op, token, 100_000),
    }
}

fn changed(ops: &[OpDiff]) -> Vec<&str> {
    ops.iter().filter(|op| op.changed).map(|op| op.op.as_str()).collect()
}

#[test]
fn only_the_changed_op_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let a = recording(folder.path(), "a.json", 41, usual);
    let b = recording(folder.path(), "b.json", 81, |op, token| match op {
        "attention" if token > 0 => noisy(op, token + 5, 230_000),
        op => usual(op, token + 5),
    });
    let found = diff(&[a], &[b]).unwrap();
    let [prefill, decode] = &found.phases[..] else { panic!("{found:?}") };
    assert_eq!((prefill.phase.as_str(), prefill.a.count, prefill.b.count), ("prefill", 1, 1));
    assert_eq!(
        (decode.phase.as_str(), decode.a.count, decode.b.count),
        ("decode", 40, 80),
        "the clean pass does not count"
    );
    assert_eq!(changed(&prefill.ops), [""; 0]);
    assert_eq!(changed(&decode.ops), ["attention"]);
    let attention = &decode.ops[0];
    assert_eq!(attention.op, "attention", "the largest change comes first");
    assert!((attention.ratio.unwrap() - 2.3).abs() < 0.05, "{attention:?}");
    assert!((attention.delta_ns - 134_000.0).abs() < 5_000.0, "per token: {attention:?}");
    let calls = attention.b.unwrap();
    assert_eq!(calls.count, 80);
    assert!(calls.q1_ns <= calls.median_ns && calls.median_ns <= calls.q3_ns && calls.q1_ns >= 230_000.0);
    assert!((decode.ops.iter().map(|op| op.a.unwrap().share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn a_few_slow_calls_do_not_change_an_op() {
    let folder = tempfile::tempdir().unwrap();
    let a = recording(folder.path(), "a.json", 41, usual);
    // Two stalls: the sum grows by half, the median stays.
    let b = recording(folder.path(), "b.json", 41, |op, token| match (op, token) {
        ("q_proj", 7 | 23) => 1_000_000,
        _ => usual(op, token),
    });
    let found = diff(&[a], &[b]).unwrap();
    let decode = found.phases.iter().find(|phase| phase.phase == "decode").unwrap();
    assert!(decode.ops[0].op == "q_proj" && decode.ops[0].ratio.unwrap() > 1.3, "{:?}", decode.ops[0]);
    assert_eq!(changed(&decode.ops), [""; 0]);
}

#[test]
fn ops_that_only_one_recording_has_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let a = recording(folder.path(), "a.json", 41, usual);
    let b = recording(folder.path(), "b.json", 41, |op, token| match op {
        "extra" => noisy(op, token, 50_000),
        "down_proj" => 0,
        op => usual(op, token),
    });
    let found = diff(std::slice::from_ref(&a), &[b]).unwrap();
    let decode = found.phases.iter().find(|phase| phase.phase == "decode").unwrap();
    assert_eq!(changed(&decode.ops), ["down_proj", "extra"]);
    let (gone, new) = (&decode.ops[0], &decode.ops[1]);
    assert!(gone.b.is_none() && gone.ratio.is_none() && gone.delta_ns < 0.0, "{gone:?}");
    assert!(new.a.is_none() && new.delta_ns > 50_000.0, "{new:?}");
    // The same recording twice has no changes. Two files of one recording are added.
    let same = diff(&[a.clone(), a.clone()], &[a]).unwrap();
    assert!(same.phases.iter().all(|phase| phase.ops.iter().all(|op| !op.changed && op.delta_ns == 0.0)));
    assert_eq!(same.phases[1].a.count, 80);
}

#[test]
fn without_ops_there_is_nothing_to_compare() {
    let folder = tempfile::tempdir().unwrap();
    let path = support::written(folder.path(), &[batch(vec![span(PID, "decode", Category::Phase, 0, 10)])]);
    let trace = chrome::read(path).unwrap();
    assert_eq!(diff(std::slice::from_ref(&trace), std::slice::from_ref(&trace)).unwrap().phases, []);
}
