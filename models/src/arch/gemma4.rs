//! Gemma 4, text only: layers with a sliding window and others whose heads are wider, rotated in part and with another rotary base; the
//! last layers attend to the caches of earlier ones; inputs of each layer of its own; experts beside a dense part; norms as in Gemma 3 and of the values; a factor of
//! the output of each layer; bounded logits.

use super::architecture::Architecture;
use super::config::{Frame, layer_kinds, rope_of};
use super::experts;
use super::gemma3::{by_interval, flags};
use crate::container::gguf::{Array, KeyValues, Metadata, Value};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{
    Activation, Attention, Experts, FeedForward, Gated, Gating, NormPlacement, Rope, RopeLayout, RopeScaling, Scores,
    Spec,
};

pub(super) const GEMMA4: Architecture = Architecture {
    model_type: "gemma4_text",
    with_media: Some("Gemma4ForConditionalGeneration"),
    activation: Activation::GeluTanh,
    tied_by_default: true,
    has_different_layers: true,
    has_experts: true,
    from_gguf,
    from_config,
    gguf_keys,
    ..Architecture::plain("gemma4", "Gemma4ForCausalLM")
};

/// A token's experts have the weights of a softmax, divided by their sum, times a number for each expert.
const GATING: Gating = Gating { expert_factors: true, ..Gating::new(Scores::Softmax, true) };
/// One layer of so many attends to all positions, if the file does not say which.
const PATTERN: usize = 6;
/// The divisor of the frequencies of pairs that are not rotated. llama.cpp's converter writes the same number.
const NOT_ROTATED: f32 = 1e30;

/// What the layers of one kind have in common.
struct Kind {
    head_dim: usize,
    rope: Rope,
}

fn from_gguf(metadata: &Metadata, mut spec: Spec) -> Result<Spec, Error> {
    let key = |rest: &str| format!("gemma4.{rest}");
    let count = |rest: &str| metadata.count(&key(rest));
    let layers = spec.layers.len();
    let Some(global) = spec.attentions().next().cloned() else { return Ok(spec) };
    let pattern = key("attention.sliding_window_pattern");
    let local: Vec<bool> = match metadata.get(&pattern)? {
        Some(Value::Array(array)) => flags(array).filter(|flags| flags.len() == layers).ok_or_else(|| {
            let expected = format!("one BOOL, U32 or I32 for each of {layers} layers");
            metadata.mismatch(&pattern, expected, "another array")
        })?,
        _ => by_interval(layers, metadata.count(&pattern)?.unwrap_or(PATTERN)),
    };
    let window = metadata.required(&key("attention.sliding_window"), count("attention.sliding_window")?)?;
    let head_dim = count("attention.key_length_swa")?.unwrap_or(global.head_dim);
    let value_length = key("attention.value_length_swa");
    if let Some(width) = metadata.count(&value_length)?.filter(|width| *width != head_dim) {
        return Err(metadata.unsupported(&value_length, format!("{head_dim}, the width of a key"), width.to_string()));
    }
    let global_rope =
        global.rope.unwrap_or(Rope { theta: 1e6, dim: global.head_dim, layout: RopeLayout::Halves, scaling: None });
    let rope = Rope {
        theta: metadata.number(&key("rope.freq_base_swa"))?.unwrap_or(global_rope.theta),
        dim: count("rope.dimension_count_swa")?.unwrap_or(head_dim),
        layout: RopeLayout::Halves,
        scaling: None,
    };
    let widths = metadata.counts_of_layers(&key("feed_forward_length"), layers)?;
    let kv_heads = metadata.counts_of_layers(&key("attention.head_count_kv"), layers)?;
    for (layer, width) in spec.layers.iter_mut().zip(widths.into_iter().flatten()) {
        layer.feed_forward.gated_mut().width = width;
    }
    for (attention, heads) in spec.attentions_mut().zip(kv_heads.into_iter().flatten()) {
        attention.kv_heads = heads;
    }
    if count("expert_count")?.is_some_and(|count| count > 0) {
        let dense: Vec<usize> = spec.layers.iter().map(|layer| layer.feed_forward.gated().width).collect();
        spec = with_dense_parts(experts::from_gguf(metadata, spec, "gemma4", GATING)?, &dense);
    }
    spec.per_layer_width = count("embedding_length_per_layer_input")?.filter(|width| *width > 0);
    // llama.cpp has this bound where a file states none, and 0 for no bound.
    let cap = metadata.number(&key("final_logit_softcapping"))?.unwrap_or(30.0);
    spec.logit_cap = Some(cap).filter(|cap| *cap != 0.0);
    let kinds = [Kind { head_dim, rope }, Kind { head_dim: global.head_dim, rope: global_rope }];
    let shared_key = key("attention.shared_kv_layers");
    let shared = metadata.count(&shared_key)?.unwrap_or(0);
    let spec = with_kinds(common(spec), &local, window, &kinds);
    with_shared_caches(spec, shared, |expected| metadata.mismatch(&shared_key, expected, shared.to_string()))
}

