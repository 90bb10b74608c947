//! smollm2-135m against llama.cpp on the same file: greedy tokens, and the logits at every position of llama.cpp's texts.
//!
//! The model is real and is not in the repository: without it these tests say so and pass.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it does and fails by panicking"
)]
#![cfg(any(feature = "candle", feature = "mlx", target_os = "macos"))]

mod common;

use std::path::{Path, PathBuf};

use engines::{Engine, Session};
use models::{Checkpoint, DType};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// Two best logits closer than this may change places between two correct implementations.
const TIE: f32 = 0.05;
/// The same where keys and values are rounded to F16.
#[cfg(feature = "llama-cpp")]
const ROUNDED_TIE: f32 = 0.2;

#[derive(Deserialize)]
struct Golden {
    prompts: Vec<GoldenPrompt>,
}

#[derive(Deserialize)]
struct GoldenPrompt {
    number: usize,
    rendered: String,
    prompt_ids: Vec<u32>,
    generated: Vec<u32>,
    steps: Vec<Step>,
}

/// The two best ids of a position and their logits.
#[derive(Deserialize)]
struct Step {
    logits: [f32; 2],
}

fn model() -> Option<Checkpoint> {
    let cache = || {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(cache.join("inferometer-oracle/SmolLM2-135M-Instruct.Q4_1.gguf"))
    };
    let path = std::env::var_os("INFEROMETER_SMOLLM2").map(PathBuf::from).or_else(cache)?;
    if !path.exists() {
        println!("skipped: {} does not exist; INFEROMETER_SMOLLM2 can name the file", path.display());
        return None;
    }
    Some(Checkpoint::open(&path).expect("the model opens"))
}

/// The engine, where this build has it; else says that its test is skipped.
fn engine(label: &str) -> Option<Box<dyn Engine>> {
    let opened = engines::registry::find(label).expect("it is in the registry").open();
    opened.map_err(|error| println!("skipped: {error}")).ok()
}

/// The golden file `NAME.json`.
fn golden(name: &str) -> Golden {
    let text = std::fs::read_to_string(common::fixtures().join(name)).expect("the golden file is there");
    serde_json::from_str(&text).expect("it has the fields of smollm2_golden.py")
}

/// The model with its weights in F32, as a folder in the Hugging Face layout: nothing is rounded on the way, so there is
/// one right answer up to the order of sums.
fn in_f32(checkpoint: &Checkpoint, folder: &Path) -> Checkpoint {
    let spec = checkpoint.spec();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for info in checkpoint.tensors() {
        let view = checkpoint.tensor(&info.name).expect("it is listed");
        let mut numbers = dequantised(info.dtype, view.bytes());
        if info.name.contains("attn_q") || info.name.contains("attn_k") {
            numbers =
                numbers.chunks(spec.head_dim * spec.hidden).flat_map(|head| unpermuted(head, spec.hidden)).collect();
        }
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((their_name(&info.name), info.shape.clone(), bytes));
    }
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("whole tensors");
    let views = tensors.iter().map(|(name, shape, bytes)| (name.clone(), view(shape, bytes.as_slice())));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("it can be written");
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": spec.hidden, "intermediate_size": spec.ffn, "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads, "num_key_value_heads": spec.kv_heads, "head_dim": spec.head_dim,
        "vocab_size": spec.vocab, "max_position_embeddings": spec.context_length, "rms_norm_eps": spec.norm_eps,
        "rope_theta": spec.rope.theta, "tie_word_embeddings": spec.tied_embeddings, "torch_dtype": "float32",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("it can be written");
    Checkpoint::open(folder).expect("it opens")
}

fn dequantised(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let half = |at: usize| half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
    let blocks = (0..bytes.len()).step_by(dtype.block_bytes());
    match dtype {
        DType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        DType::Q8_0 => {
            blocks.flat_map(|at| (0..32).map(move |i| half(at) * f32::from(bytes[at + 2 + i] as i8))).collect()
        }
        DType::Q4_1 => blocks
            .flat_map(|at| {
                let quant = move |i: usize| bytes[at + 4 + i % 16] >> (i / 16 * 4) & 15;
                (0..32).map(move |i| half(at) * f32::from(quant(i)) + half(at + 2))
            })
            .collect(),
        other => panic!("smollm2 holds no {other}"),
    }
}

