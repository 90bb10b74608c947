//! Synthetic files: reproducible bytes, sizes, shapes, and the keys that mark them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use models::registry::MODELS;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{
    Activation, Arch, Attention, Bytes, Checkpoint, DType, DeltaLayout, EncodeOptions, Experts, FeedForward, Gated,
    GatedDeltaNet, Gating, Layer, Mixer, NormPlacement, Quiet, Rope, RopeLayout, RopeScaling, Scores, ShortConvolution,
    Spec, Temperature, TokenizerFamily,
};

fn spec(arch: &Arch) -> Spec {
    Spec {
        arch: arch.clone(),
        hidden: 256,
        vocab: 1024,
        context_length: 512,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        tied_embeddings: *arch == Arch::LLAMA,
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![
            Layer::plain(
                Attention {
                    window: (*arch == Arch::MISTRAL).then_some(64),
                    qkv_bias: *arch == Arch::QWEN2,
                    ..Attention::plain(
                        4,
                        2,
                        64,
                        Some(Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None })
                    )
                },
                768
            );
            9
        ],
    }
}

fn recipe(spec: &Spec, quant: Quant) -> Recipe<'_> {
    Recipe { name: "tiny", spec, quant, seed: 7, tokenizer: TokenizerSource::default() }
}

fn write(recipe: &Recipe<'_>, path: &Path) -> Vec<u8> {
    synth::write(recipe, path, &Quiet).unwrap();
    std::fs::read(path).unwrap()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn the_same_recipe_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let shape = spec(&Arch::LLAMA);
    for quant in Quant::ALL {
        let one = with_threads(1, || write(&recipe(&shape, quant), &folder.path().join("one.gguf")));
        let four = with_threads(4, || write(&recipe(&shape, quant), &folder.path().join("four.gguf")));
        assert!(one == four, "{quant}: bytes depend on threads");
        let other = write(&Recipe { seed: 8, ..recipe(&shape, quant) }, &folder.path().join("other.gguf"));
        assert!(one != other, "{quant}: the seed has no effect");
        assert_eq!(one.len(), other.len());
    }
}

#[test]
fn every_file_has_the_planned_shape_and_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    for arch in [Arch::LLAMA, Arch::MISTRAL, Arch::QWEN2] {
        let shape = spec(&arch);
        for quant in Quant::ALL {
            let recipe = recipe(&shape, quant);
            let written = synth::write(&recipe, &path, &Quiet).unwrap();
            assert_eq!(written.file_bytes, recipe.file_bytes().unwrap());
            assert_eq!(std::fs::metadata(&path).unwrap().len(), written.file_bytes.get());
            let checkpoint = Checkpoint::open(&path).unwrap();
            assert_eq!(checkpoint.file_bytes(), written.file_bytes);
            let read = checkpoint.spec().unwrap();
            // GGUF files of Mistral say `llama`; the window is added by the caller.
            let mut expected = shape.clone();
            expected.arch = read.arch.clone();
            expected.layers.iter_mut().for_each(|layer| {
                layer.mixer.attention_mut().unwrap().window = None;
                layer.mixer.attention_mut().unwrap().rope.as_mut().unwrap().layout =
                    read.layers[0].mixer.attention().unwrap().rope.as_ref().unwrap().layout;
            });
            assert_eq!(read, &expected, "{quant}");
            assert_eq!(read.parameters(), written.plan.parameters);
            let planned: Bytes = written.plan.tensors.iter().map(|tensor| tensor.bytes).sum();
            assert_eq!(checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum::<Bytes>(), planned);
        }
    }
}

