//! gpt-oss: experts with clamped SwiGLU and biases, a sink for each head, a sliding window in every second layer, YaRN
//! (arXiv:2508.10925).

use super::architecture::Architecture;
use super::config::{layer_kinds, one_number};
use super::experts;
use super::stored::Stored;
use crate::container::gguf::Value;
use crate::spec::{Activation, CLAMP_ALPHA, CLAMP_LIMIT, FeedForward, Gating, Scores, Spec};

pub(super) const GPT_OSS: Architecture = Architecture {
    model_type: "gpt_oss",
    activation: Activation::ClampedSwiglu,
    has_experts: true,
    // llama.cpp gives the norm before the experts the name of a norm after attention.
    stored: &[Stored { file: "post_attention_norm", parts: &["ffn_norm"] }],
    from_gguf: |metadata, spec| {
        let spec = experts::from_gguf(metadata, with_sinks(spec), ARCH, GATING)?;
        let window = metadata.count("gpt-oss.attention.sliding_window")?.filter(|window| *window > 0);
        Ok(with_windows(biased(spec, true), window, is_local))
    },
    from_config: |config, spec| {
        one_number(config, "swiglu_limit", CLAMP_LIMIT)?;
        one_number(config, "swiglu_alpha", CLAMP_ALPHA)?;
        let names = experts::Names { count: ["num_local_experts", "num_experts"], width: "intermediate_size" };
        let spec = experts::from_config(config, with_sinks(spec), &names, GATING, |_| true)?;
        let is_biased = config.flag("attention_bias")?.unwrap_or(true);
        let window = config.count("sliding_window")?.filter(|window| *window > 0);
        let kinds = layer_kinds(config, spec.layers.len())?;
        Ok(with_windows(biased(spec, is_biased), window, |at| kinds.as_ref().map_or(is_local(at), |kinds| kinds[at])))
    },
    gguf_keys: |spec| {
        let window = spec.smallest_window().and_then(|window| u32::try_from(window).ok());
        window.map(|window| ("attention.sliding_window".to_owned(), Value::U32(window))).into_iter().collect()
    },
    ..Architecture::plain(ARCH, "GptOssForCausalLM")
};

const ARCH: &str = "gpt-oss";
const GATING: Gating = Gating::new(Scores::SoftmaxOfChosen, false);

/// The layers with a window, if the file does not say which: the first, the third and so on.
const fn is_local(layer: usize) -> bool {
    layer.is_multiple_of(2)
}

fn with_sinks(mut spec: Spec) -> Spec {
    spec.attentions_mut().for_each(|attention| attention.sinks = true);
    spec
}

/// Always with biases of experts: the check of the tensors then reports one that is missing.
fn biased(mut spec: Spec, attention: bool) -> Spec {
    for of_layer in spec.attentions_mut() {
        (of_layer.qkv_bias, of_layer.output_bias) = (attention, attention);
    }
    for layer in &mut spec.layers {
        if let FeedForward::Experts(experts) = &mut layer.feed_forward {
            experts.biased = true;
        }
    }
    spec
}

fn with_windows(mut spec: Spec, window: Option<usize>, is_local: impl Fn(usize) -> bool) -> Spec {
    for (at, attention) in spec.attentions_mut().enumerate() {
        attention.window = window.filter(|_| is_local(at));
    }
    spec
}
