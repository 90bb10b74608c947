//! The types that weights can be stored as anew, and which tensor of a file gets which.

use std::fmt;
use std::str::FromStr;

use crate::dtype::DType;
use crate::error::{Error, Fault};
use crate::mixture::{self, Role};
use crate::spec::Spec;

/// The type of most matrices of a file that is made: the plain ones of llama.cpp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target(DType);

/// What `enum llama_ftype` of `llama.h` calls files of each.
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
    /// All that are offered.
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

    /// The name as ggml writes it, such as `Q8_0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name()
    }

    /// The value of `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        FILE_TYPES.iter().find(|(dtype, _)| *dtype == self.0).map_or(0, |(_, number)| *number)
    }

    /// What a tensor of this name and shape is stored as: vectors (norms, biases, frequencies) as F32, matrices by
    /// [`mixture::plain`]. Where llama.cpp takes Q6_K, for the matrix that makes the logits, Q8_0 stands in: nothing here makes Q6_K.
    pub(super) fn dtype(self, spec: &Spec, name: &str, shape: &[usize]) -> DType {
        match *shape {
            [_, cols] => match mixture::plain(self.0, spec, Role::of(name), cols) {
                DType::Q6_K => DType::Q8_0,
                other => other,
            },
            _ => DType::F32,
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

    /// In any case: `q8_0` is what people type.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|target| target.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::Quantise(Fault::at(
                "--quant",
                "type of the weights",
                Self::ALL.map(Self::name).join(", "),
                format!("`{}`", crate::checkpoint::gguf::shown(text)),
                "choose one of these, or make the file with llama.cpp's llama-quantize, which has the K-quants",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::narrow;

    #[test]
    fn every_target_can_be_made_and_read_by_its_name() {
        for target in Target::ALL {
            assert!(narrow::can_narrow(target.bulk()), "{target}");
            assert_eq!(target.name().to_lowercase().parse::<Target>().unwrap(), target);
        }
    }

    #[test]
    fn others_are_refused_with_a_way_out() {
        let error = "q4_k_m".parse::<Target>().unwrap_err().to_string();
        insta::assert_snapshot!(error, @"quantising --quant: type of the weights: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, found `q4_k_m`; choose one of these, or make the file with llama.cpp's llama-quantize, which has the K-quants");
    }
}
