#!/bin/sh
# fields.sh - writes what src/request/fields.c and stems.c say into the documents that repeat it.
#
#   make fields                writes web/openapi.json and from it openapi-3.0.json, and docs/OPERATIONS.md
#   tools/fields.sh --check    changes nothing; names each that is not up to date, exit status 1
#
# In the text the lines between the marks "fields: begin" and "fields: end" are made. FIELDS is the program.
set -u
cd "$(dirname "$0")/.." || exit 1
tool=${FIELDS:-build/fields}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
check=0 bad=0
[ "${1:-}" != --check ] || check=1

# between FORM FILE: FILE with what is between its marks made anew
between() {
    "$tool" "$1" >"$tmp/made" || exit 1
    awk -v made="$tmp/made" '
        /fields: end/ { if (inside) { while ((getline line <made) > 0) print line; inside = 0 } }
        !inside { print }
        /fields: begin/ { inside = 1; found = 1 }
        END { exit !found || inside }' "$2"
}
# settle FILE: puts $tmp/new in its place, or says that it differs
settle() {
    cmp -s "$tmp/new" "$1" && return
    if [ $check = 1 ]; then
        echo "lint: $1 does not say what src/request says: run make fields"
        bad=1
    else
        cat "$tmp/new" >"$1"
    fi
}
"$tool" openapi <web/openapi.json >"$tmp/new" || exit 1
settle web/openapi.json
${PYTHON:-python3} tools/openapi30.py <web/openapi.json >"$tmp/new" || exit 1
settle web/openapi-3.0.json
between markdown docs/OPERATIONS.md >"$tmp/new" || { echo "fields.sh: docs/OPERATIONS.md lacks its marks"; exit 1; }
settle docs/OPERATIONS.md
exit $bad
