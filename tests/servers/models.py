"""Makes the files that real servers need from the GGUF file of SmolLM2. `models.py tinygrad|folder GGUF OUTPUT`

tinygrad    the same file with the pre-tokenizer under a name that tinygrad knows
folder      a folder of safetensors (bfloat16), tokenizer and chat template, as transformers, vLLM and mlx_lm load it
"""

import json
import mmap
import pathlib
import shutil
import sys


def for_tinygrad(source: pathlib.Path, output: pathlib.Path) -> None:
    # Both names have six letters, so no offset in the file changes.
    part = output.with_suffix(".part")
    shutil.copyfile(source, part)
    key = b"tokenizer.ggml.pre"
    with part.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        at = data.find(key) + len(key)
        value = data.find(b"smollm", at)
        if at < len(key) or not 0 < value - at < 32:
            raise SystemExit(f"{source}: expected the pre-tokenizer smollm")
        data[value : value + 6] = b"qwen35"
    part.rename(output)


def folder(source: pathlib.Path, output: pathlib.Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    ).to(torch.bfloat16)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    part = output.with_name(output.name + ".part")
    model.save_pretrained(part)
    # mistral.rs reads the base of the rotary embedding only where transformers before version 5 wrote it.
    path = part / "config.json"
    config = json.loads(path.read_text())
    config.setdefault("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))
    path.write_text(json.dumps(config, indent=2))
    AutoTokenizer.from_pretrained(**where).save_pretrained(part)
    part.rename(output)


def main() -> None:
    kind, source, output = sys.argv[1], pathlib.Path(sys.argv[2]).absolute(), pathlib.Path(sys.argv[3]).absolute()
    {"tinygrad": for_tinygrad, "folder": folder}[kind](source, output)


main()
