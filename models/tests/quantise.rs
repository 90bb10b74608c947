//! Quantised files: names, metadata, weights and provenance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use models::Quiet;
use models::blocks::dequantise;
use models::quantise::{self, Quantised, Request, Target};
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Arch, Attention, Checkpoint, DType, Layer, Rope, RopeLayout, RopeScaling, Spec, digest};
use serde_json::json;

fn spec() -> Spec {
    Spec {
        arch: Arch::LLAMA,
        hidden: 256,
        vocab: 320,
        context_length: 512,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        tied_embeddings: false,
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![
            Layer::plain(
                Attention::plain(
                    4,
                    2,
                    64,
                    Some(Rope { theta: 10_000.0, dim: 64, layout: RopeLayout::Interleaved, scaling: None })
                ),
                512
            );
            2
        ],
    }
}

fn synthetic(folder: &Path, spec: &Spec, quant: Quant) -> PathBuf {
    let path = folder.join(format!("{}.gguf", quant.name()));
    let recipe = Recipe { name: "tiny", spec, quant, seed: 3, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, &path, &Quiet).unwrap();
    path
}

fn quantise(source: &Path, target: &str, out: &Path) -> Result<Quantised, models::Error> {
    with_header(source, target, None, out)
}

fn with_header(source: &Path, target: &str, header: Option<&Path>, out: &Path) -> Result<Quantised, models::Error> {
    let checkpoint = Checkpoint::open(source)?;
    let sha256 = digest::sha256(checkpoint.files(), None, &Quiet)?;
    let target: Target = target.parse()?;
    quantise::quantise(&Request { checkpoint: &checkpoint, sha256: &sha256, target, header }, out, &Quiet)
}

fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let view = checkpoint.tensor(name).unwrap();
    dequantise(view.info().dtype, view.bytes()).unwrap()
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_type_is_written_from_every_synthetic_type() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    for quant in Quant::ALL {
        let source = synthetic(folder.path(), &spec(), quant);
        let before = Checkpoint::open(&source).unwrap();
        for target in Target::ALL {
            let made = quantise(&source, target.name(), &out).unwrap();
            let after = Checkpoint::open(&out).unwrap();
            assert_eq!(after.file_bytes(), made.file_bytes, "{quant} to {target}");
            assert_eq!(after.quantisation(), target.name());
            assert_eq!(after.spec().unwrap(), before.spec().unwrap());
            assert!((after.bits_per_weight() - made.bits_per_weight).abs() < 1e-9);
            assert_eq!(after.provenance().unwrap().as_ref(), Some(&made.provenance));
            assert_eq!(made.provenance.source_quantisation, quant.name());
            let names = |checkpoint: &Checkpoint| {
                checkpoint.tensors().iter().map(|info| (info.name.clone(), info.shape.clone())).collect::<Vec<_>>()
            };
            assert_eq!(names(&before), names(&after));
            for info in after.tensors() {
                let expected = match info.shape.len() {
                    1 => DType::F32,
                    _ if info.name == "output.weight" && target.bulk().is_quantised() => DType::Q8_0,
                    _ => target.bulk(),
                };
                assert_eq!(info.dtype, expected, "{quant} to {target}: {}", info.name);
            }
        }
    }
}

#[test]
fn the_error_in_the_header_is_that_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let source = synthetic(folder.path(), &spec(), Quant::F16);
    // Bounds for approximately normal numbers: the quantisation steps of each type relative to their root mean square.
    for (target, least, most) in [
        ("f32", 0.0, 0.0),
        ("f16", 0.0, 0.0),
        ("bf16", 1e-4, 0.004),
        ("q8_0", 0.001, 0.01),
        ("q5_1", 0.01, 0.06),
        ("q5_0", 0.01, 0.07),
        ("q4_1", 0.03, 0.11),
        ("q4_0", 0.03, 0.12),
    ] {
        let made = quantise(&source, target, &out).unwrap();
        let error = f64::from(made.provenance.error);
        assert!((least..=most).contains(&error), "{target}: {error}");
        // The same error, computed from the files.
        let (before, after) = (Checkpoint::open(&source).unwrap(), Checkpoint::open(&out).unwrap());
        let (mut differences, mut weights) = (0.0, 0.0);
        for info in after.tensors().iter().filter(|info| info.shape.len() == 2) {
            for (old, new) in numbers(&before, &info.name).iter().zip(numbers(&after, &info.name)) {
                differences += (f64::from(*old) - f64::from(new)).powi(2);
                weights += f64::from(*old).powi(2);
            }
        }
        let computed = f64::sqrt(differences / weights);
        assert!((error - computed).abs() <= 1e-6 * computed, "{target}: {error} is not {computed}");
    }
}

