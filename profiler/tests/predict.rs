//! Estimates from runs of small models on the mock, compared with a run of a larger one.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

use analyse::predict::{Settings, Target, check, predict, what_if};
use measure::interrupt::Interrupt;
use measure::plan::{Options, Plan};
use measure::run::{Context, Progress, execute};
use models::fetch::Quiet;
use models::synth::{Quant, Recipe, TokenizerSource, write};
use models::{Arch, Attention, Layer, Rope, RopeLayout, Spec};
use record::plan::PromptChoice;
use record::{Ceilings, RunFile, Sample, Spread, ThreadCeilings, Tool};
use tempfile::TempDir;

struct NoProgress;

impl Progress for NoProgress {
    fn fetching(&self) -> &dyn models::fetch::Progress {
        &Quiet
    }
    fn started(&self, _plan: &Plan, _dir: &Path) {}
    fn request(&self, _case: &str, _done: usize, _total: usize) {}
    fn sample(&self, _sample: &Sample) {}
    fn note(&self, _text: &str) {}
    fn finished(&self, _file: &RunFile) {}
}

fn spec(layers: usize, hidden: usize) -> Spec {
    Spec {
        arch: Arch::LLAMA,
        hidden,
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
                    hidden / 32,
                    hidden / 64,
                    32,
                    Some(Rope { theta: 10_000.0, dim: 32, layout: RopeLayout::Interleaved, scaling: None })
                ),
                3 * hidden
            );
            layers
        ],
    }
}

/// The ceilings of the mock's machine.
fn ceilings() -> Ceilings {
    let rate = |value: f64| record::Recorded::Present(Spread { median: value, low: value, high: value, n: 1 });
    let of = ThreadCeilings {
        threads: 1,
        memory_read: rate(20e9),
        fma_f32: rate(200e9),
        ..ThreadCeilings::absent("not measured")
    };
    Ceilings { threads: vec![of], file_read_warm: rate(20e9), ..Ceilings::absent("not measured") }
}

/// A run of one shape on the mock: 64 prompt tokens, 16 new ones.
fn run(folder: &TempDir, name: &str, spec: &Spec) -> (PathBuf, RunFile) {
    let path = folder.path().join(format!("{name}.gguf"));
    write(&Recipe { name, spec, quant: Quant::Q8_0, seed: 1, tokenizer: TokenizerSource::default() }, &path, &Quiet)
        .unwrap();
    let mut options = Options::default();
    options.subject.engines = vec!["mock".to_owned()];
    options.subject.models = vec![path.display().to_string()];
    options.workload.prompts = PromptChoice::Tokens(64);
    options.workload.new_tokens = Some(16);
    options.engine.threads = vec![1];
    options.design.runs = 2;
    options.output.out = Some(folder.path().join(name));
    let binary = Path::new(env!("CARGO_BIN_EXE_inferometer"));
    let interrupt = Interrupt::default();
    let context = Context {
        binary,
        tool: &Tool::default(),
        analyse: &analyse::findings,
        progress: &NoProgress,
        interrupt: &interrupt,
    };
    let mut file = execute(&options, context).unwrap().file;
    if file.ceilings.is_absent() {
        file.ceilings = ceilings().into();
    }
    (path, file)
}

#[test]
fn a_larger_model_than_any_measured_one() {
    let folder = tempfile::tempdir().unwrap();
    let (_, small) = run(&folder, "small", &spec(2, 256));
    let (_, medium) = run(&folder, "medium", &spec(4, 512));
    let (path, truth) = run(&folder, "large", &spec(6, 1024));

    let subject = Target::of_checkpoint("large", &models::Checkpoint::open(&path).unwrap()).unwrap();
    let settings = Settings {
        engine: "mock".to_owned(),
        threads: 1,
        depth: 0,
        prompt_tokens: 64,
        new_tokens: 16,
        kv_type: engines::KvTypes::default(),
        batch: None,
        weight_use: None,
        machine_memory: None,
    };
    let found = predict(&subject, &settings, &[&medium, &small], None).unwrap();
    assert_eq!(found.rests_on, ["medium: medium (Q8_0)", "small: small (Q8_0)"]);
    let rows = check(&found, &truth).unwrap().rows;
    for field in ["prefill_tps", "decode_tps"] {
        let row = rows.iter().find(|row| row.field == field).unwrap();
        assert!(row.error().abs() < 0.05, "{row:?}");
        assert_eq!(row.inside(), Some(true), "{row:?}");
    }
}

#[test]
fn the_table_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_, one) = run(&folder, "small", &spec(2, 256));
    let again = tempfile::tempdir().unwrap();
    let (_, other) = run(&again, "small", &spec(2, 256));
    let rows = what_if(&one).unwrap();
    assert!(!rows.is_empty());
    assert_eq!(what_if(&other).unwrap(), rows);
}
