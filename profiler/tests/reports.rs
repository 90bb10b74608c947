//! A run file of each released schema version, kept for ever, and what the reports make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use profiler::report::{FORMATS, Look};
use profiler::results::{RunFile, Store, files, read};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The fixture as it was before it was killed: `run.json` alone.
fn whole(folder: &Path) -> RunFile {
    fs::copy(fixture("run-v1/run.json"), folder.join("run.json")).unwrap();
    let mut file = read(folder).unwrap();
    file.summaries = profiler::statistics::summarise(&file.cases, file.plan.seed);
    file
}

fn rendered(file: &RunFile, form: &str, width: usize) -> String {
    let format = FORMATS.iter().find(|format| format.name == form).unwrap();
    String::from_utf8((format.render)(file, Look { width, colour: false })).unwrap()
}

#[test]
fn version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    assert_eq!(file.schema_version, 1);
    assert_eq!(file.cases.len(), 4);
    assert_eq!(file.cases[0].samples.len(), 4);
    assert_eq!(file.cases[0].samples[1].token_times_s.len(), 64);
    // Written again it says the same: nothing is lost on the way.
    let before: serde_json::Value = serde_json::from_slice(&fs::read(fixture("run-v1/run.json")).unwrap()).unwrap();
    let after = serde_json::to_value(read(folder.path()).unwrap()).unwrap();
    assert_eq!(after["cases"][0]["samples"], before["cases"][0]["samples"]);
    assert_eq!(after["plan"], before["plan"]);
    assert_eq!(after["environment"], before["environment"]);
}

#[test]
fn a_killed_run_has_its_last_samples_from_beside() {
    let file = read(&fixture("run-v1")).unwrap();
    assert_eq!(file.cases[0].samples.len(), 5);
    assert_eq!(file.summaries[0].samples, 3 + 3 + 1);
}

#[test]
fn the_text_for_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(rendered(&whole(folder.path()), "text", 100));
}

#[test]
fn a_narrow_terminal_is_not_exceeded() {
    let folder = tempfile::tempdir().unwrap();
    let text = rendered(&whole(folder.path()), "text", 80);
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_markdown() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(rendered(&whole(folder.path()), "md", 100));
}

#[test]
fn the_page_says_the_same_and_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let page = rendered(&whole(folder.path()), "html", 100);
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for words in [
        "Results",
        "Phases",
        "Memory",
        "unaccounted",
        "synthetic weights",
        "Counters",
        "candle/llama-3.2-1b/poem/t2/d0",
    ] {
        assert!(page.contains(words), "{words}");
    }
    for foreign in ["<script", "<link", "<img", "src=", "href=", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_table_has_one_row_per_sample_and_the_fields_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    let table = rendered(&file, "csv", 100);
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().unwrap().clone();
    insta::assert_snapshot!(header.iter().collect::<Vec<_>>().join("\n"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let samples: usize =
        file.cases.iter().map(|case| case.samples.len() + case.stepped.len() + case.traced.len()).sum();
    assert_eq!(rows.len(), samples);
    let column = header.iter().position(|name| name == "latency_s").unwrap();
    assert_eq!(rows[0][column].parse::<f64>().ok(), file.cases[0].samples[0].latency_s);
}

#[test]
fn the_json_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    let back: RunFile = serde_json::from_str(&rendered(&file, "json", 100)).unwrap();
    assert!(back == file, "a number or a field was lost on the way");
}

#[test]
fn phases_and_other_add_up_in_every_sample() {
    let file = read(&fixture("run-v1")).unwrap();
    for sample in file.cases.iter().flat_map(|case| &case.samples) {
        let phases = [
            sample.tokenize_s,
            sample.prefill_s,
            sample.decode_s,
            sample.sample_s,
            sample.detokenize_s,
            sample.other_s,
        ];
        let sum: f64 = phases.iter().flatten().sum();
        assert!((sum - sample.latency_s.unwrap()).abs() < 0.01 * sum);
    }
}

#[test]
fn every_registered_form_renders_a_run_without_cases() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = whole(folder.path());
    file.cases.clear();
    file.summaries.clear();
    for format in FORMATS {
        assert!(!(format.render)(&file, Look::default()).is_empty(), "{}", format.name);
    }
}

#[test]
fn a_store_leaves_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    let dir = folder.path().join("runs/a");
    let mut store = Store::create(&dir).unwrap();
    for case in &file.cases {
        for sample in &case.samples {
            store.sample(sample).unwrap();
        }
        if let Some(output) = &case.output {
            store.output(&case.id, output).unwrap();
        }
    }
    store.finish(&file).unwrap();
    for name in [files::RUN, files::SAMPLES, files::TABLE, files::REPORT_MARKDOWN, files::REPORT_PAGE] {
        assert!(fs::metadata(dir.join(name)).unwrap().len() > 0, "{name}");
    }
    assert_eq!(fs::read_dir(dir.join(files::OUTPUTS)).unwrap().count(), 6);
    assert!(read(&dir).unwrap() == file, "what was read differs from what was written");
}

fn refusal(run_json: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.json"), run_json).unwrap();
    read(folder.path()).unwrap_err().to_string().replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn what_is_no_run_is_refused_with_its_reason() {
    let empty = tempfile::tempdir().unwrap();
    let place = empty.path().display().to_string();
    let refusals = [
        read(&empty.path().join("absent")).unwrap_err().to_string().replace(&place, "DIR"),
        read(empty.path()).unwrap_err().to_string().replace(&place, "DIR"),
        refusal("{\"schema_version\": 1, \"name\": "),
        refusal("{}"),
        refusal("{\"schema_version\": 2}"),
        refusal("{\"schema_version\": 1}"),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}
