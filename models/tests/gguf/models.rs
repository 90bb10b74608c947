//! Models in GGUF files: shapes, checks of tensors, windows, texts.

use std::path::{Path, PathBuf};

use models::cost::WeightTypes;
use models::{
    Arch, Attention, Checkpoint, DType, Description, Error, Format, Layer, Params, Rope, RopeLayout, RopeScaling,
    TensorInfo, registry,
};

use crate::writer::{ARRAY, F32, File, STRING, U32, array, key, tensor, text};

/// A llama of two layers: hidden 8, ffn 16, 2 heads of 4, 1 key-value head, 3 tokens, tied. Changed by the tests.
pub(crate) fn tiny() -> File {
    tiny_of("llama", 1e4, false)
}

fn tiny_of(arch: &str, theta: f32, bias: bool) -> File {
    let number = |name: &str, value: u32| key(&format!("{arch}.{name}"), U32, &value.to_le_bytes());
    let mut file = File {
        keys: vec![
            key("general.architecture", STRING, &text(arch)),
            key("general.name", STRING, &text("Tiny")),
            key("general.file_type", U32, &0u32.to_le_bytes()),
            number("block_count", 2),
            number("context_length", 64),
            number("embedding_length", 8),
            number("feed_forward_length", 16),
            number("attention.head_count", 2),
            number("attention.head_count_kv", 1),
            key(&format!("{arch}.attention.layer_norm_rms_epsilon"), F32, &1e-5f32.to_le_bytes()),
            key(&format!("{arch}.rope.freq_base"), F32, &theta.to_le_bytes()),
            key("tokenizer.ggml.tokens", ARRAY, &array(STRING, 3, &[text("<s>"), text("a"), text("</s>")].concat())),
            key("tokenizer.ggml.bos_token_id", U32, &0u32.to_le_bytes()),
            key("tokenizer.ggml.eos_token_id", U32, &2u32.to_le_bytes()),
            key("tokenizer.chat_template", STRING, &text("{{ messages }}")),
        ],
        ..File::default()
    };
    add(&mut file, "token_embd.weight", &[8, 3]);
    for layer in 0..2 {
        for (name, dims) in [
            ("attn_norm.weight", &[8][..]),
            ("attn_q.weight", &[8, 8]),
            ("attn_k.weight", &[8, 4]),
            ("attn_v.weight", &[8, 4]),
            ("attn_output.weight", &[8, 8]),
            ("ffn_norm.weight", &[8]),
            ("ffn_gate.weight", &[8, 16]),
            ("ffn_up.weight", &[8, 16]),
            ("ffn_down.weight", &[16, 8]),
        ] {
            add(&mut file, &format!("blk.{layer}.{name}"), dims);
        }
        if bias {
            for (name, width) in [("q", 8), ("k", 4), ("v", 4)] {
                add(&mut file, &format!("blk.{layer}.attn_{name}.bias"), &[width]);
            }
        }
    }
    add(&mut file, "output_norm.weight", &[8]);
    file
}

/// Adds an F32 tensor after the others.
/// `NAME TEXT` of each special token.
fn special_tokens(checkpoint: &Checkpoint) -> Vec<String> {
    let tokens = checkpoint.special_tokens().unwrap();
    tokens.into_iter().map(|token| format!("{} {}", token.name, token.text)).collect()
}

fn add(file: &mut File, name: &str, dims: &[u64]) {
    add_data(file, name, dims, 0, &vec![0; 4 * dims.iter().product::<u64>() as usize]);
}

fn add_data(file: &mut File, name: &str, dims: &[u64], id: u32, data: &[u8]) {
    let offset = file.data.len().next_multiple_of(32);
    file.tensors.push(tensor(name, dims, id, offset as u64));
    file.data.resize(offset, 0);
    file.data.extend(data);
}

/// Writes `bytes` as `name` and opens it.
fn open(name: &str, bytes: &[u8]) -> Result<Checkpoint, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(&path)
}

/// The error text without the temporary folder: that of opening the file, or of asking for its shape.
fn error_text(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    let shape = Checkpoint::open(&path).and_then(|checkpoint| checkpoint.spec().cloned());
    let error = shape.expect_err("this file is wrong").with_advice();
    error.replace(&folder.path().display().to_string(), "DIR")
}