/// GGUF stores the pairs of a rotation side by side, this layout half a head apart.
fn unpermuted(head: &[f32], width: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = head.chunks(width).collect();
    (0..2).flat_map(|odd| rows.iter().skip(odd).step_by(2)).flat_map(|row| row.iter().copied()).collect()
}

fn their_name(name: &str) -> String {
    match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        None => name.replace("token_embd", "model.embed_tokens").replace("output_norm", "model.norm"),
        Some((layer, part)) => {
            let part = match part.trim_end_matches(".weight") {
                "attn_norm" => "input_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_norm" => "post_attention_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                other => panic!("smollm2 has no {other}"),
            };
            format!("model.layers.{layer}.{part}.weight")
        }
    }
}

/// Greedy tokens of every prompt against the golden ones: agreed length of each, and how far apart llama.cpp's two best
/// logits are where the first token differs.
fn agreement(session: &mut dyn Session, golden: &Golden) -> Vec<(usize, f32)> {
    let mut agreed = Vec::new();
    for prompt in &golden.prompts {
        session.reset().expect("it resets");
        // Step by step: the copy in F32 has no tokenizer, which a request's texts would need.
        let steps = session.steps().expect("a white box");
        steps.prefill(&prompt.prompt_ids).expect("it runs");
        let mut same = 0;
        for expected in &prompt.generated {
            if steps.sample().expect("a token") != *expected {
                break;
            }
            same += 1;
            steps.decode(*expected).expect("it runs");
        }
        let is_whole = same == prompt.generated.len();
        let gap = if is_whole { 0.0 } else { prompt.steps[same].logits[0] - prompt.steps[same].logits[1] };
        println!("prompt {}: {same} of {} tokens agree; gap there {gap}", prompt.number, prompt.generated.len());
        agreed.push((same, gap));
    }
    agreed.sort_by_key(|(same, _)| *same);
    agreed
}

/// The arrays of a golden file.
struct Arrays<'a>(SafeTensors<'a>);

impl Arrays<'_> {
    fn ids(&self, name: &str) -> Vec<u32> {
        let data = self.0.tensor(name).expect("it holds this tensor");
        data.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }

    fn logits(&self, name: &str) -> Vec<f32> {
        let data = self.0.tensor(name).expect("it holds this tensor");
        data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// How far sampled logits are from the golden ones.
#[derive(Debug, Default)]
struct Difference {
    positions: usize,
    worst: f32,
    /// The sum of the absolute differences, and the logits that were compared.
    sum: f64,
    count: usize,
}

impl Difference {
    /// Adds one position: `logits` is `[vocab]`, `expected` holds those of the ids `sampled`.
    fn add(&mut self, logits: &[f32], sampled: &[u32], expected: &[f32]) {
        self.positions += 1;
        for (id, expected) in sampled.iter().zip(expected) {
            let difference = (logits[*id as usize] - expected).abs();
            self.worst = self.worst.max(difference);
            self.sum += f64::from(difference);
            self.count += 1;
        }
    }

    /// Says what was found; the largest difference and the mean one.
    fn tell(&self, what: &str) -> (f32, f64) {
        let mean = self.sum / self.count as f64;
        println!("{what}, {} positions: largest difference {:e}, mean {mean:e}", self.positions, self.worst);
        (self.worst, mean)
    }
}

/// Over the golden texts or `most` tokens of each, one token at a time, against the array `N.against` of each.
fn one_at_a_time(
    session: &mut dyn Session,
    golden: &Golden,
    arrays: &Arrays<'_>,
    against: &str,
    most: usize,
) -> Difference {
    let sampled = arrays.ids("sample_ids");
    let mut difference = Difference::default();
    for prompt in &golden.prompts {
        session.reset().expect("it resets");
        let steps = session.steps().expect("a white box");
        let expected = arrays.logits(&format!("{}.{against}", prompt.number));
        for (at, id) in arrays.ids(&format!("{}.ids", prompt.number)).into_iter().take(most).enumerate() {
            if at == 0 { steps.prefill(&[id]) } else { steps.decode(id) }.expect("it runs");
            difference.add(&steps.logits().expect("logits"), &sampled, &expected[at * sampled.len()..]);
        }
    }
    difference
}

/// The beginnings of the golden texts, each in one batch. A batch says the logits of its last token only, so not every
/// beginning is tried: those of 2, 3, 4 and 5 tokens, then every eighth, and the whole text.
fn in_one_batch(session: &mut dyn Session, golden: &Golden, arrays: &Arrays<'_>) -> Difference {
    let sampled = arrays.ids("sample_ids");
    let mut difference = Difference::default();
    for prompt in &golden.prompts {
        let expected = arrays.logits(&format!("{}.sample", prompt.number));
        let ids = arrays.ids(&format!("{}.ids", prompt.number));
        for length in (2..=ids.len()).filter(|n| *n < 6 || *n == ids.len() || n.is_multiple_of(8)) {
            session.reset().expect("it resets");
            let steps = session.steps().expect("a white box");
            steps.prefill(&ids[..length]).expect("it runs");
            let expected = &expected[(length - 1) * sampled.len()..];
            difference.add(&steps.logits().expect("logits"), &sampled, expected);
        }
    }
    difference
}

#[test]
fn with_weights_in_f32_tokens_and_logits_equal_those_of_llama_cpp() {
    let (Some(checkpoint), Some(engine)) = (model(), engine("candle")) else { return };
    let folder = tempfile::tempdir().expect("room for half a gigabyte");
    let wide = in_f32(&checkpoint, folder.path());
    let golden = golden("smollm2_golden_f32.json");
    let bytes =
        std::fs::read(common::fixtures().join("smollm2_golden_f32.safetensors")).expect("the golden file is there");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine.as_ref(), &wide, &common::exact(512));
    let agreed = agreement(session.as_mut(), &golden);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    assert!(agreed[agreed.len() / 2].0 >= 48, "median agreed length {agreed:?}");
    let (worst, mean) =
        one_at_a_time(session.as_mut(), &golden, &arrays, "sample", usize::MAX).tell("one token at a time");
    assert!(worst < 1e-2 && mean < 1e-3, "largest difference {worst}, mean {mean}");
}

