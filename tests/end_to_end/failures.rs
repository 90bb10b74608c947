//! What happens when an engine fails, dies or hangs, and when a user or a system ends a run.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Done, Place, prompts, signal};

/// Runs long enough to be ended in the middle: real time, on a model that computes next to nothing.
const LONG: &str = "run -e candle -m tiny.gguf --prompts three.toml -n 24 -t 1 --warmup 1 --raw --ignore-eos --out run";

fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("three.toml"), prompts(3)).unwrap();
    // The middle one decodes ten times as often: a fault in the 60th decode of a session hits it alone.
    let uneven = prompts(3).replace("id =", "new_tokens = 4\nid =").replace("4\nid = \"p2\"", "40\nid = \"p2\"");
    fs::write(place.path("uneven.toml"), uneven).unwrap();
    place
}

/// A run of three cases on the mock engine in which the fault hits one of them.
fn uneven(fault: &str) -> String {
    format!(
        "run -e mock -m tiny.gguf --prompts uneven.toml -r 1 -t 1 --warmup 1 --ignore-eos --set mock.{fault}=decode:60 --out run"
    )
}

/// The middle case has the status, the others are whole.
fn hit(file: &Value, status: &str) -> String {
    assert_eq!(statuses(file), ["ok", status, "ok"]);
    let error = file["cases"][1]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("decode"), "the last phase is told: {error}");
    error
}

fn statuses(file: &Value) -> Vec<&str> {
    file["cases"].as_array().unwrap().iter().map(|case| case["status"].as_str().unwrap()).collect()
}

#[test]
fn one_case_that_fails_costs_its_row() {
    let place = place();
    let done = place.run(&uneven("fail")).ends_with(1);
    hit(&place.run_file("run"), "failed");
    assert!(done.out.contains("Failures") && done.out.contains("mock/tiny/p2/t1/d0"), "{}", done.out);
}

#[test]
fn a_worker_that_aborts_costs_a_row_and_not_the_run() {
    let place = place();
    place.run(&uneven("abort")).ends_with(1);
    let error = hit(&place.run_file("run"), "failed");
    assert!(error.contains("signal 6"), "{error}");
}

#[test]
fn a_worker_that_hangs_is_ended_at_its_time() {
    let place = place();
    place.run(&format!("{} --timeout 1", uneven("hang"))).ends_with(1);
    hit(&place.run_file("run"), "timeout");
}

#[test]
fn what_an_engine_refuses_is_told_before_anything_is_measured() {
    let place = place();
    for (option, takes) in [("-e mock --set mock.gap=1", "gap_us"), ("-e candle --device gpu", "cuda:N")] {
        let done =
            place.run(&format!("run {option} -m tiny.gguf --prompts three.toml -r 1 -t 1 --out run")).ends_with(2);
        assert_eq!(done.err.matches(takes).count(), 1, "{}", done.err);
        assert!(!place.path("run").exists(), "nothing was begun");
    }
}

#[test]
fn ctrl_c_keeps_and_reports_what_was_measured() {
    let place = place();
    let child = place.command(&format!("{LONG} -r 400")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.wait_for_lines("run/samples.jsonl", 12);
    signal(child.id(), "-INT");
    let done = Done::from(child.wait_with_output().unwrap()).ends_with(130);
    assert!(done.err.contains("interrupted"), "{}", done.err);
    let file = place.run_file("run");
    assert_eq!(file["interrupted"], true);
    let kept: usize =
        file["cases"].as_array().unwrap().iter().map(|case| case["samples"].as_array().unwrap().len()).sum();
    assert!(kept >= 3, "{kept}");
    assert!(fs::read_to_string(place.path("run/report.md")).unwrap().contains("interrupted"));
    place.run("trace check run/trace.json").ends_with(0);
}

#[test]
fn after_kill_9_everything_can_be_read_and_resumed() {
    let place = place();
    let line = format!("{LONG} -r 40");
    let mut child = place.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    place.wait_for_lines("run/samples.jsonl", 20);
    signal(child.id(), "-KILL");
    child.wait().unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let before = fs::read_to_string(place.path("run/samples.jsonl")).unwrap();
    let whole = lines(&before[..=before.rfind('\n').unwrap()]);

    // What is on disk is valid as it is.
    place.run("trace check run/trace.json").ends_with(0);
    let report = place.run("report run").ends_with(0).out;
    assert!(report.contains("candle/tiny/p1/t1/d0") || report.contains("p1"), "{report}");

    // And it can be gone on with: what was measured stays, the rest is added.
    let resumed = line.replace("--out run", "--resume run");
    let told = place.run(&resumed).ends_with(0).err;
    let first = told.lines().find(|line| line.contains("requests done)")).unwrap();
    assert!(!first.contains("(0 of"), "what is there counts: {first}");
    let after = lines(&fs::read_to_string(place.path("run/samples.jsonl")).unwrap());
    assert_eq!(after[..whole.len()], whole[..], "the samples of the first part were changed");
    let file = place.run_file("run");
    assert_eq!(file["interrupted"], false);
    for case in file["cases"].as_array().unwrap() {
        let counting = case["samples"].as_array().unwrap().iter().filter(|sample| sample["warmup"] == false).count();
        assert_eq!((case["status"].as_str(), counting), (Some("ok"), 40), "{}", case["id"]);
    }
    place.run("trace check run/trace.json").ends_with(0);
}

#[test]
fn a_resumed_run_must_be_the_same_run() {
    let place = place();
    place.run("run -e mock -m tiny.gguf --prompt a -n 2 -r 1 -t 1 --out run").ends_with(0);
    let done = place.run("run -e mock -m tiny.gguf --prompt a -n 3 -r 1 -t 1 --resume run").ends_with(2);
    assert!(done.err.starts_with("error: "), "{}", done.err);
}
