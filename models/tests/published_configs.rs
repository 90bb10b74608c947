//! The shapes of the registry against the published config.json of each model, and the cost model against bytes and operations that are
//! counted here from the same numbers, without the description of a model.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use models::cost::{WeightTypes, decode_ops, prefill_ops, totals};
use models::registry::MODELS;
use models::{DType, Spec};
use serde_json::{Value, json};

/// The fields of a model's config.json that describe its shape; of models with a vision part, those of `text_config`.
fn config(name: &str) -> Value {
    let llama3 = |factor: f64| json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let qwen3 = |hidden: usize, layers: usize, heads: usize, kv_heads: usize, tied: bool| {
        json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": hidden,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 128,
            "vocab_size": 151_936, "max_position_embeddings": 40_960, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000,
            "tie_word_embeddings": tied, "hidden_act": "silu", "attention_bias": false, "use_sliding_window": false,
        })
    };
    let with = |mut base: Value, more: Value| {
        let (Value::Object(base_fields), Value::Object(more)) = (&mut base, more) else { panic!("objects") };
        base_fields.extend(more);
        base
    };
    match name {
        "deepseek-r1" => json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18_944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "rope_theta": 10_000, "tie_word_embeddings": false,
            "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096,
        }),
        "llama-3.1-8b" => json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14_336,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
            "rope_scaling": llama3(8.0), "tie_word_embeddings": false, "hidden_act": "silu",
        }),
        "llama-3.2-1b" => json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
            "vocab_size": 128_256, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
            "rope_scaling": llama3(32.0), "tie_word_embeddings": true, "hidden_act": "silu",
        }),
        "mistral-7b" => json!({
            "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096,
            "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
            "vocab_size": 32_000, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
            "sliding_window": 4096, "tie_word_embeddings": false, "hidden_act": "silu",
        }),
        "qwen-1.5-7b" => json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 4096, "intermediate_size": 11_008,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 151_936,
            "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "tie_word_embeddings": false, "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 32_768,
        }),
        "smollm2-135m" => json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100_000, "rope_scaling": null,
            "tie_word_embeddings": true, "hidden_act": "silu",
        }),
        "gemma-3-270m" => json!({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 640,
            "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1,
            "head_dim": 256, "vocab_size": 262_144, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0, "rope_scaling": null,
            "query_pre_attn_scalar": 256, "sliding_window": 512, "_sliding_window_pattern": 6,
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false,
        }),
        "gemma-3-4b" => json!({
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10_000.0, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "query_pre_attn_scalar": 256, "sliding_window": 1024, "sliding_window_pattern": 6,
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false,
        }),
        "gemma-4-e2b" => json!({
            "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4",
            "text_config": {
                "model_type": "gemma4_text", "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 35,
                "num_attention_heads": 8, "num_key_value_heads": 1, "num_global_key_value_heads": null, "head_dim": 256,
                "global_head_dim": 512, "vocab_size": 262_144, "vocab_size_per_layer_input": 262_144,
                "hidden_size_per_layer_input": 256, "num_kv_shared_layers": 20, "use_double_wide_mlp": true,
                "attention_k_eq_v": false, "enable_moe_block": false, "final_logit_softcapping": 30.0,
                "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "sliding_window": 512, "attention_bias": false,
                "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
                "layer_types": (1..=35).map(|at| if at % 5 == 0 { "full_attention" } else { "sliding_attention" }).collect::<Vec<_>>(),
                "rope_parameters": {
                    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0, "rope_type": "proportional"},
                    "sliding_attention": {"rope_theta": 10_000.0, "rope_type": "default"},
                },
            },
        }),
        "gemma-4-26b-a4b" => json!({
            "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4",
            "text_config": {
                "model_type": "gemma4_text", "hidden_size": 2816, "intermediate_size": 2112, "num_hidden_layers": 30,
                "num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2, "head_dim": 256,
                "global_head_dim": 512, "vocab_size": 262_144, "vocab_size_per_layer_input": 262_144,
                "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "use_double_wide_mlp": false,
                "attention_k_eq_v": true, "enable_moe_block": true, "num_experts": 128, "top_k_experts": 8,
                "moe_intermediate_size": 704, "final_logit_softcapping": 30.0, "max_position_embeddings": 262_144,
                "rms_norm_eps": 1e-6, "sliding_window": 1024, "attention_bias": false,
                "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true, "use_bidirectional_attention": "vision",
                "layer_types": (1..=30).map(|at| if at % 6 == 0 { "full_attention" } else { "sliding_attention" }).collect::<Vec<_>>(),
                "rope_parameters": {
                    "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0, "rope_type": "proportional"},
                    "sliding_attention": {"rope_theta": 10_000.0, "rope_type": "default"},
                },
            },
        }),
        "gpt-oss-20b" => json!({
            "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
            "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
            "num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201_088, "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-5, "rope_theta": 150_000, "sliding_window": 128, "attention_bias": true,
            "swiglu_limit": 7.0, "hidden_act": "silu", "tie_word_embeddings": false,
            "layer_types": (0..24).map(|at| ["sliding_attention", "full_attention"][at % 2]).collect::<Vec<_>>(),
            "rope_scaling": {
                "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                "original_max_position_embeddings": 4096, "truncate": false,
            },
        }),
        "ministral-3-8b" => json!({
            "model_type": "ministral3", "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 34,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131_072,
            "max_position_embeddings": 262_144, "rms_norm_eps": 1e-5, "hidden_act": "silu", "sliding_window": null,
            "tie_word_embeddings": false,
            "rope_parameters": {
                "type": "yarn", "rope_type": "yarn", "rope_theta": 1_000_000.0, "factor": 16.0,
                "original_max_position_embeddings": 16_384, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
                "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
            },
        }),
        "qwen-3-0.6b" => with(qwen3(1024, 28, 16, 8, true), json!({"intermediate_size": 3072})),
        "qwen-3-4b" => with(qwen3(2560, 36, 32, 8, true), json!({"intermediate_size": 9728})),
        "qwen-3-30b-a3b" => with(
            qwen3(2048, 48, 32, 4, false),
            json!({
                "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "intermediate_size": 6144,
                "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": true,
                "decoder_sparse_step": 1, "mlp_only_layers": [],
            }),
        ),
        "deepseek-v2-lite" => json!({
            "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
            "intermediate_size": 10_944, "moe_intermediate_size": 1408, "num_hidden_layers": 27,
            "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": null, "kv_lora_rank": 512,
            "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
            "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1,
            "n_group": 1, "topk_group": 1, "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": false,
            "routed_scaling_factor": 1.0, "vocab_size": 102_400, "max_position_embeddings": 163_840,
            "rms_norm_eps": 1e-6, "rope_theta": 10_000, "rope_scaling": {"type": "yarn", "factor": 40,
                "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707,
                "mscale_all_dim": 0.707},
            "attention_bias": false, "hidden_act": "silu", "tie_word_embeddings": false,
        }),
        "glm-4.7-flash" => json!({
            "architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "hidden_size": 2048,
            "intermediate_size": 10_240, "moe_intermediate_size": 1536, "num_hidden_layers": 47,
            "num_attention_heads": 20, "num_key_value_heads": 20, "q_lora_rank": 768, "kv_lora_rank": 512,
            "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256, "n_routed_experts": 64,
            "n_shared_experts": 1, "num_experts_per_tok": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
            "topk_method": "noaux_tc", "norm_topk_prob": true, "routed_scaling_factor": 1.8,
            "num_nextn_predict_layers": 1, "vocab_size": 154_880, "max_position_embeddings": 202_752,
            "rms_norm_eps": 1e-5, "rope_theta": 1_000_000, "rope_scaling": null, "partial_rotary_factor": 1.0,
            "attention_bias": false, "hidden_act": "silu", "tie_word_embeddings": false,
        }),
        "lfm2-1.2b" => json!({
            "architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2", "hidden_size": 2048, "block_dim": 2048,
            "block_ff_dim": 12_288, "block_auto_adjust_ff_dim": true, "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
            "full_attn_idxs": [2, 5, 8, 10, 12, 14], "conv_L_cache": 3, "conv_bias": false, "conv_dim": 2048,
            "vocab_size": 65_536, "max_position_embeddings": 128_000, "norm_eps": 1e-5, "rope_theta": 1_000_000.0,
        }),
        "qwen-3.5-0.8b" => json!({
            "model_type": "qwen3_5_text", "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 24,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 248_320,
            "max_position_embeddings": 262_144, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "hidden_act": "silu",
            "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25,
                "mrope_section": [11, 11, 10], "mrope_interleaved": true},
        }),
        "qwen-3.5-35b-a3b" => json!({
            "model_type": "qwen3_5_moe_text", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
            "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 248_320, "max_position_embeddings": 262_144,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "hidden_act": "silu", "full_attention_interval": 4,
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
            "linear_num_key_heads": 16, "linear_num_value_heads": 32, "num_experts": 256, "num_experts_per_tok": 8,
            "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25,
                "mrope_section": [11, 11, 10], "mrope_interleaved": true},
        }),
        "smollm3-3b" => json!({
            "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "hidden_size": 2048,
            "intermediate_size": 11_008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
            "vocab_size": 128_256, "max_position_embeddings": 65_536, "rms_norm_eps": 1e-6, "rope_theta": 5_000_000.0,
            "no_rope_layer_interval": 4, "hidden_act": "silu", "attention_bias": false, "use_sliding_window": false,
        }),
        "phi-4-mini" => json!({
            "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
            "num_hidden_layers": 32, "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 200_064,
            "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0, "partial_rotary_factor": 0.75, "sliding_window": 262_144,
            "rope_scaling": {
                "type": "longrope", "short_factor": vec![1.0; 48],
                "long_factor": [
                    1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649, 2.446418898,
                    2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424,
                    6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252,
                    16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23,
                    32.6, 32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77,
                ],
            },
            "attention_bias": false, "hidden_act": "silu", "tie_word_embeddings": true,
        }),
        other => panic!("{other} has no config.json here"),
    }
}

