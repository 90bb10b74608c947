//! The element types of a model's weights by matrix, which determine the weight traffic.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::dtype::DType;
use crate::error::Error;
use crate::op_kind::OpKind;
use crate::spec::Spec;
use crate::tensor::TensorInfo;

/// The type of each weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightTypes {
    embed: DType,
    output_norm: DType,
    lm_head: DType,
    /// By block; the last entry also applies to the blocks after it, so that equal blocks are stored once.
    layers: Vec<LayerTypes>,
}

/// The types of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LayerTypes {
    q: DType,
    k: DType,
    v: DType,
    o: DType,
    gate: DType,
    up: DType,
    down: DType,
    attn_norm: DType,
    ffn_norm: DType,
    /// Of the norms that only some architectures have: of q, of k, after attention, after the feed-forward part.
    #[serde(default = "all_f32", skip_serializing_if = "are_f32")]
    other_norms: [DType; 4],
    /// Of q, k and v.
    bias: [DType; 3],
}

fn all_f32() -> [DType; 4] {
    [DType::F32; 4]
}

fn are_f32(types: &[DType; 4]) -> bool {
    *types == all_f32()
}

impl WeightTypes {
    /// All matrices of one type, all vectors in F32, as in llama.cpp's plain quantisations except for the embedding table.
    #[must_use]
    pub fn uniform(spec: &Spec, matrices: DType) -> Self {
        Self::by_name(spec, |name| if name.contains("norm") || name.ends_with(".bias") { DType::F32 } else { matrices })
    }

    /// The types in an opened checkpoint.
    ///
    /// # Errors
    /// [`Error::NotModelled`] if its architecture is not described.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Error> {
        Ok(Self::of_tensors(checkpoint.spec()?, checkpoint.tensors()))
    }

    /// The types in a list of tensors, of an existing or a planned file. Missing names (such as biases) count as F32.
    #[must_use]
    pub fn of_tensors(spec: &Spec, tensors: &[TensorInfo]) -> Self {
        let types: std::collections::HashMap<&str, DType> =
            tensors.iter().map(|info| (info.name.as_str(), info.dtype)).collect();
        Self::by_name(spec, |name| types.get(name).copied().unwrap_or(DType::F32))
    }

    /// The types by the tensor's name.
    #[must_use]
    pub fn by_name(spec: &Spec, dtype: impl Fn(&str) -> DType) -> Self {
        let layer = |layer: usize| {
            let of = |part: &str| dtype(&format!("blk.{layer}.{part}"));
            LayerTypes {
                q: of("attn_q.weight"),
                k: of("attn_k.weight"),
                v: of("attn_v.weight"),
                o: of("attn_output.weight"),
                gate: of("ffn_gate.weight"),
                up: of("ffn_up.weight"),
                down: of("ffn_down.weight"),
                attn_norm: of("attn_norm.weight"),
                ffn_norm: of("ffn_norm.weight"),
                other_norms: ["attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"]
                    .map(|part| of(&format!("{part}.weight"))),
                bias: ["q", "k", "v"].map(|part| of(&format!("attn_{part}.bias"))),
            }
        };
        Self {
            embed: dtype("token_embd.weight"),
            output_norm: dtype("output_norm.weight"),
            lm_head: dtype(if spec.tied_embeddings { "token_embd.weight" } else { "output.weight" }),
            layers: without_repeats((0..spec.layers.len()).map(layer).collect()),
        }
    }

    fn layer(&self, layer: usize) -> Option<&LayerTypes> {
        self.layers.get(layer).or(self.layers.last())
    }

    /// The type of the weights that `kind` reads in block `layer`; `None` for an op that reads none.
    #[must_use]
    pub fn read_by(&self, kind: OpKind, layer: Option<usize>) -> Option<DType> {
        let reads = kind.is_matmul() || kind.is_norm() || kind == OpKind::Embed;
        reads.then(|| self.of_op(kind, layer))
    }

    /// The type of the weights that `kind` reads in block `layer` (F32 for an op without weights).
    pub(super) fn of_op(&self, kind: OpKind, layer: Option<usize>) -> DType {
        let in_block =
            |pick: fn(&LayerTypes) -> DType| layer.and_then(|layer| self.layer(layer)).map_or(DType::F32, pick);
        match kind {
            OpKind::Embed => self.embed,
            OpKind::OutputNorm => self.output_norm,
            OpKind::LmHead => self.lm_head,
            OpKind::QProj => in_block(|types| types.q),
            OpKind::KProj => in_block(|types| types.k),
            OpKind::VProj => in_block(|types| types.v),
            OpKind::OProj => in_block(|types| types.o),
            OpKind::GateProj => in_block(|types| types.gate),
            OpKind::UpProj => in_block(|types| types.up),
            OpKind::DownProj => in_block(|types| types.down),
            OpKind::AttnNorm => in_block(|types| types.attn_norm),
            OpKind::FfnNorm => in_block(|types| types.ffn_norm),
            OpKind::QNorm => in_block(|types| types.other_norms[0]),
            OpKind::KNorm => in_block(|types| types.other_norms[1]),
            OpKind::AttnPostNorm => in_block(|types| types.other_norms[2]),
            OpKind::FfnPostNorm => in_block(|types| types.other_norms[3]),
            _ => DType::F32,
        }
    }

    /// The type of the bias that `kind` adds in block `layer`.
    pub(super) fn of_bias(&self, kind: OpKind, layer: Option<usize>) -> DType {
        let at = match kind {
            OpKind::QProj => 0,
            OpKind::KProj => 1,
            _ => 2,
        };
        layer.and_then(|layer| self.layer(layer)).map_or(DType::F32, |types| types.bias[at])
    }
}

/// Removes blocks at the end that equal the block before them.
fn without_repeats(mut layers: Vec<LayerTypes>) -> Vec<LayerTypes> {
    while let [.., before, last] = layers.as_slice()
        && before == last
    {
        layers.pop();
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_blocks_are_stored_once_and_read_back() {
        let mut spec = crate::registry::find("llama-3.2-1b").unwrap().spec();
        spec.layers.truncate(4);
        let types =
            WeightTypes::by_name(&spec, |name| if name == "blk.0.ffn_down.weight" { DType::Q6_K } else { DType::Q4_K });
        assert_eq!(types.layers.len(), 2);
        let of = |layer| types.of_op(OpKind::DownProj, Some(layer));
        assert_eq!([of(0), of(1), of(3)], [DType::Q6_K, DType::Q4_K, DType::Q4_K]);
        let text = serde_json::to_string(&types).unwrap();
        assert_eq!(serde_json::from_str::<WeightTypes>(&text).unwrap(), types);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }
}