/// The rotary embedding of the first layer.
fn rope(checkpoint: &Checkpoint) -> Rope {
    checkpoint.spec().unwrap().layers[0].mixer.attention().unwrap().rope.clone().expect("the layer has one")
}

#[test]
fn the_shape_of_a_llama() {
    let checkpoint = open("tiny.gguf", &tiny().bytes()).unwrap();
    let spec = checkpoint.spec().unwrap();
    assert_eq!((&spec.arch, spec.layers.len(), spec.hidden, spec.vocab), (&Arch::LLAMA, 2, 8, 3));
    let rope = Rope { theta: 10_000.0, dim: 4, layout: RopeLayout::Interleaved, scaling: None };
    assert!(spec.layers.iter().all(|layer| *layer == Layer::plain(Attention::plain(2, 1, 4, Some(rope.clone())), 16)));
    assert!(spec.tied_embeddings);
    assert_eq!(checkpoint.format(), Format::Gguf);
    assert_eq!(checkpoint.quantisation(), "F32");
    assert_eq!(checkpoint.name(), "Tiny");
    assert_eq!(checkpoint.chat_template().unwrap().unwrap().text, "{{ messages }}");
    assert_eq!(special_tokens(&checkpoint), ["bos_token <s>", "eos_token </s>"]);
    let parameters: usize = checkpoint.tensors().iter().map(|info| info.shape.iter().product::<usize>()).sum();
    assert_eq!(spec.parameters().get(), parameters as u64);
    let down = checkpoint.tensor("blk.1.ffn_down.weight").unwrap();
    assert_eq!((down.info().shape.as_slice(), down.bytes().len()), (&[8, 16][..], 8 * 16 * 4));
    assert_eq!(&down.owner()[down.range()], down.bytes());
}

#[test]
fn qwen2_has_biases_and_the_halves_layout() {
    let checkpoint = open("tiny.gguf", &tiny_of("qwen2", 1e6, true).bytes()).unwrap();
    assert!(checkpoint.spec().unwrap().attentions().all(|attention| attention.qkv_bias));
    assert_eq!(rope(&checkpoint).layout, RopeLayout::Halves);
    let without = error_text(&tiny_of("qwen2", 1e6, false).bytes());
    assert!(without.contains("tensor `blk.0.attn_q.bias`: expected a tensor of 8, found none; "), "{without}");
}

#[test]
fn rope_factors_and_linear_scaling_are_read() {
    let mut file = tiny();
    add_data(&mut file, "rope_freqs.weight", &[2], 0, &[1f32.to_le_bytes(), 8f32.to_le_bytes()].concat());
    let scaling = |file: &File| rope(&open("tiny.gguf", &file.bytes()).unwrap()).scaling;
    assert_eq!(scaling(&file), Some(RopeScaling::Factors(vec![1.0, 8.0])));
    let mut file = tiny();
    file.keys.push(key("llama.rope.scaling.type", STRING, &text("linear")));
    file.keys.push(key("llama.rope.scaling.factor", F32, &4f32.to_le_bytes()));
    assert_eq!(scaling(&file), Some(RopeScaling::Linear { factor: 4.0 }));
}

