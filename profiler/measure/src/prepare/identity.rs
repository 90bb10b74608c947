//! The identity of a model's weights: the SHA-256 of its files, and what the plan records of them.

use models::{digest, fetch};
use record::Reason;
use record::plan::PlannedModel;

use crate::plan::{PreparedModel, Weights};

/// Hashes the files, unless a fetch has verified them. The hash of a file is cached until the file changes.
pub(super) fn identify(model: &mut PreparedModel, progress: &dyn fetch::Progress) {
    if let Some(weights) = &mut model.weights
        && weights.sha256.is_err()
    {
        let digest = digest::sha256(&weights.files, Some(&digest::cache_folder()), progress);
        weights.sha256 = digest.map_err(|error| Reason::new(format!("{error}; {}", error.advice())));
    }
}

/// A model of the plan with the identity and the properties of its weights, or why they are unknown.
pub(super) fn describe(weights: Option<&Weights>) -> PlannedModel {
    let absent = PlannedModel::absent("only the server has the weights");
    let Some(weights) = weights else { return absent };
    let source = weights.source.clone();
    let modelled = weights.shape.modelled.as_ref().map_err(|reason| Reason::new(reason.to_string()));
    PlannedModel {
        path: weights.path.display().to_string(),
        file_bytes: weights.file_bytes.into(),
        sha256: weights.sha256.clone().into(),
        format: weights.shape.format.clone(),
        quantisation: weights.shape.quantisation.clone(),
        architecture: weights.shape.outline.architecture.clone(),
        parameters: weights.shape.outline.parameters.get().into(),
        bits_per_weight: weights.bits_per_weight.into(),
        source: source.ok_or_else(|| Reason::new("the file does not state what it was made from")).into(),
        synthetic: weights.synthetic,
        predicted_bytes: weights.predicted_bytes.clone().into(),
        has_experts: Some(weights.shape.outline.has_experts),
        spec: modelled.clone().map(|modelled| modelled.spec.clone()).into(),
        types: modelled.map(|modelled| modelled.types.clone()).into(),
        ..absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_server_are_unknown_with_a_reason() {
        let planned = describe(None);
        assert_eq!(planned.sha256.reason().unwrap(), &"only the server has the weights");
        assert_eq!(planned.file_bytes.reason(), planned.sha256.reason());
    }
}
