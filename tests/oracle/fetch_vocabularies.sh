#!/usr/bin/env bash
# fetch_vocabularies.sh DIR: writes llama.cpp's vocabulary files (ggml-vocab-*.gguf with their .inp texts and .out ids) to DIR. They
# are in the source package of llama-cpp-python. Files that exist are not fetched again.
set -euo pipefail

version=0.3.36
dir=${1:?usage: fetch_vocabularies.sh DIR}
python=${PYTHON:-python3}
stamp=$dir/.llama-cpp-python-$version

[[ -e $stamp ]] && exit 0
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$work" "llama-cpp-python==$version"
tar -xzf "$work"/llama_cpp_python-"$version".tar.gz -C "$work" --wildcards '*/vendor/llama.cpp/models/ggml-vocab-*'
mv "$work"/llama_cpp_python-"$version"/vendor/llama.cpp/models/ggml-vocab-* "$dir"/
touch "$stamp"
