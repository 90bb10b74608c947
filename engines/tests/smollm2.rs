//! smollm2-135m against llama.cpp on the same file: greedy tokens, and the logits at every position of llama.cpp's texts.
//!
//! The model is not in the repository, so that these tests are ignored by default. `INFEROMETER_SMOLLM2` is the path of its file.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]
#![cfg(any(feature = "candle", feature = "mlx", target_os = "macos"))]

mod common;

use common::golden::{Golden, TIE, agreement, assert_prompt_ids, engine, golden};
use engines::Session;
use models::{Checkpoint, DType, Layer};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The same if keys, values or activations are rounded elsewhere.
const ROUNDED_TIE: f32 = 0.2;

/// Whether sums have the order and the rounding of llama.cpp's AVX-512 kernels on this processor: with fused multiply-add they do.
#[cfg(feature = "candle")]
fn has_order_of_golden_file() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// The arrays of a golden file.
fn golden_arrays(name: &str) -> Vec<u8> {
    std::fs::read(common::fixtures().join(name)).expect("the golden file exists")
}

/// The model with its weights in F32, as a folder in the Hugging Face layout. Nothing is rounded in the computation, so that correct
/// results differ only by the order of sums.
#[cfg(feature = "candle")]
fn in_f32(checkpoint: &Checkpoint, folder: &std::path::Path) -> Checkpoint {
    let spec = checkpoint.spec().unwrap();
    let Layer { mixer, feed_forward, .. } = &spec.layers[0];
    let attention = mixer.attention().expect("every layer has attention");
    let rope = attention.rope.as_ref().expect("every layer has one");
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for info in checkpoint.tensors() {
        let view = checkpoint.tensor(&info.name).expect("it is listed");
        let mut numbers = dequantised(info.dtype, view.bytes());
        if info.name.contains("attn_q") || info.name.contains("attn_k") {
            numbers = numbers
                .chunks(attention.head_dim * spec.hidden)
                .flat_map(|head| unpermuted(head, spec.hidden))
                .collect();
        }
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((hugging_face_name(&info.name), info.shape.clone(), bytes));
    }
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("whole tensors");
    let views = tensors.iter().map(|(name, shape, bytes)| (name.clone(), view(shape, bytes.as_slice())));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("it can be written");
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": spec.hidden, "intermediate_size": feed_forward.gated().width, "num_hidden_layers": spec.layers.len(),
        "num_attention_heads": attention.heads, "num_key_value_heads": attention.kv_heads, "head_dim": attention.head_dim,
        "vocab_size": spec.vocab, "max_position_embeddings": spec.context_length, "rms_norm_eps": spec.norm_eps,
        "rope_theta": rope.theta, "tie_word_embeddings": spec.tied_embeddings, "torch_dtype": "float32",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("it can be written");
    Checkpoint::open(folder).expect("it opens")
}

#[cfg(feature = "candle")]
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
        other => panic!("smollm2 has no tensor of type {other}"),
    }
}

/// GGUF stores the pairs of a rotation side by side, this layout half a head apart.
#[cfg(feature = "candle")]
fn unpermuted(head: &[f32], width: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = head.chunks(width).collect();
    (0..2).flat_map(|odd| rows.iter().skip(odd).step_by(2)).flat_map(|row| row.iter().copied()).collect()
}

/// The name of a tensor in the Hugging Face layout.
#[cfg(feature = "candle")]
fn hugging_face_name(name: &str) -> String {
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

/// Differences of sampled logits from the golden ones.
#[derive(Debug, Default)]
struct Difference {
    positions: usize,
    worst: f32,
    /// Sum of the absolute differences, and number of compared logits.
    sum: f64,
    count: usize,
}

impl Difference {
    /// Adds one position: `logits` is `[vocab]`, `expected` contains those of the ids `sampled`.
    fn add(&mut self, logits: &[f32], sampled: &[u32], expected: &[f32]) {
        self.positions += 1;
        for (id, expected) in sampled.iter().zip(expected) {
            let difference = (logits[*id as usize] - expected).abs();
            self.worst = self.worst.max(difference);
            self.sum += f64::from(difference);
            self.count += 1;
        }
    }

    /// Prints and returns the largest and the mean difference.
    fn report(&self, what: &str) -> (f32, f64) {
        let mean = self.sum / self.count as f64;
        println!("{what}, {} positions: largest difference {:e}, mean {mean:e}", self.positions, self.worst);
        (self.worst, mean)
    }
}

/// The golden texts, or `most` tokens of each, one token at a time, compared with the array `N.against` of each.
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

/// Prefixes of the golden texts, each in one batch. A batch has the logits of its last token only, so that not every prefix is run:
/// those of 2, 3, 4 and 5 tokens, then every eighth, and the whole text.
#[cfg(feature = "candle")]
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

/// Holds on every processor: only the order of sums differs.
#[cfg(feature = "candle")]
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn with_weights_in_f32_tokens_and_logits_equal_those_of_llama_cpp() {
    let folder = tempfile::tempdir().expect("a temporary folder for half a gigabyte");
    let wide = in_f32(&common::smollm2(), folder.path());
    let golden = golden("smollm2_golden_f32.json");
    let bytes = golden_arrays("smollm2_golden_f32.safetensors");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine("candle").as_ref(), &wide, &common::exact(512));
    let agreed = agreement(session.as_mut(), &golden);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    assert!(agreed[agreed.len() / 2].0 >= 48, "median agreed length {agreed:?}");
    let (worst, mean) =
        one_at_a_time(session.as_mut(), &golden, &arrays, "sample", usize::MAX).report("one token at a time");
    assert!(worst < 1e-2 && mean < 1e-3, "largest difference {worst}, mean {mean}");
}

