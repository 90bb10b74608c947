//! The size of all matrices that products read, by their types.

use std::collections::BTreeMap;

use super::weight_types::WeightTypes;
use crate::dtype::DType;
use crate::op_kind::OpKind;
use crate::spec::{EMBEDDING, Spec, Weight, WeightKind, weights};
use crate::units::Bytes;

/// The bytes of the matrices that matrix products read, by type: those of all experts, and the table of embeddings only where it is
/// the output projection too. Matrices that are applied head by head (of latent attention) are left out: engines that keep weights in a
/// layout of their own keep those as they are.
///
/// ```text
/// sum over matrices of a type of rows x row bytes
/// ```
///
/// Unit: bytes, as stored.
#[must_use]
pub fn matrix_bytes(spec: &Spec, types: &WeightTypes) -> BTreeMap<DType, Bytes> {
    let mut sums = BTreeMap::new();
    for weight in weights(spec) {
        let Weight { name, shape, op, kind, layer } = &weight;
        let is_table = name == EMBEDDING;
        let is_experts = matches!(op, OpKind::ExpertsGateUp | OpKind::ExpertsDown);
        if !matches!(kind, WeightKind::Matrix | WeightKind::Router)
            || (is_table && !spec.tied_embeddings)
            // A table of rows, which no product reads.
            || *op == OpKind::PerLayerEmbed
            || (shape.len() == 3 && !is_experts)
        {
            continue;
        }
        let dtype = match (op, layer) {
            (OpKind::ExpertsGateUp, Some(layer)) if name.contains("ffn_up") => types.gate_up_down(*layer)[1],
            (op, layer) => types.of_op(*op, *layer),
        };
        let Some((columns, rows)) = shape.split_last() else { continue };
        let rows: u64 = rows.iter().map(|&rows| rows as u64).product();
        *sums.entry(dtype).or_insert(Bytes(0)) += Bytes(rows * dtype.row_bytes(*columns).get());
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    /// Qwen3 4B: 36 layers of hidden size 2560, 32 heads and 8 of keys of width 128, feed-forward part of width 9728; the output
    /// projection is the table of embeddings.
    #[test]
    fn a_dense_model_by_hand() {
        let spec = registry::find("qwen-3-4b").unwrap().spec();
        let types = WeightTypes::by_name(&spec, |name| if name == EMBEDDING { DType::Q6_K } else { DType::Q4_0 });
        let elements = 36 * 2560 * (2 * 32 * 128 + 2 * 8 * 128 + 3 * 9728);
        let expected = BTreeMap::from([
            (DType::Q4_0, Bytes(elements / 32 * 18)),
            (DType::Q6_K, Bytes(151_936 * 2560 / 256 * 210)),
        ]);
        assert_eq!(matrix_bytes(&spec, &types), expected);
    }

    /// Qwen3 30B-A3B: 48 layers of 128 experts of width 768, of which all are counted; an output projection of its own.
    #[test]
    fn all_experts_and_not_the_table_of_embeddings() {
        let spec = registry::find("qwen-3-30b-a3b").unwrap().spec();
        let types = WeightTypes::uniform(&spec, DType::Q4_0);
        let elements = 48 * 2048 * (2 * 32 * 128 + 2 * 4 * 128 + 3 * 128 * 768) + 151_936 * 2048;
        let found = matrix_bytes(&spec, &types);
        assert_eq!(found[&DType::Q4_0], Bytes(elements / 32 * 18));
        assert_eq!(found[&DType::F32], Bytes(48 * 128 * 2048 * 4));
    }
}
