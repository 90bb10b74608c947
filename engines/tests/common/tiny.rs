//! A small model of each architecture, with everything that distinguishes it.

use models::{
    Activation, Arch, Attention, DeltaLayout, ExpertGroups, Experts, FeedForward, Gated, GatedDeltaNet, Gating,
    LatentAttention, Layer, Mixer, NormPlacement, Rope, RopeLayout, RopeScaling, Scores, SharedExpert,
    ShortConvolution, Spec, Temperature,
};

/// Every architecture that can be written as a GGUF file. Those of DeepSeek V2 and V3 have one name there.
pub(crate) const ARCHITECTURES: [&str; 16] = [
    "llama",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "gemma3",
    "gemma4",
    "gemma4-experts",
    "smollm3",
    "ministral3",
    "gpt-oss",
    "phi3",
    "lfm2",
    "qwen35",
    "qwen35moe",
    "deepseek2",
    "deepseek3",
];

/// Six layers of width 256 with four query heads over two key and value heads of 64.
pub(crate) fn spec(arch: &'static str) -> Spec {
    let layers = (0..6).map(|at| layer(arch, at)).collect();
    Spec {
        arch: Arch::new(match arch {
            "deepseek3" => "deepseek2",
            "gemma4-experts" => "gemma4",
            other => other,
        }),
        hidden: 256,
        vocab: 384,
        context_length: 512,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        tied_embeddings: matches!(arch, "gemma3" | "gemma4" | "gemma4-experts" | "smollm3" | "lfm2"),
        embedding_scale: matches!(arch, "gemma3" | "gemma4" | "gemma4-experts").then_some(16.0),
        per_layer_width: (arch == "gemma4").then_some(64),
        logit_cap: (arch == "gemma4").then_some(30.0),
        layers,
    }
}

