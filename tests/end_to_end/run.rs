//! Complete runs on the mock engine: files, reproducibility, sums.

use std::fs;

use serde_json::Value;

use crate::support::{TestFolder, prompts};

const RUN: &str = "run -e mock -m tiny.gguf --prompts two.toml -n 6 -r 3 -t 1 --out run";

fn folder() -> TestFolder {
    let folder = TestFolder::new();
    fs::write(folder.path("two.toml"), prompts(2)).unwrap();
    folder
}

/// The text without what differs between builds and machines.
fn redacted(text: &str, folder: &TestFolder) -> String {
    let text = text
        .replace(&folder.path("").display().to_string(), "DIR/")
        .replace(env!("CARGO_BIN_EXE_inferometer"), "inferometer");
    let line = |line: &str| {
        for name in ["- tool: ", "- built for: "] {
            if line.starts_with(name) {
                return format!("{name}[build]\n");
            }
        }
        if line.starts_with("> **Warning:** this is not an optimised build") {
            return String::new();
        }
        format!("{}\n", line.replace(env!("CARGO_PKG_VERSION"), "[version]"))
    };
    text.lines().map(line).collect()
}

/// Structure and figures of a Markdown report: of each paragraph only the figures are kept. Sentences have their own tests.
fn without_prose(report: &str) -> String {
    let line = |line: &str| {
        let is_structure = line.is_empty() || ["#", "|", "- "].iter().any(|start| line.starts_with(start));
        if is_structure {
            return format!("{line}\n");
        }
        let words = line.split(|c: char| c.is_whitespace() || "[](),;:%/".contains(c));
        let figures: Vec<&str> = words
            .map(|word| word.trim_end_matches('.'))
            .filter(|word| {
                word.starts_with(|c: char| c.is_ascii_digit()) && word.trim_end_matches('x').parse::<f64>().is_ok()
            })
            .collect();
        format!("[text: {}]\n", figures.join(" "))
    };
    report.lines().map(line).collect()
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected seconds, found {value}"))
}

#[test]
fn every_file_exists_and_the_files_agree() {
    let folder = folder();
    let done = folder.run(RUN).ends_with(0);
    for words in ["Results", "tiny", "time is virtual", "inferometer report run"] {
        assert!(done.out.contains(words), "{words}:\n{}", done.out);
    }
    for name in ["run.json", "samples.jsonl", "results.csv", "trace.json", "report.md", "report.html"] {
        assert!(fs::metadata(folder.path("run").join(name)).is_ok_and(|meta| meta.len() > 0), "{name} is missing");
    }
    let outputs = fs::read_dir(folder.path("run/outputs")).unwrap().count();
    assert_eq!(outputs, 4, "a text and a JSON file for each of two cases");
    let leftovers = |name: &str| name.ends_with(".partial") || name.ends_with(".part") || name.ends_with(".tmp");
    for entry in fs::read_dir(folder.path("run")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!leftovers(&name), "{name} is a leftover");
    }

    let file = folder.run_file("run");
    assert_eq!(file["schema_version"], 1);
    assert_eq!(file["plan"]["virtual_time"], true);
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.iter().map(|case| case["prompt"].as_str().unwrap()).collect::<Vec<_>>(), ["p1", "p2"]);
    let mut written = 0;
    for case in cases {
        assert_eq!(case["status"], "ok", "{}", case["error"]);
        let samples = case["samples"].as_array().unwrap();
        assert_eq!(samples.iter().filter(|sample| sample["warmup"] == false).count(), 3);
        assert!(samples.iter().any(|sample| sample["fresh"] == true), "the first request of the session is kept");
        assert_eq!(case["output"]["token_ids"].as_array().unwrap().len(), 6);
        written += samples.len() + case["stepped"].as_array().unwrap().len() + case["traced"].as_array().unwrap().len();
    }
    let lines = fs::read_to_string(folder.path("run/samples.jsonl")).unwrap().lines().count();
    assert_eq!(lines, written, "samples.jsonl has one line per request");
    let rows = csv::Reader::from_path(folder.path("run/results.csv")).unwrap().records().count();
    assert_eq!(rows, written, "results.csv has one row per request");
}