#[test]
fn shapes_of_the_registry_are_those_of_the_published_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in &MODELS {
        let path = folder.path().join("config.json");
        std::fs::write(&path, config(entry.name).to_string()).expect("it can be written");
        let spec = Spec::from_config(&path).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        assert_eq!(spec, entry.spec(), "{}", entry.name);
    }
}

/// Elements that a token reads: of matrices, of routers, and of the vectors, which stay in F32 as routers do.
struct Elements {
    matrices_of_layers: f64,
    routers: f64,
    head: f64,
    vectors: f64,
}

/// The numbers of a config.json.
struct Published(Value);

impl Published {
    /// Those of a registered model, or of its text part.
    fn of(name: &str) -> Self {
        let mut config = config(name);
        let text = config["text_config"].take();
        Self(if text.is_null() { config } else { text })
    }

    /// Elements of the row of the second table of embeddings.
    fn per_layer_inputs(&self) -> f64 {
        self.0["hidden_size_per_layer_input"].as_f64().unwrap_or(0.0) * self.layers() as f64
    }

    /// Width of a head of Gemma 4, which has wider ones in layers without a window.
    fn gemma4_head(&self, layer: u64) -> f64 {
        self.number(if self.window(layer).is_finite() { "head_dim" } else { "global_head_dim" })
    }

