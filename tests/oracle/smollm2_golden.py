"""Writes engines/tests/fixtures/smollm2_golden*.{json,safetensors}: the output of llama.cpp for the five seed prompts.

    smollm2_golden.py SMOLLM2.gguf .../smollm2_golden
    smollm2_golden.py --dequantise SMOLLM2.gguf .../smollm2_golden_f32

For each prompt it writes the rendered text, its ids, up to 64 greedy tokens, generated one at a time (with the two highest logits
of each), and the logits at every position of prompt and answer, computed in one batch. With the weights as stored, it also
computes these logits one token at a time: llama.cpp then uses another order of sums, which changes the results of quantised
weights. With --dequantise the weights are first converted to F32, so that activations are not rounded (see dequantise_gguf.py).
"""

import argparse
import json
import os
import tempfile

import gguf_metadata
import jinja2
import jinja2.sandbox
import llama_cpp
import numpy as np
from dequantise_gguf import dequantise
from llama_oracle import Vocabulary, load_model, open_context, sha256
from safetensors.numpy import save_file

PROMPTS = [
    "Explain the concept of artificial intelligence in simple terms.",
    "Write a short poem about technology.",
    "Summarize the key benefits of renewable energy.",
    "What are the main differences between classical and quantum computing?",
    "Describe the process of photosynthesis in plants.",
]
NEW_TOKENS = 64
SAMPLE_SEED, SAMPLE_SIZE = 20250101, 96
TOP = 8
THREADS = 2


def short(value) -> float:
    """The shortest decimal that reads back as the same f32."""
    return float(str(np.float32(value)))


def best(logits: np.ndarray, count: int) -> np.ndarray:
    """The ids of the `count` highest logits, best first, the lower id first among equals."""
    return np.lexsort((np.arange(logits.size), -logits))[:count]


class Template:
    """The chat template of a GGUF file."""

    def __init__(self, path: str):
        _, metadata = gguf_metadata.read(path)
        tokens = metadata["tokenizer.ggml.tokens"].value
        self.names = {
            f"{kind}_token": tokens[metadata[f"tokenizer.ggml.{kind}_token_id"].value] for kind in ("bos", "eos")
        }
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self.template = environment.from_string(metadata["tokenizer.chat_template"].value)

    def render(self, content: str) -> str:
        messages = [{"role": "user", "content": content}]
        return self.template.render(messages=messages, add_generation_prompt=True, **self.names)


def prompt_ids(vocabulary: Vocabulary, text: str, bos_text: str) -> list[int]:
    ids = vocabulary.tokenize(text, False, True)
    special = vocabulary.special()
    if special["add_bos"] and not text.startswith(bos_text):
        ids.insert(0, special["bos"])
    return ids


def greedy(model, vocabulary: Vocabulary, ids: list[int]) -> tuple[dict, np.ndarray]:
    """The answer token by token, and the logits of each step."""
    steps, rows, finish = [], [], "length"
    with open_context(model, len(ids) + NEW_TOKENS, THREADS) as context:
        logits = context.decode(ids)[-1]
        while True:
            first, second = (int(i) for i in best(logits, 2))
            rows.append(logits)
            steps.append({"ids": [first, second], "logits": [short(logits[first]), short(logits[second])]})
            if vocabulary.is_eog(first):
                finish = "eog"
                break
            if len(steps) == NEW_TOKENS:
                break
            logits = context.decode([first])[0]
    generated = [step["ids"][0] for step in steps]
    if finish == "eog":
        generated.pop()
    text = vocabulary.detokenize(generated, True).decode(errors="replace")
    return {"generated": generated, "finish": finish, "text": text, "steps": steps}, np.stack(rows)


