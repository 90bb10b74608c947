//! Qwen 3.5: gated delta nets in three of four layers, and attention with an output gate in the others; dense or with experts.

use super::architecture::Architecture;
use super::experts;
use super::stored::Stored;
use crate::container::gguf::{Array, KeyValues, Metadata, Value};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{DeltaLayout, FeedForward, GatedDeltaNet, Gating, Mixer, Scores, SharedExpert, Spec};

pub(super) const QWEN35: Architecture = Architecture {
    model_type: "qwen3_5_text",
    has_other_mixers: true,
    stored: STORED,
    from_gguf: |metadata, spec| from_gguf(metadata, spec, "qwen35"),
    from_config,
    gguf_keys,
    ..Architecture::plain("qwen35", "Qwen3_5ForCausalLM")
};

pub(super) const QWEN35_MOE: Architecture = Architecture {
    model_type: "qwen3_5_moe_text",
    has_other_mixers: true,
    has_experts: true,
    stored: STORED,
    from_gguf: |metadata, spec| {
        const WIDTH: &str = "qwen35moe.expert_shared_feed_forward_length";
        let spec = experts::from_gguf(metadata, from_gguf(metadata, spec, "qwen35moe")?, "qwen35moe", GATING)?;
        Ok(with_shared_expert(spec, metadata.required(WIDTH, metadata.count(WIDTH)?)?))
    },
    from_config: |config, spec| {
        const WIDTH: &str = "shared_expert_intermediate_size";
        let names = experts::Names { count: ["num_experts", "num_local_experts"], width: "moe_intermediate_size" };
        let spec = experts::from_config(config, from_config(config, spec)?, &names, GATING, |_| true)?;
        Ok(with_shared_expert(spec, config.required(WIDTH, config.count(WIDTH)?)?))
    },
    gguf_keys,
    ..Architecture::plain("qwen35moe", "Qwen3_5MoeForCausalLM")
};

/// llama.cpp gives the norm before the feed-forward part the name of a norm after attention.
const STORED: &[Stored] = &[Stored { file: "post_attention_norm", parts: &["ffn_norm"] }];
const GATING: Gating = Gating::new(Scores::Softmax, true);
/// One layer of so many has attention, if the file does not say which.
const INTERVAL: usize = 4;

fn from_gguf(metadata: &Metadata, spec: Spec, prefix: &str) -> Result<Spec, Error> {
    let key = |rest: &str| format!("{prefix}.{rest}");
    let required = |rest: &str| metadata.required(&key(rest), metadata.count(&key(rest))?);
    let layers = spec.layers.len();
    // Layers that predict further tokens.
    let further = key("nextn_predict_layers");
    if let Some(count) = metadata.count(&further)?.filter(|count| *count > 0) {
        return Err(metadata.unsupported(&further, "0", count.to_string()));
    }
    let (heads, head_dim, inner) =
        (required("ssm.time_step_rank")?, required("ssm.state_size")?, key("ssm.inner_size"));
    let width = metadata.required(&inner, metadata.count(&inner)?)?;
    if heads.checked_mul(head_dim) != Some(width) {
        let expected = format!("{heads} heads (ssm.time_step_rank) of {head_dim} (ssm.state_size)");
        return Err(metadata.unsupported(&inner, expected, width.to_string()));
    }
    let net = GatedDeltaNet {
        key_heads: required("ssm.group_count")?,
        value_heads: heads,
        head_dim,
        kernel: required("ssm.conv_kernel")?,
        layout: DeltaLayout::Alternating,
    };
    let recurrent = key("attention.recurrent_layers");
    let interval = metadata.count(&key("full_attention_interval"))?.unwrap_or(INTERVAL);
    let is_recurrent: Vec<bool> = match metadata.get(&recurrent)? {
        None => by_interval(layers, interval),
        Some(Value::Array(Array::Bool(flags))) if flags.len() == layers => flags.clone(),
        Some(other) => {
            let expected = format!("one BOOL for each of {layers} layers");
            return Err(metadata.mismatch(&recurrent, expected, other.to_string()));
        }
    };
    Ok(with_delta_nets(spec, net, &is_recurrent))
}