#[test]
fn wrong_models_are_refused() {
    let changed = |change: &dyn Fn(&mut File)| {
        let mut file = tiny();
        change(&mut file);
        error_text(&file.bytes())
    };
    let without_key =
        |name: &'static str| changed(&move |file| file.keys.retain(|key| !key[8..].starts_with(name.as_bytes())));
    let other_key = |name: &'static str, value: u32| {
        changed(&move |file| {
            file.keys.retain(|key| !key[8..].starts_with(name.as_bytes()));
            file.keys.push(key(name, U32, &value.to_le_bytes()));
        })
    };
    let retyped = |at: usize, entry: Vec<u8>| changed(&move |file| file.tensors[at] = entry.clone());
    let errors = [
        ("architecture", changed(&|file| file.keys[0] = key("general.architecture", STRING, &text("falcon")))),
        ("no architecture", without_key("general.architecture")),
        ("architecture of another type", changed(&|file| file.keys[0] = key("general.architecture", U32, &[0; 4]))),
        ("experts", changed(&|file| file.keys.push(key("llama.expert_count", U32, &8u32.to_le_bytes())))),
        ("no layers", other_key("llama.block_count", 0)),
        ("too many layers", other_key("llama.block_count", u32::MAX)),
        ("one layer too many", other_key("llama.block_count", 3)),
        ("one layer too few", other_key("llama.block_count", 1)),
        ("heads that do not divide", other_key("llama.attention.head_count", 3)),
        ("no heads", other_key("llama.attention.head_count", 0)),
        ("key-value heads that do not divide", other_key("llama.attention.head_count_kv", 0)),
        ("hidden width too large", other_key("llama.embedding_length", 1 << 30)),
        (
            "odd rotary width",
            changed(&|file| file.keys.push(key("llama.rope.dimension_count", U32, &3u32.to_le_bytes()))),
        ),
        (
            "another width of values",
            changed(&|file| file.keys.push(key("llama.attention.value_length", U32, &8u32.to_le_bytes()))),
        ),
        ("no epsilon", without_key("llama.attention.layer_norm_rms_epsilon")),
        ("yarn", changed(&|file| file.keys.push(key("llama.rope.scaling.type", STRING, &text("yarn"))))),
        (
            "base not a number",
            changed(&|file| file.keys[10] = key("llama.rope.freq_base", F32, &f32::NAN.to_le_bytes())),
        ),
        (
            "more tokens than rows",
            changed(&|file| file.keys[11] = key("tokenizer.ggml.tokens", ARRAY, &array(STRING, 4, &[0; 32]))),
        ),
        ("a tensor of another shape", retyped(3, tensor("blk.0.attn_k.weight", &[4, 8], 0, 384))),
        ("an unknown tensor", changed(&|file| add(file, "blk.0.attn_output.bias", &[8]))),
        ("one part of a split file", changed(&|file| file.keys.push(key("split.count", U32, &2u32.to_le_bytes())))),
        ("a vocabulary alone", changed(&|file| file.tensors.clear())),
        ("bad factors", changed(&|file| add(file, "rope_freqs.weight", &[2]))),
        ("too few factors", changed(&|file| add(file, "rope_freqs.weight", &[1]))),
    ];
    let errors: String = errors.iter().map(|(name, text)| format!("{name}\n    {text}\n")).collect();
    insta::assert_snapshot!(errors);
}

/// A valid file of an architecture that is not described is opened as opaque, and states its outline.
#[test]
fn a_model_that_is_not_described_has_an_outline() {
    let mut file = tiny_of("falcon", 1e4, false);
    add(&mut file, "blk.0.attn_qkv.weight", &[8, 8]);
    let checkpoint = open("falcon.gguf", &file.bytes()).unwrap();
    let Description::Opaque(reason) = checkpoint.description() else { panic!("it is not described") };
    assert_eq!(reason.architecture, "falcon");
    let outline = checkpoint.outline();
    assert_eq!((outline.layers, outline.context_length, outline.vocab), (Some(2), Some(64), Some(3)));
    let elements = checkpoint.tensors().iter().map(TensorInfo::elements).sum();
    assert_eq!(outline.parameters, Params(elements));
    assert!(checkpoint.bits_per_weight() > 31.0);
    assert!(WeightTypes::of(&checkpoint).is_err() && registry::missing_window(&checkpoint).is_none());
    // A file without these keys does not state them.
    file.keys.retain(|key| !key[8..].starts_with(b"falcon."));
    file.tensors.remove(0);
    let outline = open("falcon.gguf", &file.bytes()).unwrap().outline();
    assert_eq!((outline.layers, outline.context_length, outline.vocab), (None, None, None));
}

/// A factor of 0 is no scaling, as in llama.cpp, which writes it for models without scaling.
#[test]
fn a_scaling_factor_of_zero_is_no_scaling() {
    for kind in [None, Some("linear")] {
        let mut file = tiny();
        file.keys.push(key("llama.rope.scaling.factor", F32, &0f32.to_le_bytes()));
        file.keys.extend(kind.map(|kind| key("llama.rope.scaling.type", STRING, &text(kind))));
        assert_eq!(rope(&open("tiny.gguf", &file.bytes()).unwrap()).scaling, None);
    }
}

