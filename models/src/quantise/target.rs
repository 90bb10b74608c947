//! The types that a checkpoint can be quantised to, and the type of each tensor.

use std::fmt;
use std::str::FromStr;

use crate::dtype::DType;
use crate::error::{Error, Mismatch, printable};
use crate::spec::{Spec, WeightKind};
use crate::tensor_types::{Role, matrix_type};

/// The type of most matrices of the new file: one of llama.cpp's plain types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target(DType);

/// The number of each type in `enum llama_ftype` of `llama.h`.
const FILE_TYPES: [(DType, u32); 8] = [
    (DType::F32, 0),
    (DType::F16, 1),
    (DType::BF16, 32),
    (DType::Q4_0, 2),
    (DType::Q4_1, 3),
    (DType::Q5_0, 8),
    (DType::Q5_1, 9),
    (DType::Q8_0, 7),
];

impl Target {
    /// All supported types.
    pub const ALL: [Self; FILE_TYPES.len()] = {
        let mut all = [Self(DType::F32); FILE_TYPES.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = Self(FILE_TYPES[at].0);
            at += 1;
        }
        all
    };

    /// The type of most matrices.
    #[must_use]
    pub const fn bulk(self) -> DType {
        self.0
    }

    /// The name in ggml, such as `Q8_0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name()
    }

    /// The value of `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        FILE_TYPES.iter().find(|(dtype, _)| *dtype == self.0).map_or(0, |(_, number)| *number)
    }

    /// The type of a tensor of this name, kind and width: [`matrix_type`] for matrices, F32 for all others (norms, biases, routers,
    /// kernels of convolutions, frequencies).
    /// llama.cpp uses Q6_K for the matrix that computes the logits; Q8_0 replaces it, since Q6_K cannot be written.
    pub(super) fn dtype(self, spec: &Spec, name: &str, kind: Option<WeightKind>, cols: usize) -> DType {
        match kind {
            Some(WeightKind::Matrix) => match matrix_type(self.0, spec, Role::of(name), cols) {
                DType::Q6_K => DType::Q8_0,
                other => other,
            },
            Some(
                WeightKind::Router
                | WeightKind::Convolution
                | WeightKind::Decay
                | WeightKind::Norm
                | WeightKind::Factor
                | WeightKind::Bias,
            )
            | None => DType::F32,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Target {
    type Err = Error;

    /// Ignores case.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|target| target.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::Quantise(Mismatch::at(
                "the weights",
                "type",
                Self::ALL.map(Self::name).join(", "),
                format!("`{}`", printable(text)),
                "choose one of these, or use llama.cpp's llama-quantize, which supports K-quants",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks;

    #[test]
    fn every_target_is_supported_and_parsed_by_name() {
        for target in Target::ALL {
            assert!(blocks::can_quantise(target.bulk()), "{target}");
            assert_eq!(target.name().to_lowercase().parse::<Target>().unwrap(), target);
        }
    }

    #[test]
    fn other_types_are_refused_with_advice() {
        let error = "q4_k_m".parse::<Target>().unwrap_err().with_advice();
        insta::assert_snapshot!(error, @"quantising the weights: type: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, found `q4_k_m`; choose one of these, or use llama.cpp's llama-quantize, which supports K-quants");
    }
}
