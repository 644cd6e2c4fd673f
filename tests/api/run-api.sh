#!/bin/sh
# run-api.sh [SAN] - builds and runs the api tests: the real binary, and one with a tone for a model.
# SAN is as for make: address,undefined or thread. Each file is a process of its own; three at a
# time, since most of them wait more than they work.
set -u
cd "$(dirname "$0")/../.." || exit 1
san=${1:-}
out=build${san:+/san-${san%%,*}}
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" SAN="$san" "$out/stemforge" "$out/tests/tone_server" \
    "$out/tests/gpu/libcuda.so.1" || exit 1
if [ ! -d tests/api/node_modules/azurite ] || [ tests/api/package-lock.json -nt tests/api/node_modules/.package-lock.json ]; then
    (cd tests/api && npm ci --no-audit --no-fund --loglevel=error) || exit 1
fi
export STEMFORGE_OUT="$PWD/$out" PYTHONPATH="$PWD/tests/api" PYTHONDONTWRITEBYTECODE=1
[ -z "$san" ] || export STEMFORGE_SLOW="${STEMFORGE_SLOW:-5}"
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
run() {
    name=$(basename "$1" .py)
    if python3 -m unittest "$name" >"$logs/$name" 2>&1; then
        echo "api $name: $(tail -n 3 "$logs/$name" | tr -s '\n' ' ')"
    else
        cat "$logs/$name"
        echo "api $name: FAILED"
        : >"$logs/failed"
    fi
}
running=0
for f in tests/api/test_*.py; do
    run "$f" &
    running=$((running + 1))
    [ $((running % 3)) -ne 0 ] || wait
done
wait
python3 tests/api/torture.py --rounds "${ROUNDS:-12}" || : >"$logs/failed"
[ ! -e "$logs/failed" ]
