//! Logits against those of transformers, for tiny random models of every architecture. These weights are floats, so that the bounds
//! hold on every processor: only the order of sums differs.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]
#![cfg(any(feature = "candle", feature = "mlx", target_os = "macos"))]

mod common;

use std::path::{Path, PathBuf};

use engines::registry;
use engines::{LoadOptions, Session};
use models::Checkpoint;
use models::fetch::Quiet;
use models::quantise;
use safetensors::SafeTensors;

/// Input ids `[tokens]` and logits `[tokens, vocab]` of one fixture.
struct Expected {
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

impl Expected {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a fixture has expected.safetensors");
        let file = SafeTensors::deserialize(&bytes).expect("it is a safetensors file");
        let tensor = |name: &str| file.tensor(name).expect("it holds this tensor");
        let ids = tensor("input_ids").data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
        let numbers: Vec<f32> =
            tensor("logits").data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let ids: Vec<u32> = ids.collect();
        let vocab = numbers.len() / ids.len();
        Self { ids, logits: numbers.chunks(vocab).map(<[f32]>::to_vec).collect() }
    }
}

/// Every checkpoint with its logits.
fn fixtures() -> Vec<(PathBuf, Expected)> {
    let mut all = Vec::new();
    let folder = common::fixtures().join("tiny");
    for entry in std::fs::read_dir(&folder).expect("the fixtures are in the repository") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A GGUF file contains the same numbers as the folder of the same name.
        let folder = name.strip_suffix(".gguf").map_or_else(|| path.clone(), |stem| folder.join(stem));
        all.push((path, Expected::read(&folder.join("expected.safetensors"))));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() >= 12, "only {} fixtures were found in {}", all.len(), folder.display());
    all
}

/// Opens a fixture. A GGUF file of the architecture llama states no window: it takes that of its folder, as it would take the
/// registry's.
fn open(path: &Path) -> Checkpoint {
    let checkpoint = Checkpoint::open(path).expect("the fixture opens");
    if path.is_dir() {
        return checkpoint;
    }
    let folder = Checkpoint::open(&path.with_extension("")).expect("its folder opens");
    checkpoint.with_window(folder.spec().unwrap().smallest_window())
}

/// The engines of this build.
fn engines() -> impl Iterator<Item = &'static str> {
    let is_built = |label: &&str| registry::find(label).expect("it is registered").open().is_ok();
    ["candle", "candle:tensor", "mlx"].into_iter().filter(is_built)
}

fn session(label: &str, checkpoint: &Checkpoint, options: &LoadOptions) -> Box<dyn Session> {
    let engine = registry::find(label).expect("it is registered").open().expect("it is built in");
    common::load(engine.as_ref(), checkpoint, options)
}

/// Runs the prompt in parts of `chunk` tokens and compares the logits at the end of each.
fn check(label: &str, path: &Path, expected: &Expected, bound: f32, chunk: usize, batch: Option<usize>) -> f32 {
    let checkpoint = open(path);
    let options = LoadOptions { batch, ..common::exact(expected.ids.len()) };
    let mut session = session(label, &checkpoint, &options);
    let steps = session.steps().expect("a white box");
    let (mut worst, mut at) = (0f32, 0);
    for piece in expected.ids.chunks(chunk) {
        if let ([token], true) = (piece, at > 0) { steps.decode(*token) } else { steps.prefill(piece) }
            .expect("it runs");
        at += piece.len();
        worst = worst.max(common::relative_error(&steps.logits().expect("logits"), &expected.logits[at - 1]));
    }
    assert!(worst <= bound, "{label}, {}, parts of {chunk}, batch {batch:?}: relative error {worst:e}", path.display());
    worst
}

