//! `inferometer trace`: what a run's traces say, side by side and opened.

use serde_json::Value;

use crate::support::Place;

const RUN: &str = "run -e mock -m tiny.gguf --prompt hello -n 12 -r 2 --ignore-eos";

#[test]
fn a_faster_machine_is_seen_in_every_op_and_the_same_one_in_none() {
    let place = Place::new();
    place.run(&format!("{RUN} -t 1 --out a")).ends_with(0);
    place.run(&format!("{RUN} -t 1 --out b")).ends_with(0);
    place.run(&format!("{RUN} -t 1 --set mock.bandwidth_gbs=10 --out slow")).ends_with(0);
    let same = place.run("trace diff a b").ends_with(0).out;
    assert!(same.contains("decode: no op changed"), "{same}");
    let slower = place.run("trace diff a slow/trace.json").ends_with(0).out;
    assert!(slower.contains("decode: lm_head takes 2") && slower.contains("a token"), "{slower}");

    let found: Value = serde_json::from_str(&place.run("trace diff a slow --format json").ends_with(0).out).unwrap();
    let phases = found["phases"].as_array().unwrap();
    let decode = phases.iter().find(|phase| phase["phase"] == "decode").unwrap();
    assert_eq!(decode["a"]["count"], 11 * place.run_file("a")["cases"][0]["traced"].as_array().unwrap().len());
    let ratio = |op: &Value| op["ratio"].as_f64().unwrap();
    assert!(decode["ops"].as_array().unwrap().iter().any(|op| op["changed"] == true && (ratio(op) - 2.0).abs() < 0.1));

    let refused = place.run("trace diff a absent.json").ends_with(2);
    assert!(refused.err.contains("absent.json"), "{}", refused.err);
    place.run(&format!("{RUN} -t 1 --trace phases --out phases")).ends_with(0);
    let refused = place.run("trace diff a phases").ends_with(2).err;
    assert!(
        refused.contains("phases holds no ops") && refused.contains("help: give a trace of the traced pass"),
        "{refused}"
    );
}

#[test]
fn the_overview_is_summed_by_pass() {
    let place = Place::new();
    place.run(&format!("{RUN} -t 1,2 --out run")).ends_with(0);
    let text = place.run("trace summary run/trace.json").ends_with(0).out;
    for pass in ["clean pass", "stepped pass", "traced pass"] {
        assert!(text.contains(pass), "{pass}:\n{text}");
    }
    let found: Value =
        serde_json::from_str(&place.run("trace summary run/trace.json --format json").ends_with(0).out).unwrap();
    let rows = found["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["name"] == "load" || row["pass"].is_string()), "{rows:?}");
}

#[test]
fn names_say_the_threads_and_open_says_the_steps() {
    let place = Place::new();
    place.run(&format!("{RUN} -t 1,2 --out run")).ends_with(0);
    let cases = place.run_file("run")["cases"].clone();
    let names: Vec<&str> = cases.as_array().unwrap().iter().map(|case| case["trace"].as_str().unwrap()).collect();
    assert_eq!(names, ["trace-01-t1-prompt.json", "trace-02-t2-prompt.json"]);
    let told = place.run("trace open run").ends_with(0).out;
    assert!(told.contains("https://ui.perfetto.dev") && told.contains("run/trace-02-t2-prompt.json ("), "{told}");
    assert!(told.contains("run/trace.json ("), "{told}");
    let one = place.run("trace open run/trace.json").ends_with(0).out;
    assert!(!one.contains("trace-02"), "{one}");
    assert!(place.run("trace open .").ends_with(2).err.contains("expected a trace file or the folder of a run"));
}