    fn gemma4_kv_heads(&self, layer: u64) -> f64 {
        let global = self.0["num_global_key_value_heads"].as_f64().filter(|_| self.window(layer).is_infinite());
        global.unwrap_or_else(|| self.number("num_key_value_heads"))
    }

    /// Whether a layer writes keys and values.
    fn has_cache(&self, layer: u64) -> bool {
        layer + self.0["num_kv_shared_layers"].as_u64().unwrap_or(0) < self.layers()
    }

    /// Gemma 4: layers of two widths of heads, the last of which have no keys and values and wider feed-forward parts.
    /// `experts` says of how many of all experts, a token's and all.
    fn gemma4_elements(&self, experts: fn(f64, f64) -> f64) -> Elements {
        let n = |name: &str| self.number(name);
        let (hidden, heads, inputs) = (n("hidden_size"), n("num_attention_heads"), n("hidden_size_per_layer_input"));
        let (mut matrices, mut vectors) = (self.per_layer_inputs() * hidden, inputs + hidden);
        let has_experts = self.0["enable_moe_block"] == true;
        let (count, of_one) = match has_experts {
            true => (n("num_experts"), 3.0 * n("moe_intermediate_size")),
            false => (0.0, 0.0),
        };
        let used = if has_experts { experts(n("top_k_experts"), count) } else { 0.0 };
        for layer in 0..self.layers() {
            let (head, has_cache) = (self.gemma4_head(layer), self.has_cache(layer));
            let width = n("intermediate_size") * if has_cache { 1.0 } else { 2.0 };
            let has_values = !(self.0["attention_k_eq_v"] == true && self.window(layer).is_infinite());
            let projections = if !has_cache {
                0.0
            } else if has_values {
                2.0
            } else {
                1.0
            };
            let kv = projections * self.gemma4_kv_heads(layer) * head;
            matrices += hidden * (2.0 * heads * head + kv + 3.0 * width + 2.0 * inputs + of_one * used);
            // Four norms and, with inputs of layers, a fifth; those of the heads, and the factor of the output.
            let norms = if inputs > 0.0 { 5.0 } else { 4.0 };
            vectors += norms * hidden + head * if has_cache { 2.0 } else { 1.0 } + 1.0;
            // Three norms more, the factors of the router's input, and a factor for each expert.
            vectors += if has_experts { 4.0 * hidden + count } else { 0.0 };
        }
        let routers = self.layers() as f64 * hidden * count;
        Elements { matrices_of_layers: matrices, routers, head: n("vocab_size") * hidden, vectors }
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("{name}"))
    }

    fn kind(&self) -> &str {
        self.0["model_type"].as_str().expect("a text")
    }

    fn head_dim(&self) -> f64 {
        self.0["head_dim"].as_f64().unwrap_or_else(|| self.number("hidden_size") / self.number("num_attention_heads"))
    }

    /// The sliding window of a layer, counted from 0.
    fn window(&self, layer: u64) -> f64 {
        match self.kind() {
            "mistral" => self.number("sliding_window"),
            "gemma4_text" if self.0["layer_types"][layer as usize] == "sliding_attention" => {
                self.number("sliding_window")
            }
            "gemma3_text" if !(layer + 1).is_multiple_of(6) => self.number("sliding_window"),
            "gpt_oss" if layer.is_multiple_of(2) => self.number("sliding_window"),
            _ => f64::INFINITY,
        }
    }

    fn layers(&self) -> u64 {
        self.0["num_hidden_layers"].as_u64().expect("a count")
    }

    /// Whether a layer, counted from 0, has attention.
    fn attends(&self, layer: u64) -> bool {
        match (self.0["full_attn_idxs"].as_array(), self.0["full_attention_interval"].as_u64()) {
            (Some(layers), _) => layers.contains(&layer.into()),
            (None, Some(interval)) => (layer + 1).is_multiple_of(interval),
            (None, None) => true,
        }
    }

    fn attention_layers(&self) -> impl Iterator<Item = u64> {
        (0..self.layers()).filter(|layer| self.attends(*layer))
    }

    fn has_delta_nets(&self) -> bool {
        self.kind().starts_with("qwen3_5")
    }

    /// Heads of values of a delta net, and the width of a head.
    fn delta_heads(&self) -> [f64; 2] {
        [self.number("linear_num_value_heads"), self.number("linear_value_head_dim")]
    }

    /// Queries, keys and values of a delta net.
    fn delta_channels(&self) -> f64 {
        let [heads, width] = self.delta_heads();
        (2.0 * self.number("linear_num_key_heads") + heads) * width
    }

    /// Layers without attention.
    fn others(&self) -> f64 {
        self.layers() as f64 - self.attention_layers().count() as f64
    }

    /// Bytes of the states that a pass reads and writes: the last inputs of each convolution in F32.
    fn state_traffic(&self) -> f64 {
        match self.kind() {
            "lfm2" => self.others() * 2.0 * 4.0 * (self.number("conv_L_cache") - 1.0) * self.number("hidden_size"),
            _ if self.has_delta_nets() => {
                let [heads, width] = self.delta_heads();
                let inputs = (self.number("linear_conv_kernel_dim") - 1.0) * self.delta_channels();
                self.others() * 2.0 * 4.0 * (inputs + heads * width * width)
            }
            _ => 0.0,
        }
    }

    /// Width of a dense feed-forward part.
    fn width(&self) -> f64 {
        match self.kind() {
            // Two thirds, which are a multiple of 256 here.
            "lfm2" => self.number("block_ff_dim") * 2.0 / 3.0,
            _ => self.number("intermediate_size"),
        }
    }

    /// Elements of one token in the cache that a layer reads.
    fn cached(&self, layer: u64) -> f64 {
        match self.kind() {
            "gemma4_text" => 2.0 * self.gemma4_kv_heads(layer) * self.gemma4_head(layer),
            "glm4_moe_lite" | "deepseek_v2" => self.number("kv_lora_rank") + self.number("qk_rope_head_dim"),
            _ => 2.0 * self.number("num_key_value_heads") * self.head_dim(),
        }
    }

    /// Products of an attended pair: of a query with a key, and of a weight with a value.
    fn products_of_pair(&self, layer: u64) -> f64 {
        let of_head = match self.kind() {
            "gemma4_text" => 2.0 * self.gemma4_head(layer),
            // The value is the latent, which is a part of what a query is multiplied with.
            "glm4_moe_lite" | "deepseek_v2" => self.cached(layer) + self.number("kv_lora_rank"),
            _ => 2.0 * self.head_dim(),
        };
        self.number("num_attention_heads") * of_head
    }

    /// Latent attention with some dense layers before the experts.
    fn latent_elements(&self) -> Elements {
        let n = |name: &str| self.number(name);
        let (hidden, heads, low, rank) = (
            n("hidden_size"),
            n("num_attention_heads"),
            self.0["q_lora_rank"].as_f64().unwrap_or(0.0),
            n("kv_lora_rank"),
        );
        let (key, rotated, value) = (n("qk_nope_head_dim"), n("qk_rope_head_dim"), n("v_head_dim"));
        // Without a low rank, queries come from the hidden state; a bias of the choice belongs to sigmoids.
        let query = heads * (key + rotated);
        let query = if low > 0.0 { hidden * low + low * query } else { hidden * query };
        let attention = query + hidden * (rank + rotated) + heads * rank * (key + value) + heads * value * hidden;
        let (layers, dense, experts) = (self.layers() as f64, n("first_k_dense_replace"), n("n_routed_experts"));
        let choice = if self.kind() == "glm4_moe_lite" { experts } else { 0.0 };
        let used = n("num_experts_per_tok") + n("n_shared_experts");
        let of_experts = 3.0 * hidden * n("moe_intermediate_size") * used;
        Elements {
            matrices_of_layers: layers * attention
                + dense * 3.0 * hidden * n("intermediate_size")
                + (layers - dense) * of_experts,
            routers: (layers - dense) * hidden * experts,
            head: n("vocab_size") * hidden,
            vectors: layers * (2.0 * hidden + low + rank) + (layers - dense) * choice + hidden,
        }
    }

    fn elements(&self) -> Elements {
        match self.kind() {
            "glm4_moe_lite" | "deepseek_v2" => return self.latent_elements(),
            "gemma4_text" => return self.gemma4_elements(|used, _| used),
            _ => {}
        }
        let (hidden, head_dim) = (self.number("hidden_size"), self.head_dim());
        let (q, kv) = (self.number("num_attention_heads") * head_dim, self.number("num_key_value_heads") * head_dim);
        // Width of an expert, experts of a token, experts in all.
        let experts = match self.kind() {
            "qwen3_moe" | "qwen3_5_moe_text" => {
                Some((self.number("moe_intermediate_size"), self.number("num_experts")))
            }
            "gpt_oss" => Some((self.number("intermediate_size"), self.number("num_local_experts"))),
            _ => None,
        };
        let experts = experts.map(|(width, count)| (width, self.number("num_experts_per_tok"), count));
        let feed_forward = match experts {
            // A shared expert beside them.
            Some((width, used, _)) if self.has_delta_nets() => 3.0 * hidden * width * (used + 1.0),
            Some((width, used, _)) => 3.0 * hidden * width * used,
            None => 3.0 * hidden * self.width(),
        };
        let norms = match self.kind() {
            "gemma3_text" => 4.0 * hidden + 2.0 * head_dim,
            "qwen3" | "qwen3_moe" => 2.0 * hidden + 2.0 * head_dim,
            _ => 2.0 * hidden,
        };
        let biases = match (self.kind(), experts) {
            ("qwen2", _) => q + 2.0 * kv,
            // Also of the output projection, the router and the experts; and a sink for each head.
            ("gpt_oss", Some((width, used, count))) => {
                q + 2.0 * kv + hidden + count + used * (2.0 * width + hidden) + self.number("num_attention_heads")
            }
            _ => 0.0,
        };
        let layers = self.layers() as f64;
        let (attention, others) = (self.attention_layers().count() as f64, self.others());
        // Queries with the gates of the outputs; in layers without attention four square matrices, or those of a delta net.
        let (gated_q, of_other_mixer) = if self.has_delta_nets() {
            let [heads, width] = self.delta_heads();
            (2.0 * q, hidden * (self.delta_channels() + 2.0 * heads * width + 2.0 * heads))
        } else {
            (q, 4.0 * hidden * hidden)
        };
        // In layers with attention alone, and in those without it alone.
        let vectors_of_mixers = match self.kind() {
            "lfm2" => attention * 2.0 * head_dim + others * self.number("conv_L_cache") * hidden,
            // A kernel for each channel, two vectors of heads and a norm; and the gate of the shared expert.
            kind if self.has_delta_nets() => {
                let [heads, width] = self.delta_heads();
                let of_net = self.delta_channels() * self.number("linear_conv_kernel_dim") + 2.0 * heads + width;
                let shared = if kind.contains("moe") { layers * hidden } else { 0.0 };
                attention * 2.0 * head_dim + others * of_net + shared
            }
            _ => 0.0,
        };
        Elements {
            matrices_of_layers: attention * (hidden * (gated_q + 2.0 * kv) + q * hidden)
                + others * of_other_mixer
                + layers * feed_forward,
            routers: layers * experts.map_or(0.0, |(_, _, count)| hidden * count),
            head: self.number("vocab_size") * hidden,
            vectors: layers * (norms + biases) + vectors_of_mixers + hidden,
        }
    }
}

