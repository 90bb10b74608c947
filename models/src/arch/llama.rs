//! Llama 2, Llama 3.x, SmolLM2, and every GGUF file that says `llama` (Mistral 7B's do).

use super::architecture::Architecture;
use crate::spec::RopeLayout;

pub(super) const LLAMA: Architecture = Architecture {
    // llama.cpp's converter permutes the rows of q and k of this architecture, so that the two rows of a pair are adjacent.
    gguf_layout: RopeLayout::Interleaved,
    from_config: |config, mut spec| {
        let has_bias = config.flag("attention_bias")?.unwrap_or(false);
        spec.attentions_mut().for_each(|attention| attention.qkv_bias = has_bias);
        Ok(spec)
    },
    ..Architecture::plain("llama", "LlamaForCausalLM")
};