/// A file of each architecture is read back as the shape that it was made from.
#[test]
fn shapes_of_every_architecture_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let rope = |theta, layout, scaling| Rope { theta, dim: 64, layout, scaling };
    let plain = spec(&Arch::LLAMA);
    let make = |name: &'static str, change: &dyn Fn(usize, &mut Layer)| {
        let mut spec = Spec { arch: Arch::new(name), ..plain.clone() };
        spec.layers.iter_mut().enumerate().for_each(|(at, layer)| change(at, layer));
        spec
    };
    let qwen3 = make("qwen3", &|_, layer| {
        layer.mixer.attention_mut().unwrap().qk_norm = true;
        layer.mixer.attention_mut().unwrap().rope = Some(rope(1e6, RopeLayout::Halves, None));
    });
    let mut gemma3 = make("gemma3", &|at, layer| {
        layer.norms = NormPlacement::BeforeAndAfter;
        layer.feed_forward.gated_mut().activation = Activation::GeluTanh;
        layer.mixer.attention_mut().unwrap().qk_norm = true;
        let is_global = at % 6 == 5;
        layer.mixer.attention_mut().unwrap().window = (!is_global).then_some(48);
        let scaling = is_global.then_some(RopeScaling::Linear { factor: 8.0 });
        layer.mixer.attention_mut().unwrap().rope =
            Some(rope(if is_global { 1e6 } else { 1e4 }, RopeLayout::Halves, scaling));
    });
    gemma3.embedding_scale = Some(16.0);
    let smollm3 = make("smollm3", &|at, layer| {
        layer.mixer.attention_mut().unwrap().rope = (at % 4 != 3).then(|| rope(5e6, RopeLayout::Interleaved, None));
    });
    let yarn = |context, magnitude| RopeScaling::Yarn {
        factor: 4.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        original_context: context,
        magnitude,
        truncate: true,
    };
    let ministral3 = make("ministral3", &|_, layer| {
        layer.mixer.attention_mut().unwrap().rope = Some(rope(1e6, RopeLayout::Interleaved, Some(yarn(64, 1.0))));
        layer.mixer.attention_mut().unwrap().temperature = Some(Temperature { scale: 0.1, context: 64 });
    });
    let with_yarn = make("qwen3", &|_, layer| {
        layer.mixer.attention_mut().unwrap().qk_norm = true;
        layer.mixer.attention_mut().unwrap().rope = Some(rope(1e6, RopeLayout::Halves, Some(yarn(64, 1.138_629_4))));
    });
    let gpt_oss = make("gpt-oss", &|at, layer| {
        layer.mixer = Mixer::Attention(Attention {
            qkv_bias: true,
            output_bias: true,
            sinks: true,
            window: at.is_multiple_of(2).then_some(48),
            rope: Some(rope(1.5e5, RopeLayout::Halves, Some(yarn(64, 1.138_629_4)))),
            ..layer.mixer.attention().unwrap().clone()
        });
        layer.feed_forward = FeedForward::Experts(Experts {
            count: 5,
            used: 2,
            expert: Gated { width: 64, activation: Activation::ClampedSwiglu },
            gating: Gating::new(Scores::SoftmaxOfChosen, false),
            biased: true,
            shared: None,
            dense_width: None,
        });
    });
    let phi3 = make("phi3", &|_, layer| {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0; 16],
            long: (0..16u8).map(|pair| 1.0 + f32::from(pair)).collect(),
            original_context: 64,
            magnitude: 1.25,
        };
        layer.mixer.attention_mut().unwrap().rope =
            Some(Rope { dim: 32, ..rope(1e4, RopeLayout::Halves, Some(scaling)) });
        layer.mixer.attention_mut().unwrap().window = Some(100);
    });
    let lfm2 = make("lfm2", &|at, layer| match at % 3 {
        2 => {
            let attention = layer.mixer.attention_mut().unwrap();
            (attention.qk_norm, attention.rope) = (true, Some(rope(1e6, RopeLayout::Halves, None)));
        }
        _ => layer.mixer = Mixer::ShortConvolution(ShortConvolution { channels: plain.hidden, kernel: 4 }),
    });
    let qwen35 = make("qwen35", &|at, layer| match at % 3 {
        1 => {
            let attention = layer.mixer.attention_mut().unwrap();
            (attention.qk_norm, attention.output_gate) = (true, true);
            attention.rope = Some(Rope { dim: 16, ..rope(1e7, RopeLayout::Halves, None) });
        }
        _ => {
            let layout = DeltaLayout::Alternating;
            let net = GatedDeltaNet { key_heads: 2, value_heads: 4, head_dim: 32, kernel: 4, layout };
            layer.mixer = Mixer::GatedDeltaNet(net);
        }
    });
    let mut gemma4 = make("gemma4", &|at, layer| {
        let (is_global, is_shared) = (at % 3 == 2, at >= 6);
        layer.norms = NormPlacement::BeforeAndAfter;
        layer.output_scale = true;
        let width = if is_shared { 1024 } else { 512 };
        layer.feed_forward = FeedForward::Dense(Gated { width, activation: Activation::GeluTanh });
        let divisors = (0..48u8).map(|pair| if pair < 12 { 1.0 } else { 1e30 }).collect();
        let wide = Rope { dim: 96, ..rope(1e6, RopeLayout::Halves, Some(RopeScaling::Factors(divisors))) };
        let attention = match is_global {
            true => Attention::plain(4, 1, 96, Some(wide)),
            false => Attention::plain(4, 2, 64, Some(rope(1e4, RopeLayout::Halves, None))),
        };
        layer.mixer = Mixer::Attention(Attention {
            window: (!is_global).then_some(48),
            qk_norm: true,
            v_norm: true,
            values_are_keys: at == 2,
            cache_of: is_shared.then_some(if is_global { 5 } else { 4 }),
            scale: Some(1.0),
            ..attention
        });
    });
    (gemma4.embedding_scale, gemma4.per_layer_width, gemma4.logit_cap) = (Some(16.0), Some(32), Some(30.0));
    for shape in [qwen3, gemma3, gemma4, smollm3, ministral3, with_yarn, gpt_oss, phi3, lfm2, qwen35] {
        write(&recipe(&shape, Quant::Q4_0), &path);
        assert_eq!(Checkpoint::open(&path).unwrap().spec().unwrap(), &shape);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn llama3_frequencies_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut shape = spec(&Arch::LLAMA);
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 256 };
    for layer in &mut shape.layers {
        let rope = layer.mixer.attention_mut().unwrap().rope.as_mut().unwrap();
        (rope.theta, rope.scaling) = (500_000.0, Some(llama3.clone()));
    }
    let frequencies =
        |spec: &Spec| spec.layers[8].mixer.attention().unwrap().rope.as_ref().unwrap().inverse_frequencies(0);
    write(&recipe(&shape, Quant::F16), &path);
    let read = frequencies(Checkpoint::open(&path).unwrap().spec().unwrap());
    for (read, expected) in read.iter().zip(frequencies(&shape)) {
        assert!((read / expected - 1.0).abs() < 1e-5, "{read} {expected}");
    }
}

