#!/bin/sh
# run-pg.sh - the queue on a real PostgreSQL server: the unit tests of the job store, the outbox and the worker.
set -eu
cd "$(dirname "$0")/../.."
make -s -j"$(nproc)" build/tests/run_unit
for suite in job outbox worker pg; do
    python3 tests/api/postgres.py build/tests/run_unit --filter "$suite/*" >build/tests/pg.log 2>&1 || {
        cat build/tests/pg.log
        exit 1
    }
    echo "postgres $suite: $(tail -n 1 build/tests/pg.log)"
done