fn from_config(config: &Object<'_>, mut spec: Spec) -> Result<Spec, Error> {
    if config.flag("attention_bias")? == Some(true) {
        return Err(config.unsupported("attention_bias", "false", "true"));
    }
    let count = |name: &str, default: usize| Ok::<_, Error>(config.count(name)?.unwrap_or(default));
    let head_dim = count("linear_key_head_dim", 128)?;
    let value_dim = count("linear_value_head_dim", 128)?;
    if value_dim != head_dim {
        let expected = format!("{head_dim}, the width of a key");
        return Err(config.unsupported("linear_value_head_dim", expected, value_dim.to_string()));
    }
    let net = GatedDeltaNet {
        key_heads: count("linear_num_key_heads", 16)?,
        value_heads: count("linear_num_value_heads", 32)?,
        head_dim,
        kernel: count("linear_conv_kernel_dim", 4)?,
        layout: DeltaLayout::Grouped,
    };
    // The default of these models is a quarter of a head.
    let of_rope = config.object("rope_parameters", "rope_parameters.")?;
    let share = match of_rope.map(|rope| rope.number("partial_rotary_factor")).transpose()?.flatten() {
        None => config.number("partial_rotary_factor")?,
        share => share,
    };
    if share.is_none() {
        for attention in spec.attentions_mut() {
            let quarter = attention.head_dim / 4;
            attention.rope.iter_mut().for_each(|rope| rope.dim = quarter);
        }
    }
    // The files store the difference from 1.
    spec.norm_offset = 1.0;
    let layers = spec.layers.len();
    let is_recurrent = match config.texts("layer_types")? {
        None => by_interval(layers, count("full_attention_interval", INTERVAL)?),
        Some(kinds) if kinds.len() == layers => kinds
            .into_iter()
            .map(|kind| match kind {
                "linear_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => {
                    Err(config.unsupported("layer_types", "linear_attention and full_attention", format!("`{other}`")))
                }
            })
            .collect::<Result<Vec<_>, _>>()?,
        Some(kinds) => {
            let expected = format!("one for each of {layers} layers");
            return Err(config.mismatch("layer_types", expected, kinds.len().to_string()));
        }
    };
    Ok(with_delta_nets(spec, net, &is_recurrent))
}

/// The last of every `interval` layers has attention.
fn by_interval(layers: usize, interval: usize) -> Vec<bool> {
    (1..=layers).map(|number| interval == 0 || !number.is_multiple_of(interval)).collect()
}

fn with_delta_nets(mut spec: Spec, net: GatedDeltaNet, is_recurrent: &[bool]) -> Spec {
    for attention in spec.attentions_mut() {
        (attention.qk_norm, attention.output_gate) = (true, true);
    }
    for (layer, _) in spec.layers.iter_mut().zip(is_recurrent).filter(|(_, is_recurrent)| **is_recurrent) {
        layer.mixer = Mixer::GatedDeltaNet(net);
    }
    spec
}

fn with_shared_expert(mut spec: Spec, width: usize) -> Spec {
    for layer in &mut spec.layers {
        if let FeedForward::Experts(experts) = &mut layer.feed_forward {
            experts.shared = Some(SharedExpert { width, gated: true });
        }
    }
    spec
}

fn gguf_keys(spec: &Spec) -> KeyValues {
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let nets: Vec<Option<&GatedDeltaNet>> = (spec.layers.iter())
        .map(|layer| match &layer.mixer {
            Mixer::GatedDeltaNet(net) => Some(net),
            Mixer::Attention(_) | Mixer::LatentAttention(_) | Mixer::ShortConvolution(_) => None,
        })
        .collect();
    // Positions of text are equal in all sections.
    let pairs = super::rope_tables::global_rope(spec).map_or(0, |rope| rope.dim / 2);
    let sections = [pairs.div_ceil(3), (pairs + 1) / 3, pairs / 3, 0].map(|pairs| i32::try_from(pairs).unwrap_or(0));
    let is_recurrent: Vec<bool> = nets.iter().map(Option::is_some).collect();
    let interval = (1..=is_recurrent.len()).find(|interval| by_interval(is_recurrent.len(), *interval) == is_recurrent);
    let mut keys = vec![
        ("rope.dimension_sections".to_owned(), Value::Array(Array::I32(sections.to_vec()))),
        match interval {
            Some(interval) => ("full_attention_interval".to_owned(), Value::U32(number(interval))),
            None => ("attention.recurrent_layers".to_owned(), Value::Array(Array::Bool(is_recurrent))),
        },
    ];
    if let Some(net) = nets.into_iter().flatten().next() {
        let of_net = [
            ("ssm.conv_kernel", net.kernel),
            ("ssm.inner_size", net.value_width()),
            ("ssm.state_size", net.head_dim),
            ("ssm.time_step_rank", net.value_heads),
            ("ssm.group_count", net.key_heads),
        ];
        keys.extend(of_net.map(|(key, value)| (key.to_owned(), Value::U32(number(value)))));
    }
    keys
}
