//! Requantised weights against candle: the same bytes and numbers in every block, and the same output of a real model.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]
#![cfg(feature = "candle")]

mod common;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use models::blocks::dequantise;
use models::blocks::quantise;
use models::fetch::Quiet;
use models::quantise::{self, Request};
use models::{Checkpoint, DType, digest};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};

const BLOCKS: [(DType, GgmlDType); 5] = [
    (DType::Q4_0, GgmlDType::Q4_0),
    (DType::Q4_1, GgmlDType::Q4_1),
    (DType::Q5_0, GgmlDType::Q5_0),
    (DType::Q5_1, GgmlDType::Q5_1),
    (DType::Q8_0, GgmlDType::Q8_0),
];

const READ: [(DType, GgmlDType); 5] = [
    (DType::Q2_K, GgmlDType::Q2K),
    (DType::Q3_K, GgmlDType::Q3K),
    (DType::Q4_K, GgmlDType::Q4K),
    (DType::Q5_K, GgmlDType::Q5K),
    (DType::Q6_K, GgmlDType::Q6K),
];

fn quantised_by_candle(dtype: GgmlDType, values: &[f32]) -> Vec<u8> {
    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap().data().unwrap().into_owned()
}

fn dequantised_by_candle(dtype: GgmlDType, bytes: &[u8], elements: usize) -> Vec<f32> {
    let storage = QStorage::from_data(bytes.into(), &Device::Cpu, dtype).unwrap();
    QTensor::new(storage, elements).unwrap().dequantize(&Device::Cpu).unwrap().to_vec1().unwrap()
}

/// This crate and candle make the same bytes of `values`, and read the same numbers from them.
fn agree(values: &[f32]) {
    for (dtype, theirs) in BLOCKS {
        let mut bytes = Vec::new();
        assert!(quantise(dtype, values, &mut bytes));
        let expected = quantised_by_candle(theirs, values);
        let at = bytes.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(at, None, "{dtype}: the first byte that differs; values {values:?}");
        assert_eq!(bytes.len(), expected.len());
        let (found, expected) =
            (dequantise(dtype, &bytes).unwrap(), dequantised_by_candle(theirs, &bytes, values.len()));
        assert!(found == expected, "{dtype}: {found:?} is not {expected:?}");
    }
}

#[test]
fn blocks_that_are_hard_to_round() {
    let block = |first: &[f32], rest: f32| -> Vec<f32> {
        first.iter().copied().chain(std::iter::repeat(rest)).take(32).collect()
    };
    let steps = |step: f32, from: f32| -> Vec<f32> { (0..32).map(|i| from + step * i as f32).collect() };
    for values in [
        block(&[], 0.0),
        block(&[], 1.0),
        block(&[], -1.0),
        // One outlier of either sign.
        block(&[1000.0], 0.001),
        block(&[0.5, -1000.0], 0.25),
        // Ties for the largest magnitude: the first one decides the sign of the scale.
        block(&[-3.0, 3.0], 0.0),
        block(&[3.0, -3.0], 0.0),
        // All negative, all positive.
        steps(-0.37, -0.1),
        steps(0.37, 0.1),
        // Halves of a step of every type: 8, 16, 15, 31 and 127 steps to the largest.
        steps(0.5, -8.0),
        steps(0.5, -7.5),
        steps(0.25, -4.0),
        block(&[127.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 63.5, -63.5], 0.0),
        block(&[31.0, 0.0, 0.5, 1.5, 15.5, 30.5], 0.0),
        block(&[15.0, 0.0, 0.5, 1.5, 7.5, 14.5], 0.0),
        // Scales that 16 bits cannot represent well.
        block(&[1e-6, -2e-6, 3e-7], 1e-7),
        block(&[1e-30, -1e-30], 0.0),
        block(&[60000.0, -60000.0, 12345.6], 1.0),
    ] {
        agree(&values);
    }
}

/// Numbers of all magnitudes of weights, and beyond.
fn weight() -> impl Strategy<Value = f32> {
    (-1.0f32..1.0, -20i32..12).prop_map(|(number, power)| number * 2f32.powi(power))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_blocks_agree_with_candle(
        even in prop::collection::vec(-1.0f32..1.0, 64),
        odd in prop::collection::vec(weight(), 64),
    ) {
        agree(&even);
        agree(&odd);
    }

    /// Any bytes with finite scales, which are at the end of a K-block (Q2_K, Q3_K, Q6_K) or at its start.
    #[test]
    fn k_blocks_are_read_as_candle_reads_them(
        bytes in prop::collection::vec(any::<u8>(), 210),
        scales in [-0.1f32..0.1, -0.1f32..0.1],
    ) {
        for (dtype, theirs) in READ {
            let mut block = bytes[..dtype.block_bytes()].to_vec();
            let end = block.len();
            let places: &[usize] = match dtype {
                DType::Q2_K => &[end - 4, end - 2],
                DType::Q4_K | DType::Q5_K => &[0, 2],
                _ => &[end - 2],
            };
            for (at, scale) in places.iter().zip(scales) {
                block[*at..at + 2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
            }
            let (found, expected) = (dequantise(dtype, &block).unwrap(), dequantised_by_candle(theirs, &block, 256));
            assert!(found == expected, "{dtype}: {found:?} is not {expected:?}");
        }
    }
}

/// The order of two best logits that are closer than this may differ if weights differ by half a percent.
const TIE: f32 = 0.5;
/// Number of compared tokens.
const TOKENS: usize = 48;

#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn a_real_model_in_eight_bits_answers_as_in_four() {
    let source = common::smollm2();
    let folder = tempfile::tempdir().expect("a temporary folder for 150 MB");
    let out = folder.path().join("q8_0.gguf");
    let sha256 = digest::sha256(source.files(), None, &Quiet).unwrap();
    let request = Request { checkpoint: &source, sha256: &sha256, target: "q8_0".parse().unwrap(), header: None };
    let made = quantise::quantise(&request, &out, &Quiet).unwrap();
    assert!((0.001..0.01).contains(&made.provenance.error), "{}", made.provenance.error);
    let wide = Checkpoint::open(&out).unwrap();
    let engine = engines::registry::find("candle").expect("it is in the registry").open().expect("this build has it");
    let mut sessions = [&source, &wide].map(|one| common::load(engine.as_ref(), one, &common::exact(512)));
    let prompt =
        "<|im_start|>user\nDescribe the process of photosynthesis in plants.<|im_end|>\n<|im_start|>assistant\n";
    let ids = sessions[0].steps().expect("a white box").tokenize(prompt, false).unwrap();
    for session in &mut sessions {
        session.steps().expect("a white box").prefill(&ids).unwrap();
    }
    let (mut same, mut gap) = (0, None);
    while same < TOKENS {
        let [four, eight] = sessions.each_mut().map(|session| {
            let steps = session.steps().expect("a white box");
            (steps.sample().unwrap(), steps.logits().unwrap())
        });
        if four.0 != eight.0 {
            gap = Some(four.1[four.0 as usize] - four.1[eight.0 as usize]);
            break;
        }
        same += 1;
        for session in &mut sessions {
            session.steps().expect("a white box").decode(four.0).unwrap();
        }
    }
    println!("{same} of {TOKENS} tokens agree; difference of the two candidates after them: {gap:?}");
    assert!(gap.is_none_or(|gap| gap < TIE), "after {same} tokens, by {gap:?}");
    assert!(same >= 8, "{same} tokens agree");
}
