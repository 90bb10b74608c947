//! Qwen 3, dense: Llama with a norm on each head of q and k, and no biases.

use super::architecture::Architecture;
use super::qwen2::with_window;
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::Spec;

pub(super) const QWEN3: Architecture = Architecture {
    from_gguf: |_, spec| Ok(normalised(spec)),
    from_config,
    ..Architecture::plain("qwen3", "Qwen3ForCausalLM")
};

pub(super) fn from_config(config: &Object<'_>, spec: Spec) -> Result<Spec, Error> {
    if config.flag("attention_bias")? == Some(true) {
        return Err(config.unsupported("attention_bias", "false", "true"));
    }
    with_window(config, normalised(spec))
}

pub(super) fn normalised(mut spec: Spec) -> Spec {
    spec.attentions_mut().for_each(|attention| attention.qk_norm = true);
    spec
}
