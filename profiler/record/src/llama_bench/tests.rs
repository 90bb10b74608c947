//! The forms of llama-bench, and what people do to its files.

use engine_api::Advice;

use super::*;
use crate::{Case, CaseNote};

/// Two tests as llama-bench writes them, cut to the fields that are read and one that is not.
const JSON: &str = r#"[
  { "build_commit": "0c1e57098", "build_number": 7, "cpu_info": "Some CPU", "gpu_info": "", "backends": "CPU",
    "model_filename": "models/tiny.Q4_1.gguf", "model_type": "llama 135M Q4_1", "model_size": 91000000, "model_n_params": 134515008,
    "n_threads": 2, "type_k": "f16", "type_v": "f16", "n_prompt": 512, "n_gen": 0, "n_depth": 0,
    "test_time": "2026-01-02T03:04:05Z", "samples_ns": [ 1600000000, 2000000000 ], "samples_ts": [ 320.0, 256.0 ] },
  { "build_commit": "0c1e57098", "build_number": 7, "model_filename": "models/tiny.Q4_1.gguf", "n_threads": 2,
    "n_prompt": 0, "n_gen": 64, "n_depth": 512, "samples_ns": [ 640000000 ], "samples_ts": [ 100.0 ] },
  { "build_commit": "0c1e57098", "build_number": 7, "model_filename": "models/tiny.Q4_1.gguf", "n_threads": 2,
    "n_prompt": 0, "n_gen": 128, "n_depth": 0, "samples_ns": [ 1000000000 ], "samples_ts": [ 128.0 ] }
]"#;

/// The same two tests in the other forms: a prompt of 64 tokens at 200/s and 16 tokens after them at 40/s.
const JSONL: &str = r#"{"build_commit": "0c1e5", "build_number": 7, "backends": "CPU", "model_filename": "m/a.gguf", "n_threads": 2, "n_prompt": 64, "n_gen": 0, "n_depth": 0, "avg_ns": 320000000, "avg_ts": 200.0, "samples_ns": [ 320000000 ],"samples_ts": [ 200 ]}
{"build_commit": "0c1e5", "build_number": 7, "backends": "CPU", "model_filename": "m/a.gguf", "n_threads": 2, "n_prompt": 0, "n_gen": 16, "n_depth": 64, "avg_ns": 400000000, "avg_ts": 40.0, "samples_ns": [ 400000000 ],"samples_ts": [ 40 ]}
"#;
const CSV: &str = r#"build_commit,build_number,cpu_info,gpu_info,backends,model_filename,n_threads,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts
"0c1e5","7","A ""CPU""","","CPU","m/a.gguf","2","64","0","0","2026-01-02T03:04:05Z","320000000","9","200.000000","1.5"
"0c1e5","7","A ""CPU""","","CPU","m/a.gguf","2","0","16","64","2026-01-02T03:04:06Z","400000000","9","40.000000","0.5"
"#;
const SQL: &str = r"CREATE TABLE IF NOT EXISTS llama_bench (
  build_commit TEXT,
  build_number INTEGER,
  model_filename TEXT,
  n_threads INTEGER,
  n_prompt INTEGER,
  n_gen INTEGER,
  n_depth INTEGER,
  avg_ns INTEGER,
  avg_ts REAL
);

