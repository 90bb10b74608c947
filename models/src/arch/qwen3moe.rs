//! Qwen 3 with experts: the attention of Qwen 3, and feed-forward parts that are mixtures of experts (arXiv:2505.09388).

use super::architecture::Architecture;
use super::{experts, qwen3};
use crate::spec::{Gating, Scores};

pub(super) const QWEN3_MOE: Architecture = Architecture {
    model_type: "qwen3_moe",
    has_experts: true,
    // The GGUF format has no key for the normalisation: llama.cpp always divides by the sum.
    from_gguf: |metadata, spec| experts::from_gguf(metadata, qwen3::normalised(spec), "qwen3moe", gating(true)),
    from_config: |config, spec| {
        let spec = qwen3::from_config(config, spec)?;
        let step = config.count("decoder_sparse_step")?.unwrap_or(1).max(1);
        let dense = config.counts("mlp_only_layers")?.unwrap_or_default();
        let is_normalised = config.flag("norm_topk_prob")?.unwrap_or(false);
        let names = experts::Names { count: ["num_experts", "num_local_experts"], width: "moe_intermediate_size" };
        experts::from_config(config, spec, &names, gating(is_normalised), |layer| {
            (layer + 1).is_multiple_of(step) && !dense.contains(&layer)
        })
    },
    ..Architecture::plain("qwen3moe", "Qwen3MoeForCausalLM")
};

const fn gating(normalised: bool) -> Gating {
    Gating::new(Scores::Softmax, normalised)
}
