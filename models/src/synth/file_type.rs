//! File types, and the type of each tensor in a file, by llama.cpp's rules, so that a synthetic file has the size of a real one.

use std::fmt;
use std::str::FromStr;

use crate::dtype::DType;
use crate::error::{Error, Mismatch};
use crate::op_kind::OpKind;
use crate::spec::{Spec, Weight};
use crate::tensor_types::{Role, fitting_type, matrix_type};

/// The quantisation of a file: a mixture of tensor types under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the usual names of the types")]
pub enum Quant {
    /// Half precision throughout.
    F16,
    /// 4 bits, one scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 8 bits, one scale per 32.
    Q8_0,
    /// 4 bits in super-blocks of 256, and 6 bits for the most sensitive matrices.
    Q4_K_M,
    /// Floats of 4 bits with one exponent per 32 in the matrices of experts, 8 bits elsewhere: the published form of gpt-oss.
    MXFP4,
}

impl Quant {
    /// All file types that can be written.
    pub const ALL: [Self; 6] = [Self::F16, Self::Q4_0, Self::Q4_1, Self::Q8_0, Self::Q4_K_M, Self::MXFP4];

    /// The name in llama.cpp.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K_M => "Q4_K_M",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// The value of `general.file_type` (`enum llama_ftype` of `llama.h`).
    #[must_use]
    pub const fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q4_K_M => 15,
            Self::MXFP4 => 38,
        }
    }

    /// The type of most matrices.
    const fn bulk(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::Q4_0 => DType::Q4_0,
            Self::Q4_1 => DType::Q4_1,
            Self::Q8_0 => DType::Q8_0,
            Self::Q4_K_M => DType::Q4_K,
            Self::MXFP4 => DType::Q8_0,
        }
    }

    /// The type of a matrix with rows of `cols` elements.
    pub(super) fn dtype_of(self, spec: &Spec, weight: &Weight, cols: usize) -> DType {
        match (self, weight.op) {
            (Self::MXFP4, OpKind::ExpertsGateUp | OpKind::ExpertsDown) => fitting_type(DType::MXFP4, cols),
            _ => self.dtype(spec, Role::of_weight(weight), cols),
        }
    }

    /// The type of a matrix of this role with rows of `cols` elements.
    ///
    /// The rules are those of llama.cpp's quantiser ([`matrix_type`]); in Q4_K_M, v and down have 6 bits in the first and last eighth of
    /// the layers and in every third layer between.
    fn dtype(self, spec: &Spec, role: Role, cols: usize) -> DType {
        let bulk = self.bulk();
        match role {
            Role::Value(layer) | Role::Down(layer) if self == Self::Q4_K_M => {
                let wanted = if gets_more_bits(layer, spec.layers.len()) {
                    DType::Q6_K
                } else if matches!(role, Role::Value(_)) && is_70b(spec) {
                    DType::Q5_K
                } else {
                    bulk
                };
                fitting_type(wanted, cols)
            }
            _ => matrix_type(bulk, spec, role, cols),
        }
    }
}

/// The layers whose v and down matrices Q4_K_M stores in 6 bits (`use_more_bits` of `llama-quant.cpp`).
fn gets_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// In Llama 2 and 3 70B eight query heads share a value head; v is small, and llama.cpp gives it 5 bits.
fn is_70b(spec: &Spec) -> bool {
    spec.layers.len() == 80 && spec.attentions().all(|attention| attention.heads != attention.kv_heads)
}

impl fmt::Display for Quant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Quant {
    type Err = Error;

    /// Ignores case.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|quant| quant.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::Synth(Mismatch::at(
                "weights",
                "file type",
                Self::ALL.map(Self::name).join(", "),
                format!("`{text}`"),
                "choose one of these",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;

    #[test]
    fn names_are_parsed_ignoring_case() {
        for quant in Quant::ALL {
            assert_eq!(quant.name().to_lowercase().parse::<Quant>().unwrap(), quant);
        }
        let error = "q3".parse::<Quant>().unwrap_err().with_advice();
        insta::assert_snapshot!(error, @"synthetic model weights: file type: expected F16, Q4_0, Q4_1, Q8_0, Q4_K_M, MXFP4, found `q3`; choose one of these");
    }

    #[test]
    fn the_output_gets_six_bits_and_q8_keeps_eight() {
        let spec = tiny();
        assert_eq!(Quant::Q4_0.dtype(&spec, Role::Output, 2048), DType::Q6_K);
        assert_eq!(Quant::Q4_1.dtype(&spec, Role::Output, 576), DType::Q8_0);
        assert_eq!(Quant::Q8_0.dtype(&spec, Role::Output, 2048), DType::Q8_0);
        assert_eq!(Quant::Q4_K_M.dtype(&spec, Role::Output, 576), DType::Q8_0);
        assert_eq!(Quant::F16.dtype(&spec, Role::Output, 2048), DType::F16);
    }

    #[test]
    fn a_tied_embedding_table_has_the_type_of_the_output() {
        let mut spec = tiny();
        spec.tied_embeddings = false;
        assert_eq!(Quant::Q4_0.dtype(&spec, Role::Embedding, 2048), DType::Q4_0);
        spec.tied_embeddings = true;
        assert_eq!(Quant::Q4_0.dtype(&spec, Role::Embedding, 2048), DType::Q6_K);
    }

    #[test]
    fn the_layers_with_more_bits_are_those_of_llama_cpp() {
        let of = |layers| (0..layers).filter(|&layer| gets_more_bits(layer, layers)).collect::<Vec<_>>();
        assert_eq!(of(16), [0, 1, 4, 7, 10, 13, 14, 15]);
        assert_eq!(of(32), [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(of(28), [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
    }

    #[test]
    fn rows_that_do_not_fill_blocks_get_other_types() {
        let mut spec = tiny();
        spec.layers = vec![spec.layers[0].clone(); 16];
        assert_eq!(Quant::Q4_K_M.dtype(&spec, Role::Matrix, 576), DType::Q5_0);
        assert_eq!(Quant::Q4_K_M.dtype(&spec, Role::Value(0), 576), DType::Q8_0);
        assert_eq!(Quant::Q4_K_M.dtype(&spec, Role::Down(2), 1536), DType::Q4_K);
        assert_eq!(Quant::Q4_K_M.dtype(&spec, Role::Matrix, 40), DType::F16);
        assert_eq!(Quant::Q4_0.dtype(&spec, Role::Matrix, 40), DType::F16);
    }
}
