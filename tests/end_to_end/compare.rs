//! Comparisons of runs on the mock's virtual clock, so that every figure is known, and invalid comparisons.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::nulls;
use crate::support::{TestFolder, prompts};

/// Two names of the mock. The memory of the second one's machine is 10 % slower, and limits decoding.
const RUN: &str = "run -e mock -e again=mock -m tiny.gguf --prompts three.toml -n 8 -r 6 -t 2 --set mock.bandwidth_gbs=0.02 --set again.bandwidth_gbs=0.018";

fn folder() -> TestFolder {
    let folder = TestFolder::new();
    fs::write(folder.path("three.toml"), prompts(3)).unwrap();
    folder
}

fn json(folder: &TestFolder, line: &str) -> Value {
    serde_json::from_str(&folder.run(&format!("{line} --format json")).ends_with(0).out).unwrap()
}

fn figure<'v>(found: &'v Value, metric: &str) -> &'v Value {
    found["contrasts"][0]["figures"].as_array().unwrap().iter().find(|row| row["metric"] == metric).unwrap()
}

#[test]
fn engines_of_the_newest_run_are_compared() {
    let folder = folder();
    folder.run(RUN).ends_with(0);
    let found = json(&folder, "compare");
    let contrast = &found["contrasts"][0];
    assert_eq!((&contrast["interleaved"], &contrast["work"]["label"]), (&Value::from(true), &Value::from("equal")));
    let decode = figure(&found, "decode_tps");
    let ratio = decode["ratio"].as_f64().unwrap();
    assert!((ratio - 0.9).abs() < 0.01, "{ratio}");
    assert!(decode["low"].as_f64().unwrap() <= 0.9001 && decode["high"].as_f64().unwrap() >= 0.8999, "{decode}");
    assert_eq!((decode["pairs"].as_u64(), decode["finding"].as_str()), (Some(18), Some("worse")));
    let text = folder.run("compare").ends_with(0).out;
    assert!(text.contains("again decodes 10.") && text.contains("slower than mock"), "{text}");
    for format in ["md", "html", "csv"] {
        let out = folder.run(&format!("compare --format {format}")).ends_with(0).out;
        assert!(out.contains("decode_tps"), "{format}:\n{out}");
    }
    // With the sides exchanged the ratio is the inverse.
    let turned = json(&folder, "compare again mock");
    let back = figure(&turned, "decode_tps")["ratio"].as_f64().unwrap();
    assert!((back * ratio - 1.0).abs() < 1e-9, "{back} {ratio}");
}

#[test]
fn every_null_has_a_reason() {
    let folder = folder();
    folder.run(&format!("{RUN} --out six")).ends_with(0);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 1 -t 2 --out once").ends_with(0);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 2 --out twice").ends_with(0);
    for line in
        ["compare six", "compare once twice", "compare once twice --gate decode_tps=5 --gate memory_peak_bytes=5"]
    {
        // A gate that cannot be judged is another exit code.
        let found = serde_json::from_str(&folder.run(&format!("{line} --format json")).out).unwrap();
        let found = nulls::without_reason(&found, &["tool.revision", "sides[].engine", "sides[].model"]);
        assert!(found.is_empty(), "{line}: {found:#?}");
    }
}

/// The two have the same machine, and the requests of one scatter by up to 40 %: the interval contains the limit.
#[test]
fn a_gate_whose_interval_is_too_wide_is_not_judged() {
    let folder = folder();
    let line = "run -e mock -e again=mock -m tiny.gguf --prompts three.toml -n 8 -r 3 -t 2 --set mock.jitter_percent=40 --set again.jitter_percent=0";
    folder.run(line).ends_with(0);
    let done = folder.run("compare --gate decode_tps=1").ends_with(1);
    assert!(done.out.contains("not judged"), "{}", done.out);
    assert!(done.err.contains("cannot be judged: -1.0 % is within the interval"), "{}", done.err);
    assert!(done.err.contains("more rounds are needed"), "{}", done.err);
    folder.run("compare --gate decode_tps=5").ends_with(0);
}

#[test]
fn a_gate_fails_only_if_the_whole_interval_is_beyond_it() {
    let folder = folder();
    folder.run(&format!("{RUN} --out run")).ends_with(0);
    assert_eq!(folder.run("compare run --gate decode_tps=20").code, Some(0));
    // Its reader has closed the pipe: the verdict is the exit code.
    let mut unread = folder.command("compare run --gate decode_tps=5");
    let mut unread = unread.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(unread.stdout.take());
    assert_eq!(unread.wait().unwrap().code(), Some(3));
    let failed = folder.run("compare run --gate decode_tps=5 --gate memory_peak_bytes=10 --format md").ends_with(3);
    assert!(failed.out.contains("FAILED") && failed.err.contains("decode_tps"), "{}\n{}", failed.out, failed.err);
    // The mock has no memory figures. A gate without figures is not passed.
    assert!(failed.out.contains("not judged"), "{}", failed.out);
    assert_eq!(folder.run("compare run --gate memory_peak_bytes=10").code, Some(1));
}

