//! Qwen 3, dense: Llama with a norm on each head of q and k, and no biases.

use super::architecture::Architecture;
use super::qwen2::with_window;
use crate::spec::Spec;

pub(super) const QWEN3: Architecture = Architecture {
    from_gguf: |_, spec| Ok(normalised(spec)),
    from_config: |config, spec| {
        if config.flag("attention_bias")? == Some(true) {
            return Err(config.unsupported("attention_bias", "false", "true"));
        }
        with_window(config, normalised(spec))
    },
    ..Architecture::plain("qwen3", "Qwen3ForCausalLM")
};

fn normalised(mut spec: Spec) -> Spec {
    spec.layers.iter_mut().for_each(|layer| layer.attention.qk_norm = true);
    spec
}