fn from_config(config: &Object<'_>, mut spec: Spec) -> Result<Spec, Error> {
    if config.flag("attention_bias")? == Some(true) {
        return Err(config.unsupported("attention_bias", "false", "true"));
    }
    // Pictures alone attend in both directions with `vision`.
    if let Some(found) = config.text("use_bidirectional_attention")?.filter(|found| *found != "vision") {
        return Err(config.unsupported("use_bidirectional_attention", "null or `vision`", format!("`{found}`")));
    }
    let layers = spec.layers.len();
    let mut local = match layer_kinds(config, layers)? {
        Some(kinds) => kinds,
        None => by_interval(layers, config.count("sliding_window_pattern")?.unwrap_or(PATTERN)),
    };
    // As transformers, whatever the list says.
    local.iter_mut().next_back().into_iter().for_each(|last| *last = false);
    let Some(first) = spec.attentions().next().cloned() else { return Ok(spec) };
    // transformers writes the fields of single layers since version 5.19; published files have those of all layers without a window.
    let of_layers = config.object("per_layer_config", "per_layer_config.")?;
    let of_layer = |at: usize, name: &str| -> Result<Option<usize>, Error> {
        let Some(of_layers) = &of_layers else { return Ok(None) };
        let fields = of_layers.object(&at.to_string(), "per_layer_config.LAYER.")?;
        fields.map(|fields| fields.count(name)).transpose().map(Option::flatten)
    };
    let values_are_keys = config.flag("attention_k_eq_v")?.unwrap_or(false);
    let first_global = local.iter().position(|is_local| !is_local).unwrap_or(layers);
    let stated = config.count("global_head_dim")?.unwrap_or(512);
    let global_dim =
        if of_layers.is_some() { of_layer(first_global, "head_dim")?.unwrap_or(first.head_dim) } else { stated };
    let stated = config.count("num_global_key_value_heads")?.filter(|_| values_are_keys);
    let global_heads = of_layer(first_global, "num_key_value_heads")?.or(stated).unwrap_or(first.kv_heads);
    for (attention, is_local) in spec.attentions_mut().zip(&local) {
        attention.values_are_keys = values_are_keys && !is_local;
        attention.kv_heads = if *is_local { first.kv_heads } else { global_heads };
    }
    let shared = config.count("num_kv_shared_layers")?.unwrap_or(0);
    if config.flag("use_double_wide_mlp")? == Some(true) {
        for layer in spec.layers.iter_mut().rev().take(shared) {
            layer.feed_forward.gated_mut().width *= 2;
        }
    }
    if config.flag("enable_moe_block")? == Some(true) {
        let required = |name: &str| config.required(name, config.count(name)?);
        let (count, used) = (required("num_experts")?, required("top_k_experts")?);
        let width = required("moe_intermediate_size")?;
        for layer in &mut spec.layers {
            let dense = *layer.feed_forward.gated();
            layer.feed_forward = FeedForward::Experts(Experts {
                count,
                used,
                expert: Gated { width, ..dense },
                gating: GATING,
                biased: false,
                shared: None,
                dense_width: Some(dense.width),
            });
        }
    }
    // The default of transformers.
    let width = config.count("hidden_size_per_layer_input")?.unwrap_or(256);
    spec.per_layer_width = Some(width).filter(|width| *width > 0);
    const ROWS: &str = "vocab_size_per_layer_input";
    if let Some(rows) = config.count(ROWS)?.filter(|rows| width > 0 && *rows != spec.vocab) {
        return Err(config.unsupported(ROWS, format!("{}, those of all embeddings", spec.vocab), rows.to_string()));
    }
    spec.logit_cap = config.number("final_logit_softcapping")?;
    spec.layers.iter_mut().for_each(|layer| layer.output_scale = true);
    let window = config.count("sliding_window")?.unwrap_or(512);
    let kinds = [
        Kind { head_dim: first.head_dim, rope: rope(config, "sliding_attention", &spec, first.head_dim, 10_000.0)? },
        Kind { head_dim: global_dim, rope: rope(config, "full_attention", &spec, global_dim, 1_000_000.0)? },
    ];
    let spec = with_kinds(common(spec), &local, window, &kinds);
    let name = "num_kv_shared_layers";
    with_shared_caches(spec, shared, |expected| config.mismatch(name, expected, shared.to_string()))
}

