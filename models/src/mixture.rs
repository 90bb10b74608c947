//! Which tensor of a file is stored as what, in files that are named after one type: llama.cpp's rules.

use crate::dtype::DType;
use crate::spec::Spec;

/// The roles of matrices that the rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `token_embd.weight`.
    Embedding,
    /// `output.weight`.
    Output,
    /// `blk.N.attn_v.weight`.
    Value(usize),
    /// `blk.N.ffn_down.weight`.
    Down(usize),
    /// Every other matrix.
    Matrix,
}

impl Role {
    /// The role of the matrix of this name. The rules of plain files tell no layers apart, so that v and down are matrices like others.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "token_embd.weight" => Self::Embedding,
            "output.weight" => Self::Output,
            _ => Self::Matrix,
        }
    }

    /// Whether the matrix makes the logits.
    const fn is_output(self, spec: &Spec) -> bool {
        matches!(self, Self::Output) || (matches!(self, Self::Embedding) && spec.tied_embeddings)
    }
}

/// The type of one matrix with rows of `cols` elements in a file whose bulk is `bulk`.
///
/// The rules are those of llama.cpp's quantiser without an importance matrix (`llama_tensor_get_type_impl` and
/// `tensor_type_fallback` of `llama-quant.cpp`): the output projection, or the embedding table that serves as one, gets
/// 6 bits or more; rows that do not fill a block of 256 fall back to blocks of 32, and what does not fill those to F16.
pub(crate) fn plain(bulk: DType, spec: &Spec, role: Role, cols: usize) -> DType {
    if !bulk.is_quantised() {
        return bulk;
    }
    let wanted = match role.is_output(spec) {
        true if !cols.is_multiple_of(bulk.block_elems()) => DType::Q8_0,
        true if bulk != DType::Q8_0 => DType::Q6_K,
        _ => bulk,
    };
    fit(wanted, cols)
}

/// `dtype`, or what stands in for it where `cols` is no multiple of its block.
pub(crate) fn fit(dtype: DType, cols: usize) -> DType {
    let fits = |dtype: DType| cols.is_multiple_of(dtype.block_elems());
    let smaller = match dtype {
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        other => other,
    };
    [dtype, smaller].into_iter().find(|&candidate| fits(candidate)).unwrap_or(DType::F16)
}
