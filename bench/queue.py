#!/usr/bin/env python3
"""queue.py - the queue on PostgreSQL under load, with a tone for a model so that the queue is what is measured.

    make bench-queue         (or: python3 bench/queue.py [--rate 1000] [--seconds 10] [--jobs 100000])

1. RATE submissions a second for SECONDS over two API replicas while three workers run: p50 and p99 of the 202. The
   workers' model is a stub: once it takes 0.2 s a stem by the clock, and once no time, so that the workers take whatever
   of the processors the rest leaves.
2. JOBS jobs wait: p50 and p99 of a claim and of a page of 50.
3. Jobs a second with 1, 2, 4 and 8 workers, whose stub takes 0.2 s a stem.
Prints one line a figure: name,value,unit. Server, clients and PostgreSQL (fsync on) share the machine's processors.
The stub waits and takes no processor, as if a GPU made the stems."""
import argparse, asyncio, os, pathlib, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "api")]
from lib import OUT, Server, eventually, request
from load import submit
from postgres import Postgres

FILL = """DO $$ BEGIN FOR i IN 1..{n} LOOP
 INSERT INTO stemforge.job(id, audio_file_id, digest, request, seed, work, created_ms)
  SELECT 'fill-' || i || '-' || k, 'a', '\\x00', '{{}}', 1, 1000, 1 FROM generate_series(1, 200) k;
 COMMIT; END LOOP; END $$"""


STUB = "slow:200"  # what the tone's model reads in a prompt: how long a stem takes, in milliseconds
EMPTY = "TRUNCATE stemforge.job CASCADE; UPDATE stemforge.session SET jobs = '[0:4]={0,0,0,0,0}'"


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))] * 1000


def start(role, postgres, stems, **env):
    return Server(ready=False, ROLE=role, QUEUE_URL=postgres.url(), STORAGE_DIR=stems, LOG_LEVEL="error", QUEUE_MAX=1000000,
                  STORAGE_CHECK_SECONDS=10, **env)


def run_in(postgres):
    """A server that has run for minutes has files of its log ready. One that is new makes each when it needs it, 16 MB
    of zeros and a sync, and everything waits."""
    for _ in range(4):
        postgres.sql("SELECT pg_switch_wal(); CREATE TABLE run_in(n INT); DROP TABLE run_in")
    postgres.sql("CHECKPOINT")


async def both(replicas, a, prompt):
    return await asyncio.gather(*[submit(r.port, a.rate / 2, a.seconds, 32, f"load{n}", prompt)
                                  for n, r in enumerate(replicas)])


def load(postgres, stems, a, what, prompt):
    parts = [start("worker", postgres, stems, WORKERS=2) for _ in range(3)]
    replicas = [start("api", postgres, stems) for _ in range(2)]
    for s in parts + replicas:
        s.wait_ready()
    got = asyncio.run(both(replicas, a, prompt))
    waits = [w for g in got for w in g[1]]
    codes = {}
    for g in got:
        for code, n in g[2].items():
            codes[code] = codes.get(code, 0) + n
    print(f"{what}: submitted,{len(waits) / max(g[3] for g in got):.0f},1/s")
    for code, n in sorted(codes.items()):
        print(f"{what}: answered {code},{n},")
    for name, p in (("p50", 0.5), ("p99", 0.99)):
        print(f"{what}: {name} of the 202,{percentile(waits, p):.1f},ms", flush=True)
    rows = int(postgres.sql("SELECT count(*) FROM stemforge.job")[0][0])
    assert rows == codes.get(202, 0), (rows, codes)
    for s in parts + replicas:
        s.kill()
    postgres.sql(EMPTY)


def depth(postgres, a):
    postgres.sql(FILL.format(n=a.jobs // 200))
    postgres.sql("VACUUM ANALYZE")
    for what, n in (("claim", 1000), ("list", 200)):
        p = subprocess.run([str(OUT / "tests" / "queue_tool"), postgres.url(), what, str(n)], capture_output=True, text=True,
                           check=True)
        p50, p99 = p.stdout.split()
        print(f"{what} p50 of {a.jobs} waiting,{p50},ms\n{what} p99 of {a.jobs} waiting,{p99},ms", flush=True)


def growth(postgres, stems):
    for count in (1, 2, 4, 8):
        postgres.sql(EMPTY)
        api = start("api", postgres, stems)
        workers = [start("worker", postgres, stems, WORKERS=4) for _ in range(count)]
        for s in [api, *workers]:
            s.wait_ready()
        n = 60 * count
        begun = time.monotonic()
        for _ in range(n):
            api.submit(parameters={"duration_seconds": 0.1, "prompt": STUB})
        eventually("all are done", lambda: postgres.sql("SELECT count(*) FROM stemforge.job WHERE state = 2")[0][0] == str(n),
                   120, 0.1)
        print(f"{count} workers of 4 slots,{n / (time.monotonic() - begun):.1f},jobs/s", flush=True)
        for s in [api, *workers]:
            s.kill()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rate", type=float, default=1000)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--jobs", type=int, default=100000)
    a = p.parse_args()
    postgres = Postgres()
    stems = str(pathlib.Path(postgres.top) / "stems")
    os.chmod(postgres.top, 0o755)
    try:
        run_in(postgres)
        load(postgres, stems, a, "workers of 0.2 s a stem", STUB)
        load(postgres, stems, a, "workers without a pause", None)
        depth(postgres, a)
        growth(postgres, stems)
    finally:
        Server.kill_all()
        postgres.close()


if __name__ == "__main__":
    main()
