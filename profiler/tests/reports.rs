//! A run file of each released schema version, which is kept, and its reports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use analyse::compare::{Comparability, Outcome, Sides, THRESHOLD, compare};
use analyse::summary::series;
use engine_api::Advice as _;
use record::{
    CacheCeiling, CacheCeilings, Ceilings, Entry, Error, FolderLock, MemoryPoint, OpRow, PhaseOrOther, Reason,
    RecordedList, RunFile, Spread, Store, ThreadCeilings, files,
};
use report::{Block, Content, FORMATS, TextOptions, content, markdown, text};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The record of a run folder.
fn open(folder: &Path) -> Result<RunFile, Error> {
    record::open(folder).map(analyse::complete)
}

/// The fixture before it was killed: `run.json` only.
fn whole(folder: &Path) -> RunFile {
    fs::copy(fixture("run-v1/run.json"), folder.join("run.json")).unwrap();
    let mut file = open(folder).unwrap();
    file.summaries = analyse::summary::summarise(&file.cases, file.plan.seed);
    file
}

fn rendered(file: &RunFile, form: &str, width: usize) -> String {
    let format = FORMATS.iter().find(|format| format.name == form).unwrap();
    (format.render)(file, TextOptions { width, colour: false }).to_string()
}

/// The structure and the figures of a report: sentences and captions are reduced to their figures. Sentences have their own tests.
fn without_prose(mut content: Content) -> Content {
    fn figures(text: &str) -> String {
        let words =
            text.split(|c: char| c.is_whitespace() || "[](),;:%/".contains(c)).map(|word| word.trim_end_matches('.'));
        let is_figure = |word: &&str| {
            word.starts_with(|c: char| c.is_ascii_digit()) && word.trim_end_matches('x').parse::<f64>().is_ok()
        };
        format!("[text: {}]", words.filter(is_figure).collect::<Vec<_>>().join(" "))
    }
    fn reduce(block: &mut Block) {
        match block {
            Block::Sentence(text) | Block::Warning(text) | Block::Failure(text) | Block::ChartNote(text) => {
                *text = figures(text);
            }
            Block::Table(table) | Block::Sortable(table) if !table.caption.is_empty() => {
                table.caption = figures(&table.caption);
            }
            Block::Chart(chart) => {
                chart.summary = figures(&chart.summary);
                chart.numbers.iter_mut().for_each(|table| table.caption = figures(&table.caption));
            }
            Block::Details { blocks, .. } => blocks.iter_mut().for_each(reduce),
            Block::Table(_) | Block::Sortable(_) | Block::Properties(_) | Block::Cards(_) => {}
        }
    }
    content.sections.iter_mut().flat_map(|section| &mut section.blocks).for_each(reduce);
    content
}

/// The first sentence or chart summary of a section that contains the words.
fn sentence(file: &RunFile, heading: &str, words: &str) -> String {
    fn texts(blocks: &[Block]) -> Vec<String> {
        let text = |block: &Block| match block {
            Block::Sentence(text) | Block::Warning(text) | Block::Failure(text) | Block::ChartNote(text) => {
                vec![text.clone()]
            }
            Block::Chart(chart) => vec![chart.summary.clone()],
            Block::Details { blocks, .. } => texts(blocks),
            Block::Table(_) | Block::Sortable(_) | Block::Properties(_) | Block::Cards(_) => Vec::new(),
        };
        blocks.iter().flat_map(text).collect()
    }
    let content = content(file);
    let section = content.sections.iter().find(|section| section.heading == heading).unwrap();
    let all = texts(&section.blocks);
    all.iter().find(|text| text.contains(words)).cloned().unwrap_or_else(|| panic!("no `{words}` in {all:#?}"))
}

