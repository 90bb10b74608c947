//! Folders that MLX quantised: packed words, scales and biases in separate tensors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use models::cost::WeightTypes;
use models::{Bytes, Checkpoint, DType};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tensor: name, type, shape.
type Tensor = (String, &'static str, Vec<usize>);

/// A llama of one layer: hidden 64, ffn 128, 2 heads of 32, 1 key-value head, 8 tokens, tied.
fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 8,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true,
        "quantization": {"group_size": 64, "bits": 4, "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 6}},
        "quantization_config": {"group_size": 64, "bits": 4},
    })
}

fn tensors() -> Vec<Tensor> {
    let mut all = vec![("model.norm.weight".to_owned(), "BF16", vec![64])];
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        all.push((format!("model.layers.0.{norm}.weight"), "BF16", vec![64]));
    }
    for (module, rows, columns, bits, group) in [
        ("model.embed_tokens", 8, 64, 4, 64),
        ("model.layers.0.self_attn.q_proj", 64, 64, 4, 64),
        ("model.layers.0.self_attn.k_proj", 32, 64, 4, 64),
        ("model.layers.0.self_attn.v_proj", 32, 64, 4, 64),
        ("model.layers.0.self_attn.o_proj", 64, 64, 4, 64),
        ("model.layers.0.mlp.gate_proj", 128, 64, 4, 64),
        ("model.layers.0.mlp.up_proj", 128, 64, 4, 64),
        ("model.layers.0.mlp.down_proj", 64, 128, 6, 32),
    ] {
        all.push((format!("{module}.weight"), "U32", vec![rows, columns * bits / 32]));
        all.push((format!("{module}.scales"), "BF16", vec![rows, columns / group]));
        all.push((format!("{module}.biases"), "BF16", vec![rows, columns / group]));
    }
    all
}

fn folder(config: &Value, tensors: &[Tensor]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (at, (name, dtype, shape)) in tensors.iter().enumerate() {
        let (start, size) = (
            data.len(),
            match *dtype {
                "BF16" => 2,
                _ => 4,
            },
        );
        data.resize(start + size * shape.iter().product::<usize>(), at as u8);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn error_text(tensors: &[Tensor]) -> String {
    let folder = folder(&config(), tensors);
    let error = Checkpoint::open(folder.path()).expect_err("this folder is wrong").with_advice();
    error.replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn matrices_are_read_with_their_scales_and_biases() {
    let folder = folder(&config(), &tensors());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensor = |name: &str| checkpoint.tensor(name).unwrap();
    let q = tensor("blk.0.attn_q.weight");
    assert_eq!(
        (q.info().dtype, q.info().shape.as_slice(), q.info().bytes),
        (DType::MLX4_64, &[64, 64][..], Bytes(64 * 32))
    );
    assert_eq!(tensor("blk.0.attn_q.scales").info().shape, [64, 1]);
    assert_eq!(tensor("token_embd.biases").info().dtype, DType::BF16);
    let down = tensor("blk.0.ffn_down.weight");
    assert_eq!((down.info().dtype, down.info().shape.as_slice()), (DType::MLX6_32, &[64, 128][..]));
    assert_eq!(tensor("blk.0.ffn_down.biases").info().shape, [64, 4]);
    assert_eq!(checkpoint.quantisation(), "MLX4_64");
    // The bytes of a matrix in the cost model are those on disk: words, scales and biases.
    let all: Bytes = checkpoint.tensors().iter().map(|info| info.bytes).sum();
    assert_eq!(
        all,
        checkpoint
            .tensors()
            .iter()
            .filter(|info| info.name.ends_with("weight"))
            .map(|info| {
                info.dtype.row_bytes(info.shape[info.shape.len() - 1])
                    * info.shape[..info.shape.len() - 1].iter().product::<usize>() as u64
            })
            .sum()
    );
    assert_ne!(WeightTypes::of(&checkpoint).unwrap(), WeightTypes::uniform(checkpoint.spec().unwrap(), DType::MLX4_64));
}

#[test]
fn inconsistent_tensors_are_refused() {
    let changed = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut tensors = tensors();
        change(&mut tensors);
        error_text(&tensors)
    };
    let at = |tensors: &[Tensor], name: &str| tensors.iter().position(|tensor| tensor.0.ends_with(name)).unwrap();
    let errors = [
        changed(&|all| drop(all.remove(at(all, "q_proj.scales")))),
        changed(&|all| {
            let at = at(all, "q_proj.scales");
            all[at].2 = vec![64, 2];
        }),
        changed(&|all| {
            let at = at(all, "q_proj.scales");
            all[at].1 = "F32";
        }),
        changed(&|all| {
            let at = at(all, "up_proj.weight");
            all[at].2 = vec![128, 16];
        }),
        changed(&|all| {
            let at = at(all, "model.norm.weight");
            all[at].1 = "U32";
        }),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
