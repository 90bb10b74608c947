//! The matrix of keys and values of latent attention in safetensors folders: rows of keys and of values of each head in turn. The
//! description has two tensors, of which that of the keys is transposed.

use std::path::Path;

use super::fused_experts::Raw;
use super::parts::{Place, PlacedTensor};
use super::rearranged::{Arrangement, Stored};
use crate::error::{Cause, Error, Mismatch, printable};
use crate::spec::{LatentAttention, Spec};
use crate::tensor::TensorInfo;
use crate::units::Bytes;

/// The layer of a tensor with this name; `None` for every other name.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
    let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    (rest == "self_attn.kv_b_proj.weight").then_some(number)
}

/// The tensors of the description in those of the folder, each with its layer.
pub(super) fn described(folder: &Path, spec: &Spec, all: &[(usize, Raw)]) -> Result<Vec<PlacedTensor>, Error> {
    let mut tensors = Vec::with_capacity(2 * all.len());
    for (layer, raw) in all {
        let mismatch = |expected: String, found: String| {
            let place = format!("tensor `{}`", printable(&raw.name));
            Err(Error::Safetensors(Mismatch::at(folder, place, expected, found, Cause::OfDifferentModels)))
        };
        let Some(attention) = spec.layers.get(*layer).and_then(|layer| layer.mixer.latent_attention()) else {
            return mismatch("no latent attention in this layer".to_owned(), "this name".to_owned());
        };
        let &LatentAttention { heads, rank, key_dim, value_dim, .. } = attention;
        let expected = [heads * (key_dim + value_dim), rank];
        let Some(dtype) = raw.dtype.filter(|_| raw.shape == expected) else {
            let found = format!("{:?} of {}", raw.shape, raw.dtype.map_or("U8", |dtype| dtype.name()));
            return mismatch(format!("{expected:?} of F32, F16 or BF16"), found);
        };
        let element = dtype.block_bytes();
        for (part, outputs, inputs, first, transposed) in
            [("attn_k_b", rank, key_dim, 0, true), ("attn_v_b", value_dim, rank, key_dim, false)]
        {
            let info = TensorInfo {
                name: format!("blk.{layer}.{part}.weight"),
                dtype,
                bytes: Bytes(dtype.row_bytes(inputs).get() * (heads * outputs) as u64),
                shape: vec![heads, outputs, inputs],
            };
            let stored = Stored::RowsOfHeads { element, rows: key_dim + value_dim, transposed };
            let arrangement = Arrangement { experts: heads, outputs, inputs, first, step: 1, stored };
            tensors.push((info, Place { map: raw.map, range: raw.range.clone(), arrangement: Some(arrangement) }));
        }
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_joined_matrix() {
        assert_eq!(layer_of("model.layers.12.self_attn.kv_b_proj.weight"), Some(12));
        assert_eq!(layer_of("layers.0.self_attn.kv_b_proj.weight"), Some(0));
        for other in ["model.layers.07.self_attn.kv_b_proj.weight", "model.layers.7.self_attn.kv_b_proj.bias", "x"] {
            assert_eq!(layer_of(other), None, "{other}");
        }
    }
}
