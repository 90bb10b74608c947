//! The keys and fields of mixtures of experts that several architectures share.

use crate::container::gguf::Metadata;
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{Experts, FeedForward, Gated, Gating, Scores, Spec};

/// The number of a function in `expert_gating_func`. Source: `llama_expert_gating_func_type` of `llama-hparams.h`.
pub(super) const fn function_number(scores: Scores) -> u32 {
    match scores {
        Scores::Softmax => 1,
        Scores::Sigmoid => 2,
        Scores::SoftmaxOfChosen => 3,
    }
}

/// Makes the feed-forward parts of all layers mixtures of experts, by the keys of a GGUF header. `gating` is that of the
/// architecture; files that state another function are refused.
pub(super) fn from_gguf(metadata: &Metadata, mut spec: Spec, prefix: &str, gating: Gating) -> Result<Spec, Error> {
    let key = |rest: &str| format!("{prefix}.{rest}");
    let layers = spec.layers.len();
    let count = |rest: &str| metadata.count_of_layers(&key(rest), layers);
    let required = |rest: &str| metadata.required(&key(rest), count(rest)?);
    let function = function_number(gating.scores) as usize;
    // 0 is written by programs that do not know the function.
    if let Some(found) = count("expert_gating_func")?.filter(|found| ![0, function].contains(found)) {
        return Err(metadata.unsupported(&key("expert_gating_func"), function.to_string(), found.to_string()));
    }
    // Files without a scale have 0 or 1 here.
    let is_neutral = |scale: &f32| [0.0, 1.0].iter().any(|neutral: &f32| neutral.to_bits() == scale.to_bits());
    let scale = metadata.number(&key("expert_weights_scale"))?.filter(|scale| !is_neutral(scale));
    let (count, used) = (required("expert_count")?, required("expert_used_count")?);
    let dense = *dense_part(&spec);
    let width = match metadata.count_of_layers(&key("expert_feed_forward_length"), layers)? {
        Some(width) if width > 0 => width,
        // As llama.cpp: the width of all experts that a token uses.
        _ => dense.width / used.max(1),
    };
    let experts = Experts {
        count,
        used,
        expert: Gated { width, ..dense },
        gating: Gating { scale: scale.or(gating.scale), ..gating },
        biased: false,
        shared: None,
        dense_width: None,
    };
    spec.layers.iter_mut().for_each(|layer| layer.feed_forward = FeedForward::Experts(experts.clone()));
    Ok(spec)
}

/// Makes the feed-forward parts of the layers for which `has_experts` is true mixtures of experts, by the fields of a config.json.
pub(super) fn from_config(
    config: &Object<'_>,
    mut spec: Spec,
    names: &Names,
    gating: Gating,
    has_experts: impl Fn(usize) -> bool,
) -> Result<Spec, Error> {
    let required = |name: &str| config.required(name, config.count(name)?);
    let dense = *dense_part(&spec);
    let [older, newer] = names.count;
    let count = match config.count(older)? {
        None => required(newer)?,
        Some(count) => count,
    };
    let experts = Experts {
        count,
        used: required("num_experts_per_tok")?,
        expert: Gated { width: required(names.width)?, ..dense },
        gating,
        biased: false,
        shared: None,
        dense_width: None,
    };
    for (at, layer) in spec.layers.iter_mut().enumerate() {
        if has_experts(at) {
            layer.feed_forward = FeedForward::Experts(experts.clone());
        }
    }
    Ok(spec)
}

/// The names of fields of config.json that differ between architectures.
pub(super) struct Names {
    /// The number of experts; the second since version 5 of transformers.
    pub(super) count: [&'static str; 2],
    /// The width of each.
    pub(super) width: &'static str,
}

/// The part that the shared keys describe; the shape has at least one layer, which is checked before.
fn dense_part(spec: &Spec) -> &Gated {
    const NONE: Gated = Gated { width: 0, activation: crate::spec::Activation::Silu };
    spec.layers.first().map_or(&NONE, |layer| layer.feed_forward.gated())
}
