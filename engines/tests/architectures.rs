//! Every architecture on every engine of this build: logits of the same small random model, which is the same computation.
//!
//! The weights are F32, so that results differ only by the order of sums.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod common;

use std::path::Path;

use engines::{KvType, LoadOptions};
use models::blocks::dequantise;
use models::fetch::Quiet;
use models::quantise::{self, Target};
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Checkpoint, DType};

/// The largest allowed difference of two logits, relative to the largest logit.
const TOLERANCE: f32 = 1e-3;

/// Labels of engines that compute, with steps. Those that are not in this build are skipped.
const ENGINES: [&str; 4] = ["candle", "candle:tensor", "llama-cpp", "mlx"];

#[test]
fn engines_agree_on_every_architecture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arch in common::tiny::ARCHITECTURES {
        let checkpoint = in_f32(arch, folder.path());
        assert_eq!(*checkpoint.spec().unwrap(), common::tiny::spec(arch));
        let results: Vec<(&str, Vec<Vec<f32>>)> =
            ENGINES.into_iter().filter_map(|label| Some((label, logits(label, &checkpoint)?))).collect();
        let Some(((first, reference), others)) = results.split_first() else { continue };
        for (label, found) in others {
            for (at, (reference, found)) in reference.iter().zip(found).enumerate() {
                let largest = reference.iter().fold(0f32, |most, logit| most.max(logit.abs()));
                let difference = reference.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                println!("{arch}, {first} and {label}, position {at}: {:.1e}", difference / largest);
                assert!(
                    difference <= TOLERANCE * largest,
                    "{arch}: {first} and {label} differ by {difference} of {largest} at position {at}"
                );
            }
        }
    }
}

/// Older conversions of DeepSeek's models have keys and values of latent attention in one matrix, of which llama.cpp makes the keys and
/// values of all heads, and our own decoder the two matrices of the description.
#[test]
fn joined_keys_and_values_are_those_of_two_matrices() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arch in ["deepseek2", "deepseek3"] {
        let divided = in_f32(arch, folder.path());
        let reference = logits("candle", &divided).expect("it is in every build of these tests");
        let worst = |reference: &[Vec<f32>], found: &[Vec<f32>]| {
            let errors = reference.iter().zip(found).map(|(reference, found)| common::relative_error(found, reference));
            errors.fold(0f32, f32::max)
        };
        for dtype in [DType::F32, DType::F16, DType::Q8_0] {
            let name = dtype.name();
            let path = folder.path().join(format!("{arch}-joined-{name}.gguf"));
            common::joined_latent::write(&divided, &path, dtype);
            let joined = Checkpoint::open(&path).expect("it opens");
            assert_eq!(joined.spec().unwrap(), divided.spec().unwrap(), "{arch}, {name}");
            assert!(joined.otherwise_stored().is_some_and(|reason| reason.missing.contains("attn_kv_b")));
            // A new file has two matrices, and the keys for them.
            let (again, target) = (folder.path().join("again.gguf"), "F32".parse().expect("it is a target"));
            let request = quantise::Request { checkpoint: &joined, sha256: &"0".repeat(64), target, header: None };
            quantise::quantise(&request, &again, &Quiet).expect("it converts");
            let again = Checkpoint::open(&again).expect("it opens");
            assert!(divided.otherwise_stored().is_none() && again.otherwise_stored().is_none());
            assert_eq!(again.spec().unwrap(), divided.spec().unwrap(), "{arch}, {name}");
            let of_again = logits("candle", &again).expect("it is in every build of these tests");
            for part in ["attn_k_b", "attn_v_b"] {
                assert_close(&divided, &again, &format!("blk.3.{part}.weight"), dtype);
            }
            // F16 has the same values as F32. Engines other than `candle` round activations to it, and those of blocks are rounded to 8 bits
            // everywhere, so that other experts are chosen at times.
            let exact = |label: &str| dtype == DType::F32 || (dtype == DType::F16 && label == "candle");
            for label in ["candle", "candle:tensor", "llama-cpp"] {
                let Some(found) = logits(label, &joined) else { continue };
                let worst = worst(&of_again, &found);
                println!("{arch}, joined in {name}, {label}: {worst:.1e}");
                assert!(worst <= if exact(label) { TOLERANCE } else { 0.5 }, "{arch}, {name}, {label}: {worst:e}");
            }
            if !dtype.is_quantised() {
                assert_eq!(of_again, reference, "{arch}, {name}");
            }
            if let Some(found) = logits("llama-cpp", &again) {
                let worst = worst(&of_again, &found);
                println!("{arch}, divided again from {name}, candle and llama-cpp: {worst:.1e}");
                assert!(worst <= TOLERANCE, "{arch}, divided again from {name}: {worst:e}");
            }
        }
    }
}

