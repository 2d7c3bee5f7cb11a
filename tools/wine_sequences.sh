#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fresh random sequences of Win32 memory calls, recorded under Wine and replayed through memreeve.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=setup.sh
. tools/setup.sh

usage() {
    cat <<'TEXT'
usage: tools/wine_sequences.sh REPLAYER [SEQUENCES] [FIRST-SEED]

Installs Wine and a cross compiler when they are missing (as root or through sudo; 700 MB), records
SEQUENCES (default 400) of 235 operations from FIRST-SEED (default: by the clock) and runs REPLAYER (win32_replay)
on them. The Wine prefix lies in a temporary folder and goes with it. Exit status: the replayer's.
TEXT
}
if [[ $# -lt 1 || $# -gt 3 || $1 == --help ]]; then
    usage
    exit 2
fi
replayer=$(readlink -f "$1")
sequences=${2:-400}
seed=${3:-$(date +%s)}

need_packages wine64 wine g++-mingw-w64-x86-64
work=$(mktemp -d)
trap 'WINEPREFIX=$work/prefix wineserver -k 2>/dev/null || true; rm -rf "$work"' EXIT
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
unset DISPLAY

x86_64-w64-mingw32-g++ -std=c++20 -O2 -Wall -Wextra -static tests/conformance/wine/record.cpp -o "$work/record.exe"
say "$sequences sequences from seed $seed"
timeout 1800 wine "$work/record.exe" "$seed" "$sequences" 235 >"$work/sequences.txt" 2>"$work/errors.txt" || {
    cat "$work/errors.txt" >&2
    fail "the recording under Wine failed" "see above" "Try it again, or with another seed"
}
"$replayer" "$work/sequences.txt"
