//! Model folders in the format of MLX's own tools: quantised here by MLX itself, compared with the same numbers in F32.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test prints figures and fails by panicking")]
#![cfg(any(feature = "mlx", target_os = "macos"))]

mod common;

use std::path::Path;

use engines::mlx::Mlx;
use engines::{LoadOptions, Session};
use mlx_rs::ops::{dequantize, quantize};
use mlx_rs::{Array, Dtype};
use models::Checkpoint;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

/// A tensor: name, type, shape, bytes.
type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

/// A fixture with its matrices quantised by MLX, and with the same numbers in F32.
struct Pair {
    quantised: Checkpoint,
    wide: Checkpoint,
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    /// `bits` per weight, except 8 in the embedding table; the down projection is not quantised.
    fn new(fixture: &str, group: i32, bits: i32) -> Self {
        let source = common::fixtures().join("tiny").join(fixture);
        let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut quantised, mut wide): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
        for (name, view) in file.tensors() {
            let numbers: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let shape: Vec<i32> = view.shape().iter().map(|side| *side as i32).collect();
            let array = Array::from_slice(&numbers, &shape);
            if shape.len() != 2 || name.contains("down_proj") {
                quantised.push(floats(&name, &array));
                wide.push(floats(&name, &array));
                continue;
            }
            let bits = if name.contains("embed_tokens") { 8 } else { bits };
            let half = array.as_dtype(Dtype::Float16).unwrap();
            let (words, scales, biases) = quantize(&half, group, bits).unwrap();
            let module = name.strip_suffix(".weight").unwrap();
            let shape = words.shape().iter().map(|side| *side as usize).collect();
            let bytes = words.to_vec_exact::<u32>().unwrap().iter().flat_map(|word| word.to_le_bytes()).collect();
            quantised.push((name.clone(), safetensors::Dtype::U32, shape, bytes));
            quantised.push(halves(&format!("{module}.scales"), &scales));
            quantised.push(halves(&format!("{module}.biases"), &biases));
            let exact = |array: &Array| array.as_dtype(Dtype::Float32).unwrap();
            wide.push(floats(&name, &dequantize(&words, exact(&scales), Some(&exact(&biases)), group, bits).unwrap()));
        }
        let config: Value = serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
        let mut marked = config.clone();
        marked["quantization"] = json!({"group_size": group, "bits": bits, "model.embed_tokens": {"bits": 8}});
        let folders = [folder(&marked, &quantised), folder(&config, &wide)];
        let [quantised, wide] = [0, 1].map(|at| Checkpoint::open(Path::new(folders[at].path())).expect("it opens"));
        Self { quantised, wide, _folders: folders }
    }
}

fn floats(name: &str, array: &Array) -> Tensor {
    let shape = array.shape().iter().map(|side| *side as usize).collect();
    let bytes = array.to_vec_exact::<f32>().unwrap().iter().flat_map(|number| number.to_le_bytes()).collect();
    (name.to_owned(), safetensors::Dtype::F32, shape, bytes)
}

fn halves(name: &str, array: &Array) -> Tensor {
    let shape = array.shape().iter().map(|side| *side as usize).collect();
    let bytes = array.to_vec_exact::<half::f16>().unwrap().iter().flat_map(|number| number.to_le_bytes()).collect();
    (name.to_owned(), safetensors::Dtype::F16, shape, bytes)
}

fn folder(config: &Value, tensors: &[Tensor]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).expect("whole tensors"))
    });
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn logits(checkpoint: &Checkpoint, settings: &[(&str, &str)]) -> Vec<f32> {
    let settings =
        settings.iter().map(|(key, value)| ((*key).to_owned(), redaction::Sensitive::setting(key, value))).collect();
    let options = LoadOptions { settings, ..common::exact(64) };
    let mut session: Box<dyn Session> = common::load(&Mlx, checkpoint, &options);
    let steps = session.steps().expect("a white box");
    steps.prefill(&[1, 5, 9, 2, 30, 17]).expect("it runs");
    steps.decode(3).expect("it runs");
    steps.logits().expect("logits")
}

#[test]
fn a_quantised_folder_has_the_logits_of_its_dequantised_weights() {
    for (fixture, group, bits) in
        [("llama-tied", 32, 4), ("llama-tied", 32, 3), ("qwen2-bias", 32, 8), ("qwen2-bias", 32, 6)]
    {
        let pair = Pair::new(fixture, group, bits);
        let expected = logits(&pair.wide, &[]);
        let exact = common::relative_error(&logits(&pair.quantised, &[]), &expected);
        assert!(exact < 1e-4, "{fixture}, {bits} bits: {exact:e}");
        // The scales are 16-bit floats, so that this is the computation of MLX's own models.
        let half = common::relative_error(&logits(&pair.quantised, &[("activations", "f16")]), &expected);
        assert!(half > 0.0 && half < 3e-2, "{fixture}, {bits} bits, activations in F16: {half:e}");
    }
}

#[test]
fn device_memory_is_reported() {
    let pair = Pair::new("llama-tied", 32, 4);
    let mut session = common::load(&Mlx, &pair.quantised, &common::exact(64));
    session.steps().expect("a white box").prefill(&[1, 2, 3]).expect("it runs");
    let memory = session.device_memory().expect("MLX counts");
    assert!(memory.active >= session.kv_bytes().expect("its cache is known").reserved, "{memory:?}");
    assert!(
        memory.peak.is_some_and(|peak| peak >= session.kv_bytes().expect("its cache is known").reserved),
        "{memory:?}"
    );
}

#[cfg(feature = "candle")]
#[test]
fn candle_refuses_it_and_names_this_engine() {
    use engines::{Advice, Engine, EngineError};

    let pair = Pair::new("llama-tied", 32, 4);
    let candle = engines::candle::Candle::default();
    let threads = engines::threads::count();
    let error =
        candle.load(&pair.quantised, &LoadOptions { threads, ..LoadOptions::default() }).err().expect("refused");
    assert!(matches!(error, EngineError::Unsupported { .. }), "{error}");
    assert!(error.with_advice().contains("engine mlx"), "{error}");
}
