"""Writes engines/tests/fixtures/gemma3_golden.json: the greedy output of llama.cpp for Gemma 3 270M, a base model.

    gemma3_golden.py GEMMA3.gguf engines/tests/fixtures/gemma3_golden.json

For each text it writes its ids and up to 32 greedy tokens, generated one at a time, with the two highest logits of each, and by how
much their difference changes when llama.cpp computes the same positions in one batch. The last text is longer than the sliding
window of 512 tokens.
"""

import argparse

import llama_cpp
import numpy as np
import smollm2_golden
from llama_oracle import Vocabulary, load_model, open_context, sha256

TEXTS = [
    "The lighthouse keeper wrote in his diary:",
    "Die Hauptstadt von Frankreich ist",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius, and it freezes at",
    " ".join(f"In year {1900 + n} the harbour of Ostvik counted {7 * n % 90 + 10} ships." for n in range(40))
    + " In year 1940 the harbour of Ostvik counted",
]
smollm2_golden.NEW_TOKENS = 32


def gap_noise(model, ids: list[int], answer: dict, stepped: np.ndarray) -> float:
    """The largest change of the difference of the two best logits, between single steps and one batch."""
    with open_context(model, len(ids) + len(answer["generated"]), smollm2_golden.THREADS) as context:
        batch = context.decode(ids + answer["generated"])[len(ids) - 1 :]
    best = [step["ids"] for step in answer["steps"]]
    gaps = [(row[a] - row[b]) - (other[a] - other[b]) for row, other, (a, b) in zip(batch, stepped, best)]
    return smollm2_golden.short(np.abs(gaps).max())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("out")
    args = arguments.parse_args()
    prompts = []
    with load_model(args.model) as model:
        vocabulary = Vocabulary(model)
        for number, text in enumerate(TEXTS, 1):
            ids = vocabulary.tokenize(text, True, True)
            answer, stepped = smollm2_golden.greedy(model, vocabulary, ids)
            noise = gap_noise(model, ids, answer, stepped)
            prompts.append({"number": number, "rendered": text, "prompt_ids": ids, "gap_noise": noise, **answer})
            print(number, len(ids), noise, repr(answer["text"]), flush=True)
    document = {
        "made_by": "tests/oracle/gemma3_golden.py",
        "oracle": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__}",
        "cpu": llama_cpp.llama_print_system_info().decode(),
        "model_sha256": sha256(args.model),
        "settings": "as smollm2_golden.py: F32 cache, no flash attention, no repacking, the prompt in one batch",
        "steps": "per generated position the two best ids and their logits, one token at a time",
        "gap_noise": "the largest change of the difference of these two logits when the positions are computed in one batch",
        "prompts": prompts,
    }
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(smollm2_golden.compact(document))


if __name__ == "__main__":
    main()