INSERT INTO llama_bench (build_commit, build_number, model_filename, n_threads, n_prompt, n_gen, n_depth, avg_ns, avg_ts) VALUES ('0c1e5', '7', 'it's/a.gguf', '2', '64', '0', '0', '320000000', '200.000000');
INSERT INTO llama_bench (build_commit, build_number, model_filename, n_threads, n_prompt, n_gen, n_depth, avg_ns, avg_ts) VALUES ('0c1e5', '7', 'it's/a.gguf', '2', '0', '16', '64', '400000000', '40.000000');
";
const MARKDOWN: &str = "\
ggml_load: a line of the log
| model                          |       size |     params | backend    | threads | type_k |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | -----: | --------------: | -------------------: |
| a                              |  86.00 MiB |   134.52 M | CPU        |       2 |   q8_0 |            pp64 |        200.00 ± 1.50 |
| a                              |  86.00 MiB |   134.52 M | CPU        |       2 |   q8_0 |      tg16 @ d64 |         40.00 ± 0.50 |

build: 0c1e5 (7)
";

fn read(text: &str) -> Result<RunFile, Error> {
    Ok(bench(text)?.file)
}

fn bench(text: &str) -> Result<Bench, Error> {
    parse(Path::new("bench.json"), text).map(|found| found.expect("records of llama-bench"))
}

/// The id of each case with its first rates.
fn rates(file: &RunFile) -> Vec<(String, Option<f64>, Option<f64>)> {
    let rate = |case: &Case| case.samples.first().map(|sample| (sample.prefill_tps.value(), sample.decode_tps.value()));
    file.cases
        .iter()
        .map(|case| (case.id.clone(), rate(case).and_then(|rate| rate.0), rate(case).and_then(|rate| rate.1)))
        .collect()
}

#[test]
fn a_prompt_and_the_generation_after_it_are_one_case() {
    let file = read(JSON).unwrap();
    assert_eq!(file.name, "bench");
    let case = &file.cases[0];
    assert_eq!((case.id.as_str(), case.threads), ("llama-bench/tiny.Q4_1/pp512/t2/d0", 2));
    assert_eq!(case.samples.len(), 2);
    assert_eq!((case.samples[0].prefill_tps.value(), case.samples[0].decode_tps.value()), (Some(320.0), Some(100.0)));
    assert!(case.samples[1].decode_tps.reason().unwrap().as_str().contains("more repetitions"));
    assert!(!case.notes.has(CaseNote::DecodedAfter), "the generation after 512 tokens is the nearest");
    assert_eq!(file.plan.models[0].parameters.value(), Some(134_515_008));
    // The generation that belongs to no prompt is kept.
    assert_eq!(file.cases[1].id, "llama-bench/tiny.Q4_1/tg128/t2/d0");
    assert_eq!(file.cases[1].samples[0].decode_tps.value(), Some(128.0));
}

#[test]
fn every_form_is_the_same_run() {
    for text in [JSONL, CSV, SQL, MARKDOWN] {
        let file = read(text).unwrap();
        assert_eq!(rates(&file), [("llama-bench/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0))], "{text}");
        assert!(!file.cases[0].notes.has(CaseNote::DecodedAfter));
        assert_eq!(file.tool.version, "7 (0c1e5)", "{text}");
    }
    assert_eq!(read(CSV).unwrap().environment.processor.model.as_deref(), Some("A \"CPU\""));
    assert_eq!(read(MARKDOWN).unwrap().plan.kv_type, RecordedKvTypes::from("q8_0 keys, f16 values"));
    // What a spreadsheet or sqlite3 writes again.
    let semicolons = CSV
        .replace(",\"", ";\"")
        .replace(",n_", ";n_")
        .replace(
            "build_commit,build_number,cpu_info,gpu_info,backends,model_filename",
            "build_commit;build_number;cpu_info;gpu_info;backends;model_filename",
        )
        .replace(",test_time,avg_ns,stddev_ns,avg_ts,stddev_ts", ";test_time;avg_ns;stddev_ns;avg_ts;stddev_ts");
    assert_eq!(rates(&read(&semicolons).unwrap()).len(), 1);
    let dump = "CREATE TABLE llama_bench (model_filename TEXT, n_threads INTEGER, n_prompt INTEGER, n_gen INTEGER, avg_ns INTEGER, avg_ts REAL);\nINSERT INTO llama_bench VALUES('a.gguf',2,64,0,320000000,200.0),('a.gguf',2,0,16,NULL,40.0);\n";
    assert_eq!(rates(&read(dump).unwrap()), [("llama-bench/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0))]);
}

#[test]
fn means_are_one_value_and_the_file_says_so() {
    for text in [CSV, SQL, MARKDOWN] {
        let bench = bench(text).unwrap();
        assert!(bench.notes.iter().any(|note| note.contains("means of the repetitions")), "{:?}", bench.notes);
    }
    let bench = bench(MARKDOWN).unwrap();
    let sample = &bench.file.cases[0].samples[0];
    assert!(sample.prefill_s.is_absent(), "a table has rates only");
    assert!(bench.notes.iter().any(|note| note.contains("a line of the log")), "{:?}", bench.notes);
    // Empty lists are no repetitions.
    let empty = JSONL
        .replace("[ 320000000 ]", "[]")
        .replace("[ 200 ]", "[]")
        .replace("[ 400000000 ]", "[]")
        .replace("[ 40 ]", "[]");
    assert_eq!(rates(&read(&empty).unwrap())[0].1, Some(200.0));
}

#[test]
fn a_file_of_a_crash_and_of_several_runs_is_read() {
    let cut = &JSON[..JSON.len() - 60];
    let found = bench(cut).unwrap();
    assert_eq!(found.notes, ["a truncated record is left out (line 8)"]);
    assert_eq!(found.file.cases.len(), 1);
    let noisy = format!("main: loading {{x}} it's \"here\n{JSON}\nSegmentation fault\n");
    let found = bench(&noisy).unwrap();
    assert_eq!(found.file.cases.len(), 2);
    assert!(found.notes[0].contains("2 lines are no records, the last is `Segmentation fault`"), "{:?}", found.notes);
    // The same test again is more of its repetitions; a record that the next run cuts off is named.
    let twice = bench(&format!("{JSONL}{JSONL}")).unwrap().file;
    assert_eq!(twice.cases[0].samples.len(), 2);
    let both = bench(&format!("{cut}\n{JSON}")).unwrap();
    assert_eq!((both.file.cases[0].samples.len(), both.notes.len()), (4, 1));
    // Both forms of one call.
    let both = bench(&format!("{MARKDOWN}{JSONL}")).unwrap();
    assert_eq!(both.file.cases.len(), 1);
    assert!(both.notes[0].contains("2 records in the form md"), "{:?}", both.notes);
    // A list inside an object.
    assert_eq!(bench(&format!("{{\"results\": {JSON}}}")).unwrap().file.cases.len(), 2);
}

#[test]
fn figures_that_are_not_usable_are_absent_with_the_reason() {
    let text = JSONL.replace("[ 320000000 ]", "[ 0, 320000000, 320000000 ]").replace("[ 200 ]", "[ inf, 200, 900 ]");
    let file = read(&text).unwrap();
    let found: Vec<Option<f64>> = file.cases[0].samples.iter().map(|sample| sample.prefill_tps.value()).collect();
    assert_eq!(found, [None, Some(200.0), None]);
    for sample in [0, 2] {
        let reason = file.cases[0].samples[sample].prefill_tps.reason().unwrap().as_str();
        assert!(reason.contains("no usable figure"), "{reason}");
    }
    // Rates follow from the times.
    let text = JSONL.replace(",\"samples_ts\": [ 200 ]", "").replace(",\"samples_ts\": [ 40 ]", "");
    assert_eq!(rates(&read(&text).unwrap()), [("llama-bench/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0))]);
}

#[test]
fn other_settings_are_other_engines() {
    let with = |fields: &str| JSONL.replace("\"n_threads\": 2", &format!("\"n_threads\": 2, {fields}"));
    let text = with("\"flash_attn\": 0, \"n_gpu_layers\": 99")
        + &with("\"flash_attn\": 1, \"n_gpu_layers\": 99")
            .replace("40.0, \"s", "80.0, \"s")
            .replace("[ 400000000 ]", "[ 200000000 ]")
            .replace("[ 40 ]", "[ 80 ]");
    let file = read(&text).unwrap();
    assert_eq!(file.plan.engines, ["llama-bench:fa=0", "llama-bench:fa=1"]);
    assert_eq!(
        rates(&file),
        [
            ("llama-bench:fa=0/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0)),
            ("llama-bench:fa=1/a/pp64/t2/d0".to_owned(), Some(200.0), Some(80.0)),
        ]
    );
    let identity = file.identity("llama-bench:fa=1").unwrap();
    assert_eq!((identity.name.as_str(), identity.variant.as_deref()), ("llama-bench", Some("fa=1")));
    let setting = ("llama-bench:fa=1".to_owned(), "n_gpu_layers".to_owned(), "99".to_owned());
    assert!(file.plan.settings.contains(&setting), "{:?}", file.plan.settings);
}

#[test]
fn fields_of_old_and_new_releases_are_read() {
    let with = |fields: &str| read(&JSONL.replace("\"backends\": \"CPU\"", fields)).unwrap();
    let first = with(
        "\"cuda\": true, \"opencl\": false, \"metal\": false, \"gpu_blas\": true, \"blas\": true, \"f16_kv\": false",
    );
    assert_eq!((first.plan.device, first.plan.kv_type), (Device::Cuda(0), RecordedKvTypes::from("f32")));
    let cpu = with("\"cuda\": false, \"metal\": false, \"gpu_blas\": false, \"blas\": true");
    assert_eq!((cpu.plan.device, cpu.plan.kv_type), (Device::Cpu, RecordedKvTypes::from("f16")));
    let new = with(
        "\"backends\": \"CUDA,BLAS\", \"devices\": \"CUDA1\", \"flash_attn\": 1, \"n_ubatch\": 256, \"load_mode\": \"mmap\", \"lazy_mode\": \"auto\", \"fit_target\": 0, \"fit_min_ctx\": 4096, \"repack\": true",
    );
    assert_eq!((&new.plan.device, new.plan.batch), (&Device::Cuda(1), Some(256)));
    assert_eq!(new.plan.flash_attention, FlashAttention::On);
    let value = |name: &str| new.plan.settings.iter().find(|(_, key, _)| key == name).map(|(.., value)| value.as_str());
    assert_eq!(
        [value("load_mode"), value("lazy_mode"), value("fit_min_ctx"), value("repack")],
        [Some("mmap"), Some("auto"), Some("4096"), Some("1")]
    );
}

#[test]
fn cache_types_and_devices_are_those_of_the_file() {
    let plan = |fields: &str| {
        let file = read(&JSONL.replace("\"backends\": \"CPU\"", fields)).unwrap();
        assert_eq!(file.environment.engines[0].device, file.plan.device);
        (file.plan.kv_type, file.plan.device)
    };
    for (kv, expected) in [
        ("q8_0", RecordedKvTypes::from("q8_0")),
        ("bf16", RecordedKvTypes::from("bf16")),
        ("f32", RecordedKvTypes::from("f32")),
    ] {
        assert_eq!(plan(&format!("\"type_k\": \"{kv}\", \"type_v\": \"{kv}\"")), (expected, Device::Cpu));
    }
    assert_eq!(plan("\"backends\": \"CUDA\"").1, Device::Cuda(0));
    assert_eq!(plan("\"backends\": \"BLAS\"").1, Device::Cpu);
    assert_eq!(plan("\"backends\": \"Vulkan\"").1, Device::Other("vulkan".to_owned()));
    assert_eq!(plan("\"backends\": \"CUDA\", \"devices\": \"none\"").1, Device::Cpu);
    // A test without a type has f16, so the other one is of another engine.
    let mixed =
        read(&JSON.replace("\"type_k\": \"f16\", \"type_v\": \"f16\"", "\"type_k\": \"q8_0\", \"type_v\": \"q8_0\""))
            .unwrap();
    assert_eq!(mixed.plan.kv_type, RecordedKvTypes::from("f16 or q8_0"));
    assert_eq!(mixed.plan.engines, ["llama-bench:ctk=q8_0,ctv=q8_0", "llama-bench:ctk=f16,ctv=f16"]);
}

#[test]
fn numbers_as_text_and_missing_values_are_read() {
    let text = JSONL
        .replace(": 64", ": \"64\"")
        .replace(": 2,", ": \"2\",")
        .replace("\"CPU\"", "null")
        .replace(": 7", ": \"7-dirty\"");
    let file = read(&text).unwrap();
    assert_eq!(rates(&file), [("llama-bench/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0))]);
    assert_eq!(file.tool.version, "7-dirty (0c1e5)");
    // One build has one commit, whatever its number is called.
    let file = read(&JSONL.replacen(": 7", ": \"7-dirty\"", 1)).unwrap();
    assert_eq!(rates(&file), [("llama-bench/a/pp64/t2/d0".to_owned(), Some(200.0), Some(40.0))]);
}

#[test]
fn a_test_of_both_parts_has_a_latency_and_no_rates() {
    let text = JSONL.lines().next().unwrap().replace("\"n_gen\": 0", "\"n_gen\": 16").replace("[ 200 ]", "[ 250 ]");
    let case = &read(&text).unwrap().cases[0];
    assert_eq!(case.prompt, "pp64+tg16");
    let sample = &case.samples[0];
    assert_eq!((sample.latency_s.value(), sample.tps.value()), (Some(0.32), Some(50.0)));
    assert!(sample.prefill_tps.is_absent() && sample.decode_tps.reason().unwrap().as_str().contains("together"));
}

#[test]
fn a_generation_at_another_position_is_reported() {
    let file = read(&JSONL.replace("\"n_depth\": 64", "\"n_depth\": 10")).unwrap();
    assert_eq!(file.cases[0].notes.get(CaseNote::DecodedAfter), Some("decoded after 10 tokens, not after 64"));
}

#[test]
fn an_invalid_field_is_named_with_its_line() {
    let text = bench(&JSONL.replace("\"n_gen\": 16", "\"n_gen\": -16")).unwrap_err().with_advice();
    assert!(text.contains("line 2, `n_gen`: expected a whole number that is not negative, found -16"), "{text}");
    assert!(text.contains("-o json"), "{text}");
    let error = bench("[{\"n_prompt\": 8, \"model_filename\": \"cut").unwrap_err().to_string();
    assert!(error.contains("no complete test of llama-bench (a truncated record is left out (line 1))"), "{error}");
    for other in ["[1, 2]", "[]", "{}", "", "a,b\n1,2\n", "| a |\n| - |\n"] {
        assert!(parse(Path::new("x"), other).unwrap().is_none(), "{other}");
    }
}

#[test]
fn means_that_are_not_those_of_the_repetitions_are_noticed() {
    let record = |fields: &str| {
        format!(r#"[{{"model_filename": "m.gguf", "n_threads": 1, "n_prompt": 64, "n_gen": 0, {fields}}}]"#)
    };
    let found = |fields: &str| {
        let bench = bench(&record(fields)).unwrap();
        let sample = bench.file.cases[0].samples[0].clone();
        (bench.notes.first().cloned().unwrap_or_default(), sample.estimated)
    };
    let right =
        r#""avg_ns": 400000000, "avg_ts": 166.67, "samples_ns": [320000000, 480000000], "samples_ts": [200.0, 133.33]"#;
    assert_eq!(found(right), (String::new(), crate::Reasons::new()));
    let (note, estimated) = found(&right.replace("166.67", "250.0"));
    assert_eq!(
        note,
        "pp64 of m: its `avg_ts` is 250.0, and the mean of its `samples_ts` is 166.7: one of them is wrong; its figures are marked as estimates"
    );
    assert_eq!(estimated.keys().collect::<Vec<_>>(), ["prefill_s", "prefill_tps"]);
    assert!(found(&right.replace("400000000", "900000000")).0.contains("`avg_ns`"));
    assert!(found(&right.replace("[320000000, 480000000]", "[320000000]")).0.contains("some are missing"));
    // Without repetitions: 64 tokens in 0.4 s are 160/s; a mean of rates is not below it.
    assert_eq!(found(r#""avg_ns": 400000000, "avg_ts": 161.0"#).1, crate::Reasons::new());
    assert!(found(r#""avg_ns": 400000000, "avg_ts": 100.0"#).1["prefill_tps"].contains("give 160.0"));
}

#[test]
fn one_output_token_more_is_explained() {
    let file = read(JSON).unwrap();
    assert_eq!(file.cases[0].samples[0].output_tokens.value(), Some(65));
    let note = file.cases[0].notes.get(CaseNote::OutputTokens).unwrap();
    assert_eq!(note, "64 of `n_gen`, and the first one, which is a result of the prompt");
}
