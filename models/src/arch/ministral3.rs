//! Ministral 3 (2025): Llama with YaRN, and queries that grow with the logarithm of their position beyond the original context.

use super::architecture::Architecture;
use crate::container::gguf::Value;
use crate::error::Error;
use crate::spec::{RopeLayout, RopeScaling, Spec, Temperature};

pub(super) const MINISTRAL3: Architecture = Architecture {
    gguf: Some("mistral3"),
    // llama.cpp's converter permutes q and k as for Llama.
    gguf_layout: RopeLayout::Interleaved,
    from_gguf: |metadata, spec| {
        const SCALE: &str = "mistral3.attention.temperature_scale";
        let original = metadata.count("mistral3.rope.scaling.original_context_length")?.unwrap_or(spec.context_length);
        with_temperature(spec, metadata.number(SCALE)?, original, |found| {
            metadata.mismatch(SCALE, "a number of at least 0", found)
        })
    },
    from_config: |config, spec| {
        if let Some(window) = config.count("sliding_window")?.filter(|window| *window > 0) {
            return Err(config.unsupported("sliding_window", "null", window.to_string()));
        }
        let Some(rope) = config.object("rope_parameters", "rope_parameters.")? else { return Ok(spec) };
        let original = rope.count("original_max_position_embeddings")?.unwrap_or(spec.context_length);
        with_temperature(spec, rope.number("llama_4_scaling_beta")?, original, |found| {
            rope.mismatch("llama_4_scaling_beta", "a number of at least 0", found)
        })
    },
    gguf_keys: |spec| {
        let temperature = spec.attentions().find_map(|attention| attention.temperature);
        temperature
            .map(|temperature| ("attention.temperature_scale".to_owned(), Value::F32(temperature.scale)))
            .into_iter()
            .collect()
    },
    ..Architecture::plain("ministral3", "Ministral3ForCausalLM")
};

fn with_temperature(
    mut spec: Spec,
    scale: Option<f32>,
    original: usize,
    mismatch: impl Fn(String) -> Error,
) -> Result<Spec, Error> {
    let Some(scale) = scale.filter(|scale| *scale != 0.0) else { return Ok(spec) };
    if scale < 0.0 || original == 0 {
        return Err(mismatch(scale.to_string()));
    }
    for attention in spec.attentions_mut() {
        // The context of the temperature is that of the rotary scaling, where there is one.
        let context = match attention.rope.as_ref().and_then(|rope| rope.scaling.as_ref()) {
            Some(RopeScaling::Yarn { original_context, .. }) => *original_context,
            _ => original,
        };
        attention.temperature = Some(Temperature { scale, context });
    }
    Ok(spec)
}
