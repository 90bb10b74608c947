//! DeepSeek V2 and V3, and GLM-4.7-Flash: latent attention, and after some dense layers experts beside shared ones (arXiv:2405.04434,
//! arXiv:2412.19437). The GGUF format has one architecture for all three.

use super::architecture::Architecture;
use super::experts;
use crate::container::gguf::{KeyValues, Metadata, Value};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{
    ExpertGroups, Experts, FeedForward, Gating, LatentAttention, Mixer, Rope, RopeLayout, RopeScaling, Scores,
    SharedExpert, Spec, yarn_magnitude,
};

pub(super) const DEEPSEEK2: Architecture = Architecture {
    model_type: "deepseek_v2",
    gguf_layout: RopeLayout::Interleaved,
    has_latent_attention: true,
    has_experts: true,
    from_gguf,
    from_config: |config, spec| {
        // Transformers ignores `norm_topk_prob`; DeepSeek's own code does not scale normalised weights.
        if config.flag("norm_topk_prob")? == Some(true) {
            return Err(config.unsupported("norm_topk_prob", "false", "true"));
        }
        let groups = match config.text("topk_method")? {
            None | Some("greedy") => None,
            Some("group_limited_greedy") => groups(config.count("n_group")?, config.count("topk_group")?)
                .map(|ExpertGroups { count, used, .. }| ExpertGroups::by_best(count, used)),
            Some(method) => {
                let expected = "`greedy` or `group_limited_greedy`";
                return Err(config.unsupported("topk_method", expected, format!("`{method}`")));
            }
        };
        let gating = Gating { scale: scale(config)?, groups, ..Gating::new(Scores::Softmax, false) };
        of_config(config, spec, gating)
    },
    gguf_keys,
    ..Architecture::plain(ARCH, "DeepseekV2ForCausalLM")
};

pub(super) const DEEPSEEK3: Architecture = Architecture {
    gguf: None,
    model_type: "deepseek_v3",
    class: "DeepseekV3ForCausalLM",
    from_config: with_choice_bias,
    ..DEEPSEEK2
};

pub(super) const GLM4_MOE_LITE: Architecture =
    Architecture { model_type: "glm4_moe_lite", class: "Glm4MoeLiteForCausalLM", ..DEEPSEEK3 };

const ARCH: &str = "deepseek2";

/// The fields of DeepSeek V3: sigmoids with a bias of the choice, and groups.
fn with_choice_bias(config: &Object<'_>, spec: Spec) -> Result<Spec, Error> {
    if config.flag("rope_interleave")? == Some(false) {
        return Err(config.unsupported("rope_interleave", "true", "false"));
    }
    for (name, only) in [("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")] {
        if let Some(found) = config.text(name)?
            && found != only
        {
            return Err(config.unsupported(name, format!("`{only}`"), format!("`{found}`")));
        }
    }
    // The defaults are those of the classes in transformers, of which files state all fields.
    let groups = groups(config.count("n_group")?, config.count("topk_group")?);
    let gating = Gating {
        scale: scale(config)?,
        choice_bias: true,
        groups,
        ..Gating::new(Scores::Sigmoid, config.flag("norm_topk_prob")?.unwrap_or(true))
    };
    of_config(config, spec, gating)
}

fn scale(config: &Object<'_>) -> Result<Option<f32>, Error> {
    Ok(config.number("routed_scaling_factor")?.filter(|scale| scale.to_bits() != 1f32.to_bits()))
}

/// One group is all experts. Ranked as llama.cpp ranks all: GGUF has no key for it.
fn groups(count: Option<usize>, used: Option<usize>) -> Option<ExpertGroups> {
    let count = count.filter(|count| *count > 1)?;
    Some(ExpertGroups::by_two(count, used.unwrap_or(count)))
}