#[test]
fn a_synthetic_file_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = spec(&Arch::LLAMA);
    write(&recipe(&shape, Quant::Q4_0), &path);
    let file = models::gguf::File::open(&path).unwrap();
    assert_eq!(file.header.metadata.flag(synth::SYNTHETIC_KEY).unwrap(), Some(true));
    assert_eq!(file.header.metadata.count(synth::SEED_KEY).unwrap(), Some(7));
}

#[test]
fn the_generated_tokenizer_decodes_what_it_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = spec(&Arch::LLAMA);
    write(&recipe(&shape, Quant::Q4_0), &path);
    let tokenizer = Checkpoint::open(&path).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 1024);
    let text = "the cat — 日本語 \u{1F600}\n\tfn main() {} 1234";
    let options = EncodeOptions { add_bos: false, parse_special: false };
    let ids = tokenizer.encode(text, options).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert!(ids.len() < text.len(), "no merge was used");
}

#[test]
fn the_tokenizer_of_another_file_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (small, path) = (folder.path().join("small.gguf"), folder.path().join("m.gguf"));
    write(&recipe(&Spec { vocab: 600, ..spec(&Arch::LLAMA) }, Quant::Q4_0), &small);
    let shape = spec(&Arch::LLAMA);
    write(&Recipe { tokenizer: TokenizerSource::CopyOf(&small), ..recipe(&shape, Quant::Q4_0) }, &path);
    let copied = models::gguf::File::open(&path).unwrap().header.metadata;
    let tokens = copied.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((tokens.len(), tokens.get(599), tokens.get(600)), (1024, Some("<|eot|>"), Some("[unused600]")));
    assert_eq!(copied.count("tokenizer.ggml.eos_token_id").unwrap(), Some(598));
    // A vocabulary that is larger than the model's is refused, with both numbers.
    let error = synth::write(
        &Recipe {
            tokenizer: TokenizerSource::CopyOf(&path),
            ..recipe(&Spec { vocab: 600, ..shape.clone() }, Quant::Q4_0)
        },
        &small,
        &Quiet,
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("1024") && text.contains("600"), "{text}");
}

