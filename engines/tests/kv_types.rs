//! Every type of a KV cache on every engine of this build that has it: the sizes that it states, and logits near those of a cache of F32.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod common;

use std::path::Path;

use engines::{Engine, EngineError, FlashAttention, KvType, KvTypes, LoadOptions};
use models::Checkpoint;
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};

/// Labels of engines that compute. Those that are not in this build are skipped.
const ENGINES: [&str; 4] = ["candle", "candle:tensor", "llama-cpp", "mlx"];
/// Tokens of the prompt and tokens after it: beyond the window of the small model, across a batch and across 32 positions.
const PROMPT: usize = 43;
const FURTHER: [u32; 4] = [3, 141, 59, 265];

/// The largest difference of two logits relative to the largest logit: the rounding of the type, with room.
const fn tolerance(kv_type: KvType) -> f32 {
    match kv_type {
        KvType::F32 | KvType::F16 => 0.005,
        KvType::BF16 | KvType::Q8_0 => 0.03,
        KvType::Q5_0 | KvType::Q5_1 => 0.15,
        KvType::Q4_0 | KvType::Q4_1 | KvType::IQ4_NL => 0.3,
    }
}

fn engine(label: &str) -> Option<Box<dyn Engine>> {
    engines::registry::find(label).expect("it is in the registry").open().ok()
}

fn options(kv_type: KvTypes) -> LoadOptions {
    LoadOptions { context: 256, batch: Some(16), kv_type, ..LoadOptions::default() }
}

/// Logits after a prompt and after each of the further tokens; the bytes of the cache are checked on the way.
fn logits(engine: &dyn Engine, checkpoint: &Checkpoint, options: &LoadOptions) -> Vec<Vec<f32>> {
    let mut session = common::load(engine, checkpoint, options);
    let steps = session.steps().expect("it has steps");
    let tokens: Vec<u32> = (0..PROMPT as u32).map(|at| (at * 37 + 11) % 384).collect();
    steps.prefill(&tokens).expect("it runs");
    let mut all = vec![steps.logits().expect("logits")];
    for token in FURTHER {
        steps.decode(token).expect("it runs");
        all.push(steps.logits().expect("logits"));
    }
    let spec = checkpoint.spec().expect("it is described");
    if spec.smallest_window().is_none() {
        let used = session.kv_bytes().expect("its cache is known").used;
        let tokens = (PROMPT + FURTHER.len()) as u64;
        assert_eq!(used, tokens * spec.kv_bytes_per_token(options.kv_type).get(), "{}", options.kv_type);
    }
    all
}

/// The largest difference relative to the largest logit.
fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let of = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let largest = a.iter().fold(0f32, |most, logit| most.max(logit.abs()));
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
    };
    a.iter().zip(b).map(of).fold(0.0, f32::max)
}

fn tiny(arch: &'static str, folder: &Path) -> Checkpoint {
    let path = folder.join(format!("{arch}.gguf"));
    let spec = common::tiny::spec(arch);
    let recipe =
        Recipe { name: "tiny", spec: &spec, quant: Quant::F16, seed: 7, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, &path, &Quiet).expect("a small file can be written");
    Checkpoint::open(&path).expect("it opens")
}

#[test]
fn a_narrower_cache_changes_logits_by_its_rounding() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arch in ["llama", "gemma3"] {
        let checkpoint = tiny(arch, folder.path());
        for (label, engine) in ENGINES.into_iter().filter_map(|label| Some((label, engine(label)?))) {
            let exact = logits(engine.as_ref(), &checkpoint, &options(KvType::F32.into()));
            for kv_type in KvType::all() {
                let options = options(kv_type.into());
                if engine.check(&options).is_err() {
                    continue;
                }
                let found = distance(&exact, &logits(engine.as_ref(), &checkpoint, &options));
                println!("{arch}, {label}, {kv_type}: {found:.1e}");
                assert!(found <= tolerance(kv_type), "{arch}, {label}, {kv_type}: {found}");
                assert!(!kv_type.is_quantised() || found > 1e-5, "{arch}, {label}: {kv_type} was not used");
            }
        }
    }
}

#[test]
fn candle_has_three_types_and_its_tensor_operations_two() {
    for (label, expected) in [("candle", &["f32", "f16", "q8_0"][..]), ("candle:tensor", &["f32", "f16"])] {
        let Some(engine) = engine(label) else { continue };
        let accepted = KvType::all().filter(|kv_type| engine.check(&options((*kv_type).into())).is_ok());
        assert_eq!(accepted.map(KvType::name).collect::<Vec<_>>(), expected, "{label}");
    }
}

#[test]
fn blocks_that_would_reach_into_the_next_head_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut spec = common::tiny::spec("llama");
    for layer in &mut spec.layers {
        layer.mixer.attention_mut().unwrap().head_dim = 48;
        layer.mixer.attention_mut().unwrap().rope.as_mut().expect("it rotates").dim = 48;
    }
    let path = folder.path().join("heads-of-48.gguf");
    synth::write(
        &Recipe { name: "tiny", spec: &spec, quant: Quant::F16, seed: 7, tokenizer: TokenizerSource::default() },
        &path,
        &Quiet,
    )
    .expect("a small file can be written");
    let checkpoint = Checkpoint::open(&path).expect("it opens");
    for (label, engine) in ["candle", "llama-cpp"].into_iter().filter_map(|label| Some((label, engine(label)?))) {
        for flash_attention in [FlashAttention::Auto, FlashAttention::Off] {
            // Quantised keys alone do not need fused attention in llama.cpp.
            let types = if label == "candle" { "q8_0" } else { "q8_0,f16" };
            let options = LoadOptions { flash_attention, ..options(types.parse().expect("types")) };
            if engine.check(&options).is_err() {
                continue;
            }
            let error = match engine.load(&checkpoint, &options) {
                Err(EngineError::Threads { found, .. }) => {
                    engine.load(&checkpoint, &LoadOptions { threads: found, ..options }).map(drop)
                }
                other => other.map(drop),
            };
            let error = error.expect_err("it is refused");
            assert!(matches!(error, EngineError::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("heads of width 48"), "{label}: {error}");
        }
    }
}

/// Blocks of 32 along the width of a head in both. llama.cpp rotates keys and values before, which spreads outliers; both round to 8 bits.
#[test]
fn candle_and_llama_cpp_agree_on_q8_0() {
    let (Some(candle), Some(llama)) = (engine("candle"), engine("llama-cpp")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = tiny("llama", folder.path());
    let options = options(KvType::Q8_0.into());
    let found =
        distance(&logits(candle.as_ref(), &checkpoint, &options), &logits(llama.as_ref(), &checkpoint, &options));
    println!("{found:.1e}");
    assert!(found < 0.04, "twice the rounding of one: {found}");
}

/// Keys and values of all pairs of types, where the engine has both.
#[test]
fn llama_cpp_has_all_pairs() {
    let Some(llama) = engine("llama-cpp") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = tiny("llama", folder.path());
    for keys in KvType::all() {
        for values in KvType::all() {
            let kv_type = KvTypes { keys, values };
            logits(llama.as_ref(), &checkpoint, &options(kv_type));
        }
    }
}