def examine(model, vocabulary: Vocabulary, template: Template, number: int, sample: np.ndarray, stepwise: bool):
    """One seed prompt: its entry in the JSON, and its arrays; `stepwise` adds the logits of single-token passes."""
    content = PROMPTS[number - 1]
    rendered = template.render(content)
    ids = prompt_ids(vocabulary, rendered, template.names["bos_token"])
    answer, stepped = greedy(model, vocabulary, ids)
    sequence = ids + answer["generated"]
    with open_context(model, len(sequence), THREADS) as context:
        logits = context.decode(sequence)
    # The logits from which token n was chosen are those of row len(ids) - 1 + n of the batch.
    difference = logits[len(ids) - 1 :][: len(stepped)] - stepped[: len(sequence) - len(ids) + 1]
    top = np.stack([best(row, TOP) for row in logits])
    wide = logits.astype(np.float64)
    peak = wide.max(axis=1)
    total = peak + np.log(np.exp(wide - peak[:, None]).sum(axis=1))
    arrays = {
        f"{number}.ids": np.array(sequence, np.int64),
        f"{number}.sample": np.ascontiguousarray(logits[:, sample]),
        f"{number}.top_ids": top.astype(np.int64),
        f"{number}.top_logits": np.take_along_axis(logits, top, axis=1),
        f"{number}.logsumexp": total.astype(np.float32),
    }
    if stepwise:
        with open_context(model, len(sequence), THREADS) as context:
            arrays[f"{number}.stepped"] = np.concatenate([context.decode([id])[:, sample] for id in sequence])
    entry = {
        "number": number,
        "prompt": content,
        "rendered": rendered,
        "prompt_ids": ids,
        **answer,
        "smallest_gap": short(min(step["logits"][0] - step["logits"][1] for step in answer["steps"])),
        "batch_against_steps": {
            "max": short(np.abs(difference).max()),
            "rms": short(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))),
        },
    }
    print(number, len(ids), len(answer["generated"]), answer["finish"], entry["smallest_gap"],
          entry["batch_against_steps"], flush=True)
    return entry, arrays


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dequantise", action="store_true")
    arguments.add_argument("model")
    arguments.add_argument("out_stem")
    args = arguments.parse_args()

    template = Template(args.model)
    arrays, prompts = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = args.model
        if args.dequantise:
            path = os.path.join(folder, "f32.gguf")
            dequantise(args.model, path)
        with load_model(path) as model:
            vocabulary = Vocabulary(model)
            sample = np.sort(np.random.default_rng(SAMPLE_SEED).choice(vocabulary.size, SAMPLE_SIZE, replace=False))
            for number in range(1, len(PROMPTS) + 1):
                entry, some = examine(model, vocabulary, template, number, sample, not args.dequantise)
                prompts.append(entry)
                arrays |= some
    arrays["sample_ids"] = sample.astype(np.int64)
    save_file(arrays, args.out_stem + ".safetensors")
    document = {
        "made_by": "tests/oracle/smollm2_golden.py",
        "oracle": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__}",
        "cpu": llama_cpp.llama_print_system_info().decode(),
        "model_sha256": sha256(args.model),
        "weights": "dequantised to F32" if args.dequantise else "as stored",
        "settings": {
            "llama_model_params": {"use_extra_bufts": False, "n_gpu_layers": 0},
            "llama_context_params": {
                "type_k": "f32",
                "type_v": "f32",
                "flash_attn_type": "disabled",
                "n_threads": THREADS,
                "n_threads_batch": THREADS,
                "n_batch": "the whole sequence",
                "n_ubatch": "the whole sequence",
            },
            "no_repacking": "use_extra_bufts = false in llama_model_params (what --no-repack sets)",
        },
        "template": "jinja2, trim_blocks, lstrip_blocks, add_generation_prompt, one user message",
        "top": TOP,
        "sample_seed": SAMPLE_SEED,
        "sample_ids": [int(i) for i in sample],
        "arrays": f"per prompt number N: N.ids [T], N.sample [T, {SAMPLE_SIZE}] (logits at sample_ids), N.top_ids and "
        f"N.top_logits [T, {TOP}], N.logsumexp [T]; T is prompt_ids then generated, all in one batch"
        + ("" if args.dequantise else f"; N.stepped [T, {SAMPLE_SIZE}] is N.sample with one token at a time"),
        "steps": "per generated position the two best ids and their logits, one token at a time; "
        "where finish is eog the last step's first id is the end token, which generated leaves out",
        "smallest_gap": "smallest difference between the two best logits of a step",
        "batch_against_steps": "difference of all logits at the generated positions between the one batch and the "
        "single steps: llama.cpp's own noise",
        "prompts": prompts,
    }
    with open(args.out_stem + ".json", "w", encoding="utf-8") as file:
        file.write(compact(document))


def compact(document: dict) -> str:
    """Indented JSON, but lists of numbers and steps on one line each."""
    fields = []
    for key, value in document.items():
        if key != "prompts":
            fields.append(f" {json.dumps(key)}: {json.dumps(value)}")
    blocks = []
    for prompt in document["prompts"]:
        lines = []
        for key, value in prompt.items():
            if key == "steps":
                steps = ",\n    ".join(json.dumps(step, separators=(",", ":")) for step in value)
                lines.append(f'   "steps": [\n    {steps}\n   ]')
            else:
                lines.append(f"   {json.dumps(key)}: {json.dumps(value)}")
        blocks.append("  {\n" + ",\n".join(lines) + "\n  }")
    fields.append(' "prompts": [\n' + ",\n".join(blocks) + "\n ]")
    return "{\n" + ",\n".join(fields) + "\n}\n"


if __name__ == "__main__":
    main()