fn is_same(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.5
}

fn is_near(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 0.005
}

/// Weights in Q8_0 (34 bytes for 32 elements), what is no matrix in F32, a cache in F16, at several depths.
#[test]
fn a_decoded_token_reads_the_bytes_that_its_config_implies() {
    for entry in &MODELS {
        let published = Published::of(entry.name);
        let elements = published.elements();
        let row = published.number("hidden_size") + published.per_layer_inputs();
        let weights = (elements.matrices_of_layers + elements.head + row) * 34.0 / 32.0
            + 4.0 * (elements.routers + elements.vectors);
        let spec = entry.spec();
        for position in [0_usize, 1000, 6000] {
            // Every position that is attended to is read, and one is written, where a layer has a cache of its own.
            let of_layer = |layer: u64| {
                let read = published.window(layer).min(position as f64 + 1.0);
                let written = if published.has_cache(layer) { 1.0 } else { 0.0 };
                published.cached(layer) * (read + written)
            };
            let cache: f64 = published.attention_layers().map(of_layer).sum();
            let found = totals(&decode_ops(&spec, &WeightTypes::uniform(&spec, DType::Q8_0), DType::F16, position));
            assert!(is_same(found.state_bytes.as_f64(), published.state_traffic()), "{}", entry.name);
            let found = found.streamed_bytes().as_f64();
            let expected = weights + 2.0 * cache + published.state_traffic();
            assert!(is_near(found, expected), "{} at {position}: {found} for {expected}", entry.name);
        }
    }
}

