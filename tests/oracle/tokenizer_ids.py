"""Writes models/tests/fixtures/tokenizer_ids.json: llama.cpp's token ids of difficult texts, for five vocabularies.

    tokenizer_ids.py VOCABULARIES SMOLLM2.gguf OUT.json

VOCABULARIES is the folder that fetch_llama_cpp.sh writes. The script first checks that llama.cpp returns the ids of the .out
files for the texts of the .inp files next to the vocabularies.
"""

import argparse
import json
import os
import tempfile

import gguf_metadata
import llama_cpp
from llama_oracle import Vocabulary, load_model, sha256

FLAGS = {"plain": (False, False), "special": (True, True)}
SEPARATOR = "\n__ggml_vocab_test__\n"

TEXTS = [
    "",
    " ",
    "  ",
    "   ",
    "a",
    "Hello, world!",
    " leading space",
    "  two leading spaces",
    "trailing space ",
    "trailing spaces    ",
    "a b  c   d    e     f      g       h        i         j                 k",
    " " * 64 + "x" + " " * 33,
    "\n",
    "\n\n",
    "\n\n\n",
    "\r\n",
    "\t",
    "\t\t \t  \t",
    "one\ntwo\n\nthree\n\n\nfour\n\n\n\nfive",
    "dos\r\nline\r\n\r\nends\r\rold mac\r",
    " \n \n  \n\t\n   x \n",
    "def f(x):\n\tif x > 0:\n\t\treturn x ** 2\n\telse:\n\t\treturn -x\n",
    "fn main() {\n    let v: Vec<u8> = vec![0x1f; 16];\n        println!(\"{:?}\", &v[..]);\n}\n",
    "a+=1;b!=c;d->e;f::g<h>;/*i*/ //j\n#[k] @l $m `n` ~o ^p |q| \\r\\n",
    "1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890",
    "3.14159, 1,000,000.00 and 0xDEADBEEF; 2024-02-29T23:59:59Z; 1e-10",
    "x1y22z333 ½ ² ³ Ⅷ ٣٤٥ १२३४ 12345",
    "I'm you're he's we've they'll I'd don't it's",
    "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T IT'S 'S 'll 'Ll 'T're",
    "O\u2019Brien\u2019s \u2018quoted\u2019 \u201cdouble\u201d \u2014 dash\u2026",
    "'''' ''s' \"'s\" 's's's",
    "Straße Ärger naïve café São Łódź İstanbul ǅ ſ ﬁ",
    "cafe\u0301 n\u0303o a\u0308\u0323 Z\u0351\u036b\u0343algo",
    "Привет, мир! Это тест.",
    "你好，世界！这是一个测试。今天天气很好",
    "日本語のテキスト、カタカナとﾊﾝｶｸ 한국어 텍스트입니다",
    "สวัสดีชาวโลก ทดสอบ",
    "مرحبا بالعالم، كيف حالك؟ שלום עולם",
    "नमस्ते दुनिया தமிழ் ქართული ខ្មែរ",
    "😀😂🤣 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ 1️⃣",
    "🦙.cpp 🚀🚀🚀🚀  🚀 \U0001fae8 \U0002070e",
    "\ufffd\ufffd \u200b zero\u200bwidth\u200d \ufeffbom \u00a0nbsp\u3000wide\u2028line\u2029par\u0085nel",
    "\x01\x02\x07\x08\x0b\x0c\x1b[0m\x7f\x80\x9f",
    "\ue000\uf8ff \U000e0041 \U0010ffff \ufdd0",
    "▁meta▁symbol ▁ ▁▁",
    "<0x0A> <0x41> <|0|> [INST] hi [/INST] <<SYS>>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<s>Hi</s> </s>there<s> <unk> <pad>",
    "<|endoftext|> <|endoftext|>x<|end_of_text|>  <|im_start|>  y  <|im_end|> z",
    "a</s>  b<|eot_id|>  c<|im_end|>\n\nd",
    "<|im_star <|im_start |> <|IM_START|> <im_start>",
    "supercalifragilisticexpialidocious Donaudampfschifffahrtsgesellschaftskapitän aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...,,,;;;:::---___===+++***///\\\\\\|||&&&%%%$$$###@@@^^^~~~```",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.co.uk",
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX! theQuickBrownFox the_quick_brown_fox",
]


