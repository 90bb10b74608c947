//! Whole runs on the mock engine: what is kept when something goes wrong, and that nothing differs between two runs.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use models::fetch::Quiet;
use models::synth::{Quant, Recipe, write};
use models::{Arch, Rope, RopeLayout, Spec};
use profiler::plan::{Options, Plan, PromptChoice, TraceLevel};
use profiler::results::{Case, RunFile, Sample, Status, StoppedBy, read};
use profiler::run::{Interrupt, Outcome, Progress, execute_with};
use profiler::{Error, ErrorKind};
use tempfile::TempDir;
use traces::Nanos;

/// Ends the run after so many samples.
struct Watcher {
    interrupt: Interrupt,
    after: usize,
    seen: AtomicUsize,
}

impl Progress for Watcher {
    fn fetching(&self) -> &dyn models::fetch::Progress {
        &Quiet
    }
    fn started(&self, _plan: &Plan, _dir: &Path) {}
    fn request(&self, _case: &str, done: usize, total: usize) {
        assert!(done < total);
    }
    fn sample(&self, _sample: &Sample) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.after {
            self.interrupt.set();
        }
    }
    fn note(&self, _text: &str) {}
    fn finished(&self, _file: &RunFile) {}
}

fn run_until(options: &Options, after: usize) -> Result<Outcome, Error> {
    let interrupt = Interrupt::default();
    let watcher = Watcher { interrupt: interrupt.clone(), after, seen: AtomicUsize::new(0) };
    execute_with(Path::new(env!("CARGO_BIN_EXE_inferometer")), options, &watcher, &interrupt)
}

fn run(options: &Options) -> Result<Outcome, Error> {
    run_until(options, usize::MAX)
}

/// A folder with a tiny model and a set of two prompts: `short` with 2 new tokens, `long` with 8.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec {
            arch: Arch::Llama,
            layers: 2,
            hidden: 256,
            ffn: 512,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            vocab: 640,
            context_length: 512,
            norm_eps: 1e-5,
            rope: Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None },
            window: None,
            qkv_bias: false,
            tied_embeddings: false,
        };
        let recipe = Recipe { name: "tiny", spec: &spec, quant: Quant::Q8_0, seed: 1, header: None };
        write(&recipe, &folder.path().join("tiny.gguf"), &Quiet).unwrap();
        let set = "[[prompt]]\nid = \"short\"\ntext = \"Hello there\"\nnew_tokens = 2\n\n[[prompt]]\nid = \"long\"\ntext = \"Tell me more\"\nnew_tokens = 8\n";
        std::fs::write(folder.path().join("two.toml"), set).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, out: &str, settings: &[(&str, &str)]) -> Options {
        Options {
            engines: vec!["mock".to_owned()],
            models: vec![self.path("tiny.gguf").display().to_string()],
            prompts: PromptChoice::File(self.path("two.toml")),
            runs: 1,
            threads: vec![1],
            settings: settings
                .iter()
                .map(|(key, value)| ("mock".to_owned(), (*key).to_owned(), (*value).to_owned()))
                .collect(),
            out: Some(self.path(out)),
            ..Options::default()
        }
    }
}

fn case<'a>(outcome: &'a Outcome, prompt: &str) -> &'a Case {
    outcome.file.cases.iter().find(|case| case.prompt == prompt).unwrap()
}

/// `long` makes its seventh decode in its first request; `short` makes no more than six in any session.
const SEVENTH: &str = "decode:7";

fn only_long_fails(kind: &str, timeout: Option<Nanos>) -> (Outcome, Status, String) {
    let bench = Bench::new();
    let options = Options { timeout, ..bench.options("run", &[(kind, SEVENTH)]) };
    let outcome = run(&options).unwrap();
    let short = case(&outcome, "short");
    assert_eq!((short.status, short.error.as_deref()), (Status::Ok, None), "the other case goes on");
    assert!(short.samples.iter().any(|sample| !sample.warmup && sample.latency_s.is_some()));
    let long = case(&outcome, "long");
    let (status, error) = (long.status, long.error.clone().unwrap());
    assert_eq!(read(&outcome.dir).unwrap().cases.len(), 2);
    (outcome, status, error)
}

#[test]
fn an_abort_costs_one_row_and_says_where() {
    let (_, status, error) = only_long_fails("abort", None);
    assert_eq!(status, Status::Failed);
    assert!(error.contains("died of signal 6 (SIGABRT) in phase decode; peak memory"), "{error}");
}