/// All matrices and vectors, and the second table of embeddings, of which a token reads one row. The model's pages give rounded numbers:
/// of E2B without that table, of 26B A4B with all experts and with those of a token, without the table of embeddings that it looks up.
#[test]
fn the_parameters_of_gemma_4_are_those_that_its_config_implies() {
    for (name, stated, used) in [("gemma-4-e2b", 2.3e9, 2.3e9), ("gemma-4-26b-a4b", 25.2e9, 3.8e9)] {
        let entry = MODELS.iter().find(|entry| entry.name == name).expect("it is registered");
        let published = Published::of(name);
        let sum = |experts| {
            let Elements { matrices_of_layers, routers, head, vectors } = published.gemma4_elements(experts);
            matrices_of_layers + routers + head + vectors
        };
        let (of_token, outside_of_the_table) = (sum(|used, _| used), sum(|_, all| all));
        let table = published.number("vocab_size_per_layer_input") * published.per_layer_inputs();
        assert!(
            is_same(entry.parameters.get() as f64, outside_of_the_table + table),
            "{name}: {}",
            outside_of_the_table + table
        );
        assert_eq!(entry.spec().parameters(), entry.parameters, "{name}");
        for (found, stated) in [(outside_of_the_table, stated), (of_token, used)] {
            assert!((found / stated - 1.0).abs() < 0.02, "{name}: {found} for {stated}");
        }
    }
}

