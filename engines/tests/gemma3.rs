//! Gemma 3 270M against llama.cpp on the same file: its architecture and its tokenizer with real weights.
//!
//! The model is not in the repository, so that these tests are ignored by default. `INFEROMETER_GEMMA3` is the path of its file.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]
#![cfg(feature = "candle")]

mod common;

use common::golden::{agreement, assert_prompt_ids, engine, golden};

/// Activations are rounded to 8 bits before every product, and llama.cpp takes GELU from a table of 16-bit floats: the two best logits
/// may change their order where they are closer than they vary in llama.cpp itself, between one batch and one token at a time. The last
/// text is longer than the sliding window.
#[test]
#[ignore = "needs INFEROMETER_GEMMA3: the path of gemma-3-270m-q4_k_m.gguf"]
fn tokens_equal_those_of_llama_cpp_up_to_its_own_noise() {
    let golden = golden("gemma3_golden.json");
    let mut session = common::load(engine("candle").as_ref(), &common::gemma3(), &common::exact(1024));
    assert_prompt_ids(session.as_mut(), &golden, true);
    let agreed = agreement(session.as_mut(), &golden);
    let noise =
        golden.prompts.iter().filter_map(|prompt| prompt.gap_noise).reduce(f32::min).expect("the script writes it");
    assert!(agreed.iter().all(|(_, gap)| *gap < noise), "agreed lengths and gaps {agreed:?}, noise {noise}");
    assert!(agreed.last().is_some_and(|(same, _)| *same == 32), "agreed lengths {agreed:?}");
}
