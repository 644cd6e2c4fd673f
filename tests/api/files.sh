#!/bin/sh
# files.sh LABEL FILE... - runs files of api tests, each in a process of its own, three at a time, since most of them wait
# more than they work. Prints a line for each; all that one said when it fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ ! -d tests/api/node_modules/azurite ] || [ tests/api/package-lock.json -nt tests/api/node_modules/.package-lock.json ]; then
    (cd tests/api && npm ci --no-audit --no-fund --loglevel=error) || exit 1
fi
export PYTHONPATH="$PWD/tests/api" PYTHONDONTWRITEBYTECODE=1
label=$1
shift
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
run() {
    name=$(basename "$1" .py)
    if python3 -m unittest "$name" >"$logs/$name" 2>&1; then
        echo "$label $name: $(tail -n 3 "$logs/$name" | tr -s '\n' ' ')"
    else
        cat "$logs/$name"
        echo "$label $name: FAILED"
        : >"$logs/failed"
    fi
}
running=0
for f in "$@"; do
    run "$f" &
    running=$((running + 1))
    [ $((running % 3)) -ne 0 ] || wait
done
wait
[ ! -e "$logs/failed" ]
