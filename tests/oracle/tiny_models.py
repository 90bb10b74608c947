"""Writes engines/tests/fixtures/tiny/: models of a few hundred kB with random weights, and their logits by transformers.

    tiny_models.py OUT_DIR [NAME...]

Every folder has the layout of a Hugging Face model (config.json, model.safetensors) and expected.safetensors with
input_ids [T] and logits [T, vocabulary], computed in F32 with eager attention. Three of the models are also written as GGUF
files, for which llama.cpp must compute the same logits as transformers. All weights are random, also norms and biases, so that a
reader that ignores one of them computes other logits.
"""

import argparse
import json
import math
import os
import shutil
from dataclasses import dataclass, field

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

LENGTH = 48
VOCABULARY = 128
WINDOW = 16
TOLERANCE = 1e-3
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}




def long_rope(original: int) -> dict:
    """LongRoPE on 12 of 16 elements of each head. Prompts of LENGTH tokens are longer than 32 and shorter than 64."""
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
        "long_factor": [1.0, 1.5, 2.0, 4.0, 6.0, 8.0],
    }
    return {"original_max_position_embeddings": original, "rope_parameters": parameters, "pad_token_id": 0}


LATENT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    # The norms of queries and latents have this epsilon in any case.
    "rms_norm_eps": 1e-6,
}
DEEPSEEK_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
    "original_max_position_embeddings": 128,
}


QWEN35 = {
    "rms_norm_eps": 1e-6,
    "hidden_size": 32,
    "head_dim": 16,
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [1, 1, 0],
        "mrope_interleaved": True,
    },
}


GEMMA4 = {
    "rms_norm_eps": 1e-6,
    "hidden_size": 32,
    "intermediate_size": 32,
    "head_dim": 16,
    "global_head_dim": 24,
    "sliding_window": WINDOW,
    "vocab_size_per_layer_input": VOCABULARY,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "proportional", "rope_theta": 1000.0, "partial_rotary_factor": 0.25},
    },
}


@dataclass(frozen=True)
class Tiny:
    name: str
    family: str
    options: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    old_keys: bool = False
    """config.json has rope_theta, rope_scaling and torch_dtype instead of rope_parameters and dtype."""
    shard_size: str = "1GB"

    def config(self, **changes):
        kind = {
            "llama": transformers.LlamaConfig,
            "mistral": transformers.MistralConfig,
            "qwen2": transformers.Qwen2Config,
            "qwen3_moe": transformers.Qwen3MoeConfig,
            "gpt_oss": transformers.GptOssConfig,
            "phi3": transformers.Phi3Config,
            "deepseek_v2": transformers.DeepseekV2Config,
            "deepseek_v3": transformers.DeepseekV3Config,
            "glm4_moe_lite": transformers.Glm4MoeLiteConfig,
            "lfm2": transformers.Lfm2Config,
            "qwen3_5": transformers.Qwen3_5TextConfig,
            "qwen3_5_moe": transformers.Qwen3_5MoeTextConfig,
            "gemma4": transformers.Gemma4TextConfig,
        }[self.family]
        fields = COMMON | self.options | changes
        if self.family == "lfm2":
            del fields["rms_norm_eps"]  # LFM2's name is norm_eps
        return kind(**fields)

    def build(self, weights: dict | None = None, **changes):
        model = transformers.AutoModelForCausalLM.from_config(
            self.config(**changes), attn_implementation="eager", dtype=torch.float32
        ).eval()
        if weights is not None:
            model.load_state_dict(weights)
        return model


