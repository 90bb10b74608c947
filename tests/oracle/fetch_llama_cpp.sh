#!/usr/bin/env bash
# fetch_llama_cpp.sh DIR PATTERN [FOLDER]: writes files of one of llama.cpp's folders, `models` if none is given, to DIR, out of the
# source package of llama-cpp-python. PATTERN is a path below that folder: `ggml-vocab-*` (vocabulary files, with their .inp texts and .out
# ids) or `templates/*.jinja` (the chat templates with which llama.cpp is tested). Files that were fetched before are not fetched again.
set -euo pipefail

version=0.3.36
usage='usage: fetch_llama_cpp.sh DIR PATTERN [FOLDER]'
dir=${1:?$usage}
pattern=${2:?$usage}
folder=${3:-models}
python=${PYTHON:-python3}
stamp=$dir/.llama-cpp-python-$version

[[ -e $stamp ]] && exit 0
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$work" "llama-cpp-python==$version"
tar -xzf "$work"/llama_cpp_python-"$version".tar.gz -C "$work" --wildcards "*/vendor/llama.cpp/$folder/$pattern"
# The pattern is expanded here.
# shellcheck disable=SC2086
mv "$work"/llama_cpp_python-"$version"/vendor/llama.cpp/$folder/$pattern "$dir"/
touch "$stamp"