/// The activations are rounded to 8 bits before every product, so a difference in the last bit of a sum becomes one in the
/// rounding, and grows: llama.cpp's own two ways over these texts, in one batch and token by token, differ by 1.31 at most.
/// Every sum of the decoder runs in the order of llama.cpp's kernels for AVX-512, both ways, so that nothing differs.
#[test]
fn as_stored_tokens_and_logits_equal_those_of_llama_cpp() {
    let (Some(checkpoint), Some(engine)) = (model(), engine("candle")) else { return };
    let golden = golden("smollm2_golden.json");
    let bytes = std::fs::read(common::fixtures().join("smollm2_golden.safetensors")).expect("the golden file is there");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine.as_ref(), &checkpoint, &common::exact(512));
    for prompt in &golden.prompts {
        let ids = session.steps().expect("a white box").tokenize(&prompt.rendered, false).expect("it tokenizes");
        assert_eq!(ids, prompt.prompt_ids, "prompt {}: token ids of the prompt", prompt.number);
    }
    let agreed = agreement(session.as_mut(), &golden);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    assert!(agreed[agreed.len() / 2].0 >= 48, "median agreed length {agreed:?}");
    let (stepped, mean) =
        one_at_a_time(session.as_mut(), &golden, &arrays, "stepped", usize::MAX).tell("one token at a time");
    assert!(stepped < 1e-4 && mean < 1e-5, "one token at a time: largest difference {stepped}, mean {mean}");
    let (batch, mean) = in_one_batch(session.as_mut(), &golden, &arrays).tell("in one batch");
    assert!(batch < 1e-4 && mean < 1e-5, "in one batch: largest difference {batch}, mean {mean}");
}

/// The golden file is of another build of llama.cpp, and of attention that is not fused.
#[cfg(feature = "llama-cpp")]
#[test]
fn llama_cpp_in_this_process_is_the_one_of_the_golden_file() {
    use engines::{FlashAttention, LoadOptions};

    let Some(checkpoint) = model() else { return };
    let golden = golden("smollm2_golden.json");
    let bytes = std::fs::read(common::fixtures().join("smollm2_golden.safetensors")).expect("the golden file is there");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let options = LoadOptions { flash_attention: FlashAttention::Off, ..common::exact(512) };
    let mut session = common::load(&engines::llama_cpp::LlamaCpp, &checkpoint, &options);
    for prompt in &golden.prompts {
        let ids = session.steps().expect("a white box").tokenize(&prompt.rendered, false).expect("it tokenizes");
        assert_eq!(ids, prompt.prompt_ids, "prompt {}: token ids of the prompt", prompt.number);
    }
    let agreed = agreement(session.as_mut(), &golden);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    let (stepped, mean) =
        one_at_a_time(session.as_mut(), &golden, &arrays, "stepped", usize::MAX).tell("one token at a time");
    assert!(stepped < 1e-4 && mean < 1e-5, "one token at a time: largest difference {stepped}, mean {mean}");
}