/// The rotary embedding of the layers of a kind. The default of layers without a window is to rotate a quarter of the pairs, which keep
/// the frequencies that they have among all.
fn rope(config: &Object<'_>, kind: &str, spec: &Spec, head_dim: usize, theta: f32) -> Result<Rope, Error> {
    let frame = Frame { head_dim, context: spec.context_length, original: None, share: None };
    let plain = Rope { theta, dim: head_dim, layout: RopeLayout::Halves, scaling: None };
    let is_global = kind == "full_attention";
    let prefix = match is_global {
        true => "rope_parameters.full_attention.",
        false => "rope_parameters.sliding_attention.",
    };
    let kinds = config.object("rope_parameters", "rope_parameters.")?;
    let fields = kinds.map(|kinds| kinds.object(kind, prefix)).transpose()?.flatten();
    let Some(fields) = fields else {
        return Ok(if is_global { proportional(&plain, 0.25, 1.0) } else { plain });
    };
    match fields.text("rope_type")? {
        Some("proportional") | None if is_global => {
            let theta = fields.number("rope_theta")?.unwrap_or(theta);
            let share = fields.number("partial_rotary_factor")?.unwrap_or(1.0);
            let factor = fields.number("factor")?.unwrap_or(1.0);
            if !(share > 0.0 && share <= 1.0) {
                let expected = "a number above 0, at most 1";
                return Err(fields.mismatch("partial_rotary_factor", expected, share.to_string()));
            }
            Ok(proportional(&Rope { theta, ..plain }, share, factor))
        }
        _ => rope_of(&fields, frame),
    }
}

/// Rotates a share of the pairs of a head, without changing their frequencies, which are divided by a factor.
#[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the width")]
fn proportional(rope: &Rope, share: f32, factor: f32) -> Rope {
    let (pairs, rotated) = (rope.dim / 2, (share * rope.dim as f32 / 2.0) as usize);
    let divisors: Vec<f32> = (0..pairs).map(|pair| if pair < rotated { factor } else { NOT_ROTATED }).collect();
    let has_effect = divisors.iter().any(|divisor| (divisor - 1.0).abs() > f32::EPSILON);
    Rope { scaling: has_effect.then_some(RopeScaling::Factors(divisors)), ..rope.clone() }
}

/// Gives the experts of each layer a dense part of this width beside them.
fn with_dense_parts(mut spec: Spec, widths: &[usize]) -> Spec {
    for (layer, width) in spec.layers.iter_mut().zip(widths) {
        if let FeedForward::Experts(experts) = &mut layer.feed_forward {
            experts.dense_width = Some(*width);
        }
    }
    spec
}

