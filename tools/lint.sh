#!/bin/sh
# lint.sh - the architecture and the habits that a script can check. Silent when all is well.
set -u
cd "$(dirname "$0")/.." || exit 1
fail=0
say() { echo "lint: $*"; fail=1; }

# folder: what it may include besides itself. This table is the architecture (docs/DESIGN.md).
allow='base:
compute: base
net: base
audio: base
format: base compute
store: base net
model: base compute format
request: base
engine: base compute format model audio request
service: base net store request gen
app: base compute format audio net store model engine service request'
bad=$(grep -rn '^#include "' src --include='*.[ch]' --include='*.cu' | awk -v allow="$allow" '
BEGIN { n = split(allow, line, "\n")
        for (i = 1; i <= n; i++) { split(line[i], kv, ":"); ok[kv[1]] = " " kv[1] kv[2] " " } }
{ split($1, at, "/"); split($0, q, "\""); split(q[2], to, "/")
  if (q[2] == "stemforge.h" || q[2] == "stemforge_error.h") next
  if (index(ok[at[2]], " " to[1] " ") == 0) print }')
[ -z "$bad" ] || say "layer table broken:
$bad"

bad=$(grep -rnE '\b(strcpy|strcat|sprintf|strtok|atoi|atof|gets|scanf|rand|alloca|setenv|system)\(' src --include='*.[ch]')
[ -z "$bad" ] || say "banned call:
$bad"
bad=$(grep -rnE '\b(malloc|calloc|realloc|free|strdup)\(' src --include='*.c' | grep -v '^src/base/mem.c:')
[ -z "$bad" ] || say "allocation outside base/mem.c:
$bad"

for f in $(git ls-files 'src/*.[ch]' 'src/*.cu'); do
    lines=$(wc -l <"$f")
    [ "$lines" -le 1500 ] || say "$f: $lines lines, at most 1500"
    head -n 1 "$f" | grep -q "^// $(basename "$f")" || say "$f: first line must be '// $(basename "$f") - ...'"
done
bad=$(git ls-files 'src/*.[ch]' 'tests/*.[ch]' | xargs awk 'length($0) > 120 { print FILENAME ":" FNR ": " length($0) " columns" }')
[ -z "$bad" ] || say "long lines:
$bad"

# A function is at most 70 lines: from a line that ends in ") {" at column 0 to its closing brace.
bad=$(git ls-files 'src/*.c' | xargs awk '
/^[a-zA-Z].*\) \{$/ { start = FNR; name = $0 }
/^\}$/ { if (start && FNR - start + 1 > 70) print FILENAME ":" start ": " FNR - start + 1 " lines: " name; start = 0 }')
[ -z "$bad" ] || say "functions over 70 lines:
$bad"

if command -v clang-format >/dev/null 2>&1; then
    bad=$(git ls-files 'src/*.[ch]' 'tests/*.[ch]' | xargs clang-format --dry-run 2>&1 | grep -E 'warning:' | head -n 5)
    [ -z "$bad" ] || say "run make format:
$bad"
fi
exit $fail