#[test]
fn a_hang_costs_one_row_after_the_timeout() {
    let (_, status, error) = only_long_fails("hang", Some(Nanos::from_millis(400)));
    assert_eq!(status, Status::Timeout);
    assert!(
        error.starts_with("the request took longer than --timeout 0.4 s and was ended in phase decode; peak memory"),
        "{error}"
    );
}

#[test]
fn a_failure_costs_one_row_and_leaves_the_worker() {
    let (outcome, status, error) = only_long_fails("fail", None);
    assert_eq!(status, Status::Failed);
    assert_eq!(error, "engine mock failed in decode: the setting fail=decode:7 asks for it");
    assert!(
        outcome.file.warnings.iter().any(|warning| warning.contains("1 of 2 cases did not end well")),
        "{:?}",
        outcome.file.warnings
    );
}

#[test]
fn a_model_that_cannot_be_loaded_fails_every_row_of_its_worker() {
    let bench = Bench::new();
    let outcome = run(&bench.options("run", &[("abort", "load")])).unwrap();
    for case in &outcome.file.cases {
        assert_eq!(case.status, Status::Failed);
        let error = case.error.as_ref().unwrap();
        assert!(error.starts_with("loading failed: the worker died of signal 6 (SIGABRT) in phase load"), "{error}");
    }
}

#[test]
fn time_between_phases_is_other_and_everything_adds_up() {
    let bench = Bench::new();
    let quiet = run(&bench.options("quiet", &[])).unwrap();
    let slow = run(&bench.options("slow", &[("gap_us", "500")])).unwrap();
    for (outcome, pauses) in [(&quiet, false), (&slow, true)] {
        for case in &outcome.file.cases {
            for sample in case.samples.iter().chain(&case.traced) {
                let parts = [
                    sample.tokenize_s,
                    sample.prefill_s,
                    sample.decode_s,
                    sample.sample_s,
                    sample.detokenize_s,
                    sample.other_s,
                ];
                let sum: f64 = parts.into_iter().flatten().sum();
                assert!((sum - sample.latency_s.unwrap()).abs() < 1e-12, "{sample:?}");
                let phases = 2 + 3 * sample.output_tokens.unwrap() - 1;
                let expected = if pauses { (phases - 1) as f64 * 500e-6 } else { 0.0 };
                assert!(
                    (sample.other_s.unwrap() - expected).abs() < 1e-12,
                    "{} != {expected}",
                    sample.other_s.unwrap()
                );
            }
            let rows: f64 = case.phases.iter().filter_map(|row| row.time_s).sum();
            assert!(
                case.stepped.iter().any(|sample| (sample.latency_s.unwrap() - rows).abs() < 1e-12),
                "rows of one request add up"
            );
        }
    }
    assert!(
        slow.file.warnings.iter().any(|warning| warning.contains("between the phases")),
        "{:?}",
        slow.file.warnings
    );
}

