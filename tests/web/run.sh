#!/bin/sh
# run.sh [PATTERN] - the page in Debian's Chromium, driven by Playwright. PICTURES=docs/img keeps the pictures there.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" build/stemforge build/tests/tone_server || exit 1
if [ ! -d tests/web/node_modules/playwright-core ] || [ tests/web/package-lock.json -nt tests/web/node_modules/.package-lock.json ]; then
    (cd tests/web && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --loglevel=error) || exit 1
fi
[ -z "${PICTURES:-}" ] || PICTURES=$(realpath "$PICTURES") && export PICTURES
exec node --test --test-concurrency=1 --test-timeout=240000 --test-reporter=spec ${1:+--test-name-pattern="$1"} tests/web/*.test.mjs