/// The values of a tensor are those of another file, within half a step of blocks of this type: the largest value has the code 127, and the scale
/// is rounded to F16.
fn assert_close(expected: &Checkpoint, found: &Checkpoint, name: &str, stored: DType) {
    let values = |checkpoint: &Checkpoint| {
        let view = checkpoint.tensor(name).expect("it is there");
        dequantise(view.info().dtype, view.bytes()).expect("it has values")
    };
    let (expected, found) = (values(expected), values(found));
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let step = if stored.is_quantised() { largest / 127.0 } else { 0.0 };
    assert_eq!(expected.len(), found.len(), "{name}");
    for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
        assert!((expected - found).abs() <= 0.6 * step, "{name}, element {at}: {found}, not {expected}");
    }
}

/// A state has read all tokens of the context: a session can go on from its end, or begin again.
#[test]
fn a_state_cannot_go_back_and_is_cleared_by_a_reset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arch in ["lfm2", "qwen35"] {
        let checkpoint = in_f32(arch, folder.path());
        for label in ["candle", "candle:tensor", "llama-cpp"] {
            let Ok(engine) = engines::registry::find(label).expect("it is registered").open() else { continue };
            let mut session = common::load(engine.as_ref(), &checkpoint, &common::exact(64));
            let run = |session: &mut Box<dyn engines::Session>, tokens: &[u32]| {
                let steps = session.steps().expect("it has steps");
                steps.prefill(tokens).expect("it runs");
                steps.logits().expect("logits")
            };
            let tokens: Vec<u32> = (5..25).collect();
            let first = run(&mut session, &tokens);
            let further = run(&mut session, &[7, 8, 9]);
            assert!(!session.rewind(20).expect("it answers"), "{label}, {arch}");
            session.reset().expect("it can be reset");
            assert_eq!(run(&mut session, &tokens), first, "{label}, {arch}");
            assert_eq!(run(&mut session, &[7, 8, 9]), further, "{label}, {arch}");
        }
    }
}

/// Logits after a prefill in batches of 16 tokens, beyond the windows and the original contexts of the small models, and after each of
/// four further tokens. `None` if the engine is not in this build, or has no such part.
fn logits(label: &str, checkpoint: &Checkpoint) -> Option<Vec<Vec<f32>>> {
    let engine = engines::registry::find(label).expect("it is in the registry").open().ok()?;
    let options = LoadOptions { context: 128, batch: Some(16), kv_type: KvType::F32.into(), ..LoadOptions::default() };
    if common::is_refused(label, checkpoint, &options) {
        return None;
    }
    let mut session = common::load(engine.as_ref(), checkpoint, &options);
    let steps = session.steps().expect("it has steps");
    let tokens: Vec<u32> = (0..75).map(|at| (at * 37 + 11) % 384).collect();
    steps.prefill(&tokens).expect("it runs");
    let mut all = vec![steps.logits().expect("logits")];
    for token in [3, 141, 59, 265] {
        steps.decode(token).expect("it runs");
        all.push(steps.logits().expect("logits"));
    }
    Some(all)
}

/// The small model of an architecture in F32.
fn in_f32(arch: &'static str, folder: &Path) -> Checkpoint {
    let (half, full) = (folder.join(format!("{arch}-f16.gguf")), folder.join(format!("{arch}.gguf")));
    let spec = common::tiny::spec(arch);
    let recipe =
        Recipe { name: "tiny", spec: &spec, quant: Quant::F16, seed: 7, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, &half, &Quiet).expect("a small file can be written");
    let target: Target = "F32".parse().expect("it is a target");
    let source = Checkpoint::open(&half).expect("it opens");
    let request = quantise::Request { checkpoint: &source, sha256: &"0".repeat(64), target, header: None };
    quantise::quantise(&request, &full, &Quiet).expect("it converts");
    Checkpoint::open(&full).expect("it opens")
}
