#!/bin/sh
# run-pg.sh - the queue on a real PostgreSQL server: the unit tests of the job store, the outbox and the worker, all
# api tests, and many processes that are disturbed at random. ROUNDS=1000 for longer.
set -eu
cd "$(dirname "$0")/../.."
[ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" build/tests/run_unit build/tests/tone_server build/stemforge \
    build/tests/gpu/libcuda.so.1
for suite in job outbox worker pg; do
    python3 tests/api/postgres.py build/tests/run_unit --filter "$suite/*" >build/tests/pg.log 2>&1 || {
        cat build/tests/pg.log
        exit 1
    }
    echo "postgres $suite: $(tail -n 1 build/tests/pg.log)"
done
export STEMFORGE_SLOW="${STEMFORGE_SLOW:-3}" STEMFORGE_OUT="$PWD/build" PYTHONDONTWRITEBYTECODE=1
files=
for f in tests/api/test_*.py; do
    case $f in
    *_fleet.py) ;; # PostgreSQL's own: run-api.sh has it
    *) files="$files $f" ;;
    esac
done
# shellcheck disable=SC2086
python3 tests/api/postgres.py tests/api/files.sh postgres $files
python3 tests/api/torture_pg.py --rounds "${ROUNDS:-12}"