#[test]
fn version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    assert_eq!(file.schema_version, 1);
    assert_eq!(file.cases.len(), 4);
    assert_eq!(file.cases[0].samples.len(), 4);
    assert_eq!(file.cases[0].samples[1].token_times_s.len(), 64);
    // Written again it is equal: nothing is lost.
    let before: Value = serde_json::from_slice(&fs::read(fixture("run-v1/run.json")).unwrap()).unwrap();
    let after = serde_json::to_value(open(folder.path()).unwrap()).unwrap();
    let samples = |file: &Value| file["cases"][0]["samples"].as_array().unwrap().clone();
    for (before, after) in samples(&before).iter().zip(samples(&after)) {
        for (field, value) in before.as_object().unwrap() {
            assert_eq!(after[field], *value, "{field}");
        }
    }
    assert_eq!(after["plan"], before["plan"]);
    assert_eq!(after["environment"], before["environment"]);
}

/// A baseline of this version. Later versions must read it and compare runs with it.
#[test]
fn a_stored_baseline_can_be_compared() {
    let named = |name: &str| fixture(name).display().to_string();
    let sides = Sides::of(
        record::sources(&[named("baseline-v1"), "mock".to_owned(), "again".to_owned()], Path::new("runs")).unwrap(),
    )
    .unwrap();
    let found = compare(&sides, THRESHOLD, &["decode_tps=5".parse().unwrap(), "prefill_tps=20".parse().unwrap()]);
    let contrast = &found.contrasts[0];
    assert!(contrast.interleaved && contrast.work.label == Comparability::Equal, "{:#?}", contrast.work.checks);
    let decode = contrast.figures.iter().find(|row| row.metric == "decode_tps").unwrap();
    // The second machine's memory has 90 % of the bandwidth.
    assert!((decode.ratio.value().unwrap() - 0.9).abs() < 0.01 && decode.pairs == 8, "{decode:?}");
    let outcomes: Vec<Outcome> = found.gates.iter().map(|gate| gate.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Passed]);
    // As a whole it is a baseline for another run of the same engines; here for itself.
    let sides =
        Sides::of(record::sources(&[named("baseline-v1"), named("baseline-v1")], Path::new("runs")).unwrap()).unwrap();
    let found = compare(&sides, THRESHOLD, &[]);
    assert_eq!(found.contrasts.len(), 2, "engine by engine");
    for contrast in &found.contrasts {
        let same = contrast.figures.iter().filter_map(|row| row.ratio.value()).all(|ratio| (ratio - 1.0).abs() < 1e-12);
        assert!(same && contrast.work.label == Comparability::Equal, "{}", contrast.other.text);
    }
}

#[test]
fn a_killed_run_takes_its_last_samples_from_samples_jsonl() {
    let file = open(&fixture("run-v1")).unwrap();
    assert_eq!(file.cases[0].samples.len(), 5);
    assert_eq!(file.summaries[0].samples, 3 + 3 + 1);
}

#[test]
fn the_text_for_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let content = without_prose(content(&whole(folder.path())));
    insta::assert_snapshot!(text(&content, TextOptions { width: 100, colour: false }));
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
    insta::assert_snapshot!(markdown(&without_prose(content(&whole(folder.path())))));
}

#[test]
fn the_sentence_on_latency_by_phase() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&whole(folder.path()), "Phases", "the longest is"));
}

#[test]
fn the_sentence_on_growth_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&whole(folder.path()), "Memory", "memory grew"));
}

#[test]
fn the_sentence_on_memory_over_a_request() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&rich(folder.path()), "Memory", "resident memory over"));
}

#[test]
fn the_sentence_on_loading() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&whole(folder.path()), "Load", " s ("));
}

#[test]
fn the_sentence_on_gaps_between_tokens() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&rich(folder.path()), "Token by token", "median gap"));
}

#[test]
fn the_sentence_on_operations_and_ceilings() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&rich(folder.path()), "Roofline", "Ceilings:"));
}

#[test]
fn the_sentence_on_speed_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&rich(folder.path()), "Depth and threads", "Decode speed in"));
}

#[test]
fn the_sentence_on_equal_outputs() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&whole(folder.path()), "Outputs", "SHA-256"));
}

#[test]
fn the_sentence_on_a_failed_case() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(sentence(&whole(folder.path()), "Failures", ":"));
}

