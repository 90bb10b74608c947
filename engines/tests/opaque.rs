//! A model of an architecture that is not described: the `llama-cpp` engine runs it and states the work of its ops; others refuse it.
//! A separate test binary, since the recorder belongs to the process.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use engines::{Advice, LoadOptions, NullObserver, Prompt, Request};
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Checkpoint, Description};
use traces::record;

/// A small file that names another architecture than it was written for. Both names have the same length, so that nothing moves, and
/// llama.cpp has that architecture with the same tensors.
fn write(path: &Path) {
    let spec = models::Spec { tied_embeddings: true, ..common::tiny::spec("llama") };
    let recipe =
        Recipe { name: "tiny", spec: &spec, quant: Quant::Q8_0, seed: 7, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, path, &Quiet).expect("a small file can be written");
    let mut bytes = std::fs::read(path).expect("it was written");
    let named = b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama";
    let at = bytes.windows(named.len()).position(|window| window == named).expect("the file names its architecture");
    let name = at + named.len() - 5;
    bytes[name..name + 5].copy_from_slice(b"gemma");
    // Keys: a length of 8 bytes, then `llama.`; the tokenizer's keys begin otherwise.
    let keys: Vec<usize> =
        (8..bytes.len() - 6).filter(|at| &bytes[*at..*at + 6] == b"llama." && bytes[*at - 7..*at] == [0; 7]).collect();
    assert!(keys.len() > 8, "the shape has keys");
    for key in keys {
        bytes[key..key + 5].copy_from_slice(b"gemma");
    }
    std::fs::write(path, bytes).expect("it can be written");
}

#[test]
fn an_opaque_model_is_run_by_llama_cpp_and_refused_by_name_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    write(&path);
    let checkpoint = Checkpoint::open(&path).expect("it is a valid file");
    let Description::Opaque(reason) = checkpoint.description() else { panic!("gemma is described: take another") };
    assert_eq!(reason.architecture, "gemma");
    for entry in engines::registry::ENGINES {
        let Ok(engine) = engines::registry::find(entry.name).expect("it is in the registry").open() else { continue };
        let options = LoadOptions { context: 64, ..LoadOptions::default() };
        if engine.caps().needs_shape {
            let error = engine.load(&checkpoint, &options).map(drop).expect_err("it needs the shape").with_advice();
            assert!(error.contains("`gemma` is not modelled") && error.contains("llama-cpp"), "{error}");
        } else if !engine.caps().remote {
            runs(engine.as_ref(), &checkpoint, &options);
            gives_its_vocabulary(engine.as_ref(), &checkpoint);
        }
    }
}

/// Its own vocabulary gives the ids that the tokenizer of the file gives here, which knows this one.
fn gives_its_vocabulary(engine: &dyn engines::Engine, checkpoint: &Checkpoint) {
    let own = checkpoint.tokenizer().expect("it is supported");
    let vocabulary = engine.vocabulary(checkpoint).expect("it can be read").expect("the engine has one");
    let facts = vocabulary.facts();
    assert!(facts.has_texts && facts.ends == own.end_of_generation(), "{:?}", facts.ends);
    assert!(facts.ordinary.len() > 100 && facts.ordinary.iter().all(|id| !facts.ends.contains(id)));
    for text in ["Hello, world", "  two  spaces", "caf\u{e9} 12345"] {
        let add_bos = own.wants_bos(text);
        let ids = own.encode(text, models::EncodeOptions { add_bos, parse_special: true }).expect("it has all bytes");
        let found = vocabulary.encode(text, true).expect("it has all bytes");
        assert_eq!((found.ids, found.add_bos), (ids, add_bos), "{text}");
    }
}

fn runs(engine: &dyn engines::Engine, checkpoint: &Checkpoint, options: &LoadOptions) {
    let mut session = common::load(engine, checkpoint, options);
    assert_eq!(session.kv_bytes(), None, "nothing was computed yet");
    record::start(record::Config::default());
    let _ = record::drain();
    let request = Request { prompt: Prompt::Tokens((5..25).collect()), max_new_tokens: 3, ignore_eos: true };
    let usage = session.generate(&request, &mut NullObserver).expect("it runs");
    record::stop();
    assert_eq!(usage.output_tokens, 3);
    let spec = common::tiny::spec("llama");
    // The cache is of F16; the graph shows how much of it there is.
    let per_token = spec.kv_bytes_per_token(models::DType::F16).get();
    let kv = session.kv_bytes().expect("it is known now");
    assert_eq!(kv.used, 22 * per_token);
    assert!(kv.reserved >= 64 * per_token, "{kv:?}");
    let batch = record::drain();
    let ops: Vec<_> = batch.of(record::Kind::Op).collect();
    assert!(ops.iter().all(|op| op.cost().is_some_and(|cost| cost.flops.is_some())), "every op states its work");
    let named = |name: &str| ops.iter().filter(|op| op.name == name).copied().collect::<Vec<_>>();
    let layers = spec.layers.len();
    // One prefill and two decodes; the last block computes one token after attention.
    for (name, inputs, outputs) in [
        ("q_proj", spec.hidden, spec.layers[0].mixer.attention().expect("it has attention").q_width()),
        ("down_proj", 512, spec.hidden),
    ] {
        let found = named(name);
        assert_eq!(found.len(), 3 * layers, "{name}");
        for op in found {
            let cost = op.cost().expect("it states its work");
            let rows = u64::from(op.shape[0]);
            assert_eq!(cost.flops, Some(2 * rows * (inputs * outputs) as u64), "{name}");
            // Q8_0: 34 bytes for 32 weights.
            assert_eq!(cost.streamed_bytes, (inputs * outputs / 32 * 34) as u64, "{name}");
            assert!(op.layer.is_some_and(|layer| (layer as usize) < layers), "{name}");
        }
    }
    assert_eq!(named("lm_head").len(), 3);
    assert_eq!(named("embed").len(), 3);
    assert!(!named("graph").is_empty() && named("graph").iter().all(|op| op.layer.is_none()));
    // What lies between the ops is an op, too: they follow each other without a gap of the size of an op.
    let total: u64 = ops.iter().map(|op| op.duration.as_nanos()).sum();
    let first = ops.iter().map(|op| op.start).min().expect("there are ops");
    let last = ops.iter().map(|op| op.end()).max().expect("there are ops");
    assert!(total <= last.saturating_sub(first).as_nanos(), "ops do not overlap");
}