/// Two operations per element of a matrix, and four per attended pair and element of a query head.
#[test]
fn a_prefilled_token_takes_the_operations_that_its_config_implies() {
    const TOKENS: usize = 512;
    for entry in &MODELS {
        let published = Published::of(entry.name);
        let elements = published.elements();
        let of_layer = |layer: u64| {
            let pairs = (1..=TOKENS).map(|position| published.window(layer).min(position as f64)).sum::<f64>();
            2.0 * published.products_of_pair(layer) * pairs
        };
        let attention: f64 = published.attention_layers().map(of_layer).sum();
        // Of a state S: S d, S k, the sum with u k^T, and S q.
        let states = if published.has_delta_nets() {
            let [heads, width] = published.delta_heads();
            published.others() * 7.0 * heads * width * width * TOKENS as f64
        } else {
            0.0
        };
        let products =
            states + 2.0 * (elements.matrices_of_layers + elements.routers) * TOKENS as f64 + 2.0 * elements.head;
        let spec = entry.spec();
        let found = totals(&prefill_ops(&spec, &WeightTypes::uniform(&spec, DType::Q8_0), DType::F16, TOKENS, 0));
        let (found, expected) = (found.flops.get() as f64 / TOKENS as f64, (products + attention) / TOKENS as f64);
        assert!(is_near(found, expected), "{}: {found} for {expected} ({})", entry.name, found / expected - 1.0);
    }
}