#[test]
fn the_same_type_copies_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (synthetic(folder.path(), &spec(), Quant::Q8_0), folder.path().join("out.gguf"));
    let made = quantise(&source, "q8_0", &out).unwrap();
    assert_eq!((made.changed, made.provenance.error), (0, 0.0));
    let (before, after) = (Checkpoint::open(&source).unwrap(), Checkpoint::open(&out).unwrap());
    for info in before.tensors() {
        assert!(
            before.tensor(&info.name).unwrap().bytes() == after.tensor(&info.name).unwrap().bytes(),
            "{}",
            info.name
        );
    }
}

#[test]
fn the_file_does_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let source = synthetic(folder.path(), &spec(), Quant::Q4_K_M);
    let made = |threads: usize| {
        let out = folder.path().join(format!("{threads}.gguf"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| quantise(&source, "q5_1", &out)).unwrap();
        std::fs::read(out).unwrap()
    };
    assert!(made(1) == made(3));
}

#[test]
fn metadata_is_kept_except_for_the_type() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (synthetic(folder.path(), &spec(), Quant::Q4_0), folder.path().join("out.gguf"));
    quantise(&source, "bf16", &out).unwrap();
    let of = |path: &Path| models::gguf::File::open(path).unwrap().header.metadata;
    let (before, after) = (of(&source), of(&out));
    for (key, value) in before.iter().filter(|(key, _)| *key != "general.file_type") {
        assert_eq!(after.get(key).unwrap(), Some(value), "{key}");
    }
    assert_eq!(after.count("general.file_type").unwrap(), Some(32));
    let new: Vec<&str> = after.iter().map(|(key, _)| key).filter(|key| !before.contains(key)).collect();
    assert_eq!(new, [quantise::SOURCE_SHA256_KEY, quantise::SOURCE_QUANTISATION_KEY, quantise::ERROR_KEY]);
}

#[test]
fn repeated_quantisation_keeps_the_original_and_names_the_last_source() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, three] = ["1.gguf", "2.gguf", "3.gguf"].map(|name| folder.path().join(name));
    let source = synthetic(folder.path(), &spec(), Quant::F16);
    let sha256 = |path: &PathBuf| digest::sha256(std::slice::from_ref(path), None, &Quiet).unwrap();
    let first = quantise(&source, "q8_0", &one).unwrap().provenance;
    assert_eq!((first.source_sha256.as_str(), &first.given), (sha256(&source).as_str(), &None));
    let second = quantise(&one, "q4_1", &two).unwrap().provenance;
    let third = quantise(&two, "q8_0", &three).unwrap().provenance;
    for (chained, before, from) in [(&second, &first, &one), (&third, &second, &two)] {
        assert_eq!((&chained.source_sha256, chained.source_quantisation.as_str()), (&first.source_sha256, "F16"));
        let given = chained.given.as_ref().unwrap();
        assert_eq!((given.sha256.as_str(), given.error), (sha256(from).as_str(), before.error));
    }
    assert_eq!(third.given.as_ref().unwrap().quantisation, "Q4_1");
    assert_eq!(Checkpoint::open(&three).unwrap().provenance().unwrap(), Some(third));
    assert_eq!(Checkpoint::open(&source).unwrap().provenance().unwrap(), None);
}

#[test]
fn tied_embeddings_and_rows_that_do_not_fill_blocks_get_other_types() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let rope = Rope { theta: 10_000.0, dim: 40, layout: RopeLayout::Interleaved, scaling: None };
    let layers = vec![Layer::plain(Attention::plain(4, 4, 40, Some(rope)), 200); 2];
    let spec = Spec { hidden: 160, tied_embeddings: true, layers, ..spec() };
    quantise(&synthetic(folder.path(), &spec, Quant::F16), "q4_0", &out).unwrap();
    let after = Checkpoint::open(&out).unwrap();
    let of = |name: &str| after.tensor(name).unwrap().info().dtype;
    assert_eq!(of("token_embd.weight"), DType::Q8_0, "it computes the logits");
    assert_eq!(of("blk.0.attn_q.weight"), DType::Q4_0);
    assert_eq!(of("blk.0.ffn_down.weight"), DType::F16, "rows of 200 are not a multiple of 32");
}