#[test]
fn different_work_is_not_comparable() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 2 --out two").ends_with(0);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 1 --out one").ends_with(0);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 9 -r 2 -t 2 --out longer").ends_with(0);
    let threads = json(&folder, "compare two one");
    assert_eq!(threads["contrasts"][0]["work"]["label"], "not_comparable");
    let text = folder.run("compare two longer").ends_with(0).out;
    assert!(text.contains("not comparable") && text.contains("different lengths"), "{text}");
    assert!(!text.contains("faster than") && !text.contains("slower than"), "{text}");
    assert_eq!(folder.run("compare two longer --gate decode_tps=5").code, Some(1));
    // The same work in two folders is equal.
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 2 --out again").ends_with(0);
    assert_eq!(json(&folder, "compare two again")["contrasts"][0]["work"]["label"], "equal");
}

#[test]
fn a_run_from_another_build_is_never_equal() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 2 --out one").ends_with(0);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 2 -t 2 --out other").ends_with(0);
    let path = folder.path("other/run.json");
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["tool"]["target_features"] = serde_json::json!(["sse2"]);
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let found = json(&folder, "compare one other");
    assert_eq!(found["contrasts"][0]["work"]["label"], "not_comparable");
    assert_eq!(found["surroundings"][0]["what"], "tool.target_features");
}

#[test]
fn invalid_comparisons_are_errors() {
    let folder = folder();
    let nothing = folder.run("compare").ends_with(2);
    assert!(nothing.err.contains("none below runs"), "{}", nothing.err);
    folder.run("run -e mock -m tiny.gguf --prompts three.toml -n 8 -r 1 -t 2 --out one").ends_with(0);
    fs::write(folder.path("bench.json"), "[]").unwrap();
    let mut errors = String::new();
    for line in [
        "compare one",
        "compare one candle",
        "compare ./nowhere one",
        "compare one one --gate decode_tp=5",
        "compare one one --gate decode_tps",
        "compare one one --threshold 0",
        "compare bench.json one",
    ] {
        let done = folder.run(line).ends_with(2);
        writeln!(errors, "$ inferometer {line}\n{}", done.err.replace(&folder.path("").display().to_string(), "DIR/"))
            .unwrap();
    }
    insta::assert_snapshot!(errors);
}

#[test]
fn llama_benchs_file_counts_as_a_run() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompt-tokens 16 -n 9 -r 2 -t 2 --out ours").ends_with(0);
    let test = |n_prompt: usize, n_gen: usize, depth: usize, times: &str, rates: &str| {
        format!(
            r#"{{"build_commit":"abc","build_number":1,"cpu_info":"","backends":"CPU","model_filename":"tiny.gguf","model_type":"llama","model_size":1,"model_n_params":2,"n_threads":2,"type_k":"f16","type_v":"f16","n_prompt":{n_prompt},"n_gen":{n_gen},"n_depth":{depth},"test_time":"2026-01-01T00:00:00Z","samples_ns":[{times}],"samples_ts":[{rates}]}}"#
        )
    };
    let file = format!(
        "[{},{}]",
        test(16, 0, 0, "160000000,145454545", "100,110"),
        test(0, 8, 16, "160000000,156862745", "50,51")
    );
    fs::write(folder.path("bench.json"), file).unwrap();
    let found = json(&folder, "compare bench.json ours");
    assert_eq!(found["contrasts"][0]["work"]["label"], "not_comparable", "its weights cannot be known");
    let rate = 2.0 / (1.0 / 100.0 + 1.0 / 110.0);
    assert!((figure(&found, "prefill_tps")["baseline"].as_f64().unwrap() - rate).abs() < 1e-9, "tokens / time");
    assert!(figure(&found, "latency_s")["reasons"]["ratio"].as_str().unwrap().contains("only one side"));
}

#[test]
fn different_quantisations_of_the_same_weights_are_not_equal() {
    let folder = folder();
    for quant in ["q5_0", "q5_1", "q4_0"] {
        folder.run(&format!("models quantize tiny.gguf --quant {quant} -o tiny-{quant}.gguf")).ends_with(0);
    }
    folder
        .run("run -e mock -m tiny-q5_0.gguf -m tiny-q5_1.gguf -m tiny-q4_0.gguf --prompts three.toml -n 8 -r 2 -t 2 --out three")
        .ends_with(0);
    let found = json(&folder, "compare three");
    let work = |index: usize| &found["contrasts"][index]["work"];
    assert_eq!(found["contrasts"].as_array().unwrap().len(), 2, "one engine: its models are the sides");
    assert_eq!(work(0)["label"], "quant_equivalent", "5.5 and 6.0 bits from one source: {}", work(0)["checks"]);
    assert_eq!(work(1)["label"], "not_comparable", "4.5 bits are not 5.5: {}", work(1)["checks"]);
}
