#!/bin/sh
# run-api.sh [SAN] - builds and runs the api tests: the real binary, and one with a tone for a model.
# SAN is as for make: address,undefined or thread.
set -u
cd "$(dirname "$0")/../.." || exit 1
san=${1:-}
out=build${san:+/san-${san%%,*}}
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" SAN="$san" "$out/stemforge" "$out/tests/tone_server" \
    "$out/tests/gpu/libcuda.so.1" || exit 1
export STEMFORGE_OUT="$PWD/$out" PYTHONDONTWRITEBYTECODE=1
[ -z "$san" ] || export STEMFORGE_SLOW="${STEMFORGE_SLOW:-5}"
failed=
tests/api/files.sh api tests/api/test_*.py || failed=yes
python3 tests/api/torture.py --rounds "${ROUNDS:-12}" || failed=yes
[ -z "$failed" ]