/// Newer converters write one value per layer. Equal ones are the one value.
#[test]
fn values_per_layer_must_be_equal() {
    let with = |value: Vec<u8>| {
        let mut file = tiny();
        file.keys.retain(|key| !key[8..].starts_with(b"llama.attention.head_count_kv"));
        file.keys.push(key("llama.attention.head_count_kv", ARRAY, &value));
        file.bytes()
    };
    let numbers = |values: &[i32]| {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        with(array(5, values.len() as u64, &elements))
    };
    assert_eq!(
        open("tiny.gguf", &numbers(&[1, 1])).unwrap().spec().unwrap().layers[0].mixer.attention().unwrap().kv_heads,
        1
    );
    insta::assert_snapshot!(error_text(&numbers(&[1, 2])), @"DIR/tiny.gguf: architecture `llama` is not modelled: key `llama.attention.head_count_kv`: expected the same value in all layers, 1 as in layer 0, found 2 in layer 1; run it with the engine llama-cpp, which reads the file itself, or take a model that is described");
    insta::assert_snapshot!(error_text(&numbers(&[1])), @"GGUF DIR/tiny.gguf: key `llama.attention.head_count_kv`: expected an integer that is not negative, or an array of 2, one per layer, found an array of 1 I32; the file was made wrongly: take another, or convert the model again with a current llama.cpp");
    insta::assert_snapshot!(error_text(&numbers(&[-1, -1])), @"GGUF DIR/tiny.gguf: key `llama.attention.head_count_kv`: expected an integer that is not negative, found -1 in all layers; the file was made wrongly: take another, or convert the model again with a current llama.cpp");
    insta::assert_snapshot!(error_text(&with(array(7, 2, &[1, 0]))), @"DIR/tiny.gguf: architecture `llama` is not modelled: key `llama.attention.head_count_kv`: expected the same value in all layers, true as in layer 0, found false in layer 1; run it with the engine llama-cpp, which reads the file itself, or take a model that is described");
}

/// Descriptions that cannot be read do not refuse a file; a template that cannot be read does.
#[test]
fn only_needed_texts_must_be_readable() {
    let mut file = tiny();
    file.keys[0] = key("general.architecture", STRING, &text("llama\0"));
    file.keys[1] = key("general.name", STRING, &[&4u64.to_le_bytes()[..], b"caf\xe9"].concat());
    file.keys.push(key("general.readme", STRING, &text(&"r".repeat(3 << 20))));
    let checkpoint = open("own-name.gguf", &file.bytes()).unwrap();
    assert_eq!(checkpoint.name(), "own-name");
    file.keys.retain(|key| !key[8..].starts_with(b"tokenizer.chat_template"));
    file.keys.push(key("tokenizer.chat_template", STRING, &text(&"t".repeat(3 << 20))));
    insta::assert_snapshot!(error_text(&file.bytes()), @"GGUF DIR/tiny.gguf: byte 3146432, key `tokenizer.chat_template`: expected a text of at most 1048576 bytes, found 3145728 bytes; this is a limit of this program, and the file may be valid: take another file of the model");
}

/// Files that are GGUF and no models are named as what they are.
#[test]
fn other_files_are_named() {
    let of = |keys: Vec<Vec<u8>>, tensors: &[&str]| {
        let mut file = File { keys, ..File::default() };
        tensors.iter().for_each(|name| add(&mut file, name, &[8]));
        error_text(&file.bytes())
    };
    let entry = |name: &str, value: &str| key(name, STRING, &text(value));
    let llama = || entry("general.architecture", "llama");
    let errors = [
        ("adapter", of(vec![llama(), entry("general.type", "adapter")], &["blk.0.attn_q.weight.lora_a"])),
        ("adapter without a type", of(vec![llama()], &["a.weight.lora_a", "a.weight.lora_b"])),
        ("importance matrix", of(vec![entry("general.type", "imatrix")], &["blk.0.attn_q.weight.in_sum2"])),
        ("projector", of(vec![entry("general.architecture", "clip")], &["v.patch_embd.weight"])),
        ("projector by its type", of(vec![llama(), entry("general.type", "mmproj")], &["mm.0.weight"])),
        ("control vector", of(vec![entry("general.architecture", "controlvector")], &["direction.1"])),
        ("vocabulary", of(vec![llama(), entry("general.type", "vocab")], &[])),
        ("another type", of(vec![llama(), entry("general.type", "dataset")], &["x"])),
    ];
    let errors: String = errors.iter().map(|(name, text)| format!("{name}\n    {text}\n")).collect();
    insta::assert_snapshot!(errors);
}

