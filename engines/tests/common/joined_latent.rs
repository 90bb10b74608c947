//! Files of DeepSeek's models as older conversions wrote them: keys and values of latent attention in one matrix, and the widths of heads
//! instead of those of the latent.

use std::path::Path;

use models::blocks::{self, dequantise};
use models::{Checkpoint, DType, LatentAttention};

/// A tensor of the new file.
struct New {
    name: String,
    dtype: DType,
    /// Row-major.
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes the model of a GGUF file with two matrices to `path` with one, in this type.
pub(crate) fn write(divided: &Checkpoint, path: &Path, dtype: DType) {
    let spec = divided.spec().expect("it is described");
    let source = std::fs::read(divided.path()).expect("it is readable");
    let of_layer = |layer: &str| {
        let layer: usize = layer.parse().expect("a number");
        spec.layers[layer].mixer.latent_attention().expect("it has latent attention")
    };
    let mut tensors = Vec::new();
    for info in divided.tensors() {
        let mut parts = info.name.split('.');
        let (_, layer, part) = (parts.next(), parts.next(), parts.next());
        match part {
            Some("attn_v_b") => {}
            Some("attn_k_b") => {
                let layer = layer.expect("it is of a layer");
                tensors.push(joined(divided, layer, of_layer(layer), dtype));
            }
            _ => {
                let bytes = divided.tensor(&info.name).expect("it is there").bytes().to_vec();
                tensors.push(New { name: info.name.clone(), dtype: info.dtype, shape: info.shape.clone(), bytes });
            }
        }
    }
    let attention = of_layer("0");
    let mut out = keys(&source, &divided.tensors()[0].name);
    for (key, value) in [
        ("head_count_kv", attention.heads),
        ("key_length", attention.query_dim()),
        ("value_length", attention.value_dim),
        ("key_length_mla", 0),
        ("value_length_mla", 0),
    ] {
        set(&mut out, &format!("deepseek2.attention.{key}"), value);
    }
    out[8..16].copy_from_slice(&(tensors.len() as u64).to_le_bytes());
    let mut data = Vec::new();
    for New { name, dtype, shape, bytes } in tensors {
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(dtype.ggml_id().to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    std::fs::write(path, out).expect("it can be written");
}

/// Of each head the rows of the keys, which the divided matrix has as columns, then those of the values.
fn joined(divided: &Checkpoint, layer: &str, attention: &LatentAttention, dtype: DType) -> New {
    let &LatentAttention { heads, rank, key_dim, value_dim, .. } = attention;
    let numbers = |part: &str| {
        let view = divided.tensor(&format!("blk.{layer}.{part}.weight")).expect("it is there");
        dequantise(view.info().dtype, view.bytes()).expect("it has values")
    };
    let (keys, values) = (numbers("attn_k_b"), numbers("attn_v_b"));
    let mut rows = Vec::new();
    for head in 0..heads {
        let keys = &keys[head * rank * key_dim..][..rank * key_dim];
        for key in 0..key_dim {
            rows.extend((0..rank).map(|at| keys[at * key_dim + key]));
        }
        rows.extend(&values[head * value_dim * rank..][..value_dim * rank]);
    }
    let mut bytes = Vec::new();
    assert!(blocks::quantise(dtype, &rows, &mut bytes), "it can be written in this type");
    let name = format!("blk.{layer}.attn_kv_b.weight");
    New { name, dtype, shape: vec![heads * (key_dim + value_dim), rank], bytes }
}

/// The file up to its table of tensors, which begins with this name.
fn keys(file: &[u8], first: &str) -> Vec<u8> {
    let entry = [&(first.len() as u64).to_le_bytes(), first.as_bytes()].concat();
    let at = file.windows(entry.len()).position(|window| window == entry).expect("the table has it");
    file[..at].to_vec()
}

/// Sets a key of type U32.
fn set(file: &mut [u8], key: &str, value: usize) {
    let entry = [&(key.len() as u64).to_le_bytes(), key.as_bytes(), &4u32.to_le_bytes()].concat();
    let at = file.windows(entry.len()).position(|window| window == entry).expect("it has the key") + entry.len();
    file[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
}