MODELS = [
    Tiny("llama-rope-scaled", "llama", {"rope_parameters": LLAMA3}, old_keys=True),
    Tiny("llama-tied", "llama", {"tie_word_embeddings": True}, old_keys=True),
    Tiny("mistral-window", "mistral", {"sliding_window": WINDOW}),
    Tiny("qwen2-bias", "qwen2", {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    Tiny("qwen2-tied", "qwen2", {"tie_word_embeddings": True, "num_hidden_layers": 3, "intermediate_size": 64}),
    Tiny("llama-head-dim", "llama", {"head_dim": 32, "num_key_value_heads": 1, "intermediate_size": 64}),
    Tiny("llama-sharded", "llama", shard_size="120KB"),
    Tiny("llama-bf16", "llama", {"num_hidden_layers": 3}, dtype=torch.bfloat16),
    Tiny("llama-f16", "llama", {"num_hidden_layers": 3}, dtype=torch.float16, old_keys=True),
    Tiny(
        "qwen3moe",
        "qwen3_moe",
        {
            "hidden_size": 32,
            "head_dim": 32,
            "num_hidden_layers": 3,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "norm_topk_prob": True,
            "mlp_only_layers": [1],
        },
    ),
    Tiny(
        "gpt-oss",
        "gpt_oss",
        {
            "hidden_size": 32,
            "head_dim": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "sliding_window": WINDOW,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "beta_fast": 8.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 128,
            },
        },
    ),
    Tiny("phi3-long", "phi3", long_rope(32) | {"tie_word_embeddings": True}, old_keys=True),
    Tiny("phi3-short", "phi3", long_rope(64) | {"sliding_window": WINDOW}),
    Tiny(
        "lfm2",
        "lfm2",
        {
            "norm_eps": 1e-3,
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "conv"],
            "conv_L_cache": 4,
            "intermediate_size": 96,
            "block_multiple_of": 48,
            "block_ffn_dim_multiplier": 1.2,
            "tie_word_embeddings": True,
        },
    ),
    Tiny("qwen35", "qwen3_5", QWEN35 | {"intermediate_size": 48}),
    Tiny(
        "deepseek-v2",
        "deepseek_v2",
        LATENT
        | {"q_lora_rank": None, "topk_method": "greedy", "norm_topk_prob": False, "rope_parameters": DEEPSEEK_YARN},
    ),
    Tiny(
        "deepseek-v3",
        "deepseek_v3",
        LATENT | {"q_lora_rank": 20, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5},
    ),
    Tiny(
        "glm4-moe-lite",
        "glm4_moe_lite",
        {name: value for name, value in LATENT.items() if name != "first_k_dense_replace"}
        | {"q_lora_rank": 20, "mlp_layer_types": ["dense", "sparse", "sparse"], "routed_scaling_factor": 1.8},
    ),
    Tiny(
        "gemma4",
        "gemma4",
        GEMMA4
        | {
            "num_hidden_layers": 6,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "hidden_size_per_layer_input": 8,
            "final_logit_softcapping": 4.0,
        },
    ),
    Tiny(
        "gemma4-equal-values",
        "gemma4",
        GEMMA4
        | {
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
            "hidden_size_per_layer_input": 0,
        },
    ),
    Tiny(
        "gemma4-experts",
        "gemma4",
        GEMMA4
        | {
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": True,
            "num_experts": 5,
            "top_k_experts": 2,
            "moe_intermediate_size": 16,
        },
    ),
    Tiny(
        "qwen35moe",
        "qwen3_5_moe",
        QWEN35
        | {
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
        },
    ),
    Tiny(
        "deepseek-v2-groups",
        "deepseek_v2",
        LATENT
        | {
            "q_lora_rank": 20,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "norm_topk_prob": False,
            "routed_scaling_factor": 4.0,
            "rope_parameters": DEEPSEEK_YARN,
        },
    ),
]


