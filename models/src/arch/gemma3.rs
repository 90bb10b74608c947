//! Gemma 3, text only: five layers with a sliding window and a small rotary base for each layer that attends to all positions, norms
//! before and after each part, norms on the heads of q and k, GELU, scaled embeddings (arXiv:2503.19786).

use super::architecture::Architecture;
use super::config::{Frame, layer_kinds, rope_of};
use crate::container::gguf::{Array, Metadata, Value};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{Activation, NormPlacement, Rope, Spec};

/// One layer of so many attends to all positions, if the file does not say which.
const PATTERN: usize = 6;
/// Rotary base of the layers with a window, if the file does not say it.
const LOCAL_BASE: f32 = 10_000.0;
/// The number of layers of Gemma 3 27B, the only one whose scores are scaled by another width than that of a head.
const LAYERS_OF_27B: usize = 62;

pub(super) const GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    activation: Activation::GeluTanh,
    tied_by_default: true,
    from_gguf,
    from_config,
    gguf_keys: |spec| {
        let Some(window) = spec.smallest_window() else { return Vec::new() };
        let is_local = spec.attentions().map(|attention| attention.window.is_some()).collect();
        let local = spec.attentions().find(|attention| attention.window.is_some());
        let base = local.and_then(|attention| attention.rope.as_ref()).map_or(LOCAL_BASE, |rope| rope.theta);
        vec![
            ("attention.sliding_window".to_owned(), Value::U32(u32::try_from(window).unwrap_or(u32::MAX))),
            ("attention.sliding_window_pattern".to_owned(), Value::Array(Array::Bool(is_local))),
            ("rope.freq_base_swa".to_owned(), Value::F32(base)),
        ]
    },
    ..Architecture::plain("gemma3", "Gemma3ForCausalLM")
};

fn from_gguf(metadata: &Metadata, spec: Spec) -> Result<Spec, Error> {
    const CAP: &str = "gemma3.final_logit_softcapping";
    if let Some(cap) = metadata.number(CAP)?.filter(|cap| *cap != 0.0) {
        return Err(metadata.unsupported(CAP, "no such key", cap.to_string()));
    }
    let mut spec = common(spec);
    if spec.layers.len() == LAYERS_OF_27B {
        let hidden = spec.hidden;
        #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
        let scale = |heads| 1.0 / ((hidden / heads) as f32).sqrt();
        spec.attentions_mut().for_each(|attention| attention.scale = Some(scale(attention.heads)));
    }
    let window = metadata.count("gemma3.attention.sliding_window")?.filter(|window| *window > 0);
    let Some(window) = window else { return Ok(spec) };
    const PATTERN_KEY: &str = "gemma3.attention.sliding_window_pattern";
    let base = metadata.number("gemma3.rope.freq_base_swa")?.unwrap_or(LOCAL_BASE);
    let layers = spec.layers.len();
    let local: Vec<bool> = match metadata.get(PATTERN_KEY)? {
        Some(Value::Array(array)) => flags(array).filter(|flags| flags.len() == layers).ok_or_else(|| {
            let expected = format!("an interval, or one BOOL, U32 or I32 for each of {layers} layers");
            metadata.mismatch(PATTERN_KEY, expected, "another array")
        })?,
        _ => by_interval(layers, metadata.count(PATTERN_KEY)?.unwrap_or(PATTERN)),
    };
    Ok(with_local_layers(spec, &local, window, |rope| Rope { theta: base, scaling: None, ..rope }))
}

/// Flags, which some writers store as numbers.
pub(super) fn flags(array: &Array) -> Option<Vec<bool>> {
    match array {
        Array::Bool(flags) => Some(flags.clone()),
        Array::U32(numbers) => Some(numbers.iter().map(|number| *number != 0).collect()),
        Array::I32(numbers) => Some(numbers.iter().map(|number| *number != 0).collect()),
        _ => None,
    }
}

fn from_config(config: &Object<'_>, spec: Spec) -> Result<Spec, Error> {
    for name in ["attention_bias", "use_bidirectional_attention"] {
        if config.flag(name)? == Some(true) {
            return Err(config.unsupported(name, "false", "true"));
        }
    }
    for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = config.number(name)? {
            return Err(config.unsupported(name, "null", cap.to_string()));
        }
    }
    let mut spec = common(spec);
    // The files store the difference from 1.
    spec.norm_offset = 1.0;
    if let Some(scalar) = config.number("query_pre_attn_scalar")? {
        if scalar <= 0.0 {
            return Err(config.mismatch("query_pre_attn_scalar", "a positive number", scalar.to_string()));
        }
        spec.attentions_mut().for_each(|attention| attention.scale = Some(1.0 / scalar.sqrt()));
    }
    let Some(window) = config.count("sliding_window")?.filter(|window| *window > 0) else { return Ok(spec) };
    let local = match layer_kinds(config, spec.layers.len())? {
        Some(kinds) => kinds,
        None => by_interval(spec.layers.len(), config.count("sliding_window_pattern")?.unwrap_or(PATTERN)),
    };
    // Since version 5 of transformers each kind of layer has an object of its own.
    let kinds = config.object("rope_parameters", "rope_parameters.")?;
    let of_kind =
        |name, prefix| kinds.as_ref().map(|kinds| kinds.object(name, prefix)).transpose().map(Option::flatten);
    let head_dim = spec.attentions().map(|attention| attention.head_dim).max().unwrap_or(0);
    let frame = Frame { head_dim, context: spec.context_length, original: None, share: None };
    let global = of_kind("full_attention", "rope_parameters.full_attention.")?;
    if let Some(global) = global {
        let rope = rope_of(&global, frame)?;
        spec.attentions_mut().for_each(|attention| attention.rope = Some(rope.clone()));
    }
    let rope = match of_kind("sliding_attention", "rope_parameters.sliding_attention.")? {
        Some(local) => Some(rope_of(&local, frame)?),
        None => None,
    };
    let base = config.number("rope_local_base_freq")?.unwrap_or(LOCAL_BASE);
    let local_rope = |global| rope.clone().unwrap_or(Rope { theta: base, scaling: None, ..global });
    Ok(with_local_layers(spec, &local, window, local_rope))
}

/// What both formats have in common.
fn common(mut spec: Spec) -> Spec {
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let scale = (spec.hidden as f32).sqrt();
    spec.embedding_scale = Some(scale);
    spec.attentions_mut().for_each(|attention| attention.qk_norm = true);
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::BeforeAndAfter);
    spec
}

/// The last of every `interval` layers attends to all positions.
pub(super) fn by_interval(layers: usize, interval: usize) -> Vec<bool> {
    (1..=layers).map(|number| interval == 0 || !number.is_multiple_of(interval)).collect()
}

fn with_local_layers(mut spec: Spec, is_local: &[bool], window: usize, rope: impl Fn(Rope) -> Rope) -> Spec {
    for (attention, _) in spec.attentions_mut().zip(is_local).filter(|(_, is_local)| **is_local) {
        attention.window = Some(window);
        attention.rope = attention.rope.take().map(&rope);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_be_numbers() {
        let expected = Some(vec![true, false, true]);
        assert_eq!(flags(&Array::Bool(vec![true, false, true])), expected);
        assert_eq!(flags(&Array::U32(vec![1, 0, 1])), expected);
        assert_eq!(flags(&Array::I32(vec![1, 0, 1])), expected);
        assert_eq!(flags(&Array::F32(vec![1.0, 0.0, 1.0])), None);
    }
}
