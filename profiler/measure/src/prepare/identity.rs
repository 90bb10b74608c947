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

/// Adds the identity of the weights to the plan, or why it is unknown.
pub(super) fn describe(planned: &mut PlannedModel, weights: Option<&Weights>) {
    let mut reason = |field: &str, reason: &str| {
        planned.reasons.insert(field.to_owned(), reason.to_owned());
    };
    let Some(weights) = weights else {
        for field in ["sha256", "bits_per_weight", "source"] {
            reason(field, "only the server has the weights");
        }
        return;
    };
    if let Err(why) = &weights.sha256 {
        reason("sha256", why.as_str());
    }
    if let Some(why) = weights.shape.not_modelled() {
        for field in ["spec", "types", "predicted_bytes"] {
            reason(field, why.as_str());
        }
    }
    if weights.source.is_none() {
        reason("source", "the file does not state what it was made from");
    }
    planned.sha256 = weights.sha256.clone().ok();
    planned.bits_per_weight = Some(weights.bits_per_weight);
    planned.source = weights.source.clone();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_server_are_unknown_with_a_reason() {
        let mut planned = PlannedModel::default();
        describe(&mut planned, None);
        assert_eq!((&planned.sha256, planned.bits_per_weight, &planned.source), (&None, None, &None));
        assert_eq!(planned.reasons.len(), 3, "{:?}", planned.reasons);
    }
}
