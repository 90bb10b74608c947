//! The ops of a model that is not described, named by the weights that they read.

use std::collections::BTreeMap;

use crate::dtype::DType;
use crate::op_kind::OpKind;
use crate::tensor::TensorInfo;

/// The op that reads a weight, and its layer: `blk.3.attn_q.weight` is read by `q_proj` of layer 3. A weight that no op of the decoder
/// reads names its op itself: `blk.0.ssm_in.weight` is read by `ssm_in`. `None` for a tensor that is no weight by its name.
#[must_use]
pub fn op_of_weight(tensor: &str) -> Option<(Option<usize>, &str)> {
    let in_layer = tensor.strip_prefix("enc.").or_else(|| tensor.strip_prefix("dec.")).unwrap_or(tensor);
    let in_layer = in_layer.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let layer = in_layer.and_then(|(layer, _)| layer.parse().ok());
    let part = in_layer.filter(|_| layer.is_some()).map(|(_, part)| part);
    let part = match part {
        Some(part) => stem(part).unwrap_or(part),
        None => stem(tensor)?,
    };
    let op = match OpKind::of_weight(part) {
        Some(kind) => kind.name(),
        None => part,
    };
    Some((layer, op))
}

fn stem(name: &str) -> Option<&str> {
    [".weight", ".bias", ".scale"].into_iter().find_map(|end| name.strip_suffix(end))
}

/// The types of the weights of any checkpoint by the op that reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpTypes(BTreeMap<String, Vec<DType>>);

impl OpTypes {
    /// The types of matrices and, for ops that have none, of vectors; in the order of the tensors, each once.
    #[must_use]
    pub fn of_tensors(tensors: &[TensorInfo]) -> Self {
        let mut types = BTreeMap::<String, Vec<DType>>::new();
        let (matrices, vectors): (Vec<_>, Vec<_>) = tensors.iter().partition(|info| info.shape.len() > 1);
        let mut add = |list: Vec<&TensorInfo>| {
            let mut found = BTreeMap::<&str, Vec<DType>>::new();
            for info in list {
                let Some((_, op)) = op_of_weight(&info.name) else { continue };
                let of_op = found.entry(op).or_default();
                if !of_op.contains(&info.dtype) {
                    of_op.push(info.dtype);
                }
            }
            for (op, of_op) in found {
                types.entry(op.to_owned()).or_insert(of_op);
            }
        };
        add(matrices);
        add(vectors);
        // A tied table of embeddings is also the output projection.
        let (head, table) = (OpKind::LmHead.name(), types.get(OpKind::Embed.name()).cloned());
        if let Some(table) = table {
            types.entry(head.to_owned()).or_insert(table);
        }
        Self(types)
    }

    /// The names of the types that an op reads, joined by `+`; `None` for an op that reads no weight.
    #[must_use]
    pub fn of_op(&self, op: &str) -> Option<String> {
        let names = self.0.get(op)?.iter().map(|dtype| dtype.name().to_lowercase());
        Some(names.collect::<Vec<_>>().join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn weights_name_their_op_and_layer() {
        for (tensor, expected) in [
            ("blk.12.attn_q.weight", Some((Some(12), "q_proj"))),
            ("blk.2.attn_k.bias", Some((Some(2), "k_proj"))),
            ("output.weight", Some((None, "lm_head"))),
            ("token_embd.weight", Some((None, "embed"))),
            ("blk.0.ssm_in.weight", Some((Some(0), "ssm_in"))),
            ("blk.0.ssm_a", Some((Some(0), "ssm_a"))),
            ("enc.blk.1.attn_rel_b.weight", Some((Some(1), "attn_rel_b"))),
            ("blk.x.ffn.weight", Some((None, "blk.x.ffn"))),
            ("rope_freqs.weight", Some((None, "rope_freqs"))),
            ("kq-3", None),
            ("blk.", None),
        ] {
            assert_eq!(op_of_weight(tensor), expected, "{tensor}");
        }
    }

    #[test]
    fn types_are_those_of_the_matrices() {
        let tensor = |name: &str, dtype, shape: &[usize]| TensorInfo {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes(0),
        };
        let types = OpTypes::of_tensors(&[
            tensor("token_embd.weight", DType::Q6_K, &[8, 4]),
            tensor("blk.0.attn_q.bias", DType::F32, &[4]),
            tensor("blk.0.attn_q.weight", DType::Q4_K, &[4, 4]),
            tensor("blk.1.attn_q.weight", DType::Q6_K, &[4, 4]),
            tensor("blk.2.attn_q.weight", DType::Q4_K, &[4, 4]),
            tensor("blk.0.ssm_a", DType::F32, &[4]),
        ]);
        assert_eq!(types.of_op("q_proj").as_deref(), Some("q4_k+q6_k"));
        assert_eq!(types.of_op("lm_head").as_deref(), Some("q6_k"), "a tied table");
        assert_eq!(types.of_op("ssm_a").as_deref(), Some("f32"));
        assert_eq!(types.of_op("rope"), None);
    }
}