/// The tiny model in two parts.
fn split(folder: &Path, number_of_second: u16) -> PathBuf {
    let whole = tiny();
    let position = |number: u16| {
        let count = whole.tensors.len() as i32;
        let number = key("split.no", 2, &number.to_le_bytes());
        [number, key("split.count", 2, &2u16.to_le_bytes()), key("split.tensors.count", 5, &count.to_le_bytes())]
    };
    let first = File { tensors: Vec::new(), data: Vec::new(), ..whole.clone() };
    let path = folder.join("tiny-00001-of-00002.gguf");
    let keys = [first.keys.clone(), position(0).to_vec()].concat();
    std::fs::write(&path, File { keys, ..first }.bytes()).unwrap();
    let second = File { keys: position(number_of_second).to_vec(), ..whole.clone() };
    std::fs::write(folder.join("tiny-00002-of-00002.gguf"), second.bytes()).unwrap();
    path
}

#[test]
fn a_model_in_parts_is_opened_by_its_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = split(folder.path(), 1);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!((checkpoint.files().len(), checkpoint.name()), (2, "Tiny"));
    assert_eq!(checkpoint.tensors().len(), tiny().tensors.len());
    assert_eq!(Checkpoint::open(folder.path()).unwrap().path(), path, "the folder has one model");
    let second = folder.path().join("tiny-00002-of-00002.gguf");
    let shown = |path: &Path| {
        let error = Checkpoint::open(path).unwrap_err().with_advice();
        error.replace(&folder.path().display().to_string(), "DIR")
    };
    let mut errors = vec![shown(&second)];
    std::fs::remove_file(&second).unwrap();
    errors.push(shown(&path));
    split(folder.path(), 2);
    errors.push(shown(&path));
    let renamed = folder.path().join("renamed.gguf");
    std::fs::rename(&path, &renamed).unwrap();
    errors.push(shown(&renamed));
    insta::assert_snapshot!(errors.join("\n"));
}

