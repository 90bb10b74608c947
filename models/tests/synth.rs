//! Synthetic files: reproducible bytes, sizes, shapes, and the keys that mark them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use models::Quiet;
use models::synth::{self, Quant, Recipe};
use models::{Arch, Bytes, Checkpoint, DType, Rope, RopeLayout, RopeScaling, Spec};

fn spec(arch: Arch) -> Spec {
    Spec {
        arch,
        layers: 9,
        hidden: 256,
        ffn: 768,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab: 1024,
        context_length: 512,
        norm_eps: 1e-5,
        rope: Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None },
        window: (arch == Arch::Mistral).then_some(64),
        qkv_bias: arch == Arch::Qwen2,
        tied_embeddings: arch == Arch::Llama,
    }
}

fn recipe(spec: &Spec, quant: Quant) -> Recipe<'_> {
    Recipe { name: "tiny", spec, quant, seed: 7, header: None }
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
    let shape = spec(Arch::Llama);
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
    for arch in [Arch::Llama, Arch::Mistral, Arch::Qwen2] {
        let shape = spec(arch);
        for quant in Quant::ALL {
            let recipe = recipe(&shape, quant);
            let written = synth::write(&recipe, &path, &Quiet).unwrap();
            assert_eq!(written.file_bytes, recipe.file_bytes().unwrap());
            assert_eq!(std::fs::metadata(&path).unwrap().len(), written.file_bytes.get());
            let checkpoint = Checkpoint::open(&path).unwrap();
            assert_eq!(checkpoint.file_bytes(), written.file_bytes);
            let read = checkpoint.spec();
            assert_eq!((read.layers, read.hidden, read.ffn, read.vocab), (9, 256, 768, 1024), "{arch:?} {quant}");
            assert_eq!((read.heads, read.kv_heads, read.head_dim, read.window), (4, 2, 64, shape.window));
            assert_eq!((read.qkv_bias, read.tied_embeddings), (shape.qkv_bias, shape.tied_embeddings));
            assert_eq!(read.parameters(), written.plan.parameters);
            let planned: Bytes = written.plan.tensors.iter().map(|tensor| tensor.bytes).sum();
            assert_eq!(checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum::<Bytes>(), planned);
        }
    }
}

#[test]
fn llama3_frequencies_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut shape = spec(Arch::Llama);
    shape.rope.theta = 500_000.0;
    shape.rope.scaling =
        Some(RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 256 });
    write(&recipe(&shape, Quant::F16), &path);
    let read = Checkpoint::open(&path).unwrap().spec().inverse_frequencies();
    for (read, expected) in read.iter().zip(shape.inverse_frequencies()) {
        assert!((read / expected - 1.0).abs() < 1e-5, "{read} {expected}");
    }
}

#[test]
fn a_synthetic_file_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = spec(Arch::Llama);
    write(&recipe(&shape, Quant::Q4_0), &path);
    let file = models::gguf::File::open(&path).unwrap();
    assert_eq!(file.header.metadata.flag(synth::SYNTHETIC_KEY).unwrap(), Some(true));
    assert_eq!(file.header.metadata.count(synth::SEED_KEY).unwrap(), Some(7));
}

#[test]
fn the_generated_tokenizer_decodes_what_it_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let shape = spec(Arch::Llama);
    write(&recipe(&shape, Quant::Q4_0), &path);
    let tokenizer = Checkpoint::open(&path).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 1024);
    let text = "the cat — 日本語 \u{1F600}\n\tfn main() {} 1234";
    let options = models::EncodeOptions { add_bos: false, parse_special: false };
    let ids = tokenizer.encode(text, options).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert!(ids.len() < text.len(), "no merge was used");
}

#[test]
fn the_tokenizer_of_another_file_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (small, path) = (folder.path().join("small.gguf"), folder.path().join("m.gguf"));
    write(&recipe(&Spec { vocab: 600, ..spec(Arch::Llama) }, Quant::Q4_0), &small);
    let shape = spec(Arch::Llama);
    write(&Recipe { header: Some(&small), ..recipe(&shape, Quant::Q4_0) }, &path);
    let copied = models::gguf::File::open(&path).unwrap().header.metadata;
    let tokens = copied.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((tokens.len(), tokens.get(599), tokens.get(600)), (1024, Some("<|eot|>"), Some("[unused600]")));
    assert_eq!(copied.count("tokenizer.ggml.eos_token_id").unwrap(), Some(598));
    // A vocabulary that is larger than the model's is refused, with both numbers.
    let error = synth::write(
        &Recipe { header: Some(&path), ..recipe(&Spec { vocab: 600, ..shape.clone() }, Quant::Q4_0) },
        &small,
        &Quiet,
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("1024") && text.contains("600"), "{text}");
}

#[test]
fn q4_k_m_has_the_types_of_llama_cpp() {
    let shape = spec(Arch::Llama);
    let plan = synth::plan(&shape, Quant::Q4_K_M).unwrap();
    let of = |name: &str| plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype;
    assert_eq!(of("token_embd.weight"), DType::Q6_K);
    assert_eq!(of("blk.0.attn_v.weight"), DType::Q6_K);
    assert_eq!(of("blk.1.ffn_down.weight"), DType::Q4_K);
    assert_eq!(of("blk.3.ffn_down.weight"), DType::Q6_K);
    assert_eq!(of("blk.0.attn_q.weight"), DType::Q4_K);
    assert_eq!(of("blk.0.ffn_norm.weight"), DType::F32);
}

fn ensure(recipe: &Recipe<'_>, folder: &Path) -> PathBuf {
    synth::write_cached(recipe, folder, &Quiet).unwrap()
}

#[test]
fn a_cached_file_is_reused_and_replaced_when_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let shape = spec(Arch::Qwen2);
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
