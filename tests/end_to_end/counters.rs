//! Counters of runs on the mock engine, whose machine has a PMU with a given number of registers.

use serde_json::Value;

use crate::support::TestFolder;

fn run(folder: &TestFolder, options: &str) -> Value {
    let line = format!("run -e mock -m tiny.gguf --prompt hello -n 6 -r 2 -t 1 --out run {options}");
    folder.run(&line).ends_with(0);
    let file = folder.run_file("run");
    assert_eq!(file["cases"].as_array().map(Vec::len), Some(1));
    file
}

fn row<'v>(file: &'v Value, phase: &str) -> &'v Value {
    let rows = file["cases"][0]["phases"].as_array().unwrap();
    rows.iter().find(|row| row["phase"] == phase).unwrap()
}

#[test]
fn events_that_do_not_fit_are_counted_in_separate_requests() {
    let folder = TestFolder::new();
    let file = run(&folder, "--set mock.registers=3");
    let stepped = file["cases"][0]["stepped"].as_array().unwrap();
    let sets: Vec<u64> = stepped.iter().map(|sample| sample["counter_set"].as_u64().unwrap_or(0)).collect();
    assert_eq!(sets.iter().filter(|&&set| set == 1).count() * 2, sets.len(), "as many requests for each set: {sets:?}");
    let decode = row(&file, "decode");
    let of = |name: &str| decode["counters"][name].as_f64().unwrap();
    for name in ["cycles", "instructions", "cache_references", "cache_misses"] {
        assert!(of(name) > 0.0, "{decode}");
    }
    // The last event is counted in another request, whose time is recorded with it.
    let others: Vec<&String> = decode["counted_s"].as_object().unwrap().keys().collect();
    assert_eq!(others, ["cache_misses"]);
    // The mock makes four references per miss in every request.
    assert!((of("cache_references") / of("cache_misses") - 4.0).abs() < 1e-9);
    let ipc = decode["derived"]["ipc"].as_f64().unwrap();
    assert!((ipc - of("instructions") / of("cycles")).abs() < 1e-12);
    let report = folder.run("report run").ends_with(0).out;
    assert!(report.contains("counted in 2 sets") && report.contains("IPC"), "{report}");
}

#[test]
fn named_events_are_counted_by_operation() {
    let folder = TestFolder::new();
    let file = run(&folder, "--set mock.registers=2 --counters cycles,instructions,cache_misses");
    let case = &file["cases"][0];
    let rows = case["op_counters"].as_array().unwrap();
    let of = |phase: &str, name: &str| -> f64 {
        let rows = rows.iter().filter(|row| row["phase"] == phase);
        rows.map(|row| row["counters"][name].as_f64().unwrap()).sum()
    };
    // The mock works only in operations, so their sum is the count of the phase.
    for phase in ["prefill", "decode"] {
        for name in ["instructions", "cache_misses"] {
            let whole = row(&file, phase)["counters"][name].as_f64().unwrap();
            assert!((of(phase, name) - whole).abs() <= 1e-9 * whole, "{phase} {name}: {} of {whole}", of(phase, name));
        }
    }
    let q = rows.iter().find(|row| row["phase"] == "decode" && row["op"] == "q_proj").unwrap();
    assert!(q["derived"]["ipc"].as_f64().unwrap() > 0.0, "{q}");
    assert!(file["probes"][0]["counted"].as_f64().is_some(), "its overhead is reported");
    let done = folder.run("report run").ends_with(0);
    assert!(done.out.contains("counted pass"), "{}", done.out);
    folder.run("trace check run/trace.json").ends_with(0);
    let trace = std::fs::read_to_string(folder.path("run/trace.json")).unwrap();
    assert!(trace.contains("instructions per s"), "events have tracks");
    // Without named events there is no counted pass.
    let plain = run_without_named_events(&folder);
    assert!(plain["cases"][0]["op_counters"].is_null() && plain["cases"][0]["counted"].is_null());
}

fn run_without_named_events(folder: &TestFolder) -> Value {
    folder
        .run("run -e mock -m tiny.gguf --prompt hello -n 6 -r 1 -t 1 --out plain --set mock.registers=4")
        .ends_with(0);
    folder.run_file("plain")
}

#[test]
fn one_set_is_one_request() {
    let folder = TestFolder::new();
    let file = run(&folder, "--set mock.registers=4");
    let stepped = file["cases"][0]["stepped"].as_array().unwrap();
    assert!(stepped.iter().all(|sample| sample["counter_set"].is_null()), "{stepped:?}");
    assert!(row(&file, "decode")["counted_s"].is_null());
}

#[test]
fn every_missing_counter_has_a_reason() {
    let folder = TestFolder::new();
    let file = run(&folder, "--counters cycles,LLC-loads,r01c2,cpu/event=0x3c,umask=1/,task-clock");
    for name in ["cycles", "llc_loads", "r01c2", "cpu/event=0x3c,umask=1/", "task_clock_s"] {
        assert!(file["cases"][0]["counters"][name].is_null());
        let reason = file["cases"][0]["reasons"][name].as_str().unwrap_or_else(|| panic!("{name} has no reason"));
        assert!(reason.len() > 20, "{name}: {reason}");
    }
    assert_eq!(file["plan"]["counters"].as_array().unwrap().iter().filter(|name| *name == "llc_loads").count(), 1);
}

#[test]
fn an_unknown_counter_is_an_error() {
    let folder = TestFolder::new();
    let done = folder.run("run -e mock -m tiny.gguf --counters LLC-laods").ends_with(2);
    assert!(done.err.contains("did you mean `llc_loads`?") && done.err.contains("docs/counters.md"), "{}", done.err);
}