/// What a folder means, and how one without a model is named.
#[test]
fn folders() {
    let error_of = |names: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, tiny().bytes()).unwrap();
        }
        let shown = match Checkpoint::open(folder.path()) {
            Ok(checkpoint) => format!("opens {}", checkpoint.path().display()),
            Err(error) => error.with_advice(),
        };
        format!("{names:?}\n    {}", shown.replace(&folder.path().display().to_string(), "DIR"))
    };
    let all = [
        error_of(&[]),
        error_of(&["model.gguf", "._model.gguf", "README.md"]),
        error_of(&["model.gguf", "mmproj-model-f16.gguf"]),
        error_of(&["a-Q4_0.gguf", "a-Q8_0.gguf"]),
        error_of(&["README.md", "x.txt"]),
        error_of(&["pytorch_model.bin", "training_args.bin"]),
        error_of(&["model.onnx"]),
        error_of(&["model.gguf.part"]),
        error_of(&["params.json", "consolidated.00.pth"]),
        error_of(&["adapter_config.json", "adapter_model.safetensors"]),
        error_of(&["q4/model.gguf", "q8/model.gguf"]),
        error_of(&["models--acme--tiny/snapshots/1/model.gguf", "models--acme--big/refs/main"]),
        error_of(&["snapshots/1/model.gguf", "blobs/x"]),
        error_of(&["snapshots/1/model.gguf", "snapshots/2/model.gguf", "blobs/x"]),
        error_of(&["refs/main", "blobs/x", "snapshots/.gitkeep"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_folder_of_the_cache_is_its_main_snapshot() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("models--acme--tiny-1b");
    for (commit, name) in [("0001", "old.gguf"), ("0002", "new.gguf")] {
        let blob = root.join("blobs").join(commit);
        let snapshot = root.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(root.join("blobs")).unwrap();
        std::fs::write(&blob, tiny().bytes()).unwrap();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(commit), snapshot.join(name)).unwrap();
    }
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::write(root.join("refs/main"), "0002\n").unwrap();
    let opened = Checkpoint::open(&root).unwrap();
    assert_eq!(opened.path(), root.join("snapshots/0002/new.gguf"));
    std::fs::remove_file(root.join("blobs/0002")).unwrap();
    let error = Checkpoint::open(&root).unwrap_err().with_advice();
    assert!(
        error.contains(
            "new.gguf is not a model that can be read: it is a link to ../../blobs/0002, which does not exist"
        ),
        "{error}"
    );
}

#[test]
fn errors_of_paths() {
    let folder = tempfile::tempdir().unwrap();
    let error_of = |path: &Path| {
        let error = Checkpoint::open(path).expect_err("nothing to open").with_advice();
        error.replace(&folder.path().display().to_string(), "DIR")
    };
    let in_folder = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut all = vec![error_of(&folder.path().join("missing.gguf")), error_of(folder.path())];
    all.push(error_of(&in_folder("empty.gguf", b"")));
    all.push(error_of(&in_folder("page.gguf", b"<html><body>Service Unavailable</body></html>")));
    all.push(error_of(folder.path()));
    all.push(error_of(Path::new("/dev/null")));
    all.push(error_of(&folder.path().join("pages.gguf")));
    all.push(error_of(&folder.path().join("none/x.gguf")));
    all.push(error_of(&in_folder("model.onnx", b"\x08\x07\x12\x07pytorch")));
    all.push(error_of(&in_folder("weights.bin", b"\x01\x02\x03")));
    all.push(error_of(&in_folder("old.ggml", b"lmgg\0\x7d\0\0")));
    all.push(error_of(&in_folder("not-found.gguf", b"Entry not found")));
    all.push(error_of(&in_folder("cut.gguf", &tiny().bytes()[..2000])));
    insta::assert_snapshot!(all.join("\n"));
    let name = open("tiny.gguf", &tiny().bytes()).unwrap().tensor("blk.0.attn_k.wieght").unwrap_err().with_advice();
    assert!(name.contains("did you mean `blk.0.attn_k.weight`?"), "{name}");
}

/// A file with Mistral's shape and name gets its window from the registry; a file with another rotary base does not.
#[test]
fn the_window_of_mistral_comes_from_the_registry() {
    let entry = registry::find("mistral-7b").unwrap();
    // The real shape without weights: a sparse file of the right length.
    let build = |name: &str, theta: f32| {
        let spec = entry.spec();
        let (attention, ffn) = (spec.layers[0].mixer.attention().unwrap(), spec.layers[0].feed_forward.gated().width);
        let number = |name: &str, value: usize| key(&format!("llama.{name}"), U32, &(value as u32).to_le_bytes());
        let mut file = File {
            keys: vec![
                key("general.architecture", STRING, &text("llama")),
                key("general.name", STRING, &text(name)),
                number("block_count", spec.layers.len()),
                number("context_length", spec.context_length),
                number("embedding_length", spec.hidden),
                number("feed_forward_length", ffn),
                number("attention.head_count", attention.heads),
                number("attention.head_count_kv", attention.kv_heads),
                key("llama.attention.layer_norm_rms_epsilon", F32, &1e-5f32.to_le_bytes()),
                key("llama.rope.freq_base", F32, &theta.to_le_bytes()),
            ],
            ..File::default()
        };
        let (hidden, kv, ffn, vocab) = (spec.hidden as u64, attention.kv_width() as u64, ffn as u64, spec.vocab as u64);
        let mut end = 0;
        let mut sparse = |name: String, dims: &[u64]| {
            let float = dims.len() == 1;
            file.tensors.push(tensor(&name, dims, if float { 0 } else { 2 }, end));
            let elements: u64 = dims.iter().product();
            end += (if float { 4 * elements } else { elements / 32 * 18 }).next_multiple_of(32);
        };
        sparse("token_embd.weight".to_owned(), &[hidden, vocab]);
        for layer in 0..spec.layers.len() {
            for (name, dims) in [
                ("attn_norm", &[hidden][..]),
                ("attn_q", &[hidden, hidden]),
                ("attn_k", &[hidden, kv]),
                ("attn_v", &[hidden, kv]),
                ("attn_output", &[hidden, hidden]),
                ("ffn_norm", &[hidden]),
                ("ffn_gate", &[hidden, ffn]),
                ("ffn_up", &[hidden, ffn]),
                ("ffn_down", &[ffn, hidden]),
            ] {
                sparse(format!("blk.{layer}.{name}.weight"), dims);
            }
        }
        sparse("output_norm.weight".to_owned(), &[hidden]);
        sparse("output.weight".to_owned(), &[hidden, vocab]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let header = file.bytes();
        std::fs::write(&path, &header).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(header.len() as u64 + end).unwrap();
        Checkpoint::open(&path).unwrap()
    };
    let first = build("mistralai_mistral-7b-instruct-v0.1", 10_000.0);
    assert_eq!(registry::missing_window(&first), Some(4096));
    assert_eq!(first.spec().unwrap().parameters(), entry.parameters);
    assert_eq!(first.quantisation(), "Q4_0");
    assert_eq!(first.with_window(Some(4096)).spec().unwrap().smallest_window(), Some(4096));
    assert_eq!(registry::missing_window(&build("mistral-7b-instruct-v0.2", 1e6)), None);
    assert_eq!(registry::missing_window(&build("Other", 10_000.0)), None);
}

/// The real default model.
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn smollm2() {
    let path = std::env::var_os("INFEROMETER_SMOLLM2").map(PathBuf::from).expect("INFEROMETER_SMOLLM2 is set");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let entry = registry::find("smollm2").unwrap();
    let mut expected = entry.spec();
    for layer in &mut expected.layers {
        layer.mixer.attention_mut().unwrap().rope.as_mut().unwrap().layout = RopeLayout::Interleaved;
    }
    assert_eq!(checkpoint.spec().unwrap(), &expected);
    assert_eq!(Some(checkpoint.file_bytes()), entry.gguf.bytes);
    assert_eq!(checkpoint.quantisation(), "Q4_1");
    let parameters: usize = checkpoint.tensors().iter().map(|info| info.shape.iter().product::<usize>()).sum();
    assert_eq!(entry.parameters.get(), parameters as u64);
    assert_eq!(checkpoint.tensor("blk.29.ffn_down.weight").unwrap().info().dtype, DType::Q4_1);
    assert!(checkpoint.chat_template().unwrap().unwrap().text.contains("<|im_start|>"));
    assert_eq!(special_tokens(&checkpoint)[..2], ["bos_token <|im_start|>", "eos_token <|im_end|>"]);
}

#[test]
fn the_default_one_of_several_templates_is_used() {
    let template = |name: &str, source: &str| key(&format!("tokenizer.chat_template{name}"), STRING, &text(source));
    let with = |keys: Vec<_>| {
        let mut file = tiny();
        file.keys.retain(|entry| !entry.starts_with(&text("tokenizer.chat_template")));
        file.keys.extend(keys);
        file
    };
    let open = |file: &File| open("templates.gguf", &file.bytes()).unwrap().chat_template();
    let both = open(&with(vec![template(".tool_use", "T"), template("", "D")])).unwrap().unwrap();
    assert_eq!(
        (both.text.as_str(), both.name.as_str(), both.place.as_str()),
        ("D", "default", "tokenizer.chat_template")
    );
    assert_eq!((both.others.as_slice(), both.sha256().len()), (&["tool_use".to_owned()][..], 64));
    let named = open(&with(vec![template(".default", "E"), template(".rag", "R")])).unwrap().unwrap();
    assert_eq!((named.text.as_str(), named.place.as_str()), ("E", "tokenizer.chat_template.default"));
    let error = open(&with(vec![template(".tool_use", "T"), template(".rag", "R")])).unwrap_err().with_advice();
    assert!(error.contains("called `default`") && error.contains("only `tool_use`, `rag`"), "{error}");
    let error = error_text(&with(vec![key("tokenizer.chat_template", U32, &7u32.to_le_bytes())]).bytes());
    assert!(error.contains("tokenizer.chat_template") && error.contains("a text"), "{error}");
    assert_eq!(open(&with(Vec::new())).unwrap(), None);
}

#[test]
fn what_stands_in_for_missing_keys_is_said() {
    let missing = |keys: Vec<_>| {
        let mut file = tiny();
        file.keys.extend(keys);
        let checkpoint = open("missing.gguf", &file.bytes()).unwrap();
        let all = checkpoint.tokenizer_substitutions().into_iter();
        all.map(|substitution| substitution.what).collect::<Vec<_>>().join(", ")
    };
    let model = |name: &str| key("tokenizer.ggml.model", STRING, &text(name));
    let types = key("tokenizer.ggml.token_type", ARRAY, &array(U32, 3, &[0; 12]));
    let token_types = "token types (tokenizer.ggml.token_type)";
    assert_eq!(missing(vec![model("gpt2")]), format!("pre-tokenizer (tokenizer.ggml.pre), {token_types}"));
    assert_eq!(missing(vec![model("llama")]), format!("token scores (tokenizer.ggml.scores), {token_types}"));
    let pre = key("tokenizer.ggml.pre", STRING, &text("qwen2"));
    assert_eq!(missing(vec![model("gpt2"), pre, types]), "");
}