#[test]
fn the_page_has_every_section_and_loads_nothing() {
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
    // One script and one icon of its own, and nothing from the network.
    assert_eq!(page.matches("<script").count(), 1);
    for foreign in ["src=", "url(", "@import", "http:", "https:", "href=\"//", "href=\"/"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for reference in page.split("href=\"").skip(1) {
        assert!(reference.starts_with('#') || reference.starts_with("data:"), "{}", &reference[..20]);
    }
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

/// A spread without width.
fn exactly(median: f64) -> Spread {
    Spread { median, low: median, high: median, n: 1 }
}

/// The fixture with invented data of later versions: two thread counts, ceilings, operations, series, memory over time.
fn rich(folder: &Path) -> RunFile {
    let mut file = whole(folder);
    let mut more = file.cases.clone();
    more.iter_mut().for_each(|case| case.threads += 2);
    file.cases.extend(more);
    let op = |phase: &str, op: &str, time_s: f64, flops: f64, bytes: f64| OpRow {
        phase: PhaseOrOther::from_name(phase),
        op: op.to_owned(),
        count: 10,
        time_s,
        share: 0.5,
        flops: flops.into(),
        bytes: bytes.into(),
        ..OpRow::absent("not computed")
    };
    for case in &mut file.cases {
        case.ops = [
            op("decode", "q_proj", 0.4, 2e9, 1e9),
            op("decode", "lm_head", 0.6, 3e9, 1.5e9),
            op("prefill", "q_proj", 0.5, 5e10, 1e9),
            op("prefill", "attention", 0.1, 4e9, 1e8),
        ]
        .into();
        let point = |at: u32| MemoryPoint {
            at_s: f64::from(at) * 0.05,
            anonymous_bytes: 5_000_000,
            file_backed_bytes: 800_000_000,
        };
        case.memory_timeline = RecordedList::new((0..50).map(point).collect(), "unused");
        case.series = series(case);
    }
    let cache = CacheCeiling { level: 1, size_bytes: 65536, read: exactly(4e11) };
    let threads = ThreadCeilings {
        threads: 1,
        memory_read: exactly(2e10).into(),
        caches: CacheCeilings::measured(vec![cache], "none"),
        fma_f32: exactly(1.5e11).into(),
        dot_i8: exactly(6e11).into(),
        ..ThreadCeilings::absent(Reason::unrecorded())
    };
    file.ceilings = Ceilings { threads: vec![threads], ..Ceilings::absent(Reason::unrecorded()) }.into();
    file.summaries = analyse::summary::summarise(&file.cases, file.plan.seed);
    file
}

#[test]
fn every_measurement_has_its_chart() {
    let folder = tempfile::tempdir().unwrap();
    let page = rendered(&rich(folder.path()), "html", 100);
    for title in [
        "Latency by phase, mean over the prompts",
        "Operations and ceilings of 1 thread",
        "Gap before each token",
        "Memory over a request",
        "Latency (lower is better)",
        "Resident memory, highest in the first request",
        "Decode speed against threads",
    ] {
        assert!(page.contains(&format!("<figcaption>{title}")), "{title}");
    }
    let charts: usize = page.split("data-charts=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert_eq!(page.matches("<figure").count(), charts);
    assert_eq!(page.matches("role=\"img\"").count(), 2 * charts, "for wide and for narrow pages");
    for name in ["q_proj", "lm_head", "memory", "int8", "first token"] {
        assert!(page.contains(&format!("\n{name}\n</text>")), "a picture has {name}");
    }
    assert!(!page.contains("\"#01"), "every colour is a variable");
    assert!(page.len() < 2_000_000);
}

#[test]
fn formats_without_pictures_have_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = rich(folder.path());
    let markdown = rendered(&file, "md", 100);
    for words in [
        "| case | threads 2 | threads 4 | last / first |",
        "Ceilings: memory 20.00 GB/s",
        "resident memory over a warm request",
    ] {
        assert!(markdown.contains(words), "{words}");
    }
    assert!(!markdown.contains("<svg"));
    let text = rendered(&file, "text", 80);
    assert!(text.contains("resident memory") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_csv_has_one_row_per_sample_and_the_names_of_fields() {
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
    assert_eq!(rows[0][column].parse::<f64>().ok(), file.cases[0].samples[0].latency_s.value());
}

#[test]
fn the_json_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    let back: RunFile = serde_json::from_str(&rendered(&file, "json", 100)).unwrap();
    assert!(back == file, "a number or a field was lost");
}

/// The places at which a file differs from what it was read from. A field that was added later may be written with an empty value.
fn differences(at: &str, read: &Value, written: &Value) -> Vec<String> {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            let kept = read.iter().flat_map(|(name, value)| {
                let other = written.get(name).unwrap_or(&Value::Null);
                differences(&format!("{at}.{name}"), value, other)
            });
            let added = written.iter().filter(|(name, value)| {
                let is_empty = value.is_null() || matches!(value.as_array(), Some(list) if list.is_empty());
                !read.contains_key(*name) && !is_empty
            });
            kept.chain(added.map(|(name, value)| format!("{at}.{name}: added {value}"))).collect()
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => read
            .iter()
            .zip(written)
            .flat_map(|(read, written)| differences(&format!("{at}[]"), read, written))
            .collect(),
        _ if read == written => Vec::new(),
        _ => vec![format!("{at}: {read} became {written}")],
    }
}

#[test]
fn a_file_of_the_first_version_is_written_as_it_was_read() {
    for name in ["run-v1", "baseline-v1"] {
        let text = fs::read_to_string(fixture(name).join("run.json")).unwrap();
        let file: RunFile = serde_json::from_str(&text).unwrap();
        let written = serde_json::to_string(&file).unwrap();
        let found = differences("", &serde_json::from_str(&text).unwrap(), &serde_json::from_str(&written).unwrap());
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn phases_and_other_add_up_in_every_sample() {
    let file = open(&fixture("run-v1")).unwrap();
    for sample in file.cases.iter().flat_map(|case| &case.samples) {
        let phases = [
            sample.tokenize_s.value(),
            sample.prefill_s.value(),
            sample.decode_s.value(),
            sample.sample_s.value(),
            sample.detokenize_s.value(),
            sample.other_s.value(),
        ];
        let sum: f64 = phases.iter().flatten().sum();
        assert!((sum - sample.latency_s.value().unwrap()).abs() < 0.01 * sum);
    }
}

#[test]
fn every_format_renders_a_run_without_cases() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = whole(folder.path());
    file.cases.clear();
    file.summaries.clear();
    for format in FORMATS {
        assert!(!(format.render)(&file, TextOptions::default()).as_str().is_empty(), "{}", format.name);
    }
}

#[test]
fn a_store_and_the_reports_write_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = whole(folder.path());
    let dir = folder.path().join("runs/a");
    let mut store = Store::create(FolderLock::acquire(&dir).unwrap(), &file).unwrap();
    for case in &file.cases {
        for sample in &case.samples {
            store.add(&Entry::Request { sample: Box::new(sample.clone()), figures: None, case: None }).unwrap();
        }
        if let Some(output) = &case.output {
            store.output(&case.id, output).unwrap();
        }
    }
    store.finish(&file).unwrap();
    report::write(&dir, &file).unwrap();
    for name in [files::RUN, files::SAMPLES, files::TABLE, files::REPORT_MARKDOWN, files::REPORT_PAGE] {
        assert!(fs::metadata(dir.join(name)).unwrap().len() > 0, "{name}");
    }
    assert_eq!(fs::read_dir(dir.join(files::OUTPUTS)).unwrap().count(), 6);
    assert!(open(&dir).unwrap() == file, "the file read differs from the file written");
}

fn error_of(run_json: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.json"), run_json).unwrap();
    open(folder.path()).unwrap_err().with_advice().replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn invalid_run_folders_are_errors() {
    let empty = tempfile::tempdir().unwrap();
    let place = empty.path().display().to_string();
    let errors = [
        open(&empty.path().join("absent")).unwrap_err().with_advice().replace(&place, "DIR"),
        open(empty.path()).unwrap_err().with_advice().replace(&place, "DIR"),
        error_of("{\"schema_version\": 1, \"name\": "),
        error_of("{}"),
        error_of("{\"schema_version\": 2}"),
        error_of("{\"schema_version\": 1}"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
