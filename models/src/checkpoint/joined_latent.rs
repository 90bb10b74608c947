//! The matrix of keys and values of latent attention in safetensors folders and in GGUF files of older conversions: rows of keys and of
//! values of each head in turn. The description has two tensors, of which that of the keys is transposed.

use std::collections::HashSet;
use std::path::Path;

use super::fused_experts::Raw;
use super::parts::{Place, PlacedTensor};
use super::rearranged::{Arrangement, Stored};
use crate::dtype::DType;
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

/// The layer of the tensor with this name in a GGUF file; `None` for every other name.
fn layer_of_gguf(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.strip_suffix(JOINED)?.parse().ok()
}

/// What follows the number of the layer in the name of the tensor of GGUF files.
const JOINED: &str = ".attn_kv_b.weight";
/// The two parts in the description.
const KEYS: &str = "attn_k_b";
const VALUES: &str = "attn_v_b";

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
        let expected = joined_shape(attention);
        let Some(dtype) = raw.dtype.filter(|_| raw.shape == expected) else {
            let found = format!("{:?} of {}", raw.shape, raw.dtype.map_or("U8", |dtype| dtype.name()));
            return mismatch(format!("{expected:?} of F32, F16 or BF16"), found);
        };
        tensors.extend(divided(*layer, attention, dtype, &Place::plain(raw.map, raw.range.clone())));
    }
    Ok(tensors)
}

/// The tensors of a GGUF file, where those that hold keys and values together are divided, and whether there was such a tensor. One of
/// another shape, and one beside its parts, stays as it is, for the check to report.
pub(super) fn divided_in_gguf(spec: &Spec, tensors: Vec<PlacedTensor>) -> (Vec<PlacedTensor>, bool) {
    let part_name = |layer: usize, part: &str| format!("blk.{layer}.{part}.weight");
    let names: HashSet<String> = tensors.iter().map(|(info, _)| info.name.clone()).collect();
    let mut all = Vec::with_capacity(tensors.len());
    let mut is_divided = false;
    for (info, place) in tensors {
        let layer = layer_of_gguf(&info.name).filter(|layer| !names.contains(&part_name(*layer, KEYS)));
        let attention = layer.and_then(|layer| spec.layers.get(layer)?.mixer.latent_attention());
        match layer.zip(attention).filter(|(_, attention)| info.shape == joined_shape(attention)) {
            Some((layer, attention)) => {
                all.extend(divided(layer, attention, info.dtype, &place));
                is_divided = true;
            }
            None => all.push((info, place)),
        }
    }
    (all, is_divided)
}

/// `[heads * (key_dim + value_dim), rank]`: of each head first the rows of its keys.
fn joined_shape(attention: &LatentAttention) -> [usize; 2] {
    [attention.heads * (attention.key_dim + attention.value_dim), attention.rank]
}

/// The keys, `[heads, rank, key_dim]`, and the values, `[heads, value_dim, rank]`, in a tensor of [`joined_shape`].
fn divided(layer: usize, attention: &LatentAttention, stored: DType, place: &Place) -> [PlacedTensor; 2] {
    let &LatentAttention { heads, rank, key_dim, value_dim, .. } = attention;
    let keys = (KEYS, Stored::transposed_type(stored), rank, key_dim, 0, true);
    let values = (VALUES, stored, value_dim, rank, key_dim, false);
    [keys, values].map(|(part, dtype, outputs, inputs, first, transposed)| {
        let info = TensorInfo {
            name: format!("blk.{layer}.{part}.weight"),
            dtype,
            bytes: Bytes(dtype.row_bytes(inputs).get() * (heads * outputs) as u64),
            shape: vec![heads, outputs, inputs],
        };
        let stored = Stored::RowsOfHeads { dtype: stored, rows: key_dim + value_dim, transposed };
        let arrangement = Arrangement { experts: heads, outputs, inputs, first, step: 1, stored };
        (info, Place { arrangement: Some(arrangement), ..place.clone() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_joined_matrix() {
        assert_eq!(layer_of("model.layers.12.self_attn.kv_b_proj.weight"), Some(12));
        assert_eq!(layer_of("layers.0.self_attn.kv_b_proj.weight"), Some(0));
        assert_eq!(layer_of_gguf("blk.12.attn_kv_b.weight"), Some(12));
        assert_eq!(layer_of_gguf("blk.12.attn_k_b.weight"), None);
        for other in ["model.layers.07.self_attn.kv_b_proj.weight", "model.layers.7.self_attn.kv_b_proj.bias", "x"] {
            assert_eq!(layer_of(other), None, "{other}");
        }
    }
}
