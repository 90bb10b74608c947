//! What a model's weights were made from, as `run.json` holds it.

use models::quantise::Provenance;
use serde::{Deserialize, Serialize};

/// What weights were made from, as their file says (`inferometer models quantize` writes it there).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightSource {
    /// SHA-256 of the first source.
    pub sha256: String,
    /// The quantisation of the first source, such as `F16`.
    #[serde(default)]
    pub quantisation: String,
    /// Relative error of the weights against `given`, or against the source where there is none between:
    /// `sqrt(sum (w - w')^2 / sum w^2)` over the matrices whose type changed.
    #[serde(default)]
    pub error: Option<f64>,
    /// The file that the weights were made from, where that is not the first source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenWeights>,
}

/// A file between the first source and a model's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GivenWeights {
    /// Its SHA-256.
    pub sha256: String,
    /// Its quantisation.
    pub quantisation: String,
    /// Its own error, against what it was made from.
    pub error: f64,
}

impl From<Provenance> for WeightSource {
    fn from(provenance: Provenance) -> Self {
        let Provenance { source_sha256, source_quantisation, error, given } = provenance;
        Self {
            sha256: source_sha256,
            quantisation: source_quantisation,
            error: Some(error.into()),
            given: given.map(|given| GivenWeights {
                sha256: given.sha256,
                quantisation: given.quantisation,
                error: given.error.into(),
            }),
        }
    }
}
