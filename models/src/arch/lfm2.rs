//! LFM2: short convolutions in most layers, and attention with a norm on each head of q and k in the others (arXiv:2511.23404).

use super::architecture::Architecture;
use super::stored::Stored;
use crate::container::gguf::{Array, Metadata, Value};
use crate::container::json::Object;
use crate::error::Error;
use crate::spec::{Mixer, ShortConvolution, Spec};

pub(super) const LFM2: Architecture = Architecture {
    // llama.cpp gives the last norm the name of a norm after the embedding.
    stored: &[Stored { file: "token_embd_norm", parts: &["output_norm"] }],
    tied_by_default: true,
    has_other_mixers: true,
    from_gguf,
    from_config,
    gguf_keys: |spec| {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let heads = |mixer: &Mixer| mixer.attention().map_or(0, |attention| number(attention.kv_heads));
        let heads = spec.layers.iter().map(|layer| heads(&layer.mixer)).collect();
        let kernel = spec.layers.iter().find_map(|layer| match &layer.mixer {
            Mixer::ShortConvolution(convolution) => Some(number(convolution.kernel)),
            Mixer::Attention(_) | Mixer::LatentAttention(_) | Mixer::GatedDeltaNet(_) => None,
        });
        vec![
            ("attention.head_count_kv".to_owned(), Value::Array(Array::U32(heads))),
            // llama.cpp requires it in models of attention alone too.
            ("shortconv.l_cache".to_owned(), Value::U32(kernel.unwrap_or(KERNEL))),
        ]
    },
    ..Architecture::plain("lfm2", "Lfm2ForCausalLM")
};

/// The default of `conv_L_cache`.
const KERNEL: u32 = 3;
/// The default of `rope_theta`.
const ROPE_BASE: f32 = 1_000_000.0;

fn from_gguf(metadata: &Metadata, spec: Spec) -> Result<Spec, Error> {
    const HEADS: &str = "lfm2.attention.head_count_kv";
    const KERNEL: &str = "lfm2.shortconv.l_cache";
    let kernel = metadata.required(KERNEL, metadata.count(KERNEL)?)?;
    // 0 in layers with a convolution.
    let heads = metadata.required(HEADS, metadata.counts_of_layers(HEADS, spec.layers.len())?)?;
    let window = metadata.count("lfm2.attention.sliding_window")?.filter(|window| *window > 0);
    let mut spec = with_convolutions(spec, kernel, |layer| heads[layer] == 0).with_window(window);
    for (layer, heads) in spec.layers.iter_mut().zip(heads) {
        if let Some(attention) = layer.mixer.attention_mut() {
            attention.kv_heads = heads;
        }
    }
    Ok(spec)
}

fn from_config(config: &Object<'_>, mut spec: Spec) -> Result<Spec, Error> {
    if config.flag("conv_bias")? == Some(true) {
        return Err(config.unsupported("conv_bias", "false", "true"));
    }
    if let Some(width) = config.count("conv_dim")?.filter(|width| *width != spec.hidden) {
        return Err(config.unsupported("conv_dim", format!("{} (hidden_size)", spec.hidden), width.to_string()));
    }
    let width = width(config)?;
    spec.layers.iter_mut().for_each(|layer| layer.feed_forward.gated_mut().width = width);
    spec.tied_embeddings = config.flag("tie_embedding")?.unwrap_or(spec.tied_embeddings);
    let states_base = config.number("rope_theta")?.is_some() || config.object("rope_parameters", "")?.is_some();
    if !states_base {
        spec.attentions_mut().filter_map(|attention| attention.rope.as_mut()).for_each(|rope| rope.theta = ROPE_BASE);
    }
    let kernel = config.count("conv_L_cache")?.unwrap_or(KERNEL as usize);
    let layers = spec.layers.len();
    let convolutions: Vec<bool> = match (config.texts("layer_types")?, config.counts("full_attn_idxs")?) {
        (Some(kinds), _) if kinds.len() != layers => {
            let expected = format!("one for each of {layers} layers");
            return Err(config.mismatch("layer_types", expected, kinds.len().to_string()));
        }
        (Some(kinds), _) => kinds
            .into_iter()
            .map(|kind| match kind {
                "conv" => Ok(true),
                "full_attention" => Ok(false),
                other => Err(config.unsupported("layer_types", "conv and full_attention", format!("`{other}`"))),
            })
            .collect::<Result<_, _>>()?,
        (None, Some(attention)) => (0..layers).map(|layer| !attention.contains(&layer)).collect(),
        (None, None) => vec![false; layers],
    };
    Ok(with_convolutions(spec, kernel, |layer| convolutions[layer]))
}

/// The width of the feed-forward parts: two thirds of the stated one times a factor, rounded up to a multiple, unless the file says that
/// it is stated as it is. Source: transformers, `Lfm2MLP`.
#[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a width; rounded down as the source does")]
fn width(config: &Object<'_>) -> Result<usize, Error> {
    const FACTOR: &str = "block_ffn_dim_multiplier";
    const MULTIPLE: &str = "block_multiple_of";
    let stated = match config.count("block_ff_dim")? {
        None => config.required("intermediate_size", config.count("intermediate_size")?)?,
        Some(width) => width,
    };
    if !config.flag("block_auto_adjust_ff_dim")?.unwrap_or(true) {
        return Ok(stated);
    }
    let factor = config.number(FACTOR)?.unwrap_or(1.0);
    if !(factor > 0.0 && factor < 1e3) {
        return Err(config.mismatch(FACTOR, "a positive number below 1000", factor.to_string()));
    }
    let multiple = config.count(MULTIPLE)?.unwrap_or(256);
    if multiple == 0 {
        return Err(config.mismatch(MULTIPLE, "a number above 0", "0"));
    }
    let width = (f64::from(factor) * (stated.saturating_mul(2) / 3) as f64) as usize;
    Ok(width.div_ceil(multiple).saturating_mul(multiple))
}

/// Attention with norms of the heads, and convolutions in the layers for which `is_convolution` is true.
fn with_convolutions(mut spec: Spec, kernel: usize, is_convolution: impl Fn(usize) -> bool) -> Spec {
    spec.attentions_mut().for_each(|attention| attention.qk_norm = true);
    for (_, layer) in spec.layers.iter_mut().enumerate().filter(|(at, _)| is_convolution(*at)) {
        layer.mixer = Mixer::ShortConvolution(ShortConvolution { channels: spec.hidden, kernel });
    }
    spec
}
