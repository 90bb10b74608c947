"""Writes models/tests/fixtures/block_values.json: random blocks of ggml's types with tables, and their values by the package gguf.

    block_values.py FILE

Blocks are hexadecimal bytes, values hexadecimal little-endian F32, so that they are compared bit by bit. The first blocks have the
smallest and the largest scales that are finite.
"""

import argparse
import json

import gguf
import numpy as np

COUNT = 6
TYPES = ["IQ4_NL", "IQ4_XS", "MXFP4"]
SCALES = np.array([0x0001, 0x7BFF, 0x8001, 0x3C00, 0x2E66, 0xB400], dtype="<u2")
"""F16: the smallest, the largest, a negative one, 1, 0.1, -0.25."""
EXPONENTS = [0, 1, 2, 127, 128, 250]


def blocks(name: str, seed: int) -> np.ndarray:
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    data = np.random.default_rng(seed).integers(0, 256, (COUNT, size), dtype=np.uint8)
    if name == "MXFP4":
        data[:, 0] = EXPONENTS
    else:
        data[:, :2] = SCALES.view(np.uint8).reshape(COUNT, 2)
    return data


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file")
    args = arguments.parse_args()
    rows = {}
    for seed, name in enumerate(TYPES):
        data = blocks(name, seed)
        values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
        rows[name] = [
            {"block": block.tobytes().hex(), "values": value.astype("<f4").tobytes().hex()}
            for block, value in zip(data, values.reshape(COUNT, -1), strict=True)
        ]
    with open(args.file, "w") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
