"""Writes models/tests/fixtures/gpt_oss_mxfp4/: a gpt-oss of one layer whose experts are MXFP4, and their values by transformers.

    mxfp4_folder.py OUT_DIR

config.json and model.safetensors are those of a folder as published (random blocks and scales); values.safetensors has the experts in
F32 as transformers widens them, `gate_up_proj` [experts, hidden, 2 width] and `down_proj` [experts, width, hidden].
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

EXPERTS, HIDDEN, WIDTH, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 2, 64, 32, 2, 1, 16, 272
CONFIG = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "attention_bias": True,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": WIDTH,
    "layer_types": ["sliding_attention"],
    "max_position_embeddings": 128,
    "num_attention_heads": HEADS,
    "num_experts_per_tok": 1,
    "num_hidden_layers": 1,
    "num_key_value_heads": KV_HEADS,
    "num_local_experts": EXPERTS,
    "quantization_config": {"modules_to_not_convert": ["model.embed_tokens", "lm_head"], "quant_method": "mxfp4"},
    "rms_norm_eps": 1e-05,
    "rope_theta": 150000,
    "sliding_window": 8,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": VOCABULARY,
}


def main() -> None:
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    tensors, values = {}, {}

    def random(name: str, *shape: int) -> None:
        tensors[name] = torch.randn(shape, generator=generator).to(torch.bfloat16)

    random("model.embed_tokens.weight", VOCABULARY, HIDDEN)
    random("model.norm.weight", HIDDEN)
    random("lm_head.weight", VOCABULARY, HIDDEN)
    layer = "model.layers.0."
    random(layer + "input_layernorm.weight", HIDDEN)
    random(layer + "post_attention_layernorm.weight", HIDDEN)
    random(layer + "self_attn.sinks", HEADS)
    for name, rows, columns in [
        ("q", HEADS * HEAD_DIM, HIDDEN),
        ("k", KV_HEADS * HEAD_DIM, HIDDEN),
        ("v", KV_HEADS * HEAD_DIM, HIDDEN),
        ("o", HIDDEN, HEADS * HEAD_DIM),
    ]:
        random(f"{layer}self_attn.{name}_proj.weight", rows, columns)
        random(f"{layer}self_attn.{name}_proj.bias", rows)
    random(layer + "mlp.router.weight", EXPERTS, HIDDEN)
    random(layer + "mlp.router.bias", EXPERTS)
    for name, rows, columns in [("gate_up_proj", 2 * WIDTH, HIDDEN), ("down_proj", HIDDEN, WIDTH)]:
        blocks = torch.randint(0, 256, (EXPERTS, rows, columns // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(115, 130, (EXPERTS, rows, columns // 32), generator=generator, dtype=torch.uint8)
        tensors[f"{layer}mlp.experts.{name}_blocks"] = blocks
        tensors[f"{layer}mlp.experts.{name}_scales"] = scales
        random(f"{layer}mlp.experts.{name}_bias", EXPERTS, rows)
        values[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    save_file(tensors, os.path.join(out, "model.safetensors"))
    save_file(values, os.path.join(out, "values.safetensors"))
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=2, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()