#[test]
fn phases_and_other_add_up_to_the_latency() {
    let folder = folder();
    folder.run(&format!("{RUN} --set mock.gap_us=700")).ends_with(0);
    let file = folder.run_file("run");
    for sample in file["cases"].as_array().unwrap().iter().flat_map(|case| case["samples"].as_array().unwrap()) {
        let names = ["tokenize_s", "prefill_s", "decode_s", "sample_s", "detokenize_s", "other_s"];
        let sum: f64 = names.iter().map(|name| seconds(&sample[name])).sum();
        assert!((sum - seconds(&sample["latency_s"])).abs() < 1e-9, "{sample}");
        assert!(
            seconds(&sample["other_s"]) > 700e-6,
            "pauses between the phases are part of `other_s`: {}",
            sample["other_s"]
        );
        let times = sample["token_times_s"].as_array().unwrap();
        assert_eq!(times.len(), 6);
        assert!(times.windows(2).all(|pair| seconds(&pair[0]) < seconds(&pair[1])));
        assert!((seconds(&times[0]) - seconds(&sample["ttft_s"])).abs() < 1e-9);
    }
}

#[test]
fn two_runs_have_equal_bytes() {
    let (first, second) = (folder(), folder());
    first.run(RUN).ends_with(0);
    second.run(RUN).ends_with(0);
    for name in ["report.md", "report.html", "results.csv", "samples.jsonl"] {
        let read = |folder: &TestFolder| {
            fs::read_to_string(folder.path("run").join(name))
                .unwrap()
                .replace(&folder.path("").display().to_string(), "DIR/")
        };
        assert!(read(&first) == read(&second), "{name} differs between two runs");
    }
}

#[test]
fn the_report() {
    let folder = folder();
    folder.run(RUN).ends_with(0);
    let text = fs::read_to_string(folder.path("run/report.md")).unwrap();
    insta::assert_snapshot!(without_prose(&redacted(&text, &folder)));
}