/// A llama of one layer in the Hugging Face layout: hidden 64, ffn 128, 2 heads of 32, 2 key-value heads, 320 tokens, tied, F32.
/// Element `i` of a matrix is `i / 1024`.
fn folder_of(scaling: &serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true, "rope_scaling": scaling,
    });
    let shapes: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[320, 64]),
        ("model.norm.weight", &[64]),
        ("model.layers.0.input_layernorm.weight", &[64]),
        ("model.layers.0.post_attention_layernorm.weight", &[64]),
        ("model.layers.0.self_attn.q_proj.weight", &[64, 64]),
        ("model.layers.0.self_attn.k_proj.weight", &[64, 64]),
        ("model.layers.0.self_attn.v_proj.weight", &[64, 64]),
        ("model.layers.0.self_attn.o_proj.weight", &[64, 64]),
        ("model.layers.0.mlp.gate_proj.weight", &[128, 64]),
        ("model.layers.0.mlp.up_proj.weight", &[128, 64]),
        ("model.layers.0.mlp.down_proj.weight", &[64, 128]),
    ];
    let (mut table, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes {
        let start = data.len();
        let elements: usize = shape.iter().product();
        data.extend((0..elements).flat_map(|i| (i as f32 / 1024.0).to_le_bytes()));
        table.insert(name.to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = serde_json::Value::Object(table).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn a_folder_is_reordered_for_gguf() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    });
    let (folder, place) = (folder_of(&scaling), tempfile::tempdir().unwrap());
    let out = place.path().join("out.gguf");
    let header = synthetic(place.path(), &spec(), Quant::Q8_0);
    let made = with_header(folder.path(), "f32", Some(&header), &out).unwrap();
    assert_eq!((made.provenance.error, made.provenance.source_quantisation.as_str()), (0.0, "F32"));
    let (before, after) = (Checkpoint::open(folder.path()).unwrap(), Checkpoint::open(&out).unwrap());
    let shape = after.spec().unwrap();
    assert_eq!((shape.layers.len(), shape.hidden, shape.vocab), (1, 64, 320));
    assert_eq!(shape.layers[0].feed_forward.gated().width, 128);
    let rope = |spec: &Spec| spec.layers[0].mixer.attention().unwrap().rope.clone().unwrap();
    assert_eq!(rope(shape).layout, RopeLayout::Interleaved);
    assert!(matches!(rope(shape).scaling, Some(RopeScaling::Factors(_))));
    for (read, expected) in
        rope(shape).inverse_frequencies(0).iter().zip(rope(before.spec().unwrap()).inverse_frequencies(0))
    {
        assert!((read / expected - 1.0).abs() < 1e-5, "{read} {expected}");
    }
    // Row 1 of q is row 16 of the folder (half a head of 32 later), row 2 is row 1, row 33 is row 48.
    let q = numbers(&after, "blk.0.attn_q.weight");
    for (row, source) in [(0, 0), (1, 16), (2, 1), (33, 48), (63, 63)] {
        assert!((q[row * 64] * 1024.0 - (source * 64) as f32).abs() < 1e-3, "row {row}: {}", q[row * 64]);
    }
    for name in ["blk.0.attn_v.weight", "blk.0.ffn_down.weight", "output_norm.weight", "token_embd.weight"] {
        assert_eq!(numbers(&before, name), numbers(&after, name), "{name}");
    }
    assert_eq!(after.tokenizer().unwrap().vocab_size(), 320);
    let error = with_header(folder.path(), "f32", None, &out).unwrap_err().with_advice();
    insta::assert_snapshot!(error.replace(&folder.path().display().to_string(), "DIR"), @"quantising DIR: tokenizer: expected a GGUF file with this model's tokenizer, found a folder, whose tokenizer.json lacks settings that a GGUF file needs; give any GGUF file of the same model for the tokenizer, or convert the folder with llama.cpp's convert_hf_to_gguf.py");
}