fn of_config(config: &Object<'_>, spec: Spec, gating: Gating) -> Result<Spec, Error> {
    let required = |name: &str| config.required(name, config.count(name)?);
    if config.flag("attention_bias")? == Some(true) {
        return Err(config.unsupported("attention_bias", "false", "true"));
    }
    let dense = match config.texts("mlp_layer_types")? {
        // GLM: a list; the first layers are dense.
        Some(kinds) => kinds.iter().take_while(|kind| **kind == "dense").count(),
        None => config.count("first_k_dense_replace")?.unwrap_or(0),
    };
    if config.count("moe_layer_freq")?.is_some_and(|step| step != 1) {
        return Err(config.unsupported("moe_layer_freq", "1", "another number"));
    }
    let names = experts::Names { count: ["n_routed_experts", "num_local_experts"], width: "moe_intermediate_size" };
    let spec = experts::from_config(config, spec, &names, gating, |layer| layer >= dense)?;
    let spec = with_shared(spec, config.count("n_shared_experts")?.unwrap_or(0));
    let parts = Parts {
        query_rank: config.count("q_lora_rank")?,
        rank: required("kv_lora_rank")?,
        key_dim: required("qk_nope_head_dim")?,
        value_dim: required("v_head_dim")?,
    };
    // YaRN's multiplier for all dimensions belongs to the scores.
    let parameters = match config.object("rope_parameters", "rope_parameters.")? {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling", "rope_scaling.")?,
    };
    let all = match parameters {
        Some(parameters) => parameters.number("mscale_all_dim")?,
        None => None,
    };
    Ok(with_latent_attention(spec, parts, |rope| match rope.scaling {
        Some(RopeScaling::Yarn { factor, .. }) => all.map_or(1.0, |all| yarn_magnitude(factor, all)),
        _ => 1.0,
    }))
}

/// The widths of latent attention that are not those of plain attention.
#[derive(Clone, Copy)]
struct Parts {
    query_rank: Option<usize>,
    rank: usize,
    key_dim: usize,
    value_dim: usize,
}

/// Latent attention in all layers, with the heads and the rotary embedding of the plain attention that the shared fields describe.
/// `magnitude` is a factor of queries and keys.
fn with_latent_attention(mut spec: Spec, parts: Parts, magnitude: impl Fn(&Rope) -> f32) -> Spec {
    let Parts { query_rank, rank, key_dim, value_dim } = parts;
    for layer in &mut spec.layers {
        let Some(attention) = layer.mixer.attention() else { continue };
        let Some(rope) = &attention.rope else { continue };
        let rope = Rope { layout: RopeLayout::Interleaved, ..rope.clone() };
        let (heads, magnitude) = (attention.heads, magnitude(&rope));
        let mut latent = LatentAttention { heads, query_rank, rank, key_dim, value_dim, rope, score_scale: None };
        if (magnitude - 1.0).abs() > f32::EPSILON {
            latent.score_scale = Some(latent.scale() * magnitude * magnitude);
        }
        layer.mixer = Mixer::LatentAttention(latent);
    }
    spec
}

/// Shared experts are one of the width of all.
fn with_shared(mut spec: Spec, count: usize) -> Spec {
    for layer in &mut spec.layers {
        if let FeedForward::Experts(experts) = &mut layer.feed_forward {
            experts.shared = (count > 0).then_some(SharedExpert { width: count * experts.expert.width, gated: false });
        }
    }
    spec
}

fn from_gguf(metadata: &Metadata, mut spec: Spec) -> Result<Spec, Error> {
    let key = |rest: &str| format!("{ARCH}.{rest}");
    let count = |rest: &str| metadata.count(&key(rest));
    let required = |rest: &str| metadata.required(&key(rest), count(rest)?);
    // Without them, as in older conversions, the file is of attention without the products with the latent, whose heads have these widths.
    let of_head = |plain: &str, latent: &str| -> Result<usize, Error> {
        match count(latent)?.filter(|width| *width > 0) {
            Some(width) => Ok(width),
            None => required(plain),
        }
    };
    let query_dim = of_head("attention.key_length", "attention.key_length_mla")?;
    let value_dim = of_head("attention.value_length", "attention.value_length_mla")?;
    // Layers that predict further tokens; their tensors are not read.
    let further = count("nextn_predict_layers")?.unwrap_or(0);
    let layers = spec.layers.len().saturating_sub(further).max(1);
    spec.layers.truncate(layers);
    let scores = match count("expert_gating_func")? {
        Some(2) => Scores::Sigmoid,
        // As llama.cpp: files of DeepSeek V2 have no such key, and some of GLM-4.7-Flash neither.
        None | Some(0) if spec.layers.len() == 47 && spec.vocab == 154_880 => Scores::Sigmoid,
        _ => Scores::Softmax,
    };
    let gating = Gating {
        choice_bias: scores == Scores::Sigmoid,
        groups: groups(count("expert_group_count")?, count("expert_group_used_count")?),
        ..Gating::new(scores, metadata.flag(&key("expert_weights_norm"))?.unwrap_or(false))
    };
    let dense = count("leading_dense_block_count")?.unwrap_or(0);
    let parts_of_dense: Vec<FeedForward> =
        spec.layers.iter().take(dense).map(|layer| layer.feed_forward.clone()).collect();
    let mut spec = experts::from_gguf(metadata, spec, ARCH, gating)?;
    for (layer, part) in spec.layers.iter_mut().zip(parts_of_dense) {
        layer.feed_forward = part;
    }
    let spec = with_shared(spec, count("expert_shared_count")?.unwrap_or(0));
    let rope_dim = spec.attentions().find_map(|attention| attention.rope.as_ref()).map_or(0, |rope| rope.dim);
    let parts = Parts {
        query_rank: count("attention.q_lora_rank")?.filter(|rank| *rank > 0),
        rank: required("attention.kv_lora_rank")?,
        key_dim: query_dim.saturating_sub(rope_dim),
        value_dim,
    };
    // The key has a tenth of the multiplier. Cosines and sines are not multiplied then, queries and keys are.
    let log_multiplier = metadata.number(&key("rope.scaling.yarn_log_multiplier"))?.map(|tenth| tenth / 0.1);
    let mut spec = with_latent_attention(spec, parts, |rope| match rope.scaling {
        Some(RopeScaling::Yarn { factor, .. }) => {
            log_multiplier.map_or(yarn_magnitude(factor, 1.0), |multiplier| yarn_magnitude(factor, multiplier))
        }
        _ => 1.0,
    });
    if log_multiplier.is_some() {
        let factor = metadata.number(&key("rope.scaling.attn_factor"))?.unwrap_or(1.0);
        for layer in &mut spec.layers {
            if let Mixer::LatentAttention(attention) = &mut layer.mixer
                && let Some(RopeScaling::Yarn { magnitude, .. }) = &mut attention.rope.scaling
            {
                *magnitude = factor;
            }
        }
    }
    Ok(spec)
}