fn layer(arch: &str, at: usize) -> Layer {
    let rope = |theta, layout, scaling| Some(Rope { theta, dim: 64, layout, scaling });
    let plain = |rope| Attention::plain(4, 2, 64, rope);
    let halves = |theta, scaling| plain(rope(theta, RopeLayout::Halves, scaling));
    let interleaved = |theta, scaling| plain(rope(theta, RopeLayout::Interleaved, scaling));
    let layer = |attention| Layer::plain(attention, 512);
    match arch {
        "llama" => layer(interleaved(1e4, None)),
        "qwen2" => layer(Attention { qkv_bias: true, ..halves(1e6, None) }),
        "qwen3" => layer(Attention { qk_norm: true, ..halves(1e6, None) }),
        "qwen3moe" => Layer {
            feed_forward: FeedForward::Experts(Experts {
                count: 6,
                used: 2,
                expert: Gated { width: 128, activation: Activation::Silu },
                gating: Gating::new(Scores::Softmax, true),
                biased: false,
                shared: None,
                dense_width: None,
            }),
            ..layer(Attention { qk_norm: true, ..halves(1e6, None) })
        },
        "gemma3" => {
            let is_global = at == 5;
            let attention = match is_global {
                true => halves(1e6, Some(RopeScaling::Linear { factor: 8.0 })),
                false => halves(1e4, None),
            };
            Layer {
                mixer: Mixer::Attention(Attention { qk_norm: true, window: (!is_global).then_some(16), ..attention }),
                norms: NormPlacement::BeforeAndAfter,
                output_scale: false,
                feed_forward: FeedForward::Dense(Gated { width: 512, activation: Activation::GeluTanh }),
            }
        }
        "gemma4" => {
            // Layers with a window have heads of 64, the others of 128, of which a quarter of the pairs are rotated. The last two read the
            // caches of the two before them. The keys of layer 1 are its values.
            let (is_global, is_shared) = (at % 2 == 1, at >= 4);
            let divisors = (0..64).map(|pair| if pair < 16 { 1.0 } else { 1e30 }).collect();
            let wide = Rope {
                theta: 1e6,
                dim: 128,
                layout: RopeLayout::Halves,
                scaling: Some(RopeScaling::Factors(divisors)),
            };
            let attention = match is_global {
                true => Attention::plain(4, 1, 128, Some(wide)),
                false => Attention { window: Some(16), ..halves(1e4, None) },
            };
            Layer {
                mixer: Mixer::Attention(Attention {
                    qk_norm: true,
                    v_norm: true,
                    values_are_keys: at == 1,
                    cache_of: is_shared.then(|| at - 2),
                    scale: Some(1.0),
                    ..attention
                }),
                feed_forward: FeedForward::Dense(Gated {
                    width: if is_shared { 1024 } else { 512 },
                    activation: Activation::GeluTanh,
                }),
                norms: NormPlacement::BeforeAndAfter,
                output_scale: true,
            }
        }
        // The same without shared caches, with experts beside a dense part. The keys of layers without a window are their values.
        "gemma4-experts" => {
            let dense = self::layer("gemma4", at % 2);
            let experts = Experts {
                count: 6,
                used: 2,
                expert: Gated { width: 128, activation: Activation::GeluTanh },
                gating: Gating { expert_factors: true, ..Gating::new(Scores::Softmax, true) },
                biased: false,
                shared: None,
                dense_width: Some(256),
            };
            Layer { feed_forward: FeedForward::Experts(experts), ..dense }
        }
        "smollm3" if at == 3 => layer(plain(None)),
        "smollm3" => layer(interleaved(5e6, None)),
        "ministral3" => {
            let yarn = RopeScaling::Yarn {
                factor: 16.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_context: 32,
                magnitude: 1.0,
                truncate: true,
            };
            let temperature = Some(Temperature { scale: 0.1, context: 32 });
            layer(Attention { temperature, ..interleaved(1e6, Some(yarn)) })
        }
        "gpt-oss" => {
            let yarn = RopeScaling::Yarn {
                factor: 16.0,
                beta_fast: 8.0,
                beta_slow: 1.0,
                original_context: 32,
                magnitude: 1.277_258_9, // 0.1 ln 16 + 1
                truncate: true,
            };
            Layer {
                feed_forward: FeedForward::Experts(Experts {
                    count: 6,
                    used: 2,
                    expert: Gated { width: 128, activation: Activation::ClampedSwiglu },
                    gating: Gating::new(Scores::SoftmaxOfChosen, false),
                    biased: true,
                    shared: None,
                    dense_width: None,
                }),
                ..layer(Attention {
                    qkv_bias: true,
                    output_bias: true,
                    sinks: true,
                    window: at.is_multiple_of(2).then_some(16),
                    ..halves(1.5e5, Some(yarn))
                })
            }
        }
        "phi3" => {
            // Of each head 48 elements are rotated. The sessions of the tests are longer than the first context.
            let long = (0..24).map(|pair| 1.0 + pair as f32).collect();
            let scaling = RopeScaling::LongRope { short: vec![1.0; 24], long, original_context: 32, magnitude: 1.2 };
            let rope = Rope { theta: 1e4, dim: 48, layout: RopeLayout::Halves, scaling: Some(scaling) };
            layer(plain(Some(rope)))
        }
        "lfm2" if !matches!(at, 2 | 4) => Layer {
            mixer: Mixer::ShortConvolution(ShortConvolution { channels: 256, kernel: 3 }),
            ..layer(plain(None))
        },
        "qwen35" | "qwen35moe" => {
            // Two value heads read each key head. A quarter of each head is rotated.
            let layout = DeltaLayout::Alternating;
            let net = GatedDeltaNet { key_heads: 2, value_heads: 4, head_dim: 64, kernel: 4, layout };
            let rope = Rope { theta: 1e7, dim: 16, layout: RopeLayout::Halves, scaling: None };
            let attention = Attention { qk_norm: true, output_gate: true, ..plain(Some(rope)) };
            let dense = layer(attention);
            let mixer = if at % 4 == 3 { dense.mixer.clone() } else { Mixer::GatedDeltaNet(net) };
            let feed_forward = match arch {
                "qwen35" => dense.feed_forward.clone(),
                _ => FeedForward::Experts(Experts {
                    count: 6,
                    used: 2,
                    expert: Gated { width: 128, activation: Activation::Silu },
                    gating: Gating::new(Scores::Softmax, true),
                    biased: false,
                    shared: Some(SharedExpert { width: 128, gated: true }),
                    dense_width: None,
                }),
            };
            Layer { mixer, feed_forward, ..dense }
        }
        "lfm2" => layer(Attention { qk_norm: true, ..halves(1e6, None) }),
        // V2 has queries from the input, YaRN and a softmax; V3 queries through a short row, groups and a bias of the choice.
        "deepseek2" | "deepseek3" => {
            let is_v2 = arch == "deepseek2";
            let yarn = RopeScaling::Yarn {
                factor: 16.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_context: 32,
                magnitude: 1.0,
                truncate: true,
            };
            // 1 / sqrt(64) times the square of YaRN's magnitude for a multiplier of 0.707.
            let of_yarn = 0.125 * (0.1 * 0.707 * 16f32.ln() + 1.0).powi(2);
            let latent = LatentAttention {
                heads: 4,
                query_rank: (!is_v2).then_some(96),
                rank: 96,
                key_dim: 32,
                value_dim: 64,
                rope: Rope { theta: 1e4, dim: 32, layout: RopeLayout::Interleaved, scaling: is_v2.then_some(yarn) },
                score_scale: is_v2.then_some(of_yarn),
            };
            let gating = match is_v2 {
                true => Gating::new(Scores::Softmax, false),
                false => Gating {
                    scale: Some(2.5),
                    choice_bias: true,
                    groups: Some(ExpertGroups::by_two(4, 2)),
                    ..Gating::new(Scores::Sigmoid, true)
                },
            };
            let experts = FeedForward::Experts(Experts {
                count: 8,
                used: 3,
                expert: Gated { width: 128, activation: Activation::Silu },
                gating,
                biased: false,
                shared: Some(SharedExpert { width: 256, gated: false }),
                dense_width: None,
            });
            let dense = layer(plain(None));
            let feed_forward = if at == 0 { dense.feed_forward.clone() } else { experts };
            Layer { mixer: Mixer::LatentAttention(latent), feed_forward, ..dense }
        }
        other => panic!("no tiny model of {other}"),
    }
}
