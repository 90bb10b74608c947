//! Engines that fail, crash or hang, and runs that a user or the system ends.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Done, TestFolder, prompts, signal};

/// A run that takes long enough to be interrupted: real time, on a tiny model.
const LONG: &str = "run -e candle -m tiny.gguf --prompts three.toml -n 24 -t 1 --warmup 1 --raw --ignore-eos --out run";

fn folder() -> TestFolder {
    let folder = TestFolder::new();
    fs::write(folder.path("three.toml"), prompts(3)).unwrap();
    // The middle prompt has ten times as many tokens, so that a fault in the 60th decode of a session affects only this prompt.
    let uneven = prompts(3).replace("id =", "new_tokens = 4\nid =").replace("4\nid = \"p2\"", "40\nid = \"p2\"");
    fs::write(folder.path("uneven.toml"), uneven).unwrap();
    folder
}

/// A run of three cases on the mock engine; the fault affects one of them.
fn uneven(fault: &str) -> String {
    format!(
        "run -e mock -m tiny.gguf --prompts uneven.toml -r 1 -t 1 --warmup 1 --ignore-eos --set mock.{fault}=decode:60 --out run"
    )
}

/// Checks that only the middle case has the status, and returns its error.
fn error_of_middle_case(file: &Value, status: &str) -> String {
    assert_eq!(statuses(file), ["ok", status, "ok"]);
    let error = file["cases"][1]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("decode"), "the error names the last phase: {error}");
    error
}

fn statuses(file: &Value) -> Vec<&str> {
    file["cases"].as_array().unwrap().iter().map(|case| case["status"].as_str().unwrap()).collect()
}

#[test]
fn a_failure_affects_one_case() {
    let folder = folder();
    let done = folder.run(&uneven("fail")).ends_with(1);
    error_of_middle_case(&folder.run_file("run"), "failed");
    assert!(done.out.contains("Failures") && done.out.contains("mock/tiny/p2/t1/d0"), "{}", done.out);
}

#[test]
fn an_aborting_worker_affects_one_case() {
    let folder = folder();
    folder.run(&uneven("abort")).ends_with(1);
    let error = error_of_middle_case(&folder.run_file("run"), "failed");
    assert!(error.contains("signal 6"), "{error}");
}

#[test]
fn a_hanging_worker_is_killed_after_the_timeout() {
    let folder = folder();
    folder.run(&format!("{} --timeout 1", uneven("hang"))).ends_with(1);
    error_of_middle_case(&folder.run_file("run"), "timeout");
}

#[test]
fn settings_that_an_engine_refuses_are_errors_before_the_run() {
    let folder = folder();
    for (option, takes) in [("-e mock --set mock.gap=1", "gap_us"), ("-e candle --device gpu", "cuda:N")] {
        let done =
            folder.run(&format!("run {option} -m tiny.gguf --prompts three.toml -r 1 -t 1 --out run")).ends_with(2);
        assert_eq!(done.err.matches(takes).count(), 1, "{}", done.err);
        assert!(!folder.path("run").exists(), "no folder was written");
    }
}

#[test]
fn ctrl_c_keeps_and_reports_what_was_measured() {
    let folder = folder();
    let child =
        folder.command(&format!("{LONG} -r 400")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    folder.wait_for_lines("run/samples.jsonl", 12);
    signal(child.id(), "-INT");
    let done = Done::from(child.wait_with_output().unwrap()).ends_with(130);
    assert!(done.err.contains("interrupted"), "{}", done.err);
    let file = folder.run_file("run");
    assert_eq!(file["interrupted"], true);
    let kept: usize =
        file["cases"].as_array().unwrap().iter().map(|case| case["samples"].as_array().unwrap().len()).sum();
    assert!(kept >= 3, "{kept}");
    assert!(fs::read_to_string(folder.path("run/report.md")).unwrap().contains("interrupted"));
    folder.run("trace check run/trace.json").ends_with(0);
}

#[test]
fn a_killed_run_can_be_read_and_resumed() {
    let folder = folder();
    let line = format!("{LONG} -r 40");
    let mut child = folder.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    folder.wait_for_lines("run/samples.jsonl", 20);
    signal(child.id(), "-KILL");
    child.wait().unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let before = fs::read_to_string(folder.path("run/samples.jsonl")).unwrap();
    let whole = lines(&before[..=before.rfind('\n').unwrap()]);

    // The files on disk are valid.
    folder.run("trace check run/trace.json").ends_with(0);
    let report = folder.run("report run").ends_with(0).out;
    assert!(report.contains("candle/tiny/p1/t1/d0") || report.contains("p1"), "{report}");

    // The run can be resumed: its samples are kept and the others are added.
    let resumed = line.replace("--out run", "--resume run");
    let errors = folder.run(&resumed).ends_with(0).err;
    let first = errors.lines().find(|line| line.contains("requests done)")).unwrap();
    assert!(!first.contains("(0 of"), "finished requests count: {first}");
    let after = lines(&fs::read_to_string(folder.path("run/samples.jsonl")).unwrap());
    assert_eq!(after[..whole.len()], whole[..], "the samples of the first part were changed");
    let file = folder.run_file("run");
    assert_eq!(file["interrupted"], false);
    for case in file["cases"].as_array().unwrap() {
        let counting = case["samples"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|sample| sample["warmup"] == false && sample["repeated"] != true)
            .count();
        assert_eq!((case["status"].as_str(), counting), (Some("ok"), 40), "{}", case["id"]);
    }
    folder.run("trace check run/trace.json").ends_with(0);
}

#[test]
fn a_resumed_run_must_be_the_same_run() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompt a -n 2 -r 1 -t 1 --out run").ends_with(0);
    let done = folder.run("run -e mock -m tiny.gguf --prompt a -n 3 -r 1 -t 1 --resume run").ends_with(2);
    assert!(done.err.contains("which was started with `") && done.err.contains("--prompt a -n"), "{}", done.err);
    assert!(done.err.starts_with("error: "), "{}", done.err);
}

/// The rows of each kind in a record, by case.
fn rows(file: &Value) -> Vec<String> {
    const KINDS: [&str; 8] = ["stepped", "traced", "phases", "ops", "layers", "workers", "allocations", "counters"];
    let size = |value: &Value| match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    let of_case = |case: &Value| {
        let counts = KINDS.map(|kind| format!("{kind} {}", size(&case[kind]))).join(", ");
        let clean = case["samples"].as_array().unwrap().iter().filter(|sample| sample["warmup"] == false).count();
        let examined = size(&case["output"]["top_logprobs"]);
        format!("{} {}: {counts}, clean {clean}, examined {examined}", case["id"], case["status"])
    };
    file["cases"].as_array().unwrap().iter().map(of_case).collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_loses_no_rows() {
    let folder = folder();
    let line = "run -e mock -m tiny.gguf --prompts three.toml -n 4 -r 2 -t 1,2 --out run";
    folder.run(&line.replace("--out run", "--out whole")).ends_with(0);
    let expected = rows(&folder.run_file("whole"));
    let mut line = line.to_owned();
    // The last ones kill a run that continues another one.
    for lines in [3, 9, 16, 17, 23, 30, 41] {
        let mut child = folder.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        folder.wait_for_lines("run/journal.jsonl", lines);
        signal(child.id(), "-KILL");
        child.wait().unwrap();
        folder.run("report run").ends_with(0);
        line = line.replace("--out run", "--resume run");
    }
    folder.run(&line).ends_with(0);
    assert_eq!(rows(&folder.run_file("run")), expected);
    assert!(!folder.path("run/run.lock").exists());
}
