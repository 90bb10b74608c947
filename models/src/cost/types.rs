//! The element types of a model's weights, matrix by matrix: what weight traffic follows from.

use super::op::OpKind;
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::dtype::DType;
use crate::spec::Spec;

/// The type of each weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightTypes {
    embed: DType,
    output_norm: DType,
    lm_head: DType,
    layers: Vec<LayerTypes>,
}

/// The types of one block. Vectors (norms, biases) have one type of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Of q, k and v.
    bias: [DType; 3],
}

impl WeightTypes {
    /// All matrices of one type, all vectors in F32: what llama.cpp makes of plain quantisations, but for its choice of the table's.
    #[must_use]
    pub fn uniform(spec: &Spec, matrices: DType) -> Self {
        Self::by_name(spec, |name| if name.contains("norm") || name.ends_with(".bias") { DType::F32 } else { matrices })
    }

    /// The types in an opened checkpoint.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self::of_tensors(checkpoint.spec(), checkpoint.tensors())
    }

    /// The types in a list of tensors (of a file, or of one still to be made). A name that is missing counts as F32.
    #[must_use]
    pub fn of_tensors(spec: &Spec, tensors: &[TensorInfo]) -> Self {
        let types: std::collections::HashMap<&str, DType> =
            tensors.iter().map(|info| (info.name.as_str(), info.dtype)).collect();
        Self::by_name(spec, |name| types.get(name).copied().unwrap_or(DType::F32))
    }

    /// The types by the names of the tensors.
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
                bias: ["q", "k", "v"].map(|part| of(&format!("attn_{part}.bias"))),
            }
        };
        Self {
            embed: dtype("token_embd.weight"),
            output_norm: dtype("output_norm.weight"),
            lm_head: dtype(if spec.tied_embeddings { "token_embd.weight" } else { "output.weight" }),
            layers: (0..spec.layers).map(layer).collect(),
        }
    }

    /// The type of the weights that `kind` reads in block `layer`; `None` for an op that reads none.
    #[must_use]
    pub fn read_by(&self, kind: OpKind, layer: Option<usize>) -> Option<DType> {
        let reads =
            kind.is_matmul() || matches!(kind, OpKind::Embed | OpKind::AttnNorm | OpKind::FfnNorm | OpKind::OutputNorm);
        reads.then(|| self.of_op(kind, layer))
    }

    /// The type of the weights that `kind` reads in block `layer` (F32 for an op without weights).
    pub(super) fn of_op(&self, kind: OpKind, layer: Option<usize>) -> DType {
        let in_block =
            |pick: fn(&LayerTypes) -> DType| layer.and_then(|layer| self.layers.get(layer)).map_or(DType::F32, pick);
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
        layer.and_then(|layer| self.layers.get(layer)).map_or(DType::F32, |types| types.bias[at])
    }
}