#[test]
fn two_runs_are_equal_byte_for_byte() {
    let bench = Bench::new();
    let files = |out: &str| {
        let outcome = run(&bench.options(out, &[])).unwrap();
        // The folder's name is part of run.json.
        let aside = bench.path(&format!("{out}-kept-{}", bench.folder.path().read_dir().unwrap().count()));
        std::fs::rename(&outcome.dir, &aside).unwrap();
        let mut names: Vec<_> =
            aside.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        names.sort();
        names
            .iter()
            .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect::<Vec<_>>()
    };
    let (one, other) = (files("run"), files("run"));
    let names: Vec<_> = one.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    for expected in [
        "run.json",
        "samples.jsonl",
        "results.csv",
        "trace.json",
        "trace-01-short.json",
        "trace-02-long.json",
        "report.md",
        "report.html",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} is missing in {names:?}");
    }
    for ((name, a), (_, b)) in one.iter().zip(&other) {
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn an_interrupted_run_keeps_its_results_and_can_be_resumed() {
    let bench = Bench::new();
    let options = Options { runs: 3, ..bench.options("run", &[]) };
    let cut = run_until(&options, 9).unwrap();
    assert!(cut.file.interrupted);
    assert_eq!(read(&cut.dir).unwrap(), cut.file, "run.json is whole");
    assert!(
        cut.file
            .cases
            .iter()
            .all(|case| case.status == Status::Skipped && case.error.as_ref().unwrap().contains("of 3 rounds"))
    );
    let before = cut.file.cases.iter().flat_map(|case| &case.samples).count();

    let rest = run(&Options { out: None, resume: Some(cut.dir.clone()), ..options.clone() }).unwrap();
    assert!(!rest.file.interrupted);
    for case in &rest.file.cases {
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        let mut rounds: Vec<_> =
            case.samples.iter().filter(|sample| !sample.warmup).map(|sample| sample.round).collect();
        rounds.sort_unstable();
        assert_eq!(rounds, [0, 1, 2], "every round once");
        assert_eq!((case.stepped.len(), case.traced.len()), (2, 2));
        assert!(case.output.is_some() && case.memory.load_s.is_some() && !case.ops.is_empty());
    }
    assert!(rest.file.cases.iter().flat_map(|case| &case.samples).count() > before);
    let lines = std::fs::read_to_string(rest.dir.join("samples.jsonl")).unwrap().lines().count();
    let kept: usize =
        rest.file.cases.iter().map(|case| case.samples.len() + case.stepped.len() + case.traced.len()).sum();
    assert_eq!(lines, kept);
    let report = traces::check::check(rest.dir.join("trace.json"));
    assert!(report.unwrap().problems.is_empty());
}

#[test]
fn another_plan_is_not_resumed() {
    let bench = Bench::new();
    let options = bench.options("run", &[]);
    let done = run(&options).unwrap();
    let other = Options { out: None, resume: Some(done.dir.clone()), seed: 5, ..options.clone() };
    let error = run(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("has another plan: `seed` differs; resume with the same options"), "{error}");
    let again = run(&Options { out: None, resume: Some(done.dir.clone()), ..options }).unwrap();
    assert_eq!(again.file.cases, done.file.cases, "nothing was left to do");
}

#[test]
fn depth_fills_the_context_and_costs_time() {
    let bench = Bench::new();
    let outcome = run(&Options { depths: vec![0, 256], ..bench.options("run", &[]) }).unwrap();
    let decode = |depth: usize| {
        let case = outcome.file.cases.iter().find(|case| case.depth == depth && case.prompt == "long").unwrap();
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        (case.memory.kv_used_bytes.unwrap(), case.samples.last().unwrap().prompt_tokens.unwrap())
    };
    let (shallow, deep) = (decode(0), decode(256));
    assert_eq!(shallow.1, deep.1, "the filler is no part of the prompt");
    // K and V, 2 layers, 2 heads of 64, 2 bytes each.
    assert_eq!(deep.0 - shallow.0, 256 * 2 * 2 * 2 * 64 * 2);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let bench = Bench::new();
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = bench.options("never", &[]);
        change(&mut options);
        let error = run(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(!bench.path("never").exists(), "nothing was written");
        error.to_string().replace(&bench.folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(refused(&|o| o.new_tokens = Some(4000)), @"prompt `long` on tiny: 20 prompt tokens and 4000 new tokens need a context of 4020, the model has 512; shorten the prompt, or lower -n or --depth");
    insta::assert_snapshot!(refused(&|o| o.ctx = Some(8)), @"prompt `long` on tiny: 20 prompt tokens and 8 new tokens need a context of 28, --ctx gives 8; raise --ctx, or leave it out");
    insta::assert_snapshot!(refused(&|o| o.depths = vec![600]), @"prompt `long` on tiny: depth 600, 20 prompt tokens and 8 new tokens need a context of 628, the model has 512; shorten the prompt, or lower -n or --depth");
    insta::assert_snapshot!(refused(&|o| o.engines = vec!["mokc".to_owned()]), @"no engine is called `mokc`; did you mean `mock`?; known engines: candle, llama-cpp, mlx, mock, openai");
    insta::assert_snapshot!(refused(&|o| o.models = vec!["./nowhere.gguf".to_owned()]), @"cannot open ./nowhere.gguf: No such file or directory (os error 2); check the path");
    insta::assert_snapshot!(refused(&|o| o.settings = vec![("mokc".to_owned(), "a".to_owned(), "b".to_owned())]), @"--set mokc.a=b: engine mokc takes no part in this run; did you mean `mock`?; its engines: mock");
    assert!(
        refused(&|o| o.models = vec!["smollm2-135".to_owned()])
            .starts_with("no model is called `smollm2-135`; did you mean `smollm2-135m`?")
    );
}

/// Two workers, two prompts, three rounds without jitter. The last round holds the requests 11 and 12 of each session: two of
/// warm-up, and before it two rounds of two prompts with a clean and a stepped request each.
fn watched(bench: &Bench, out: &str, spell: Option<&str>) -> Options {
    let mut settings = vec![("jitter_percent", "0")];
    settings.extend(spell.map(|spell| ("spell", spell)));
    Options { runs: 3, threads: vec![1, 2], warmup: Some(1), trace: TraceLevel::Off, ..bench.options(out, &settings) }
}

/// Rounds whose request counts, and those that were measured again.
fn rounds(case: &Case) -> (Vec<usize>, Vec<usize>) {
    let of = |which: fn(&Sample) -> bool| {
        case.samples.iter().filter(|sample| which(sample)).map(|sample| sample.round).collect::<Vec<_>>()
    };
    (of(Sample::counts), of(|sample| sample.repeated))
}

#[test]
fn a_block_in_a_spell_is_measured_again_and_no_figure_knows_of_it() {
    let bench = Bench::new();
    let quiet = run(&watched(&bench, "quiet", None)).unwrap();
    let disturbed = run(&watched(&bench, "disturbed", Some("11-11:50"))).unwrap();
    let again: Vec<&Case> = disturbed.file.cases.iter().filter(|case| !rounds(case).1.is_empty()).collect();
    assert_eq!(again.len(), 2, "one prompt on both workers");
    assert_eq!(again[0].prompt, again[1].prompt);
    for case in &disturbed.file.cases {
        assert_eq!(case.status, Status::Ok, "{:?}", case.error);
        let (counting, repeated) = rounds(case);
        assert_eq!(counting, [0, 1, 2]);
        assert!(repeated.is_empty() || repeated == [2]);
    }
    let first = again[0].samples.iter().find(|sample| sample.repeated).unwrap();
    let second = again[0].samples.last().unwrap();
    insta::assert_snapshot!(first.disturbed.as_ref().unwrap(), @"others used 0.50 of the processors, 0.00 is usual");
    assert!(second.disturbed.is_none() && first.latency_s.unwrap() > 1.9 * second.latency_s.unwrap());
    for (a, b) in quiet.file.summaries.iter().zip(&disturbed.file.summaries) {
        assert_eq!(a.metrics["decode_tps"], b.metrics["decode_tps"]);
        assert_eq!(a.samples, b.samples);
    }
    let told = disturbed.file.warnings.iter().find(|warning| warning.contains("blocks")).unwrap();
    insta::assert_snapshot!(told, @"1 of 6 blocks (a prompt in a round, on all engines) was disturbed (others used 0.50 of the processors, 0.00 is usual): 1 measured again, 0 kept though disturbed; what was measured before stands in results.csv (`repeated`) and in no figure");
    assert!(!quiet.file.warnings.iter().any(|warning| warning.contains("blocks")));
    let table = std::fs::read_to_string(disturbed.dir.join("results.csv")).unwrap();
    assert_eq!(table.lines().filter(|line| line.contains("others used 0.50")).count(), 2);
    let read = read(&disturbed.dir).unwrap();
    assert_eq!(read, disturbed.file);
}

#[test]
fn a_spell_that_does_not_end_spends_the_allowance_and_is_told() {
    let bench = Bench::new();
    let outcome = run(&watched(&bench, "run", Some("11-99:50"))).unwrap();
    for case in &outcome.file.cases {
        assert_eq!((case.status, rounds(case)), (Status::Ok, (vec![0, 1, 2], vec![2, 2, 2])));
        assert!(case.samples.last().unwrap().disturbed.is_some(), "kept with its note");
    }
    let told = outcome.file.warnings.iter().find(|warning| warning.contains("blocks")).unwrap();
    assert!(told.contains("2 of 6 blocks") && told.contains("2 kept though disturbed"), "{told}");
}

#[test]
fn a_run_that_ends_before_a_block_is_repeated_is_resumed_there() {
    let bench = Bench::new();
    let options = watched(&bench, "run", Some("11-11:50"));
    // 8 of warm-up, 8 + 8 + 4 of the rounds, and the first of two that are measured again.
    let cut = run_until(&options, 29).unwrap();
    let open = cut.file.cases.iter().filter(|case| case.status == Status::Skipped);
    assert_eq!(open.filter(|case| case.error.as_ref().unwrap().contains("disturbed")).count(), 2);
    let rest = run(&Options { out: None, resume: Some(cut.dir.clone()), ..options }).unwrap();
    for case in &rest.file.cases {
        assert_eq!((case.status, rounds(case).0), (Status::Ok, vec![0, 1, 2]), "{:?}", case.error);
        assert!(case.samples.iter().filter(|sample| sample.counts()).all(|sample| sample.disturbed.is_none()));
    }
}

/// One prompt on an engine and on itself under another name, with jitter of its own.
fn precise(bench: &Bench, out: &str, percent: f64) -> Options {
    let mut options = bench.options(out, &[("jitter_percent", "20")]);
    options.settings.push(("again".to_owned(), "seed".to_owned(), "7".to_owned()));
    Options {
        engines: vec!["mock".to_owned(), "again=mock".to_owned()],
        runs: 3,
        precision: Some(percent / 100.0),
        prompts: PromptChoice::Text("Hello there".to_owned()),
        new_tokens: Some(4),
        trace: TraceLevel::Off,
        ..options
    }
}

#[test]
fn rounds_go_on_until_the_precision_is_reached() {
    let bench = Bench::new();
    let outcome = run(&precise(&bench, "run", 3.0)).unwrap();
    let case = &outcome.file.cases[0];
    assert_eq!((case.status, case.error.as_deref()), (Status::Ok, None));
    let (counting, _) = rounds(case);
    assert!(counting.len() > 3, "more than -r: {}", counting.len());
    assert_eq!(outcome.file.precision.len(), 2, "{:#?}", outcome.file.precision);
    for found in &outcome.file.precision {
        assert!(found.reached && found.detectable.unwrap() <= 0.03 && found.stopped_by == StoppedBy::Precision);
        assert_eq!((found.rounds, found.baseline.as_deref()), (counting.len(), Some("mock")));
    }
    let report = std::fs::read_to_string(outcome.dir.join("report.md")).unwrap();
    assert!(report.contains("decode_tps of again against mock: differences from"), "{report}");
    // Four times the difference needs a fraction of the rounds.
    let coarse = run(&precise(&bench, "coarse", 12.0)).unwrap();
    assert!(rounds(&coarse.file.cases[0]).0.len() < counting.len());
    // One engine alone has a precision too.
    let alone = Options { engines: vec!["mock".to_owned()], settings: Vec::new(), ..precise(&bench, "alone", 3.0) };
    let alone = run(&alone).unwrap().file.precision;
    assert!(alone.len() == 2 && alone.iter().all(|found| found.reached && found.baseline.is_none()), "{alone:#?}");
}

#[test]
fn a_budget_ends_the_rounds_and_more_of_it_goes_on() {
    let bench = Bench::new();
    let asked = precise(&bench, "run", 0.2);
    let latency = {
        let plain = run(&Options { precision: None, ..precise(&bench, "plain", 1.0) }).unwrap();
        plain.file.summaries[0].metrics["latency_s"].mean
    };
    let budget = |times: f64| Some(Nanos::from_secs_f64(times * latency));
    let short = run(&Options { budget: budget(20.0), ..asked.clone() }).unwrap();
    let count = |outcome: &Outcome| rounds(&outcome.file.cases[0]).0.len();
    assert!((4..20).contains(&count(&short)), "{}", count(&short));
    assert_eq!(short.file.cases[0].status, Status::Ok, "the rounds that the run decided on are there");
    let found = &short.file.precision[0];
    assert!(!found.reached && found.stopped_by == StoppedBy::Budget && found.more_rounds.unwrap() > 0, "{found:?}");
    let report = std::fs::read_to_string(short.dir.join("report.md")).unwrap();
    assert!(report.contains("no difference of 0.2 % can be told within the budget"), "{report}");

    let more = Options { out: None, resume: Some(short.dir.clone()), budget: budget(30.0), ..asked.clone() };
    let more = run(&more).unwrap();
    assert!(count(&more) > count(&short));
    assert_eq!(more.file.precision.len(), short.file.precision.len());

    // Without a precision it only cuts, and leaves two rounds.
    let cut = run(&Options { precision: None, runs: 50, budget: budget(1.0), out: Some(bench.path("cut")), ..asked });
    let cut = cut.unwrap();
    assert_eq!((count(&cut), cut.file.cases[0].status), (2, Status::Ok));
    let told = cut.file.warnings.iter().find(|warning| warning.contains("budget")).unwrap();
    assert!(told.contains("the budget was spent after 2 of 50 rounds"), "{told}");
}
