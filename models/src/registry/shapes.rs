//! The parts of the registry's shapes that are computed: layers that follow a pattern, and what the models of a family have in common.

use crate::spec::{
    Activation, Arch, Attention, DeltaLayout, Experts, FeedForward, Gated, GatedDeltaNet, Gating, Layer, Mixer,
    NormPlacement, Rope, RopeLayout, RopeScaling, Scores, Spec,
};

/// Layers of Gemma 3 with `(query, key and value)` heads of 256: one of six attends to all positions, with this scaling, the others to
/// a window.
pub(super) fn gemma3_layers(
    count: usize,
    width: usize,
    (heads, kv_heads): (usize, usize),
    window: usize,
    scaling: Option<&RopeScaling>,
) -> Vec<Layer> {
    let layer = |number: usize| {
        let (window, rope) = match number.is_multiple_of(6) {
            true => (None, rope(1_000_000.0, 256, scaling.cloned())),
            false => (Some(window), rope(10_000.0, 256, None)),
        };
        Layer {
            mixer: Mixer::Attention(Attention {
                window,
                qk_norm: true,
                scale: Some(1.0 / 16.0),
                ..Attention::plain(heads, kv_heads, 256, Some(rope))
            }),
            feed_forward: FeedForward::Dense(Gated { width, activation: Activation::GeluTanh }),
            norms: NormPlacement::BeforeAndAfter,
            output_scale: false,
        }
    };
    (1..=count).map(layer).collect()
}

/// Layer `at` of Gemma 4 26B A4B: one of six attends to all positions, with keys that are values and heads of 512.
pub(super) fn gemma4_26b_layer(at: usize) -> Layer {
    let is_global = at % 6 == 5;
    let (kv_heads, head_dim) = if is_global { (2, 512) } else { (8, 256) };
    let attention = Attention { values_are_keys: is_global, ..Attention::plain(16, kv_heads, head_dim, None) };
    let feed_forward = FeedForward::Experts(Experts {
        count: 128,
        used: 8,
        expert: Gated { width: 704, activation: Activation::GeluTanh },
        gating: Gating { expert_factors: true, ..Gating::new(Scores::Softmax, true) },
        biased: false,
        shared: None,
        dense_width: Some(2112),
    });
    Layer { feed_forward, ..gemma4_layer(attention, 1024) }
}

/// Layer `at` of Gemma 4 E2B: one of five attends to all positions; the last 20 attend to the caches of layers 13 and 14, and are twice as
/// wide.
pub(super) fn gemma4_e2b_layer(at: usize) -> Layer {
    let (is_global, is_shared) = (at % 5 == 4, at >= 15);
    let attention = Attention {
        cache_of: is_shared.then_some(if is_global { 14 } else { 13 }),
        ..Attention::plain(8, 1, if is_global { 512 } else { 256 }, None)
    };
    let width = if is_shared { 12_288 } else { 6144 };
    let feed_forward = FeedForward::Dense(Gated { width, activation: Activation::GeluTanh });
    Layer { feed_forward, ..gemma4_layer(attention, 512) }
}

/// A layer of Gemma 4 with attention of these widths: to all positions with heads of 512, of which a quarter of the pairs is rotated, to
/// a window with others.
pub(super) fn gemma4_layer(mut attention: Attention, window: usize) -> Layer {
    let divisors = (0..256).map(|pair| if pair < 64 { 1.0 } else { 1e30 }).collect();
    (attention.rope, attention.window) = match attention.head_dim {
        512 => (Some(rope(1_000_000.0, 512, Some(RopeScaling::Factors(divisors)))), None),
        head_dim => (Some(rope(10_000.0, head_dim, None)), Some(window)),
    };
    (attention.qk_norm, attention.v_norm, attention.scale) = (true, true, Some(1.0));
    Layer { norms: NormPlacement::BeforeAndAfter, output_scale: true, ..Layer::plain(attention, 0) }
}

/// What all models of Qwen 3 have around their layers.
pub(super) fn qwen3(arch: &'static str) -> Spec {
    Spec { arch: Arch::new(arch), vocab: 151_936, context_length: 40_960, norm_eps: 1e-6, ..NO_LAYERS }
}

pub(super) fn qwen3_attention(heads: usize, kv_heads: usize) -> Attention {
    Attention { qk_norm: true, ..Attention::plain(heads, kv_heads, 128, Some(rope(1_000_000.0, 128, None))) }
}

/// What all models of Qwen 3.5 have around their layers. The files of transformers store the difference of norms from 1.
pub(super) fn qwen35(arch: &'static str) -> Spec {
    Spec {
        arch: Arch::new(arch),
        vocab: 248_320,
        context_length: 262_144,
        norm_eps: 1e-6,
        norm_offset: 1.0,
        ..NO_LAYERS
    }
}

/// Layers with `(query, key and value)` heads of 256 in every fourth one, and a delta net with heads of 128 in the others.
pub(super) fn qwen35_layers(
    count: usize,
    (heads, kv_heads): (usize, usize),
    value_heads: usize,
    feed_forward: &FeedForward,
) -> Vec<Layer> {
    let rope = rope(10_000_000.0, 64, None);
    let attention =
        Attention { qk_norm: true, output_gate: true, ..Attention::plain(heads, kv_heads, 256, Some(rope)) };
    let layout = DeltaLayout::Grouped;
    let net = GatedDeltaNet { key_heads: 16, value_heads, head_dim: 128, kernel: 4, layout };
    let layer = |number: usize| Layer {
        mixer: match number.is_multiple_of(4) {
            true => Mixer::Attention(attention.clone()),
            false => Mixer::GatedDeltaNet(net),
        },
        feed_forward: feed_forward.clone(),
        norms: NormPlacement::Before,
        output_scale: false,
    };
    (1..=count).map(layer).collect()
}

/// What most models have around their layers.
pub(super) const NO_LAYERS: Spec = Spec {
    arch: Arch::LLAMA,
    hidden: 0,
    vocab: 0,
    context_length: 0,
    norm_eps: 1e-5,
    norm_offset: 0.0,
    tied_embeddings: false,
    embedding_scale: None,
    per_layer_width: None,
    logit_cap: None,
    layers: Vec::new(),
};

/// Equal layers with a feed-forward part of width `ffn`.
pub(super) fn equal_layers(count: usize, ffn: usize, attention: Attention) -> Vec<Layer> {
    vec![Layer::plain(attention, ffn); count]
}

pub(super) const fn rope(theta: f32, dim: usize, scaling: Option<RopeScaling>) -> Rope {
    Rope { theta, dim, layout: RopeLayout::Halves, scaling }
}

/// The scaling of all Llama 3.x models, which differ only in the factor.
pub(super) const fn llama3(factor: f32) -> RopeScaling {
    RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 }
}