/// What both formats have in common.
fn common(mut spec: Spec) -> Spec {
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let scale = (spec.hidden as f32).sqrt();
    spec.embedding_scale = Some(scale);
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::BeforeAndAfter);
    for attention in spec.attentions_mut() {
        (attention.qk_norm, attention.v_norm, attention.scale) = (true, true, Some(1.0));
    }
    spec
}

fn with_kinds(mut spec: Spec, is_local: &[bool], window: usize, [local, global]: &[Kind; 2]) -> Spec {
    for (attention, is_local) in spec.attentions_mut().zip(is_local) {
        let kind = if *is_local { local } else { global };
        (attention.head_dim, attention.rope) = (kind.head_dim, Some(kind.rope.clone()));
        attention.window = is_local.then_some(window);
    }
    spec
}

/// The last `shared` layers attend to the keys and values of the last layer before them that has a window as they do, or has none.
///
/// # Errors
/// That of what was expected, if there is no such layer.
fn with_shared_caches(mut spec: Spec, shared: usize, error: impl Fn(String) -> Error) -> Result<Spec, Error> {
    let layers = spec.layers.len();
    let Some(own) = layers.checked_sub(shared).filter(|own| *own > 0) else {
        return Err(error(format!("fewer than {layers}, the number of layers")));
    };
    let windows: Vec<Option<usize>> = spec.attentions().map(|attention| attention.window).collect();
    for (at, attention) in spec.attentions_mut().enumerate().skip(own) {
        let source = windows[..own].iter().rposition(|window| *window == windows[at]);
        let source =
            source.ok_or_else(|| error(format!("a number that leaves a layer with a cache for layer {at}")))?;
        (attention.cache_of, attention.values_are_keys) = (Some(source), false);
    }
    Ok(spec)
}

/// The width of the dense part.
const fn dense_width(feed_forward: &FeedForward) -> usize {
    match feed_forward {
        FeedForward::Experts(Experts { dense_width: Some(width), .. }) => *width,
        _ => feed_forward.gated().width,
    }
}

fn gguf_keys(spec: &Spec) -> KeyValues {
    let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let number = |size: usize| Value::U32(small(size));
    let of_layers = |sizes: Vec<usize>| Value::Array(Array::U32(sizes.into_iter().map(small).collect()));
    let attentions = || spec.attentions();
    let local = attentions().find(|attention| attention.window.is_some());
    let global = attentions().find(|attention| attention.window.is_none());
    let mut keys = vec![
        ("attention.head_count_kv", of_layers(attentions().map(|attention| attention.kv_heads).collect())),
        ("feed_forward_length", of_layers(spec.layers.iter().map(|layer| dense_width(&layer.feed_forward)).collect())),
        (
            "attention.sliding_window_pattern",
            Value::Array(Array::Bool(attentions().map(|attention| attention.window.is_some()).collect())),
        ),
        ("attention.shared_kv_layers", number(attentions().filter(|attention| !attention.has_own_cache()).count())),
        ("embedding_length_per_layer_input", number(spec.per_layer_width.unwrap_or(0))),
    ];
    if let Some(Attention { head_dim, .. }) = global {
        keys.extend(["attention.key_length", "attention.value_length"].map(|key| (key, number(*head_dim))));
    }
    if let Some(attention) = local {
        keys.push(("attention.sliding_window", number(attention.window.unwrap_or(0))));
        let swa = ["attention.key_length_swa", "attention.value_length_swa"];
        keys.extend(swa.map(|key| (key, number(attention.head_dim))));
        if let Some(rope) = &attention.rope {
            keys.push(("rope.dimension_count_swa", number(rope.dim)));
            keys.push(("rope.freq_base_swa", Value::F32(rope.theta)));
        }
    }
    keys.push(("final_logit_softcapping", Value::F32(spec.logit_cap.unwrap_or(0.0))));
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