def randomise(model, seed: int, dtype: torch.dtype) -> None:
    """Sets every weight to a random value that `dtype` can hold."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                # Those of Qwen 3.5 are the difference from 1, except for the norm with a gate.
                offset = 0.0 if model.config.model_type in ("qwen3_5_text", "qwen3_5_moe_text") and "linear_attn" not in name else 1.0
                value = offset + 0.3 * noise
            elif name.endswith("bias"):
                value = 0.5 * noise
            elif name.endswith(("conv.conv.weight", "conv1d.weight")):
                value = noise
            elif name.endswith("A_log"):
                value = 0.5 * noise - 1.0
            elif name.endswith("router.scale") or name.endswith("per_expert_scale"):
                value = 1.0 + 0.3 * noise
            elif name.endswith("router.proj.weight"):
                value = 2.0 * noise
            elif name.endswith("sinks"):
                value = 2.0 * noise
            elif name.endswith("experts.gate_up_proj"):
                value = noise  # beyond the bounds of the activation
            elif "embed" in name or "lm_head" in name:
                value = 0.3 * noise
            else:
                value = 0.2 * noise
            weight.copy_(value.to(dtype).float())
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.5 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("layer_scalar"):
                buffer.copy_(1.0 + 0.3 * torch.randn(buffer.shape, generator=generator))


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids[None], use_cache=False).logits[0].float().contiguous()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(message)


def write_old_keys(folder: str) -> None:
    """Rewrites config.json with the keys that transformers wrote before version 5."""
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] == "longrope":
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        rope.pop("original_max_position_embeddings", None)
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    with open(path, "w") as file:
        json.dump(dict(sorted(config.items())), file, indent=2)
        file.write("\n")


def llama3_factors(rope: dict, head_dim: int) -> list[float]:
    """The divisors of the frequencies, as llama.cpp's converter writes them to rope_freqs.weight."""
    context = rope["original_max_position_embeddings"]
    longest, shortest = context / rope["low_freq_factor"], context / rope["high_freq_factor"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
        if wavelength < shortest:
            factors.append(1.0)
        elif wavelength > longest:
            factors.append(rope["factor"])
        else:
            smooth = (context / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


def check_window(tiny: Tiny, model, ids: torch.Tensor) -> torch.Tensor:
    """The window hides what lies more than WINDOW - 1 positions back; the logits without it."""
    open_logits = logits(tiny.build(model.state_dict(), sliding_window=None), ids)
    windowed = logits(model, ids)
    require(distance(windowed[:WINDOW], open_logits[:WINDOW]) < 1e-4, "the window acts inside its own length")
    require((windowed - open_logits)[WINDOW:].abs().amax(1).min() > 1e-2, "the window makes no difference")
    other = ids.clone()
    other[0] = (other[0] + 1) % VOCABULARY
    moved = (logits(model, other) - windowed).abs().amax(1) > 0
    reach = tiny.config().num_hidden_layers * (WINDOW - 1)
    require(bool(moved[reach]) and not bool(moved[reach + 1 :].any()), "the window is not of the expected width")
    return open_logits


def check_phi3(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """The list of factors, the rotated part and the magnitude make a difference."""
    expected, rope = logits(model, ids), tiny.options["rope_parameters"]
    used = "long_factor" if LENGTH > tiny.options["original_max_position_embeddings"] else "short_factor"
    for what, change in [
        ("the list of factors", {used: [1.0] * 6}),
        ("the magnitude", {"attention_factor": 1.0}),
        ("the rotated part", {"partial_rotary_factor": 1.0, "short_factor": [1.0] * 8, "long_factor": [1.0] * 8}),
    ]:
        other = logits(tiny.build(model.state_dict(), rope_parameters=rope | change), ids)
        require(distance(other, expected) > 1e-2, f"{what} makes no difference")


def check_gpt_oss(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """Sinks, bounds of the activation, window and exact YaRN all make a difference."""
    expected = logits(model, ids)
    rope = tiny.options["rope_parameters"] | {"truncate": True}
    for what, changes in [("YaRN", {"rope_parameters": rope}), ("the window", {"sliding_window": 512}), ("the bound", {"swiglu_limit": 100.0})]:
        other = logits(tiny.build(model.state_dict(), **changes), ids)
        require(distance(other, expected) > 1e-2, f"{what} makes no difference")
    without = {name: torch.full_like(value, -100.0) if name.endswith("sinks") else value for name, value in model.state_dict().items()}
    require(distance(logits(tiny.build(without), ids), expected) > 0.1, "sinks make no difference")


def check_lfm2(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """Every tap of the kernels makes a difference."""
    expected = logits(model, ids)
    for tap in range(tiny.options["conv_L_cache"]):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        for name in weights:
            if name.endswith("conv.conv.weight"):
                weights[name][:, :, tap] = 0.0
        require(distance(logits(tiny.build(weights), ids), expected) > 0.1, f"tap {tap} makes no difference")


def check_qwen35(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """Decays, rates, norms and gates make a difference, and every kind of expert."""
    expected = logits(model, ids)
    ends = ["A_log", "dt_bias", "in_proj_b.weight", "in_proj_z.weight", "linear_attn.norm.weight", "q_norm.weight", "k_norm.weight"]
    if tiny.family == "qwen3_5_moe":
        ends += ["mlp.gate.weight", "experts.gate_up_proj", "experts.down_proj", "shared_expert.down_proj.weight", "shared_expert_gate.weight"]
        fewer = logits(tiny.build(model.state_dict(), num_experts_per_tok=1), ids)
        require(distance(fewer, expected) > 1e-2, "the number of experts makes no difference")
    for end in ends:
        weights = {name: value * 0.5 if name.endswith(end) else value for name, value in model.state_dict().items()}
        require(distance(logits(tiny.build(weights), ids), expected) > 1e-2, f"{end} makes no difference")


def check_latent(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """The choice of experts and the scale of the scores make a difference."""
    expected = logits(model, ids)
    if tiny.family == "deepseek_v2":
        changes = [{"rope_parameters": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}}]
        if "n_group" in tiny.options:
            changes += [{"routed_scaling_factor": 1.0}, {"topk_method": "greedy"}]
    else:
        changes = [{"norm_topk_prob": False}, {"routed_scaling_factor": 1.0}]
        without = {n: torch.zeros_like(v) if n.endswith("e_score_correction_bias") else v for n, v in model.state_dict().items()}
        require(distance(logits(tiny.build(without), ids), expected) > 1e-2, "the bias of the choice makes no difference")
    if "n_group" in tiny.options:
        changes.append({"n_group": 1, "topk_group": 1})
    for change in changes:
        require(distance(logits(tiny.build(model.state_dict(), **change), ids), expected) > 1e-2, f"{change} makes no difference")


def check_gemma4(tiny: Tiny, model, ids: torch.Tensor) -> None:
    """Window, rotation, bound, caches and inputs of layers make a difference."""
    expected, rope = logits(model, ids), tiny.options["rope_parameters"]
    whole = rope["full_attention"] | {"partial_rotary_factor": 1.0}
    changes = [{"sliding_window": 512}, {"rope_parameters": rope | {"full_attention": whole}}]
    ends = ["layer_scalar"]
    if tiny.options.get("enable_moe_block"):
        ends += ["router.scale", "router.per_expert_scale", "pre_feedforward_layernorm_2.weight", "post_feedforward_layernorm_1.weight"]
    if tiny.options["hidden_size_per_layer_input"] > 0:
        changes.append({"final_logit_softcapping": None})
        ends += ["embed_tokens_per_layer.weight", "per_layer_projection_norm.weight", "per_layer_input_gate.weight"]
    for change in changes:
        other = logits(tiny.build(model.state_dict(), **change), ids)
        require(distance(other, expected) > 1e-2, f"{change} makes no difference")
    for end in ends:
        # A common factor of all experts is undone by the norm after them.
        changed = (lambda value: value.flip(0)) if end.endswith("per_expert_scale") else (lambda value: value * 0.5)
        weights = {name: changed(value) if name.endswith(end) else value for name, value in model.state_dict().items()}
        require(distance(logits(tiny.build(weights), ids), expected) > 1e-2, f"{end} makes no difference")


def toy_vocabulary() -> tuple[list[str], list[int], list[str]]:
    """128 tokens of a byte-level BPE that covers ASCII text: tokens, their types, merges."""
    pairs = "Ġt he in re on at er an is en or es al ar st it Ġa Ġs Ġo te nd ou ng me ve ti ro ce ly".split()
    control = gguf.TokenType.CONTROL
    tokens = ["<unk>", "<s>", "</s>", *(chr(c) for c in range(33, 127)), "Ġ", "Ċ", *pairs]
    types = [gguf.TokenType.UNKNOWN, control, control] + [gguf.TokenType.NORMAL] * (len(tokens) - 3)
    require(len(tokens) == VOCABULARY, "the vocabulary has another size than expected")
    return tokens, types, [f"{pair[0]} {pair[1]}" for pair in pairs]


TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    if name in TENSORS:
        return TENSORS[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_TENSORS[module]}.{kind}"


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Moves each head's rows from halves (x0 x1 .. y0 y1 ..) to pairs (x0 y0 x1 y1 ..), as the llama arch rotates."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def write_gguf(path: str, tiny: Tiny, model) -> None:
    config = model.config
    arch = "qwen2" if tiny.family == "qwen2" else "llama"
    head_dim = config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(tiny.name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokens, types, merges = toy_vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if arch == "qwen2" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    if config.rope_parameters["rope_type"] == "llama3":
        factors = llama3_factors(config.rope_parameters, head_dim)
        middle = [f for f in factors if 1.0 < f < LLAMA3["factor"]]
        require(1.0 in factors and LLAMA3["factor"] in factors and bool(middle), f"a band is missing: {factors}")
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if arch == "llama" and ".q_proj." in name:
            array = interleave(array, config.num_attention_heads)
        elif arch == "llama" and ".k_proj." in name:
            array = interleave(array, config.num_key_value_heads)
        writer.add_tensor(gguf_name(name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_gguf(path: str, ids: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of llama.cpp's logits from `expected`; the script ends if it exceeds the tolerance."""
    from llama_oracle import load_model, open_context

    with load_model(path) as model, open_context(model, LENGTH) as context:
        got = torch.from_numpy(context.decode(ids.tolist()))
    far = distance(got, expected)
    require(far < TOLERANCE, f"{path}: llama.cpp differs by {far}")
    return far


def make(tiny: Tiny, seed: int, out: str) -> str:
    folder = os.path.join(out, tiny.name)
    shutil.rmtree(folder, ignore_errors=True)
    model = tiny.build()
    randomise(model, seed, tiny.dtype)
    ids = torch.randint(0, VOCABULARY, (LENGTH,), generator=torch.Generator().manual_seed(1000 + seed))
    expected = {"input_ids": ids, "logits": logits(model, ids)}
    report = f"{tiny.name}: logits {expected['logits'].min():.2f} .. {expected['logits'].max():.2f}"

    if tiny.family == "mistral":
        expected["logits_without_window"] = check_window(tiny, model, ids)
    if tiny.name == "llama-rope-scaled":
        plain = {"rope_type": "default", "rope_theta": LLAMA3["rope_theta"]}
        unscaled = logits(tiny.build(model.state_dict(), rope_parameters=plain), ids)
        require(distance(unscaled, expected["logits"]) > 0.1, "the scaling of RoPE does not change the logits")
    if tiny.family == "phi3":
        check_phi3(tiny, model, ids)
    if tiny.family == "gpt_oss":
        check_gpt_oss(tiny, model, ids)
    if "kv_lora_rank" in tiny.options:
        check_latent(tiny, model, ids)
    if tiny.family == "lfm2":
        check_lfm2(tiny, model, ids)
    if tiny.family == "gemma4":
        check_gemma4(tiny, model, ids)
    if tiny.family in ("qwen3_5", "qwen3_5_moe"):
        check_qwen35(tiny, model, ids)
    if tiny.name in ("llama-rope-scaled", "mistral-window", "qwen2-bias"):
        path = os.path.join(out, tiny.name + ".gguf")
        write_gguf(path, tiny, model)
        reference = expected.get("logits_without_window", expected["logits"])
        report += f"; llama.cpp within {check_gguf(path, ids, reference):.1e}"

    model.to(tiny.dtype).save_pretrained(folder, max_shard_size=tiny.shard_size)
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    if tiny.old_keys:
        write_old_keys(folder)
    shards = [name for name in os.listdir(folder) if name.startswith("model-")]
    require((len(shards) > 1) == (tiny.shard_size != "1GB"), f"{tiny.name}: shards {shards}")
    save_file(expected, os.path.join(folder, "expected.safetensors"))

    read_back = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()
    far = distance(logits(read_back, ids), expected["logits"])
    require(far < 1e-5, f"{tiny.name}: the logits of the written model differ by {far}")
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    require(size < 400_000, f"{tiny.name}: {size} bytes")
    return f"{report}; the written model within {far:.1e}; {size} bytes"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out_dir")
    arguments.add_argument("names", nargs="*", help="the models to write; all without one")
    args = arguments.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    os.makedirs(args.out_dir, exist_ok=True)
    for seed, tiny in enumerate(MODELS, 1):
        if not args.names or tiny.name in args.names:
            print(make(tiny, seed, args.out_dir))


if __name__ == "__main__":
    main()
