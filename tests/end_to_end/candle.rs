//! Invariants of runs on the real engine with random weights, on any machine. Times are not compared.

use std::fs;

use serde_json::Value;

use crate::support::{TestFolder, prompts};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

#[test]
fn invariants_of_a_run() {
    let folder = TestFolder::new();
    fs::write(folder.path("two.toml"), prompts(2)).unwrap();
    folder.run("run -e candle -m tiny.gguf --prompts two.toml -n 12 -r 3 -t 1 --out run").ends_with(0);
    let file = folder.run_file("run");
    assert_eq!(file["plan"]["virtual_time"], false);
    assert_eq!(file["environment"]["engines"][0]["name"], "candle");
    for case in file["cases"].as_array().unwrap() {
        assert_eq!(case["status"], "ok", "{}", case["error"]);
        let output = &case["output"];
        assert!(!output["prompt_ids"].as_array().unwrap().is_empty());
        let samples = case["samples"].as_array().unwrap();
        for sample in samples {
            let names = ["tokenize_s", "prefill_s", "decode_s", "sample_s", "detokenize_s", "other_s"];
            let sum: f64 = names.iter().filter_map(|name| sample[name].as_f64()).sum();
            let latency = number(&sample["latency_s"]);
            assert!((sum - latency).abs() <= 0.01 * latency, "the phases add up to {sum}, the latency is {latency}");
            assert!(number(&sample["ttft_s"]) <= latency);
            let tokens = number(&sample["output_tokens"]);
            assert!((number(&sample["tps"]) - tokens / latency).abs() <= 1e-6 * number(&sample["tps"]));
            assert_eq!(sample["token_times_s"].as_array().unwrap().len(), tokens as usize);
            assert_eq!(sample["output_sha256"], output["sha256"], "temperature 0 gives one output");
        }
        for op in case["ops"].as_array().unwrap() {
            assert!(number(&op["time_s"]) >= 0.0 && (0.0..=1.0).contains(&number(&op["share"])), "{op}");
        }
        let memory = &case["memory"];
        assert!(number(&memory["file_bytes"]) > 0.0 && number(&memory["load_s"]) > 0.0);
    }
    assert_eq!(folder.run("trace check run/trace.json").ends_with(0).err, "");
}

#[test]
fn both_engines_side_by_side() {
    let folder = TestFolder::new();
    let done = folder.run("run -e candle -e mock -m tiny.gguf --prompt hello -n 4 -r 1 -t 1 --out run");
    // Virtual and real time cannot share a timeline. Either this is an error with a reason, or both cases exist.
    match done.code {
        Some(0) => assert_eq!(folder.run_file("run")["cases"].as_array().unwrap().len(), 2),
        _ => assert!(done.ends_with(2).err.contains("mock")),
    }
}
