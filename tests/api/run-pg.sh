#!/bin/sh
# run-pg.sh - the queue on a real PostgreSQL server: the unit tests of the job store, the outbox and the worker, the
# api tests of contract, guards, jobs and callbacks, and many processes that are disturbed at random. ROUNDS=1000 for longer.
set -eu
cd "$(dirname "$0")/../.."
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" build/tests/run_unit build/tests/tone_server
for suite in job outbox worker pg; do
    python3 tests/api/postgres.py build/tests/run_unit --filter "$suite/*" >build/tests/pg.log 2>&1 || {
        cat build/tests/pg.log
        exit 1
    }
    echo "postgres $suite: $(tail -n 1 build/tests/pg.log)"
done
export STEMFORGE_SLOW="${STEMFORGE_SLOW:-3}" STEMFORGE_OUT="$PWD/build" PYTHONPATH="$PWD/tests/api" PYTHONDONTWRITEBYTECODE=1
[ -d tests/api/node_modules/azurite ] || (cd tests/api && npm ci --no-audit --no-fund --loglevel=error)
for t in test_callbacks test_contract test_guard test_jobs; do
    python3 tests/api/postgres.py python3 -m unittest "$t" >build/tests/pg.log 2>&1 || {
        cat build/tests/pg.log
        exit 1
    }
    echo "postgres $t: $(tail -n 3 build/tests/pg.log | tr -s '\n' ' ')"
done
python3 tests/api/torture_pg.py --rounds "${ROUNDS:-12}"
