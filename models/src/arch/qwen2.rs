//! Qwen 1.5, 2 and 2.5, and the distillates made of them: Llama with biases on q, k and v.

use super::{Family, fields, keys};
use crate::error::Error;
use crate::spec::{Arch, RopeLayout, Spec};

pub(super) const FAMILY: Family = Family {
    gguf: Some("qwen2"),
    config: "qwen2",
    class: "Qwen2ForCausalLM",
    from_gguf: |metadata, lookup| {
        let spec = keys::read(metadata, lookup, Arch::Qwen2, RopeLayout::Halves)?;
        // Always biased: the check of the tensors then names the one that is missing.
        Ok(Spec { qkv_bias: true, ..spec })
    },
    from_config: |config| {
        let spec = Spec { qkv_bias: true, ..fields::read(config, Arch::Qwen2)? };
        let window = if config.flag("use_sliding_window")?.unwrap_or(false) {
            config.count("sliding_window")?.filter(|window| *window > 0)
        } else {
            None
        };
        if window.is_some() && config.count("max_window_layers")?.is_some_and(|full| full > 0 && full < spec.layers) {
            return Err(mixed(config));
        }
        // With `max_window_layers` equal to the layers, every layer sees all positions.
        let all_full = config.count("max_window_layers")?.is_some_and(|full| full >= spec.layers);
        Ok(spec.with_window(window.filter(|_| !all_full)))
    },
};

/// Windows in some layers only are not supported.
fn mixed(config: &super::Fields<'_>) -> Error {
    config.fault(
        "max_window_layers",
        "0 or the number of layers (a window in some layers only is not supported)",
        "a number between",
    )
}
