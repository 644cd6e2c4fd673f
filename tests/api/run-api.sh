#!/bin/sh
# run-api.sh [OUT] - the api tests against the binaries in OUT (default build). Each file is a
# process of its own; three at a time, since most of them wait more than they work.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=${1:-build}
case $out in /*) ;; *) out=$PWD/$out ;; esac
export STEMFORGE_OUT="$out" PYTHONPATH="$PWD/tests/api" PYTHONDONTWRITEBYTECODE=1
case $out in */san-*) export STEMFORGE_SLOW="${STEMFORGE_SLOW:-5}" ;; esac
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
python3 tests/api/torture.py --rounds 12 || : >"$logs/failed"
[ ! -e "$logs/failed" ]
