#!/usr/bin/env python3
"""torture_pg.py - many processes on one queue in PostgreSQL, disturbed at random under load; at the end, count.

    torture_pg.py --rounds 1000 [--seed 1]

3 workers and 2 API replicas, each behind a proxy of its own to a real PostgreSQL server (fsync on); stems go to
Azurite. Each round does one of: kill -9 of a process, which is started again; its network to the database cut, refused
or held for a while; some of the server's backends ended; the whole server killed and started. Clients submit all the
while, as long as fewer than OPEN_MAX jobs wait, and submit again at another replica whatever got no clear answer. Where
mounting is permitted the database has a small disk of its own, and a round may fill it for a while. At the end, undisturbed,
must hold:
  - every job that was answered 202 is there, once, and has ended as it should;
  - every stem of a completed job has the bytes of an undisturbed run;
  - every callback arrived, always with one delivery id and one body a job;
  - the counts that the store keeps are those of its rows."""
import argparse, collections, hashlib, json, os, pathlib, random, subprocess, sys, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cut_proxy import CutProxy
from lib import Receiver, Server, eventually, request
from postgres import Postgres
from store import Azurite
from torture import STEMS, all_jobs

WORKERS, REPLICAS = 3, 2
WEIGHTS = {"kill": 5, "cut": 4, "refuse": 2, "hold": 2, "backends": 4, "restart": 1, "fill": 2}
OPEN_MAX = 200
DISK_MB = 400
OWN_MOUNTS = "TORTURE_PG_OWN_MOUNTS"


class Client(threading.Thread):
    """Submits to any replica until told to stop; repeats what got no answer; keeps what was answered 202."""

    def __init__(self, replicas, receiver, rng, accepted, lock):
        super().__init__(daemon=True)
        self.replicas, self.receiver, self.rng = replicas, receiver, rng
        self.accepted, self.lock, self.stop = accepted, lock, False
        self.repeats, self.full = 0, False

    def new_body(self):
        rng = self.rng
        return request(target_stems=rng.sample(STEMS, rng.randint(1, 3)), parameters={
            "duration_seconds": 0.1, "random_seed": rng.randint(0, 1 << 40),
            "prompt": rng.choice(["", "slow:20", "slow:60", "fail:bass"])},
            **({"callback_url": self.receiver.url} if rng.random() < 0.8 else {}))

    def run(self):
        body = None
        while not self.stop:
            if self.full and not body:
                time.sleep(0.05)
                continue
            body = body or self.new_body()
            try:
                a = self.rng.choice(self.replicas).ask("POST", "/generate", body, check=False)
                code = a.code
            except (OSError, Exception):
                code = 0
            assert code not in (409, 422, 400), (code, body)
            if code != 202:
                self.repeats += 1
                time.sleep(0.05)
                continue
            with self.lock:
                self.accepted[body["generation_request_id"]] = body
            if self.rng.random() < 0.1:
                try:
                    self.rng.choice(self.replicas).ask("POST", f"/jobs/{body['generation_request_id']}/cancel", check=False)
                except (OSError, Exception):
                    pass
            body = body if self.rng.random() < 0.1 else None
            time.sleep(self.rng.random() * 0.05)


class Part:
    """A process, and the network between it and the database."""

    def __init__(self, role, postgres, azurite):
        self.proxy = CutProxy(postgres.port)
        self.server = Server(
            ready=False, ROLE=role, QUEUE_URL=postgres.url(self.proxy.port), WORKERS=2, LOG_LEVEL="warn", QUEUE_MAX=100000,
            CALLBACK_MAX_DELAY_SECONDS=0.3, CALLBACK_MAX_ATTEMPTS=10000, JOB_MAX_ATTEMPTS=0, JOB_LEASE_SECONDS=2,
            STORAGE_CHECK_SECONDS=10,  # each check is a block that Azurite keeps: thousands of them make it slow
            AZURE_STORAGE_CONNECTION_STRING=azurite.connection(), BLOB_CONTAINER_NAME="torture")


def disturb(how, part, postgres, rng):
    if how == "kill":
        part.server.kill()
        part.server.start(ready=False)
    elif how == "cut":
        part.proxy.cut()
    elif how == "refuse":
        part.proxy.cut(rng.uniform(0.1, 1))
    elif how == "hold":
        part.proxy.hold(rng.uniform(0.1, 2))
    elif how == "backends":
        postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stemforge'"
                     f" AND random() < {rng.uniform(0.1, 1):.2f}")
    elif how == "fill":
        postgres.fill(rng.uniform(0.2, 2))
    else:
        postgres.restart()


def keep_the_queue_short(clients, postgres, done):
    """The load is steady, and what waits at the end is done soon."""
    while not done.wait(0.5):
        try:
            waiting = int(postgres.sql("SELECT count(*) FROM stemforge.job WHERE state IN (0, 1)")[0][0])
        except (RuntimeError, IndexError):
            continue  # disturbed
        for c in clients:
            c.full = waiting >= OPEN_MAX


def own_mounts():
    """Goes on in a mount namespace of this process's own, where that is permitted. False: it is not."""
    if OWN_MOUNTS in os.environ:
        return True
    if os.getuid() or subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        return False
    os.environ[OWN_MOUNTS] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])


def undisturbed(bodies):
    """Hashes of the stems of the same requests, made by one process that nobody disturbs."""
    s = Server(WORKERS=4, LOG_LEVEL="error", QUEUE_MAX=100000)
    found = {}
    for b in bodies:
        s.submit({k: v for k, v in b.items() if k != "callback_url"})
    for b in bodies:
        id = b["generation_request_id"]
        s.wait_job(id, seconds=120)
        for stem in b["target_stems"]:
            found[id, stem] = hashlib.sha256(s.ask("GET", f"/jobs/{id}/stems/{stem}.wav").body).hexdigest()
    s.close()
    return found


