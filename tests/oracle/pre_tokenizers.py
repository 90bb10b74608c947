"""Writes models/tests/fixtures/pre_tokenizers.json: the words into which llama.cpp splits texts, for every pre-tokenizer.

    pre_tokenizers.py OUT.json

llama.cpp does not return words. The script therefore writes a vocabulary in which each part of each text is a token and each two parts
that follow each other have a merge: every word then becomes exactly one token. The order of the merges does not matter, because any
merge can be followed by others until one token is left.
"""

import argparse
import json
import os
import random
import tempfile

import gguf
import gguf_metadata
import llama_cpp
from llama_oracle import Vocabulary, load_model

# Names of `tokenizer.ggml.pre` whose words become tokens of a byte-level vocabulary.
NAMES = """
default falcon gpt-2 a.x-4.0 exaone4 gigachat granite-docling jais mellum modern-bert mpt olmo phi-2 trillion smollm codeshell command-r
exaone minerva-7b refact starcoder llama-bpe falcon-h1 falcon3 lfm2 llama-v3 llama3 midm-2.0 pixtral glm4 smaug-bpe chatglm-bpe dbrx qwen2
deepseek-r1-qwen grok-2 hunyuan kormo megrez solar-open stablelm2 qwen35 gpt-4o kanana2 llama4 minimax-m2 tekken deepseek-llm
deepseek-coder deepseek-v3 hunyuan-dense joyai-llm afmoe tiny_aya youtu bailingmoe bailingmoe2 llada-moe seed-coder exaone-moe jais-2
bloom gpt3-finnish poro-chat viking chameleon
""".split()

# Texts of at most this many bytes: the number of merges grows with the third power.
LONGEST = 44

TEXTS = [
    "Hello, world!",
    " leading space",
    "  two leading",
    "trailing  ",
    "a b  c   d    e     f",
    " " * 20 + "x" + " " * 9,
    "\n",
    "\n\n\n",
    "\r\n\t",
    "\t\t \t  \tx",
    "one\ntwo\n\nthree\n\n\nfour",
    "dos\r\nline\r\n\r\nend\r\r",
    " \n \n  \n\t\n   x \n",
    "def f(x):\n\tif x > 0:\n\t\tx",
    "a+=1;b!=c;d->e;f::g<h>;/*i*/",
    "#[k] @l $m `n` ~o ^p |q| \\r",
    "1 12 123 1234 12345 123456",
    "1234567 12345678 123456789",
    "x1y22z333a4444b55555c",
    "3.14159, 1,000.00; 0xDEAD",
    "½ ² ³ Ⅷ ٣٤٥ १२३४ 12345",
    "I'm you're he's we've they'll",
    "I'd don't it's 's 'll",
    "I'M YOU'RE HE'S WE'VE 'T're",
    "O\u2019Brien \u2018q\u2019 \u201cd\u201d \u2014\u2026",
    "'''' ''s' \"'s\" 's's's",
    "theQuickBrownFox HTTPServer",
    "ABCdef ABC defGHI aB Ab AB",
    "Straße Ärger NAÏVE ÉTÉ café",
    "ŁódźŁ İstanbul ǅ ſ ﬁ ÀB",
    "cafe\u0301 n\u0303o a\u0308\u0323 Z\u0351\u036b",
    "Привет, мир! ЭТО тест.",
    "你好，世界！测试。abc你好123",
    "日本語カナとひら、です",
    "한국어 텍스트입니다 ㄱㄴ",
    "สวัสดีชาวโลก",
    "مرحبا، كيف؟ שלום",
    "नमस्ते दुनिया",
    "தமிழ் ខ្មែរ ქართ",
    "😀😂 👍🏽 🇩🇪 ❤️ 1️⃣",
    "👨‍👩‍👧 🏳️‍🌈 x😀y",
    "\u00a0nbsp\u3000wide\u2028line\u0085x",
    "a\u3000\u3000b\u00a0 \u00a0c",
    "\u200bzero\u200d\ufeffbom",
    "▁meta▁symbol ▁ ▁▁",
    "https://example.org/a/b?c=d",
    "user.name+tag@ex.co.uk",
    "a/b//c/\n/d/\n\n//",
    "!!!???...,,,;;;:::---___",
    "a\n/b \n c!\n\nd?/\n",
    "the_quick_brown __init__(self)",
    "x = {'a': [1, 2], \"b\": None}",
    "<|im_start|>user\nHi<|im_end|>",
    "IMGIMGABCDZ<sentinel:12>x",
    "（全角）：ＡＢＣ１２３，。",
    "“中文”—标点…《书》、ㄅㄆ",
    "$100.50 €20 £3 ¥400 50% +1 <=>",
    "ab12cd345 6789ef01234567",
    "12345678901234567890",
    "  12  345   6789",
    "a  12 b   345c",
    "\u0130\u0131 ÆØÅ æøå ΑΒΓαβγ",
]

