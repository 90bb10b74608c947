//! gpt-oss as published in safetensors: the experts of all in one tensor, gate and up alternating, in MXFP4.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use models::blocks::dequantise;
use models::quantise::{self, Target};
use models::{Checkpoint, DType, Quiet, synth};
use safetensors::SafeTensors;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt_oss_mxfp4")
}

/// A tensor of the values that transformers computes, `[experts, inputs, outputs]`.
fn expected(name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(fixture().join("values.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    let numbers = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (tensor.shape().to_vec(), numbers)
}

/// Each output of a projection is a column of the stored tensor: the even ones of gate and up are gates.
#[test]
#[allow(clippy::float_cmp, reason = "floats of 4 bits and powers of two are exact")]
fn experts_in_mxfp4_have_the_values_of_transformers() {
    let checkpoint = Checkpoint::open(&fixture()).unwrap();
    for (name, stored, first, step) in [
        ("ffn_gate_exps", "gate_up_proj", 0, 2),
        ("ffn_up_exps", "gate_up_proj", 1, 2),
        ("ffn_down_exps", "down_proj", 0, 1),
    ] {
        let (shape, numbers) = expected(stored);
        let [experts, inputs, columns] = shape[..] else { panic!("{shape:?}") };
        let view = checkpoint.tensor(&format!("blk.0.{name}.weight")).unwrap();
        assert_eq!(
            (view.info().dtype, view.info().shape.as_slice()),
            (DType::MXFP4, &[experts, columns / step, inputs][..])
        );
        let found = dequantise(DType::MXFP4, view.bytes()).unwrap();
        for (at, value) in found.iter().enumerate() {
            let (expert, output, input) = (at / inputs / (columns / step), at / inputs % (columns / step), at % inputs);
            let column = first + step * output;
            assert_eq!(*value, numbers[(expert * inputs + input) * columns + column], "{name}, element {at}");
        }
        // One expert is a matrix of its own.
        let parts = checkpoint.experts(&format!("blk.0.{name}.weight")).unwrap();
        assert_eq!((parts.len(), parts[1].bytes()), (experts, &view.bytes()[view.bytes().len() / 2..]));
    }
    let bias = checkpoint.tensor("blk.0.ffn_up_exps.bias").unwrap();
    assert_eq!((bias.info().dtype, bias.info().shape.as_slice()), (DType::BF16, &[2, 32][..]));
    assert_eq!(checkpoint.quantisation(), "BF16", "the type with the most bytes in so small a model");
}

/// A GGUF file of the folder has the same values, under llama.cpp's names.
#[test]
fn a_folder_becomes_a_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.gguf");
    let before = Checkpoint::open(&fixture()).unwrap();
    let target: Target = "F32".parse().unwrap();
    // Any file with a tokenizer for as many tokens.
    let vocabulary = folder.path().join("vocabulary.gguf");
    let mut plain = models::registry::find("smollm2-135m").unwrap().spec();
    plain.layers.truncate(1);
    plain.vocab = before.spec().unwrap().vocab;
    let recipe = synth::Recipe {
        name: "tiny",
        spec: &plain,
        quant: synth::Quant::Q4_0,
        seed: 1,
        tokenizer: synth::TokenizerSource::default(),
    };
    synth::write(&recipe, &vocabulary, &Quiet).unwrap();
    let request = quantise::Request { checkpoint: &before, sha256: "", target, header: Some(&vocabulary) };
    quantise::quantise(&request, &out, &Quiet).unwrap();
    let after = Checkpoint::open(&out).unwrap();
    let names =
        models::gguf::File::open(&out).unwrap().header.tensors.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    assert!(names.iter().any(|name| name == "blk.0.post_attention_norm.weight"), "{names:?}");
    assert!(!names.iter().any(|name| name == "blk.0.ffn_norm.weight"), "{names:?}");
    for info in after.tensors() {
        let (stored, written) = (before.tensor(&info.name).unwrap(), after.tensor(&info.name).unwrap());
        let values = |view: &models::TensorView<'_>| dequantise(view.info().dtype, view.bytes()).unwrap();
        assert_eq!(values(&stored), values(&written), "{}", info.name);
    }
}
