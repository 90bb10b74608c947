//! Counters through the whole binary: the mock's machine has a PMU of as many registers as it is told.

use serde_json::Value;

use crate::support::Place;

fn run(place: &Place, options: &str) -> Value {
    let line = format!("run -e mock -m tiny.gguf --prompt hello -n 6 -r 2 -t 1 --out run {options}");
    place.run(&line).ends_with(0);
    let file = place.run_file("run");
    assert_eq!(file["cases"].as_array().map(Vec::len), Some(1));
    file
}

fn row<'v>(file: &'v Value, phase: &str) -> &'v Value {
    let rows = file["cases"][0]["phases"].as_array().unwrap();
    rows.iter().find(|row| row["phase"] == phase).unwrap()
}

#[test]
fn events_that_do_not_fit_are_counted_in_requests_of_their_own() {
    let place = Place::new();
    let file = run(&place, "--set mock.registers=3");
    let stepped = file["cases"][0]["stepped"].as_array().unwrap();
    let sets: Vec<u64> = stepped.iter().map(|sample| sample["counter_set"].as_u64().unwrap_or(0)).collect();
    assert_eq!(sets.iter().filter(|&&set| set == 1).count() * 2, sets.len(), "as many requests for each set: {sets:?}");
    let decode = row(&file, "decode");
    let of = |name: &str| decode["counters"][name].as_f64().unwrap();
    for name in ["cycles", "instructions", "cache_references", "cache_misses"] {
        assert!(of(name) > 0.0, "{decode}");
    }
    // The last event is the one of another request: its time stands beside it.
    let others: Vec<&String> = decode["counted_s"].as_object().unwrap().keys().collect();
    assert_eq!(others, ["cache_misses"]);
    // The mock makes four references for each miss, whichever request counts them.
    assert!((of("cache_references") / of("cache_misses") - 4.0).abs() < 1e-9);
    let ipc = decode["derived"]["ipc"].as_f64().unwrap();
    assert!((ipc - of("instructions") / of("cycles")).abs() < 1e-12);
    let report = place.run("report run").ends_with(0).out;
    assert!(report.contains("counted in 2 sets") && report.contains("IPC"), "{report}");
}

#[test]
fn events_that_are_named_are_counted_op_by_op() {
    let place = Place::new();
    let file = run(&place, "--set mock.registers=2 --counters cycles,instructions,cache_misses");
    let case = &file["cases"][0];
    let rows = case["op_counters"].as_array().unwrap();
    let of = |phase: &str, name: &str| -> f64 {
        let rows = rows.iter().filter(|row| row["phase"] == phase);
        rows.map(|row| row["counters"][name].as_f64().unwrap()).sum()
    };
    // The mock works in its ops alone: what they count together is what the phase counted.
    for phase in ["prefill", "decode"] {
        for name in ["instructions", "cache_misses"] {
            let whole = row(&file, phase)["counters"][name].as_f64().unwrap();
            assert!((of(phase, name) - whole).abs() <= 1e-9 * whole, "{phase} {name}: {} of {whole}", of(phase, name));
        }
    }
    let q = rows.iter().find(|row| row["phase"] == "decode" && row["op"] == "q_proj").unwrap();
    assert!(q["derived"]["ipc"].as_f64().unwrap() > 0.0, "{q}");
    assert!(file["probes"][0]["counted"].as_f64().is_some(), "its slow-down is told");
    let done = place.run("report run").ends_with(0);
    assert!(done.out.contains("the counted pass"), "{}", done.out);
    place.run("trace check run/trace.json").ends_with(0);
    let trace = std::fs::read_to_string(place.path("run/trace.json")).unwrap();
    assert!(trace.contains("instructions per s"), "events have tracks");
    // Nobody asks for events by name: no pass of that kind.
    let plain = run_anew(&place);
    assert!(plain["cases"][0]["op_counters"].is_null() && plain["cases"][0]["counted"].is_null());
}

fn run_anew(place: &Place) -> Value {
    place.run("run -e mock -m tiny.gguf --prompt hello -n 6 -r 1 -t 1 --out plain --set mock.registers=4").ends_with(0);
    place.run_file("plain")
}

#[test]
fn one_set_is_one_request() {
    let place = Place::new();
    let file = run(&place, "--set mock.registers=4");
    let stepped = file["cases"][0]["stepped"].as_array().unwrap();
    assert!(stepped.iter().all(|sample| sample["counter_set"].is_null()), "{stepped:?}");
    assert!(row(&file, "decode")["counted_s"].is_null());
}

#[test]
fn a_machine_without_counters_says_so_for_each() {
    let place = Place::new();
    let file = run(&place, "--counters cycles,LLC-loads,r01c2,cpu/event=0x3c,umask=1/,task-clock");
    for name in ["cycles", "llc_loads", "r01c2", "cpu/event=0x3c,umask=1/", "task_clock_s"] {
        assert!(file["cases"][0]["counters"][name].is_null());
        let reason = file["cases"][0]["reasons"][name].as_str().unwrap_or_else(|| panic!("{name} has no reason"));
        assert!(reason.len() > 20, "{name}: {reason}");
    }
    assert_eq!(file["plan"]["counters"].as_array().unwrap().iter().filter(|name| *name == "llc_loads").count(), 1);
}

#[test]
fn a_name_that_is_none_is_refused_once() {
    let place = Place::new();
    let done = place.run("run -e mock -m tiny.gguf --counters LLC-laods").ends_with(2);
    assert!(done.err.contains("did you mean `llc_loads`?") && done.err.contains("docs/counters.md"), "{}", done.err);
}