fn gguf_keys(spec: &Spec) -> KeyValues {
    let mut keys = KeyValues::new();
    let number = |size: usize| Value::U32(u32::try_from(size).unwrap_or(u32::MAX));
    let mut add = |key: &str, value: Value| keys.push((key.to_owned(), value));
    let latent = spec.layers.iter().find_map(|layer| layer.mixer.latent_attention());
    let Some(attention) = latent else { return keys };
    add("attention.head_count", number(attention.heads));
    // One row for all heads.
    add("attention.head_count_kv", Value::U32(1));
    add("attention.key_length", number(attention.cache_width()));
    add("attention.value_length", number(attention.rank));
    add("attention.key_length_mla", number(attention.query_dim()));
    add("attention.value_length_mla", number(attention.value_dim));
    add("attention.kv_lora_rank", number(attention.rank));
    // Files of models without this rank have no such key, but then llama.cpp requires their number of layers.
    add("attention.q_lora_rank", number(attention.query_rank.unwrap_or(0)));
    if let Some(RopeScaling::Yarn { factor, magnitude, .. }) = attention.rope.scaling {
        add("rope.scaling.attn_factor", Value::F32(magnitude));
        add("rope.scaling.yarn_log_multiplier", Value::F32(0.1 * multiplier(attention, factor)));
    }
    let is_dense = |feed_forward: &FeedForward| matches!(feed_forward, FeedForward::Dense(_));
    let dense = spec.layers.iter().take_while(|layer| is_dense(&layer.feed_forward)).count();
    add("leading_dense_block_count", number(dense));
    if let Some(of_layer) = spec.layers.iter().find_map(|layer| layer.feed_forward.experts()) {
        let Experts { count, used, expert, gating, shared, .. } = of_layer;
        add("expert_count", number(*count));
        add("expert_used_count", number(*used));
        add("expert_feed_forward_length", number(expert.width));
        add("expert_gating_func", Value::U32(experts::function_number(gating.scores)));
        add("expert_weights_scale", Value::F32(gating.scale.unwrap_or(1.0)));
        let shared = shared.map_or(0, |shared| shared.width / expert.width);
        add("expert_shared_count", number(shared));
        add("expert_weights_norm", Value::Bool(gating.normalised));
        if let Some(groups) = gating.groups {
            add("expert_group_count", number(groups.count));
            add("expert_group_used_count", number(groups.used));
        }
    }
    keys
}

/// The multiplier `m` of which the scale of the scores is `(0.1 m ln(factor) + 1)^2 / sqrt(query_dim)`.
#[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
fn multiplier(attention: &LatentAttention, factor: f32) -> f32 {
    let magnitude = (attention.scale() * (attention.query_dim() as f32).sqrt()).sqrt();
    if factor > 1.0 { (magnitude - 1.0) / (0.1 * factor.ln()) } else { 0.0 }
}