#[test]
fn logits_equal_those_of_transformers() {
    for label in engines() {
        for (path, expected) in fixtures() {
            if common::is_refused(label, &open(&path), &common::exact(expected.ids.len())) {
                continue;
            }
            // The fused kernels keep activations in f32. candle's products of 16-bit weights round activations to the same
            // type: f16 has 11 significant bits, bf16 has 8.
            let bound = match label {
                "candle:tensor" if path.ends_with("llama-bf16") => 8e-2,
                "candle:tensor" if path.ends_with("llama-f16") => 1e-2,
                _ => 1e-3,
            };
            // One token at a time; in parts of 7; all together; all together in batches, which wrap around a ring.
            let all = expected.ids.len();
            let worst = [(1, None), (7, None), (all, None), (all, Some(5)), (all, Some(1))]
                .map(|(chunk, batch)| check(label, &path, &expected, bound, chunk, batch));
            println!("{label:14} {:28} {worst:?}", path.file_name().unwrap().to_string_lossy());
        }
    }
}

/// The kernels of the candle engine with every instruction set of this processor.
#[cfg(feature = "candle")]
#[test]
fn logits_are_right_with_every_instruction_set() {
    let candle = registry::find("candle").expect("it is registered").open().expect("it is built in");
    let mut checked = 0;
    for name in ["scalar", "avx2", "avxvnni", "avx512vnni", "dotprod"] {
        let setting = || [("instructions".to_owned(), redaction::Sensitive::setting("instructions", name))].into();
        let is_here = candle.check(&LoadOptions { settings: setting(), ..LoadOptions::default() }).is_ok();
        println!("{name}: {}", if is_here { "checked" } else { "not on this processor" });
        for (path, expected) in fixtures().into_iter().filter(|_| is_here) {
            let checkpoint = open(&path);
            let options = LoadOptions { settings: setting(), ..common::exact(expected.ids.len()) };
            if common::is_refused("candle", &checkpoint, &options) {
                continue;
            }
            let mut session = common::load(candle.as_ref(), &checkpoint, &options);
            let steps = session.steps().expect("a white box");
            let (last, rest) = expected.ids.split_last().expect("a fixture has tokens");
            steps.prefill(rest).expect("it runs");
            steps.decode(*last).expect("it runs");
            let error = common::relative_error(&steps.logits().expect("logits"), expected.logits.last().unwrap());
            assert!(error <= 1e-3, "{name}, {}: relative error {error:e}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 24, "{checked} fixtures were checked");
}

/// llama.cpp reads GGUF files only, and applies no window that the file does not state.
#[cfg(feature = "llama-cpp")]
fn for_files_that_llama_cpp_reads(check: impl Fn(&Path, &Expected)) {
    let mut compared = 0;
    for (path, expected) in fixtures().into_iter().filter(|(path, _)| path.is_file()) {
        if open(&path).spec().unwrap().smallest_window().is_some_and(|window| window < expected.ids.len()) {
            println!("left out: {} has a window", path.display());
            continue;
        }
        check(&path, &expected);
        compared += 1;
    }
    assert!(compared >= 2, "{compared} fixtures were compared");
}

#[cfg(feature = "llama-cpp")]
#[test]
fn logits_of_llama_cpp_equal_those_of_transformers() {
    for_files_that_llama_cpp_reads(|path, expected| {
        let all = expected.ids.len();
        let worst = [(1, None), (7, None), (all, None), (all, Some(5))]
            .map(|(chunk, batch)| check("llama-cpp", path, expected, 1e-4, chunk, batch));
        println!("llama-cpp {:28} {worst:?}", path.file_name().unwrap().to_string_lossy());
    });
}

/// llama.cpp's fused attention reads keys and values as F16, even from an F32 cache, so that `auto` does not use it for an F32
/// cache.
#[cfg(feature = "llama-cpp")]
#[test]
fn fused_attention_of_llama_cpp_rounds_to_f16() {
    use engines::FlashAttention;

    for_files_that_llama_cpp_reads(|path, expected| {
        let error = |flash_attention| {
            let options = LoadOptions { flash_attention, ..common::exact(expected.ids.len()) };
            let mut session = session("llama-cpp", &open(path), &options);
            let steps = session.steps().expect("a white box");
            steps.prefill(&expected.ids).expect("it runs");
            common::relative_error(&steps.logits().expect("logits"), &expected.logits[expected.ids.len() - 1])
        };
        let (on, auto, off) = (error(FlashAttention::On), error(FlashAttention::Auto), error(FlashAttention::Off));
        println!("{}: fused {on:e}, auto {auto:e}, not fused {off:e}", path.display());
        assert!(on > 1e-4 && on < 1e-2, "{on:e}");
        // Measured on x86_64; other kernels add in another order.
        let bound = if cfg!(target_arch = "x86_64") { 1e-5 } else { 1e-4 };
        assert!(auto < bound && off < bound, "{auto:e}, {off:e}");
    });
}

/// A folder that was converted to a GGUF file is the same model, also for llama.cpp: its tensors are those that its architecture has
/// there, as are its keys. Refused is what GGUF cannot state.
#[test]
fn converted_folders_have_the_logits_of_transformers() {
    let place = tempfile::tempdir().expect("a temporary folder");
    // Its vocabulary has the size of all.
    let header = common::fixtures().join("tiny/qwen2-bias.gguf");
    for (name, refusal) in [
        ("deepseek-v2", None),
        ("deepseek-v2-groups", Some("groups of experts")),
        ("deepseek-v3", None),
        ("gemma4", None),
        ("gemma4-equal-values", None),
        ("gemma4-experts", None),
        ("glm4-moe-lite", None),
        ("lfm2", None),
        ("qwen35", Some("gated delta net")),
        ("qwen35moe", Some("gated delta net")),
        ("qwen3moe", Some("layers that the keys of a GGUF file")),
    ] {
        let folder = common::fixtures().join("tiny").join(name);
        let expected = Expected::read(&folder.join("expected.safetensors"));
        let (source, path) = (Checkpoint::open(&folder).expect("it opens"), place.path().join(format!("{name}.gguf")));
        let target = "F32".parse().expect("it is a target");
        let request = quantise::Request { checkpoint: &source, sha256: &"0".repeat(64), target, header: Some(&header) };
        let converted = quantise::quantise(&request, &path, &Quiet);
        if let Some(part) = refusal {
            let error = converted.expect_err("GGUF cannot state it").to_string();
            assert!(error.contains(part), "{name}: {error}");
            continue;
        }
        converted.expect("it is converted");
        let converted = Checkpoint::open(&path).expect("it opens");
        assert_eq!(converted.spec().unwrap().parameters(), source.spec().unwrap().parameters(), "{name}");
        for label in ["candle", "llama-cpp"] {
            if registry::find(label).expect("it is registered").open().is_err() {
                continue;
            }
            let mut session = session(label, &converted, &common::exact(expected.ids.len()));
            let steps = session.steps().expect("a white box");
            steps.prefill(&expected.ids[..40]).expect("it runs");
            let mut worst = 0f32;
            for at in 40..expected.ids.len() {
                worst = worst.max(common::relative_error(&steps.logits().expect("logits"), &expected.logits[at - 1]));
                steps.decode(expected.ids[at]).expect("it runs");
            }
            println!("{label:14} {name:24} converted {worst:.1e}");
            // llama.cpp takes GELU from a table of 16-bit floats.
            let bound = if label == "llama-cpp" && name.starts_with("gemma4") { 1e-2 } else { 1e-3 };
            assert!(worst <= bound, "{label}, {name}: relative error {worst:e}");
        }
    }
}

#[test]
fn a_half_precision_cache_changes_logits_little() {
    for (path, expected) in fixtures() {
        let checkpoint = open(&path);
        let options = LoadOptions { context: expected.ids.len(), ..LoadOptions::default() };
        for label in engines().filter(|label| !common::is_refused(label, &checkpoint, &options)) {
            let mut session = session(label, &checkpoint, &options);
            let steps = session.steps().expect("a white box");
            steps.prefill(&expected.ids).expect("it runs");
            let error = common::relative_error(&steps.logits().expect("logits"), expected.logits.last().unwrap());
            assert!(error < 3e-2, "{label}, {}: {error:e}", path.display());
        }
    }
}