def check_callbacks(accepted, states, receiver):
    delivered = collections.defaultdict(set)
    for headers, body, _ in receiver.got:
        delivered[json.loads(body)["generation_request_id"]].add((headers["webhook-id"], body))
    for i, b in accepted.items():
        assert "callback_url" not in b or i in delivered, f"no callback for {i} ({states[i]})"
    for i, got in delivered.items():
        assert len(got) == 1, f"{len(got)} different callbacks for {i}"
        ended = json.loads(next(iter(got))[1])["status"]
        assert ended == ("completed" if states[i] == "completed" else "failed"), (i, ended, states[i])
    return len(receiver.got) - len(delivered)


def check_counts(postgres):
    for n, kept in [(0, "jobs[0]"), (1, "jobs[1]"), (2, "jobs[2]"), (3, "jobs[3]"), (4, "jobs[4]")]:
        row = postgres.sql(f"SELECT (SELECT count(*) FROM stemforge.job WHERE state = {n}), sum({kept}) FROM stemforge.session")
        assert row[0][0] == row[0][1], f"state {n}: {row[0][0]} rows, counted {row[0][1]}"
    row = postgres.sql("SELECT (SELECT count(*) FROM stemforge.hook), sum(hooks[1] + hooks[2] + hooks[3]) FROM stemforge.session")
    assert row[0][0] == row[0][1], f"callbacks: {row[0]}"


def check(s, postgres, accepted, receiver, most):
    jobs = all_jobs(s)
    ids = [j["generation_request_id"] for j in jobs]
    assert len(ids) == len(set(ids)), "a job is there twice"
    states = {j["generation_request_id"]: j["status"] for j in jobs}
    lost = set(accepted) - set(states)
    assert not lost, f"{len(lost)} accepted jobs are lost: {sorted(lost)[:3]}"
    for i, b in accepted.items():
        bad = "fail:bass" in b["parameters"]["prompt"] and "bass" in b["target_stems"]
        assert states[i] in ("canceled", "failed" if bad else "completed"), (i, states[i], b)
    check_counts(postgres)
    again = check_callbacks(accepted, states, receiver)
    done = [b for i, b in accepted.items() if states[i] == "completed"]
    want = undisturbed(random.sample(done, min(len(done), most)))
    for (id, stem), digest in want.items():
        got = s.ask("GET", f"/jobs/{id}/stems/{stem}.wav")
        assert hashlib.sha256(got.body).hexdigest() == digest, f"{id} {stem} differs ({got.code})"
    return states, again, len(want)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=1000)
    p.add_argument("--seed", type=int, default=int(time.time()))
    a = p.parse_args()
    rng, start = random.Random(a.seed), time.monotonic()
    mounts = own_mounts()
    weights = {k: w for k, w in WEIGHTS.items() if mounts or k != "fill"}
    postgres, azurite = Postgres(disk=DISK_MB if mounts else None, settings=["max_wal_size = 64MB", "min_wal_size = 32MB"]), Azurite()
    receiver = Receiver([rng.choice([200, 200, 200, 500, 503, "reset"]) for _ in range(a.rounds * 10)])
    parts = [Part("worker", postgres, azurite) for _ in range(WORKERS)] + [Part("api", postgres, azurite) for _ in range(REPLICAS)]
    try:
        replicas = [p.server for p in parts[WORKERS:]]
        for r in replicas:
            r.wait_ready()
        accepted, lock, did = {}, threading.Lock(), collections.Counter()
        clients = [Client(replicas, receiver, random.Random(rng.random()), accepted, lock) for _ in range(6)]
        done = threading.Event()
        threading.Thread(target=keep_the_queue_short, args=(clients, postgres, done), daemon=True).start()
        for c in clients:
            c.start()
        for r in range(a.rounds):
            time.sleep(rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.5, 2.5)]))
            how = rng.choices(list(weights), weights.values())[0]
            disturb(how, rng.choice(parts), postgres, rng)
            did[how] += 1
            for part in parts:
                assert part.server.process.poll() is None, f"round {r}: a process ended by itself:\n{part.server.log()[-3000:]}"
            if r % 50 == 49:
                print(f"round {r + 1}: {len(accepted)} accepted, {len(receiver.got)} callbacks", flush=True)
        done.set()
        for c in clients:
            c.stop = True
        for c in clients:
            c.join(60)
        receiver.plan.clear()
        s = replicas[0]
        s.wait_ready()
        eventually("the queue is empty", lambda: not s.metric("stemforge_jobs_waiting") and not
                   s.metric("stemforge_jobs_running") and not s.metric("stemforge_callbacks_pending"), 600, 0.2)
        states, again, compared = check(s, postgres, accepted, receiver, 40 if a.rounds < 100 else 1000)
        found = sum(part.server.log().count("looked up: it took place") for part in parts)
        missed = sum(part.server.log().count("looked up: it did not") for part in parts)
        for part in parts:
            part.server.close()
            part.proxy.close()
    finally:
        receiver.close()
        postgres.close()
        azurite.close()
    count = {st: list(states.values()).count(st) for st in sorted(set(states.values()))}
    print(f"torture-pg: seed {a.seed}, {a.rounds} rounds {dict(did)}, {len(accepted)} jobs accepted, none lost; {count}; "
          f"{sum(c.repeats for c in clients)} submissions repeated; {found + missed} commits looked up, {found} had taken "
          f"place; {len(receiver.got)} callbacks received, {again} of them repeats; {compared} stems compared with an "
          f"undisturbed run; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    try:
        main()
    finally:
        Server.kill_all()