/// As they run by default: a cache in F16, fused attention where an engine has it. They do not round at the same places, and what
/// that changes is measured on llama.cpp alone: with these settings against the exact ones.
#[cfg(feature = "llama-cpp")]
#[test]
fn candle_and_llama_cpp_agree_as_they_run_by_default() {
    use engines::llama_cpp::LlamaCpp;
    use engines::{FlashAttention, LoadOptions};

    let (Some(checkpoint), Some(candle)) = (model(), engine("candle")) else { return };
    let golden = golden("smollm2_golden.json");
    let options = LoadOptions { context: 512, ..LoadOptions::default() };
    let exact = LoadOptions { flash_attention: FlashAttention::Off, ..common::exact(512) };
    let mut sessions = [
        common::load(&LlamaCpp, &checkpoint, &options),
        common::load(candle.as_ref(), &checkpoint, &options),
        common::load(&LlamaCpp, &checkpoint, &exact),
    ];
    for session in &mut sessions[..2] {
        let agreed = agreement(session.as_mut(), &golden);
        assert!(agreed.iter().all(|(_, gap)| *gap < ROUNDED_TIE), "agreed lengths and gaps {agreed:?}");
    }
    let (mut engines, mut settings, mut same) = (Difference::default(), Difference::default(), 0);
    let all: Vec<u32> = (0..).take(checkpoint.spec().vocab).collect();
    for prompt in &golden.prompts {
        sessions.iter_mut().for_each(|session| session.reset().expect("it resets"));
        for tokens in std::iter::once(prompt.prompt_ids.as_slice()).chain(prompt.generated.chunks(1)) {
            let [llama, candle, exact] = sessions.each_mut().map(|session| {
                let steps = session.steps().expect("a white box");
                steps.prefill(tokens).expect("it runs");
                (steps.logits().expect("logits"), steps.sample().expect("a token"))
            });
            engines.add(&candle.0, &all, &llama.0);
            settings.add(&llama.0, &all, &exact.0);
            same += usize::from(candle.1 == llama.1);
        }
    }
    let (worst, mean) = engines.tell("candle against llama.cpp, all logits");
    let (its_worst, its_mean) = settings.tell("llama.cpp against itself with exact settings, all logits");
    println!("the best token is the same at {same} of {} positions", engines.positions);
    assert!(worst < 2.0 && mean < 0.3, "largest difference {worst}, mean {mean}");
    assert!(worst < 2.0 * its_worst && mean < 2.0 * its_mean, "rounding alone: {its_worst}, mean {its_mean}");
    assert!(same * 100 >= engines.positions * 95, "{same} of {}", engines.positions);
}

/// MLX multiplies the same 4-bit weights with activations that are not rounded, so on the file as it is stored it gives what
/// the copy in F32 gives. Its CPU back end takes a good part of a second for a token, so the beginnings of two texts must do;
/// over all five, 306 of 306 tokens agree, and the largest difference is 1.4e-4.
#[test]
fn on_mlx_as_stored_tokens_and_logits_equal_those_of_weights_in_f32() {
    let (Some(checkpoint), Some(engine)) = (model(), engine("mlx")) else { return };
    let mut exact = golden("smollm2_golden_f32.json");
    exact.prompts.truncate(2);
    exact.prompts.iter_mut().for_each(|prompt| prompt.generated.truncate(12));
    let bytes =
        std::fs::read(common::fixtures().join("smollm2_golden_f32.safetensors")).expect("the golden file is there");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine.as_ref(), &checkpoint, &common::exact(512));
    let agreed = agreement(session.as_mut(), &exact);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    let difference = one_at_a_time(session.as_mut(), &exact, &arrays, "sample", 24);
    let (worst, mean) = difference.tell("one token at a time");
    assert!(worst < 1e-3 && mean < 1e-4, "largest difference {worst}, mean {mean}");
}
