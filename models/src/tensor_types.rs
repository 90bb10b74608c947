//! The type of each tensor in a file that is named after one type, by the rules of llama.cpp.

use crate::dtype::DType;
use crate::op_kind::OpKind;
use crate::spec::{EMBEDDING, OUTPUT, PER_LAYER_EMBEDDING, PER_LAYER_PROJECTION, Spec, Weight};

/// The roles of matrices that the rules distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `token_embd.weight` or `per_layer_token_embd.weight`.
    Embedding,
    /// `per_layer_model_proj.weight`, which llama.cpp never quantises.
    Unquantised,
    /// `output.weight`.
    Output,
    /// `blk.N.attn_v.weight`, or a matrix that has it.
    Value(usize),
    /// `blk.N.ffn_down.weight` or `blk.N.ffn_down_exps.weight`.
    Down(usize),
    /// Every other matrix.
    Matrix,
}

impl Role {
    /// The role of the matrix of this name in a plain file, whose rules do not depend on layers: `v` and `down` are plain matrices.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            EMBEDDING | PER_LAYER_EMBEDDING => Self::Embedding,
            PER_LAYER_PROJECTION => Self::Unquantised,
            OUTPUT => Self::Output,
            _ => Self::Matrix,
        }
    }

    /// The role of a matrix.
    pub(crate) fn of_weight(weight: &Weight) -> Self {
        match (weight.op, weight.layer) {
            (OpKind::Embed | OpKind::PerLayerEmbed, _) => Self::Embedding,
            (OpKind::PerLayerModelProj, _) => Self::Unquantised,
            (OpKind::LmHead, _) => Self::Output,
            (OpKind::QProj, Some(layer)) if weight.name.ends_with(".attn_qkv.weight") => Self::Value(layer),
            (OpKind::VProj, Some(layer)) => Self::Value(layer),
            (OpKind::DownProj | OpKind::ExpertsDown, Some(layer)) => Self::Down(layer),
            _ => Self::Matrix,
        }
    }

    /// Whether the matrix computes the logits.
    const fn is_output(self, spec: &Spec) -> bool {
        matches!(self, Self::Output) || (matches!(self, Self::Embedding) && spec.tied_embeddings)
    }
}

/// The type of one matrix with rows of `cols` elements in a file of type `bulk`.
///
/// The rules are those of llama.cpp's quantiser without an importance matrix (`llama_tensor_get_type_impl` and
/// `tensor_type_fallback` of `llama-quant.cpp`): the output projection, or the embedding table that serves as one, gets
/// 6 bits or more, and so does the table of the inputs of layers beside such a table; rows that are not a multiple of 256 elements get a type with blocks of 32, and rows that are not a multiple of
/// 32 get F16.
pub(crate) fn matrix_type(bulk: DType, spec: &Spec, role: Role, cols: usize) -> DType {
    if !bulk.is_quantised() {
        return bulk;
    }
    if role == Role::Unquantised {
        return DType::F16;
    }
    let wanted = match role.is_output(spec) {
        true if !cols.is_multiple_of(bulk.block_elems()) => DType::Q8_0,
        true if bulk != DType::Q8_0 => DType::Q6_K,
        _ => bulk,
    };
    fitting_type(wanted, cols)
}

/// `dtype`, or its replacement where `cols` is not a multiple of its block.
pub(crate) fn fitting_type(dtype: DType, cols: usize) -> DType {
    let fits = |dtype: DType| cols.is_multiple_of(dtype.block_elems());
    let smaller = match dtype {
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        other => other,
    };
    [dtype, smaller].into_iter().find(|&candidate| fits(candidate)).unwrap_or(DType::F16)
}
