#!/bin/sh
# run-store.sh [SAN] - the blob store against real storage (Azurite, pinned in package-lock.json) and
# against storage that fails on purpose. SAN is as for make: address,undefined or thread.
set -eu
cd "$(dirname "$0")/../.."
san=${1:-}
out=build${san:+/san-${san%%,*}}
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" SAN="$san" "$out/tests/blob_tool"
cd tests/api
if [ ! -d node_modules/azurite ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-audit --no-fund --loglevel=error
fi
STEMFORGE_OUT=$PWD/../../$out PYTHONDONTWRITEBYTECODE=1 exec python3 -m unittest store
