//! SmolLM3: Llama without rotary embedding in every fourth layer (NoPE, arXiv:2501.18795).

use super::architecture::Architecture;
use crate::error::Error;
use crate::spec::{RopeLayout, Spec};

/// Every so many layers one has no rotary embedding. The GGUF format has no key for it.
const INTERVAL: usize = 4;

pub(super) const SMOLLM3: Architecture = Architecture {
    // llama.cpp's converter permutes q and k as for Llama.
    gguf_layout: RopeLayout::Interleaved,
    tied_by_default: true,
    from_gguf: |_, spec| Ok(without_rope(spec, |layer| (layer + 1).is_multiple_of(INTERVAL))),
    from_config: |config, spec| {
        for name in ["attention_bias", "use_sliding_window"] {
            if config.flag(name)? == Some(true) {
                return Err(config.unsupported(name, "false", "true"));
            }
        }
        // A list with 1 for layers with the embedding and 0 for those without.
        match config.counts("no_rope_layers")? {
            None => {
                let interval = config.count("no_rope_layer_interval")?.unwrap_or(INTERVAL).max(1);
                Ok(without_rope(spec, |layer| (layer + 1).is_multiple_of(interval)))
            }
            Some(list) if list.len() == spec.layers.len() => Ok(without_rope(spec, |layer| list[layer] == 0)),
            Some(list) => {
                let expected = format!("a list of {} (num_hidden_layers)", spec.layers.len());
                Err::<_, Error>(config.mismatch("no_rope_layers", expected, format!("a list of {}", list.len())))
            }
        }
    },
    ..Architecture::plain("smollm3", "SmolLM3ForCausalLM")
};

fn without_rope(mut spec: Spec, is_without: impl Fn(usize) -> bool) -> Spec {
    for (at, attention) in spec.attentions_mut().enumerate() {
        if is_without(at) {
            attention.rope = None;
        }
    }
    spec
}