/// Activations are rounded to 8 bits before every product, so that a difference in the last bit of a sum can become a rounding step,
/// and grow: llama.cpp itself differs by up to 1.31 over these texts between one batch and one token at a time. One token at a time,
/// every sum of the decoder has the order of llama.cpp's AVX-512 kernels, so that nothing differs. In one batch the products add in the
/// order of panels, and the difference is bounded by that of llama.cpp with itself.
#[cfg(feature = "candle")]
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn as_stored_tokens_and_logits_equal_those_of_llama_cpp() {
    let golden = golden("smollm2_golden.json");
    let bytes = golden_arrays("smollm2_golden.safetensors");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine("candle").as_ref(), &common::smollm2(), &common::exact(512));
    assert_prompt_ids(session.as_mut(), &golden, false);
    let agreed = agreement(session.as_mut(), &golden);
    println!("agreed lengths and gaps {agreed:?}");
    assert!(agreed.iter().all(|(_, gap)| *gap < ROUNDED_TIE), "agreed lengths and gaps {agreed:?}");
    let exact = if has_order_of_golden_file() { (1e-4, 1e-5) } else { (2.0, 0.3) };
    let stepped = one_at_a_time(session.as_mut(), &golden, &arrays, "stepped", usize::MAX);
    let batch = in_one_batch(session.as_mut(), &golden, &arrays);
    for (difference, bounds, how) in [(stepped, exact, "one token at a time"), (batch, (2.0, 0.3), "in one batch")] {
        let (largest, mean) = difference.report(how);
        assert!(largest < bounds.0 && mean < bounds.1, "{how}: largest difference {largest}, mean {mean}");
    }
}

/// The golden file is from another build of llama.cpp, with attention that is not fused. Its kernels for other processors add in
/// another order.
#[cfg(all(feature = "llama-cpp", target_arch = "x86_64", target_feature = "avx512f"))]
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn llama_cpp_in_this_process_is_the_one_of_the_golden_file() {
    use engines::{FlashAttention, LoadOptions};

    let checkpoint = common::smollm2();
    let golden = golden("smollm2_golden.json");
    let bytes = golden_arrays("smollm2_golden.safetensors");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let options = LoadOptions { flash_attention: FlashAttention::Off, ..common::exact(512) };
    let mut session = common::load(&engines::llama_cpp::LlamaCpp, &checkpoint, &options);
    assert_prompt_ids(session.as_mut(), &golden, false);
    let agreed = agreement(session.as_mut(), &golden);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    let (stepped, mean) =
        one_at_a_time(session.as_mut(), &golden, &arrays, "stepped", usize::MAX).report("one token at a time");
    assert!(stepped < 1e-4 && mean < 1e-5, "one token at a time: largest difference {stepped}, mean {mean}");
}

/// With default settings: an F16 cache, and fused attention if an engine has it. The engines round in different places; the effect of
/// rounding is measured with llama.cpp alone, as the difference between default and exact settings.
#[cfg(all(feature = "llama-cpp", feature = "candle"))]
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn candle_and_llama_cpp_agree_with_default_settings() {
    use engines::llama_cpp::LlamaCpp;
    use engines::{FlashAttention, LoadOptions};

    let (checkpoint, candle) = (common::smollm2(), engine("candle"));
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
    let all: Vec<u32> = (0..).take(checkpoint.spec().unwrap().vocab).collect();
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
    let (worst, mean) = engines.report("candle against llama.cpp, all logits");
    let (its_worst, its_mean) = settings.report("llama.cpp against itself with exact settings, all logits");
    println!("the best token is the same at {same} of {} positions", engines.positions);
    assert!(worst < 2.0 && mean < 0.3, "largest difference {worst}, mean {mean}");
    assert!(worst < 2.0 * its_worst && mean < 2.0 * its_mean, "rounding alone: {its_worst}, mean {its_mean}");
    assert!(same * 100 >= engines.positions * 95, "{same} of {}", engines.positions);
}

/// MLX multiplies the 4-bit weights with activations that are not rounded, so that its results on the stored file equal those of the
/// copy in F32. Its CPU back end needs a large part of a second per token, so that only the start of two texts is run; over all five
/// texts, 306 of 306 tokens agree, and the largest difference is 1.4e-4.
#[cfg(any(feature = "mlx", target_os = "macos"))]
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn on_mlx_as_stored_tokens_and_logits_equal_those_of_weights_in_f32() {
    let mut exact = golden("smollm2_golden_f32.json");
    exact.prompts.truncate(2);
    exact.prompts.iter_mut().for_each(|prompt| prompt.generated.truncate(12));
    let bytes = golden_arrays("smollm2_golden_f32.safetensors");
    let arrays = Arrays(SafeTensors::deserialize(&bytes).expect("it is a safetensors file"));
    let mut session = common::load(engine("mlx").as_ref(), &common::smollm2(), &common::exact(512));
    let agreed = agreement(session.as_mut(), &exact);
    assert!(agreed.iter().all(|(_, gap)| *gap < TIE), "agreed lengths and gaps {agreed:?}");
    let difference = one_at_a_time(session.as_mut(), &exact, &arrays, "sample", 24);
    let (worst, mean) = difference.report("one token at a time");
    assert!(worst < 1e-3 && mean < 1e-4, "largest difference {worst}, mean {mean}");
}