#[test]
fn q4_k_m_has_the_types_of_llama_cpp() {
    let shape = spec(&Arch::LLAMA);
    let plan = synth::plan(&shape, Quant::Q4_K_M).unwrap();
    let of = |name: &str| plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype;
    assert_eq!(of("token_embd.weight"), DType::Q6_K);
    assert_eq!(of("blk.0.attn_v.weight"), DType::Q6_K);
    assert_eq!(of("blk.1.ffn_down.weight"), DType::Q4_K);
    assert_eq!(of("blk.3.ffn_down.weight"), DType::Q6_K);
    assert_eq!(of("blk.0.attn_q.weight"), DType::Q4_K);
    assert_eq!(of("blk.0.ffn_norm.weight"), DType::F32);
}

/// The generated tokenizer of each family of the registry, in its vocabulary's size where that is small, has the pre-tokenizer of the
/// family, and spells texts.
#[test]
fn each_registered_model_has_a_tokenizer_of_its_family() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut seen = Vec::new();
    for entry in &MODELS {
        if seen.contains(&entry.tokenizer) {
            continue;
        }
        seen.push(entry.tokenizer);
        let tokenizer = TokenizerSource::Generated(entry.tokenizer);
        write(&Recipe { tokenizer, ..recipe(&spec(&Arch::LLAMA), Quant::Q4_0) }, &path);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let metadata = checkpoint.metadata().unwrap();
        let pre = metadata.text("tokenizer.ggml.pre").unwrap();
        match entry.tokenizer {
            TokenizerFamily::SentencePiece | TokenizerFamily::PlainBpe => assert_eq!(pre, None),
            TokenizerFamily::ByteLevelBpe(name) => assert_eq!(pre, Some(name)),
        }
        assert!(checkpoint.tokenizer_substitutions().is_empty(), "{}", entry.name);
        let tokenizer = checkpoint.tokenizer().unwrap();
        assert!(tokenizer.add_bos() && tokenizer.eos().is_some());
        let text = "The tea at 10 is hot: 中\n\n";
        let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{}", entry.name);
        // Two to four letters are a token.
        let ids = tokenizer.encode("seaside seaside", EncodeOptions::default()).unwrap();
        assert!(ids.len() <= 10, "{}: {ids:?}", entry.name);
    }
    assert!(seen.len() >= 7, "{seen:?}");
}

fn ensure(recipe: &Recipe<'_>, folder: &Path) -> PathBuf {
    synth::write_cached(recipe, folder, &Quiet).unwrap()
}

#[test]
fn a_cached_file_is_reused_and_replaced_when_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let shape = spec(&Arch::QWEN2);
    let recipe = recipe(&shape, Quant::Q8_0);
    let path = ensure(&recipe, folder.path());
    let whole = std::fs::read(&path).unwrap();
    // A file of the right length and header is reused, even if its data was changed.
    let mut marked = whole.clone();
    *marked.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &marked).unwrap();
    assert_eq!(ensure(&recipe, folder.path()), path);
    assert!(std::fs::read(&path).unwrap() == marked);
    // A truncated file is written again.
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(ensure(&recipe, folder.path()), path);
    assert!(std::fs::read(&path).unwrap() == whole);
    // Another seed is another file.
    assert_ne!(ensure(&Recipe { seed: 8, ..recipe }, folder.path()), path);
}
