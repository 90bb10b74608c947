//! Qwen 1.5, 2 and 2.5, and the distillates made of them: Llama with biases on q, k and v.

use super::{Family, Fields, fields, keys};
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
        let window = window(config, spec.layers)?;
        Ok(spec.with_window(window))
    },
};

/// The window, where `use_sliding_window` turns it on and the first `max_window_layers` layers, which see all positions, are none.
fn window(config: &Fields<'_>, layers: usize) -> Result<Option<usize>, Error> {
    let window = config.count("sliding_window")?.filter(|window| *window > 0);
    if window.is_none() || !config.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(None);
    }
    // The default of transformers.
    match config.count("max_window_layers")?.unwrap_or(28) {
        0 => Ok(window),
        full if full >= layers => Ok(None),
        full => {
            Err(config.unsupported("max_window_layers", format!("0, or {layers} layers or more"), full.to_string()))
        }
    }
}
