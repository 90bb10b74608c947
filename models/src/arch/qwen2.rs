//! Qwen 1.5, 2 and 2.5, and models distilled into them: Llama with biases on q, k and v.

use super::architecture::Architecture;
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::Spec;

pub(super) const QWEN2: Architecture = Architecture {
    from_gguf: |_, spec| Ok(biased(spec)),
    from_config: |config, spec| with_window(config, biased(spec)),
    ..Architecture::plain("qwen2", "Qwen2ForCausalLM")
};

/// Always biased: the check of the tensors then reports a bias that is missing.
fn biased(mut spec: Spec) -> Spec {
    spec.attentions_mut().for_each(|attention| attention.qkv_bias = true);
    spec
}

/// The sliding window, if `use_sliding_window` is set. The first `max_window_layers` layers attend to all positions.
pub(super) fn with_window(config: &Object<'_>, mut spec: Spec) -> Result<Spec, Error> {
    let window = config.count("sliding_window")?.filter(|window| *window > 0);
    if window.is_none() || !config.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(spec);
    }
    // The default of transformers.
    let full = config.count("max_window_layers")?.unwrap_or(28);
    spec.attentions_mut().skip(full).for_each(|attention| attention.window = window);
    Ok(spec)
}
