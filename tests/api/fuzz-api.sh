#!/bin/sh
# fuzz-api.sh [OUT] - schemathesis makes requests from /openapi.json, good ones and bad ones, against
# the real process (a tone for a model): no 5xx, no crash, every answer as the document says.
# EXAMPLES is how many a operation and phase (default 900: over 10,000 requests in all).
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
out=$PWD/${1:-build}
venv=$out/venv
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r tests/api/requirements.txt
fi
dir=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd "$dir" # the server writes nothing elsewhere, schemathesis keeps its caches here
mkdir -p models/stemforge-mini # the default MODEL, from here on
echo '{"model_type": "tone"}' >models/stemforge-mini/config.json
DATA_DIR=$dir PORT=$port LOG_LEVEL=warn QUEUE_MAX=1000000 WORKERS=2 CALLBACK_ALLOWED_ORIGINS=http://127.0.0.1:9 \
    DURATION_MAX_SECONDS=1 "$out/tests/tone_server" >"$dir/log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
i=0
until curl -fs "http://127.0.0.1:$port/readyz" >/dev/null || [ $i -ge 100 ]; do i=$((i + 1)); sleep 0.1; done
rc=0
"$venv/bin/schemathesis" run "$root/web/openapi.json" --url "http://127.0.0.1:$port" --max-examples "${EXAMPLES:-900}" \
    --phases examples,coverage,fuzzing,stateful --workers 1 --request-timeout 10 --continue-on-failure --seed "${SEED:-1}" \
    --exclude-path-regex events \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance ||
    rc=$?
kill -0 "$pid" || { echo "the server is gone:"; tail -n 50 "$dir/log"; exit 1; }
curl -fs -m 20 "http://127.0.0.1:$port/metrics" | awk '/^stemforge_http_requests_total/ { n += $NF; if ($0 ~ /code="5/) bad += $NF }
    END { print "fuzz-api: " n " requests, " bad + 0 " answered 5xx"; exit bad > 0 }' || rc=1
exit $rc
