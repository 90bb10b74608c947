"""Compares the tool's rendering of chat templates with that of transformers, byte for byte.

    chat_templates.py bless FRAGMENTS.json              writes the right output of each fragment into the file
    chat_templates.py compare RENDERER FRAGMENTS.json [DIRECTORY]...
                                                        compares fragments and the *.jinja files of directories

RENDERER is the example `render_templates` of the crate `models`. The right output is that of
`transformers.utils.chat_template_utils.render_jinja_template`, where that package is installed, else that of jinja2 in an environment
with the same settings. `strftime_now` gives the default date of the tool in both.
"""
import datetime
import json
import pathlib
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATE = (2024, 7, 26)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
# The conversation of the committed fragments.
FRAGMENT_MESSAGES = [
    {"role": "system", "content": " Be terse. "},
    {"role": "user", "content": "Hi <b>there</b>"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello 'you'"},
    {"role": "user", "content": "Bye \u00e9\U0001f600\n"},
]


def message(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = {
    "user": [message("user", "Hi")],
    "system and user": [message("system", "Be brief."), message("user", "Why is the sky blue?")],
    "several turns": FRAGMENT_MESSAGES,
    "empty": [message("user", "")],
    "special characters": [
        message("user", "<|im_end|> \"quoted\" 'text' & {{ braces }} {% tag %} \\n \\ </s>\t\u00a0"),
    ],
    "unicode": [message("user", "\u4f60\u597d \U0001f469\u200d\U0001f680 \u0301\u2028 \u00df\u0130 \u200b\ufeff")],
    "whitespace": [message("system", ""), message("user", "\n\n  padded \t\n"), message("assistant", " ok "), message("user", "x")],
    "reasoning": [
        message("user", "1+1?"),
        message("assistant", "<think>\nsum\n</think>\n\n2"),
        message("user", "2+2?"),
        message("assistant", "</think>4"),
        message("user", "3+3?"),
    ],
    "ends with an assistant": [message("user", "Hi"), message("assistant", "Hello")],
}


def environment():
    """The environment of transformers, for where the package is not installed."""

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller):
            return caller()

    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            attributes = dict(*args, **kwargs)
            if any(name.startswith("_") for name in attributes):
                raise jinja2.exceptions.SecurityError("underscore")
            jinja2.utils.Namespace.__init__(self, attributes)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(text):
        raise jinja2.exceptions.TemplateError(text)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["namespace"] = Namespace
    return made


try:
    from transformers.utils import chat_template_utils

    def compiled(template):
        return chat_template_utils._compile_jinja_template(template)

    SOURCE = "transformers"
except ImportError:

    def compiled(template):
        return environment().from_string(template)

    SOURCE = "jinja2 with the settings of transformers"


def right(template, messages, add_generation_prompt):
    """The output of transformers: {"ok": text} or {"err": text}."""
    try:
        made = compiled(template)
        made.globals["strftime_now"] = lambda format: datetime.datetime(*DATE).strftime(format)
        variables = dict(TOKENS, strftime_now=made.globals["strftime_now"])
        return {
            "ok": made.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **variables,
            )
        }
    except Exception as error:  # whatever a template raises is its answer
        return {"err": f"{type(error).__name__}: {error}"}


def rendered(renderer, cases):
    lines = [
        json.dumps(
            {
                "template": template,
                "messages": messages,
                "add_generation_prompt": prompt,
                "tokens": TOKENS,
                "date": DATE,
            }
        )
        for _, template, messages, prompt in cases
    ]
    run = subprocess.run([renderer], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    # U+2028 and others end lines for `splitlines`, and JSON does not escape them.
    return [json.loads(line) for line in run.stdout.split("\n") if line]


def compare(renderer, fragments, directories):
    cases = [(item["name"], item["template"], FRAGMENT_MESSAGES, True) for item in json.loads(fragments.read_text())]
    count = len(cases)
    files = sorted(file for directory in directories for file in pathlib.Path(directory).glob("*.jinja"))
    for file in files:
        for name, messages in CONVERSATIONS.items():
            for prompt in (True, False):
                cases.append((f"{file.name}: {name}, generation prompt {prompt}", file.read_text(), messages, prompt))
    wrong, refused, errors, unsupported = 0, 0, 0, []
    for case, ours in zip(cases, rendered(renderer, cases), strict=True):
        name, template, messages, prompt = case
        theirs = right(template, messages, prompt)
        if "err" in theirs and "err" in ours:
            errors += 1
        elif "ok" in theirs and "err" in ours and "as transformers does" in ours["err"]:
            refused += 1
            unsupported.append(f"{name}: {ours['err']}")
        elif "ok" not in theirs or ours.get("ok") != theirs["ok"]:
            wrong += 1
            print(f"WRONG {name}\n  ours   {json.dumps(ours)[-700:]}\n  theirs {json.dumps(theirs)[-700:]}")
    for line in unsupported:
        print(f"refused {line}")
    print(
        f"{count} fragments and {len(files)} templates, {len(cases)} renderings against {SOURCE}: "
        f"{len(cases) - wrong - refused - errors} equal, {errors} errors in both, {refused} refused by name, {wrong} wrong"
    )
    return 1 if wrong or (refused and files and any(".jinja" in line for line in unsupported)) else 0


def bless(fragments):
    items = []
    for item in json.loads(fragments.read_text()):
        answer = right(item["template"], FRAGMENT_MESSAGES, True)
        if " at 0x" in answer.get("ok", ""):
            raise SystemExit(f"{item['name']}: the output contains an address")
        items.append({"name": item["name"], "template": item["template"], "ok": answer.get("ok")})
    lines = ",\n".join(json.dumps(item, ensure_ascii=True) for item in items)
    fragments.write_text(f"[\n{lines}\n]\n")


def main():
    command, *arguments = sys.argv[1:]
    if command == "bless":
        bless(pathlib.Path(arguments[0]))
        return 0
    return compare(arguments[0], pathlib.Path(arguments[1]), arguments[2:])


if __name__ == "__main__":
    sys.exit(main())