#[test]
fn every_format_of_the_report_can_be_shown_again() {
    let folder = folder();
    folder.run(RUN).ends_with(0);
    let markdown = folder.run("report run --format md").ends_with(0).out;
    assert_eq!(markdown, fs::read_to_string(folder.path("run/report.md")).unwrap());
    assert_eq!(
        folder.run("report run --format html").ends_with(0).out,
        fs::read_to_string(folder.path("run/report.html")).unwrap()
    );
    assert_eq!(
        folder.run("report run --format csv").ends_with(0).out,
        fs::read_to_string(folder.path("run/results.csv")).unwrap()
    );
    let json: Value = serde_json::from_str(&folder.run("report run --format json").ends_with(0).out).unwrap();
    assert_eq!(json["cases"], folder.run_file("run")["cases"]);
    let text = folder.run("report run").ends_with(0).out;
    assert!(text.contains("How to read the numbers") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_traces_have_no_problem() {
    let folder = folder();
    folder.run(RUN).ends_with(0);
    let traces: Vec<String> = fs::read_dir(folder.path("run"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("trace"))
        .collect();
    assert_eq!(traces.len(), 3, "the overview and one per case: {traces:?}");
    for name in &traces {
        let done = folder.run(&format!("trace check run/{name}")).ends_with(0);
        assert!(done.out.contains("no problem"), "{}", done.out);
    }
    let summary = folder.run("trace summary run/trace.json").ends_with(0).out;
    for name in ["request", "prefill", "decode"] {
        assert!(summary.contains(name), "{name}:\n{summary}");
    }
    for case in folder.run_file("run")["cases"].as_array().unwrap() {
        for sample in case["samples"].as_array().unwrap() {
            assert!(sample["trace_us"].as_f64().is_some(), "a request has its place in the trace: {sample}");
        }
        let own = case["trace"].as_str().unwrap();
        let ops = folder.run(&format!("trace summary run/{own}")).ends_with(0).out;
        assert!(ops.contains("q_proj") && ops.contains("lm_head"), "{ops}");
        assert!(case["ops"].as_array().unwrap().iter().any(|op| op["op"] == "q_proj" && op["phase"] == "decode"));
    }
}

#[test]
fn without_a_trace_there_is_none() {
    let folder = folder();
    let done = folder.run(&format!("{RUN} --trace off")).ends_with(0);
    assert!(!folder.path("run/trace.json").exists() && !done.out.contains("trace.json"), "{}", done.out);
}

#[test]
fn threads_depths_and_prompts_multiply() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompts two.toml -n 2 -r 1 -t 1,2 --depth 0,16 --out run").ends_with(0);
    let file = folder.run_file("run");
    assert_eq!(file["cases"].as_array().unwrap().len(), 2 * 2 * 2);
    assert_eq!(file["summaries"].as_array().unwrap().len(), 2 * 2);
}

#[test]
fn exact_lengths_are_exact() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompt-tokens 33 -n 5 -r 1 -t 1 --out run").ends_with(0);
    let file = folder.run_file("run");
    for sample in file["cases"][0]["samples"].as_array().unwrap() {
        assert_eq!((sample["prompt_tokens"].as_u64(), sample["output_tokens"].as_u64()), (Some(33), Some(5)));
    }
}

#[test]
fn a_new_run_gets_a_folder_of_its_own() {
    let folder = folder();
    for _ in 0..2 {
        folder.run("run -e mock -m tiny.gguf --prompt hello -n 1 -r 1 -t 1").ends_with(0);
    }
    assert_eq!(fs::read_dir(folder.path("runs")).unwrap().count(), 2);
}

#[test]
fn the_tools_own_trace_is_complete() {
    let folder = folder();
    folder.run(&format!("{RUN} --self-trace self.json")).ends_with(0);
    let records: Value = serde_json::from_slice(&fs::read(folder.path("self.json")).unwrap()).unwrap();
    let names: Vec<&str> = records.as_array().unwrap().iter().filter_map(|record| record["name"].as_str()).collect();
    assert!(names.contains(&"run") && names.contains(&"report"), "{names:?}");
    let checked = folder.run("trace check self.json").ends_with(0).out;
    assert!(checked.contains("no problem"), "{checked}");
    // On an error too.
    folder.run("report nowhere --self-trace failed.json").ends_with(2);
    let records: Value = serde_json::from_slice(&fs::read(folder.path("failed.json")).unwrap()).unwrap();
    assert!(records.is_array());
}

#[test]
fn runs_are_listed_shown_and_removed() {
    let folder = TestFolder::new();
    assert!(folder.run("runs list").out.contains("no runs"));
    for _ in 0..2 {
        assert_eq!(folder.run("run -e mock -m tiny.gguf --prompts smoke -n 2 -r 1").code, Some(0));
    }
    let list = folder.run("runs list");
    assert!(list.out.contains("2 runs") && list.out.contains("finished") && list.out.contains("mock"), "{}", list.out);
    assert!(list.out.contains("started") && list.out.contains("Z "), "{}", list.out);
    assert_eq!(folder.run("run -e mock -m tiny.gguf --prompts smoke -n 2 -r 1 --out other/one").code, Some(0));
    for named in ["other", "other/one"] {
        let list = folder.run(&format!("runs list {named}")).ends_with(0).out;
        assert!(list.contains(&format!("1 run in {named}")) && list.contains("other/one"), "{list}");
    }
    assert!(folder.run("runs list runs other").ends_with(0).out.contains("3 runs in runs, other"));
    assert!(folder.run("runs list nowhere").ends_with(2).err.contains("found nothing"));
    let name = fs::read_dir(folder.path("runs")).unwrap().next().unwrap().unwrap().file_name();
    let name = name.to_str().unwrap();
    assert!(folder.run(&format!("runs show {name}")).out.contains("Results"));
    let done = folder.run(&format!("runs rm {name} no-such-run"));
    assert_eq!(done.code, Some(2), "{}", done.err);
    assert!(folder.path("runs").join(name).exists(), "nothing is removed where one of them does not exist");
    assert_eq!(folder.run(&format!("runs rm {name}")).code, Some(0));
    assert!(folder.run("runs list").out.contains("1 run "));
}

#[test]
fn a_case_has_samples_before_the_next_one_is_warmed_up() {
    let folder = folder();
    folder.run("run -e mock -m tiny.gguf --prompts two.toml -n 2 -r 2 -t 1,2 --out run").ends_with(0);
    let lines = fs::read_to_string(folder.path("run/samples.jsonl")).unwrap();
    let samples: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let prompt_of = |sample: &Value| sample["case"].as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    let is_clean = |sample: &Value| sample["warmup"] == false && sample["pass"] == "clean";
    let first = samples.iter().position(is_clean).unwrap();
    assert!(samples[..first].iter().all(|sample| prompt_of(sample) == prompt_of(&samples[first])), "one prompt round");
    // Both workers of the prompt round are warmed up, and their clean requests are adjacent.
    let slots: std::collections::BTreeSet<_> =
        samples[..first].iter().map(|sample| sample["case"].as_str().unwrap()).collect();
    assert_eq!(slots.len(), 2, "{slots:?}");
    let cases = folder.run_file("run")["cases"].clone();
    for case in cases.as_array().unwrap() {
        let own: Vec<&Value> = samples.iter().filter(|sample| sample["case"] == case["id"]).collect();
        assert!(own[0]["fresh"] == true && own[0]["warmup"] == true);
        assert_eq!(own.iter().filter(|sample| is_clean(sample)).count(), 2);
        let last_warm_up = own.iter().rposition(|sample| sample["warmup"] == true).unwrap();
        assert!(own[..last_warm_up].iter().all(|sample| sample["warmup"] == true), "once, before everything else");
    }
}

#[test]
fn rows_that_follow_from_each_other_agree() {
    let folder = folder();
    folder.run(RUN).ends_with(0);
    let file = folder.run_file("run");
    let mean = |name: &str| seconds(&file["summaries"][0]["metrics"][name]["mean"]);
    assert!((mean("tps") * mean("latency_s") - 6.0).abs() < 1e-9, "6 output tokens");
    assert!((mean("decode_tps") * (mean("latency_s") - mean("ttft_s")) - 5.0).abs() < 0.5, "5 after the first");
}

#[test]
fn a_run_is_found_by_its_name() {
    let folder = TestFolder::new();
    folder.run("run -e mock -m tiny.gguf --prompt hello -n 2 -r 1 -t 1 --out runs/mine").ends_with(0);
    for line in [
        "report mine",
        "runs show mine",
        "trace summary mine",
        "trace check mine",
        "trace diff mine mine",
        "trace open mine",
        "trace summary runs/mine",
        "trace summary runs/mine/trace.json",
        "run -e mock -m tiny.gguf --prompt hello -n 2 -r 1 -t 1 --resume mine",
    ] {
        folder.run(line).ends_with(0);
    }
    let done = folder.run("report mime").ends_with(2);
    assert!(done.err.contains("did you mean `mine`?"), "{}", done.err);
}

#[test]
fn a_run_in_this_folder_has_its_name() {
    let folder = TestFolder::new();
    fs::create_dir(folder.path("here")).unwrap();
    let mut command = folder.command("run -e mock -m ../tiny.gguf --prompt hello -n 2 -r 1 -t 1 --out .");
    assert!(command.current_dir(folder.path("here")).output().unwrap().status.success());
    assert_eq!(folder.run_file("here")["name"], "here");
}

#[test]
fn a_dry_run_says_what_the_run_would_say() {
    let folder = TestFolder::new();
    let line = "run -e mock -m tiny.gguf --prompt a -n 1 -r 1 -t 1 --out taken";
    folder.run(line).ends_with(0);
    let (real, dry) = (folder.run(line).ends_with(2), folder.run(&format!("{line} --dry-run")).ends_with(2));
    assert_eq!(real.err, dry.err);
    let dry = folder.run("run -e mock -m tiny.gguf --prompt a -t 9999 --dry-run").ends_with(0).out;
    assert!(dry.contains("warning   9999 threads share the"), "{dry}");
}
