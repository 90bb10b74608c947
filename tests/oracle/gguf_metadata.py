"""Reads the metadata of a GGUF file and replaces string values in it.

It has only what the oracles need: it reads every key, and it replaces a string in a file without tensors (a vocabulary file).
In such a file, no offset depends on the length of the metadata.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Entry:
    """One key of the metadata: its value, and the byte range of that value in the file."""

    kind: int
    value: Any
    start: int
    end: int


def _scalar(file: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_scalar(file, "Q")).decode("utf-8", errors="surrogateescape")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        inner, length = _scalar(file, "I"), _scalar(file, "Q")
        return [_value(file, inner) for _ in range(length)]
    return _scalar(file, SCALARS[kind])


def read(path: str) -> tuple[int, dict[str, Entry]]:
    """The number of tensors and the metadata of the file at `path`."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file")
        version = _scalar(file, "I")
        if version not in (2, 3):
            raise ValueError(f"{path}: GGUF version {version} is not supported, only 2 and 3")
        tensors, keys = _scalar(file, "Q"), _scalar(file, "Q")
        entries = {}
        for _ in range(keys):
            key, kind = _string(file), _scalar(file, "I")
            start = file.tell()
            value = _value(file, kind)
            entries[key] = Entry(kind, value, start, file.tell())
        return tensors, entries


def replace_string(source: str, target: str, key: str, value: str) -> None:
    """Writes `source` to `target` with the string at `key` replaced by `value`."""
    tensors, entries = read(source)
    if tensors:
        raise ValueError(f"{source} contains tensors; their offsets depend on the length of the metadata")
    entry = entries[key]
    if entry.kind != STRING:
        raise ValueError(f"{key} of {source} is not a string")
    text = value.encode()
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as file:
        file.write(data[: entry.start] + struct.pack("<Q", len(text)) + text + data[entry.end :])