#[test]
fn errors_leave_no_file() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = synthetic(folder.path(), &spec(), Quant::F16);
    let out = place.path().join("out.gguf");
    let shown = |result: Result<Quantised, models::Error>| {
        let text = result.unwrap_err().with_advice();
        text.replace(&folder.path().display().to_string(), "DIR").replace(&place.path().display().to_string(), "OUT")
    };
    // The source cannot be overwritten, not even by another name.
    std::os::unix::fs::symlink(&source, folder.path().join("link.gguf")).unwrap();
    let same = shown(quantise(&source, "q8_0", &folder.path().join("link.gguf")));
    // Half of the file.
    let bytes = std::fs::read(&source).unwrap();
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let half = shown(quantise(&cut, "q8_0", &out));
    // A weight that is not a number, in the middle of the file.
    let view = |name: &str| Checkpoint::open(&source).unwrap().tensor(name).unwrap().range();
    let at = view("blk.1.attn_q.weight").start + 2 * (3 * 256 + 5);
    let mut damaged = bytes.clone();
    damaged[at..at + 2].copy_from_slice(&0x7E00u16.to_le_bytes());
    let nan = folder.path().join("nan.gguf");
    std::fs::write(&nan, &damaged).unwrap();
    let nan = shown(quantise(&nan, "q8_0", &out));
    // A number outside the range of F16.
    let wide = folder.path().join("wide.gguf");
    quantise(&source, "f32", &wide).unwrap();
    let mut large = std::fs::read(&wide).unwrap();
    let at = Checkpoint::open(&wide).unwrap().tensor("blk.0.ffn_up.weight").unwrap().range().start;
    large[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&wide, &large).unwrap();
    let large = shown(quantise(&wide, "f16", &out));
    let header = shown(with_header(&source, "q8_0", Some(&source), &out));
    let nowhere = shown(quantise(&source, "q8_0", &place.path().join("none/out.gguf")));
    insta::assert_snapshot!([same, half, nan, large, header, nowhere].join("\n"), @"
    quantising DIR/link.gguf: output: expected another file than the source, found the source; choose another output file
    GGUF DIR/cut.gguf: byte 7222, tensor `blk.0.ffn_down.weight`: expected data inside the file of 1349984 bytes, found 262144 bytes at 7872 + 1083392; the file is incomplete or damaged: fetch it again
    quantising DIR/nan.gguf: tensor `blk.1.attn_q.weight`, row 3, column 5: expected a finite number, found NaN; the weights are not usable: compare the SHA-256 of the file with that at its source
    quantising DIR/wide.gguf: tensor `blk.0.ffn_up.weight`, row 0, column 0: expected a number in the range of F16, found 1000000; choose bf16 or f32, which have a larger range
    quantising DIR/F16.gguf: tokenizer: expected no other GGUF file for the tokenizer, since the source contains one, found one; quantise without a file for the tokenizer
    cannot create OUT/none/out.gguf: No such file or directory (os error 2); check the path
    ");
    assert_eq!(files_in(place.path()), [""; 0]);
    assert!(bytes == std::fs::read(&source).unwrap());
}

#[test]
fn damaged_provenance_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (synthetic(folder.path(), &spec(), Quant::F16), folder.path().join("out.gguf"));
    let made = quantise(&source, "q8_0", &out).unwrap();
    let mut bytes = std::fs::read(&out).unwrap();
    let digest = made.provenance.source_sha256.as_bytes();
    let at = bytes.windows(64).position(|window| window == digest).unwrap();
    bytes[at..at + 7].copy_from_slice(b"unknown");
    std::fs::write(&out, bytes).unwrap();
    let error = Checkpoint::open(&out).unwrap().provenance().unwrap_err().to_string();
    assert!(error.contains("inferometer.source.sha256") && error.contains("64 hexadecimal digits"), "{error}");
}

