//! `inferometer trace`: comparing, summing and opening the traces of a run.

use serde_json::Value;

use crate::support::TestFolder;

const RUN: &str = "run -e mock -m tiny.gguf --prompt hello -n 12 -r 2 --ignore-eos";

#[test]
fn a_slower_machine_changes_operations_and_the_same_machine_changes_none() {
    let folder = TestFolder::new();
    folder.run(&format!("{RUN} -t 1 --out a")).ends_with(0);
    folder.run(&format!("{RUN} -t 1 --out b")).ends_with(0);
    folder.run(&format!("{RUN} -t 1 --set mock.bandwidth_gbs=10 --out slow")).ends_with(0);
    let same = folder.run("trace diff a b").ends_with(0).out;
    assert!(same.contains("decode: no operation changed"), "{same}");
    let slower = folder.run("trace diff a slow/trace.json").ends_with(0).out;
    assert!(slower.contains("decode: lm_head takes 2") && slower.contains("per token"), "{slower}");

    let found: Value = serde_json::from_str(&folder.run("trace diff a slow --format json").ends_with(0).out).unwrap();
    let phases = found["phases"].as_array().unwrap();
    let decode = phases.iter().find(|phase| phase["phase"] == "decode").unwrap();
    assert_eq!(decode["a"]["count"], 11 * folder.run_file("a")["cases"][0]["traced"].as_array().unwrap().len());
    let ratio = |op: &Value| op["ratio"].as_f64().unwrap();
    assert!(decode["ops"].as_array().unwrap().iter().any(|op| op["changed"] == true && (ratio(op) - 2.0).abs() < 0.1));

    let refused = folder.run("trace diff a absent.json").ends_with(2);
    assert!(refused.err.contains("absent.json"), "{}", refused.err);
    folder.run(&format!("{RUN} -t 1 --trace phases --out phases")).ends_with(0);
    let refused = folder.run("trace diff a phases").ends_with(2).err;
    assert!(
        refused.contains("phases has no operations") && refused.contains("help: give a trace of the traced pass"),
        "{refused}"
    );
}

#[test]
fn the_overview_is_summed_by_pass() {
    let folder = TestFolder::new();
    folder.run(&format!("{RUN} -t 1,2 --out run")).ends_with(0);
    let text = folder.run("trace summary run/trace.json").ends_with(0).out;
    for pass in ["clean pass", "stepped pass", "traced pass"] {
        assert!(text.contains(pass), "{pass}:\n{text}");
    }
    let found: Value =
        serde_json::from_str(&folder.run("trace summary run/trace.json --format json").ends_with(0).out).unwrap();
    let rows = found["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["name"] == "load" || row["pass"].is_string()), "{rows:?}");
}

#[test]
fn names_say_the_threads_and_open_says_the_steps() {
    let folder = TestFolder::new();
    folder.run(&format!("{RUN} -t 1,2 --out run")).ends_with(0);
    let cases = folder.run_file("run")["cases"].clone();
    let names: Vec<&str> = cases.as_array().unwrap().iter().map(|case| case["trace"].as_str().unwrap()).collect();
    assert_eq!(names, ["trace-01-t1-prompt.json", "trace-02-t2-prompt.json"]);
    let steps = folder.run("trace open run").ends_with(0).out;
    assert!(steps.contains("https://ui.perfetto.dev") && steps.contains("run/trace-02-t2-prompt.json ("), "{steps}");
    assert!(steps.contains("run/trace.json ("), "{steps}");
    let one = folder.run("trace open run/trace.json").ends_with(0).out;
    assert!(!one.contains("trace-02"), "{one}");
    assert!(folder.run("trace open .").ends_with(2).err.contains("expected a trace file or a run folder"));
}

#[test]
fn recordings_of_other_work_are_named_first() {
    let folder = TestFolder::new();
    folder.run(&format!("{RUN} -t 1 --out one")).ends_with(0);
    folder.run(&format!("{RUN} -t 2 --out two")).ends_with(0);
    let shown = folder.run("trace diff one two").ends_with(0).out;
    let place = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part}:\n{shown}"));
    assert!(place("not of the same work: threads 1 and 2") < place("decode"), "{shown}");
    assert!(!folder.run("trace diff one one").ends_with(0).out.contains("not of the same work"));
}