# Characters of many kinds for texts that nobody would think of.
ALPHABET = list("aZbY09 '\n\r\t.,!/_-$+<(\"") + list("éÉßǅʰ中あカ한ㅎก१²Ⅷ½") + ["\u0301", "\u0947", "\u3000", "\u00a0"] + list("。，—…“€😀‍")


def texts() -> list[str]:
    source = random.Random(20)
    result = list(TEXTS)
    for _ in range(60):
        text = ""
        while len(text.encode()) < 24:
            text += source.choice(ALPHABET) * source.choice([1, 1, 1, 2, 3])
        result.append(text)
    for text in result:
        if len(text.encode()) > LONGEST:
            raise SystemExit(f"{text!r} has more than {LONGEST} bytes")
    return result


def letters() -> list[str]:
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


LETTERS = letters()


def write_vocabulary(path: str, all_texts: list[str]) -> list[bytes]:
    """Writes the vocabulary; returns the bytes of each token."""
    parts = {bytes([byte]) for byte in range(256)}
    merges = set()
    for text in all_texts:
        data = text.encode()
        for start in range(len(data)):
            for end in range(start + 2, len(data) + 1):
                parts.add(data[start:end])
                merges.update((data[start:middle], data[middle:end]) for middle in range(start + 1, end))
    tokens = sorted(parts, key=lambda part: (len(part), part))
    spell = lambda part: "".join(LETTERS[byte] for byte in part)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([spell(part) for part in tokens])
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([f"{spell(left)} {spell(right)}" for left, right in sorted(merges)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tokens


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out")
    args = arguments.parse_args()

    all_texts = texts()
    groups: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.join(folder, "base.gguf")
        tokens = write_vocabulary(base, all_texts)
        for name in NAMES:
            path = os.path.join(folder, "named.gguf")
            gguf_metadata.replace_string(base, path, "tokenizer.ggml.pre", name)
            with load_model(path, vocab_only=True) as model:
                vocabulary = Vocabulary(model)
                words = [[tokens[id].decode() for id in vocabulary.tokenize(text, False, False)] for text in all_texts]
            for text, parts in zip(all_texts, words):
                if "".join(parts) != text:
                    raise SystemExit(f"{name}: {text!r} became {parts}")
            groups.setdefault(json.dumps(words), {"names": [], "words": words})["names"].append(name)

    document = {
        "made_by": "tests/oracle/pre_tokenizers.py",
        "oracle": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__}",
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()]
    lines.append(' "texts": [\n  ' + ",\n  ".join(json.dumps(text) for text in all_texts) + "\n ]")
    blocks = []
    for group in groups.values():
        rows = ",\n    ".join(json.dumps(row, separators=(",", ":")) for row in group["words"])
        blocks.append(f'  {{"names": {json.dumps(group["names"])}, "words": [\n    {rows}\n  ]}}')
    lines.append(' "groups": [\n' + ",\n".join(blocks) + "\n ]")
    with open(args.out, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    for group in groups.values():
        print(" ".join(group["names"]))


if __name__ == "__main__":
    main()