/// A matrix that MLX quantised: its module, rows, columns, bits and group.
type MlxMatrix = (&'static str, usize, usize, usize, usize);

const MLX_MATRICES: [MlxMatrix; 7] = [
    ("model.embed_tokens", 320, 64, 8, 64),
    ("model.layers.0.self_attn.q_proj", 64, 64, 4, 64),
    ("model.layers.0.self_attn.k_proj", 64, 64, 4, 64),
    ("model.layers.0.self_attn.v_proj", 64, 64, 3, 32),
    ("model.layers.0.self_attn.o_proj", 64, 64, 5, 32),
    ("model.layers.0.mlp.up_proj", 128, 64, 2, 64),
    ("model.layers.0.mlp.down_proj", 64, 128, 6, 32),
];

/// The words, scales and biases of a matrix, as bytes: random bits, and numbers that BF16 has exactly.
fn mlx_parts(&(_, rows, columns, bits, group): &MlxMatrix, seed: u64) -> [Vec<u8>; 3] {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let words = (0..rows * columns * bits / 8).map(|_| next()).collect();
    // The upper half of an F32 is a BF16.
    let mut numbers = |step: f32| -> Vec<u8> {
        let count = rows * columns / group;
        (0..count).flat_map(|_| (step * (f32::from(next() % 16) - 7.0)).to_le_bytes()[2..].to_vec()).collect()
    };
    [words, numbers(0.125), numbers(0.5)]
}

/// Element `column` of row `row`: the bits of a row follow one another, lowest first, and a group has one scale and one bias.
fn mlx_value(&(_, _, columns, bits, group): &MlxMatrix, parts: &[Vec<u8>; 3], row: usize, column: usize) -> f32 {
    let [words, scales, biases] = parts;
    let first = (row * columns + column) * bits;
    let bit_at = |at: usize| u32::from(words[at / 8] >> (at % 8) & 1);
    let quant: u32 = (0..bits).map(|bit| bit_at(first + bit) << bit).sum();
    let of_group = |numbers: &[u8]| {
        let at = 2 * (row * (columns / group) + column / group);
        f32::from_le_bytes([0, 0, numbers[at], numbers[at + 1]])
    };
    of_group(scales) * quant as f32 + of_group(biases)
}

/// The forms of config.json: one for all, exceptions in bits, in groups or in both, and a module that is not quantised.
#[test]
fn bits_of_mlx_per_module_give_the_values_of_the_formula() {
    let (folder, place) = (folder_of(&json!(null)), tempfile::tempdir().unwrap());
    let config_path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&config_path).unwrap()).unwrap();
    config["quantization"] = json!({
        "group_size": 64, "bits": 4,
        "model.embed_tokens": {"bits": 8},
        "model.layers.0.self_attn.v_proj": {"group_size": 32, "bits": 3},
        "model.layers.0.self_attn.o_proj": {"group_size": 32, "bits": 5},
        "model.layers.0.mlp.up_proj": {"bits": 2, "mode": "affine"},
        "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 6},
        "model.layers.0.mlp.gate_proj": false,
    });
    std::fs::write(&config_path, config.to_string()).unwrap();
    // The vectors and the matrix that is not quantised stay as they are in the folder.
    let weights = folder.path().join("model.safetensors");
    let plain = std::fs::read(&weights).unwrap();
    let (length, rest) = plain.split_first_chunk::<8>().unwrap();
    let (header, floats) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let old: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    let (mut table, mut data) = (serde_json::Map::new(), Vec::new());
    let mut add = |name: String, dtype: &str, shape: serde_json::Value, bytes: &[u8]| {
        let start = data.len();
        data.extend(bytes);
        table.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    };
    for (name, entry) in &old {
        if !MLX_MATRICES.iter().any(|(module, ..)| name.strip_suffix(".weight") == Some(module)) {
            let at = |end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
            add(name.clone(), "F32", entry["shape"].clone(), &floats[at(0)..at(1)]);
        }
    }
    let parts: Vec<[Vec<u8>; 3]> = (1..).zip(&MLX_MATRICES).map(|(seed, matrix)| mlx_parts(matrix, seed)).collect();
    for ((module, rows, columns, bits, group), [words, scales, biases]) in MLX_MATRICES.iter().zip(&parts) {
        add(format!("{module}.weight"), "U32", json!([rows, columns * bits / 32]), words);
        add(format!("{module}.scales"), "BF16", json!([rows, columns / group]), scales);
        add(format!("{module}.biases"), "BF16", json!([rows, columns / group]), biases);
    }
    let header = serde_json::Value::Object(table).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(&weights, bytes).unwrap();

    let (out, tokenizer) = (place.path().join("out.gguf"), synthetic(place.path(), &spec(), Quant::Q8_0));
    with_header(folder.path(), "f32", Some(&tokenizer), &out).unwrap();
    let after = Checkpoint::open(&out).unwrap();
    for (at, name) in
        [(0, "token_embd"), (3, "blk.0.attn_v"), (4, "blk.0.attn_output"), (5, "blk.0.ffn_up"), (6, "blk.0.ffn_down")]
    {
        let (matrix, found) = (&MLX_MATRICES[at], numbers(&after, &format!("{name}.weight")));
        let (_, rows, columns, ..) = *matrix;
        for (place, found) in found.iter().enumerate() {
            let expected = mlx_value(matrix, &parts[at], place / columns, place % columns);
            assert_eq!(found.to_bits(), expected.to_bits(), "{name}, element {place}: {found}, not {expected}");
        }
        assert_eq!(found.len(), rows * columns);
    }
    let gate = numbers(&after, "blk.0.ffn_gate.weight");
    assert!((0u16..).zip(&gate).all(|(at, found)| found.to_bits() == (f32::from(at) / 1024.0).to_bits()));
}
