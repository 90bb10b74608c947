#!/usr/bin/env bash
# fetch_templates.sh DIR: the chat templates (*.jinja) with which llama.cpp is tested, in DIR, out of the source package of
# llama-cpp-python. Does nothing where they are there already.
set -euo pipefail

version=0.3.36
dir=${1:?usage: fetch_templates.sh DIR}
python=${PYTHON:-python3}
stamp=$dir/.llama-cpp-python-$version

[[ -e $stamp ]] && exit 0
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$work" "llama-cpp-python==$version"
tar -xzf "$work"/llama_cpp_python-"$version".tar.gz -C "$work" --wildcards '*/vendor/llama.cpp/models/templates/*.jinja'
mv "$work"/llama_cpp_python-"$version"/vendor/llama.cpp/models/templates/*.jinja "$dir"/
touch "$stamp"
