//! A small model, two prompts, and runs of them on the mock engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use measure::interrupt::Interrupt;
use measure::plan::{Options, Plan};
use measure::run::{Context, Outcome, Progress, execute};
use models::fetch::Quiet;
use models::synth::{Quant, Recipe, TokenizerSource, write};
use models::{Arch, Attention, Layer, Rope, RopeLayout, Spec};
use record::Error;
use record::plan::PromptChoice;
use record::{Case, RunFile, Sample, Tool};
use redaction::Sensitive;
use tempfile::TempDir;

/// Interrupts the run after this many samples.
struct InterruptAfter {
    interrupt: Interrupt,
    after: usize,
    seen: AtomicUsize,
}

impl Progress for InterruptAfter {
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

/// The record of a run folder.
pub(crate) fn open(path: &Path) -> RunFile {
    analyse::complete(record::open(path).unwrap())
}

pub(crate) fn run_until(options: &Options, after: usize) -> Result<Outcome, Error> {
    let interrupt = Interrupt::default();
    let progress = InterruptAfter { interrupt: interrupt.clone(), after, seen: AtomicUsize::new(0) };
    let context = Context {
        binary: Path::new(env!("CARGO_BIN_EXE_inferometer")),
        tool: &Tool::default(),
        analyse: &analyse::findings,
        progress: &progress,
        interrupt: &interrupt,
    };
    let outcome = execute(options, context)?;
    // As the binary does after a run.
    report::write(&outcome.dir, &outcome.file)?;
    Ok(outcome)
}

pub(crate) fn run(options: &Options) -> Result<Outcome, Error> {
    run_until(options, usize::MAX)
}

/// A folder with a tiny model and a set of two prompts: `short` with 2 new tokens, `long` with 8.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec {
            arch: Arch::LLAMA,
            hidden: 256,
            vocab: 640,
            context_length: 512,
            norm_eps: 1e-5,
            norm_offset: 0.0,
            tied_embeddings: false,
            embedding_scale: None,
            per_layer_width: None,
            logit_cap: None,
            layers: vec![
                Layer::plain(
                    Attention::plain(
                        4,
                        2,
                        64,
                        Some(Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None })
                    ),
                    512
                );
                2
            ],
        };
        let recipe =
            Recipe { name: "tiny", spec: &spec, quant: Quant::Q8_0, seed: 1, tokenizer: TokenizerSource::default() };
        write(&recipe, &folder.path().join("tiny.gguf"), &Quiet).unwrap();
        let set = "[[prompt]]\nid = \"short\"\ntext = \"Hello there\"\nnew_tokens = 2\n\n[[prompt]]\nid = \"long\"\ntext = \"Tell me more\"\nnew_tokens = 8\n";
        std::fs::write(folder.path().join("two.toml"), set).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn options(&self, out: &str, settings: &[(&str, &str)]) -> Options {
        let setting =
            |(key, value): &(&str, &str)| ("mock".to_owned(), (*key).to_owned(), Sensitive::setting(key, value));
        let mut options = Options::default();
        options.subject.engines = vec!["mock".to_owned()];
        options.subject.models = vec![self.path("tiny.gguf").display().to_string()];
        options.workload.prompts = PromptChoice::File(self.path("two.toml"));
        options.engine.threads = vec![1];
        options.engine.settings = settings.iter().map(setting).collect();
        options.design.runs = 1;
        options.output.out = Some(self.path(out));
        options
    }
}

/// The same options for the run that continues this one.
pub(crate) fn resumed(options: &Options, earlier: &Outcome) -> Options {
    let mut options = options.clone();
    (options.output.out, options.output.resume) = (None, Some(earlier.dir.clone()));
    options
}

pub(crate) fn case<'a>(outcome: &'a Outcome, prompt: &str) -> &'a Case {
    outcome.file.cases.iter().find(|case| case.prompt == prompt).unwrap()
}