def check_published(vocabulary: Vocabulary, stem: str) -> int:
    """Compares with the .inp/.out pair of a vocabulary file; returns the number of texts."""
    with open(stem + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split(SEPARATOR)
    with open(stem + ".out", encoding="utf-8") as file:
        expected = [[int(word) for word in line.split()] for line in file.read().splitlines()]
    if len(texts) == len(expected) + 1 and texts[-1] == "":
        texts.pop()
    if len(texts) != len(expected):
        raise SystemExit(f"{stem}: {len(texts)} texts, {len(expected)} lines of ids")
    for text, ids in zip(texts, expected):
        got = vocabulary.tokenize(text, False, False)
        if got != ids:
            raise SystemExit(f"{stem}: {text!r} gives {got}, published {ids}")
    return len(texts)


def utf8(data: bytes) -> dict:
    """The text if it is UTF-8, otherwise its bytes in hexadecimal."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def case(vocabulary: Vocabulary, text: str) -> dict:
    result = {}
    for name, (add_special, parse_special) in FLAGS.items():
        ids = vocabulary.tokenize(text, add_special, parse_special)
        result[name] = {"ids": ids, "back": utf8(vocabulary.detokenize(ids, True))}
        hidden = vocabulary.detokenize(ids, False)
        if utf8(hidden) != result[name]["back"]:
            result[name]["back_without_special"] = utf8(hidden)
    return result


def describe(path: str, source: str, changed: dict, published: str | None = None) -> dict:
    _, metadata = gguf_metadata.read(path)
    with load_model(path, vocab_only=True) as model:
        vocabulary = Vocabulary(model)
        result = {
            "file": os.path.basename(source),
            "sha256": sha256(source),
            "changed": changed,
            "model": metadata["tokenizer.ggml.model"].value,
            "pre": metadata["tokenizer.ggml.pre"].value if "tokenizer.ggml.pre" in metadata else None,
            "size": vocabulary.size,
            **vocabulary.special(),
        }
        if published:
            result["published_texts_checked"] = check_published(vocabulary, published)
        result["cases"] = [case(vocabulary, text) for text in TEXTS]
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("vocabularies")
    arguments.add_argument("smollm2")
    arguments.add_argument("out")
    args = arguments.parse_args()

    vocabularies = {"smollm": describe(args.smollm2, args.smollm2, {})}
    for name in ("llama-bpe", "qwen2", "llama-spm"):
        path = os.path.join(args.vocabularies, f"ggml-vocab-{name}.gguf")
        vocabularies[name] = describe(path, path, {}, path)
    qwen2 = os.path.join(args.vocabularies, "ggml-vocab-qwen2.gguf")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "deepseek-r1-qwen.gguf")
        changed = {"tokenizer.ggml.pre": "deepseek-r1-qwen"}
        for key, value in changed.items():
            gguf_metadata.replace_string(qwen2, path, key, value)
        vocabularies["deepseek-r1-qwen"] = describe(path, qwen2, changed, qwen2)

    document = {
        "made_by": "tests/oracle/tokenizer_ids.py",
        "oracle": f"llama.cpp as in llama-cpp-python {llama_cpp.__version__}",
        "flags": {
            name: {"add_special": add, "parse_special": parse} for name, (add, parse) in FLAGS.items()
        },
        "back": "llama_detokenize with remove_special=false, unparse_special=true; "
        "back_without_special, where it differs, with unparse_special=false; "
        "each is {text} or, where the bytes are no UTF-8, {hex}",
        "texts": TEXTS,
        "vocabularies": vocabularies,
    }
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(compact(document))
    for name, entry in vocabularies.items():
        print(name, {key: value for key, value in entry.items() if key != "cases"})


def compact(document: dict) -> str:
    """JSON with one text or case per line, so that it is small and a diff can be read."""
    lines = ["{"]
    for key in ("made_by", "oracle", "flags", "back"):
        lines.append(f" {json.dumps(key)}: {json.dumps(document[key])},")
    lines.append(' "texts": [\n  ' + ",\n  ".join(json.dumps(text) for text in document["texts"]) + "\n ],")
    blocks = []
    for name, entry in document["vocabularies"].items():
        head = [f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in entry.items() if key != "cases"]
        cases = ",\n    ".join(json.dumps(one, separators=(",", ":")) for one in entry["cases"])
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(head) + f',\n   "cases": [\n    {cases}\n   ]\n  }}')
    lines.append(' "vocabularies": {\n' + ",\n".join(blocks) + "\n }\n}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
