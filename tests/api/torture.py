#!/usr/bin/env python3
"""torture.py - kill -9 at random moments under load, restart, and at the end count.

    torture.py --rounds 1000 [--seed 1] [--workers 3]

Each round starts the server on the same data, submits jobs from several clients while jobs run and
callbacks go out, and kills it after a random time. Some jobs are canceled, some fail, some receivers
answer 500, hang or reset at first. At the end the server runs undisturbed until the queue is empty.
Then must hold:
  - every job that was answered 202 is there, once, and has ended;
  - every stem of a completed job is there, and its bytes are those of an undisturbed run;
  - every callback arrived at least once, always with one delivery id and one body a job;
  - the database is sound.
Only our process is killed."""
import argparse, hashlib, json, pathlib, random, sqlite3, sys, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import TONE, Receiver, Server, eventually, request

STEMS = ["drums", "bass", "guitar", "vocals", "piano", "synth", "other"]


class Client(threading.Thread):
    """Submits jobs until told to stop; keeps what was answered 202."""

    def __init__(self, server, receiver, rng, accepted, lock):
        super().__init__(daemon=True)
        self.server, self.receiver, self.rng = server, receiver, rng
        self.accepted, self.lock, self.stop = accepted, lock, False

    def run(self):
        last = None
        while not self.stop:
            rng = self.rng
            b = last if last and rng.random() < 0.1 else request(
                target_stems=rng.sample(STEMS, rng.randint(1, 3)),
                parameters={"duration_seconds": 0.1, "random_seed": rng.randint(0, 1 << 40),
                            "prompt": rng.choice(["", "slow:20", "slow:60", "fail:bass"])},
                **({"callback_url": self.receiver.url} if rng.random() < 0.8 else {}))
            last = b
            try:
                a = self.server.ask("POST", "/generate", b)
                if a.code == 202:
                    with self.lock:
                        self.accepted[b["generation_request_id"]] = b
                    if rng.random() < 0.1:
                        self.server.ask("POST", f"/jobs/{b['generation_request_id']}/cancel")
            except (OSError, AssertionError, ValueError, Exception) as e:
                if isinstance(e, AssertionError) and "document" in str(e):
                    raise
            time.sleep(rng.random() * 0.03)


def undisturbed(bodies):
    """Hashes of the stems of the same requests, made by a server that nobody disturbs."""
    s = Server(WORKERS=4, LOG_LEVEL="error", QUEUE_MAX=100000)
    found = {}
    for b in bodies:
        s.submit({k: v for k, v in b.items() if k != "callback_url"})
    for b in bodies:
        id = b["generation_request_id"]
        s.wait_job(id, seconds=120)
        for stem in b["target_stems"]:
            path = s.folder / "files" / b["audio_file_id"] / "generated" / id / f"{stem}.wav"
            found[id, stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    s.close()
    return found


def all_jobs(s):
    jobs, after = [], None
    while True:
        page = s.ask("GET", "/jobs?limit=500" + (f"&after={after}" if after else "")).json
        jobs += page["jobs"]
        after = page["next"]
        if after is None:
            return jobs


def check(s, accepted, receiver, most):
    jobs = all_jobs(s)
    ids = [j["generation_request_id"] for j in jobs]
    assert len(ids) == len(set(ids)), "a job is there twice"
    states = {j["generation_request_id"]: j["status"] for j in jobs}
    lost = set(accepted) - set(states)
    assert not lost, f"{len(lost)} accepted jobs are lost: {sorted(lost)[:3]}"
    open_ = [i for i, st in states.items() if st in ("queued", "processing")]
    assert not open_, f"{len(open_)} jobs did not end"
    done = [b for i, b in accepted.items() if states[i] == "completed"]
    want = undisturbed(random.sample(done, min(len(done), most)))
    for (id, stem), digest in want.items():
        path = s.folder / "files" / "audio-1" / "generated" / id / f"{stem}.wav"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path} differs"
    for b in done:
        for stem in b["target_stems"]:
            assert (s.folder / "files/audio-1/generated" / b["generation_request_id"] / f"{stem}.wav").exists()
    for i, b in accepted.items():
        bad = "fail:bass" in b["parameters"]["prompt"] and "bass" in b["target_stems"]
        assert states[i] in ("canceled", "failed" if bad else "completed"), (i, states[i], b)
    delivered = {}
    for headers, body, _ in receiver.got:
        delivered.setdefault(json.loads(body)["generation_request_id"], []).append((headers["webhook-id"], body))
    for i, b in accepted.items():
        if "callback_url" in b:
            assert i in delivered, f"no callback for {i} ({states[i]})"
    for i, got in delivered.items():
        assert len(set(got)) == 1, f"{len(set(got))} different callbacks for {i}"
        ended = json.loads(got[0][1])["status"]
        assert ended == ("completed" if states.get(i) == "completed" else "failed"), (i, ended, states.get(i))
    again = sum(len(g) - 1 for g in delivered.values())
    return states, again, len(want)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=1000)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--workers", type=int, default=3)
    a = p.parse_args()
    rng = random.Random(a.seed)
    plan = [rng.choice([200, 200, 200, 500, 503, "reset"]) for _ in range(a.rounds * 20)]
    receiver = Receiver(plan)
    accepted, lock, start = {}, threading.Lock(), time.monotonic()
    s = Server(ready=False, WORKERS=a.workers, LOG_LEVEL="warn", QUEUE_MAX=100000, CALLBACK_MAX_DELAY_SECONDS=0.3,
               CALLBACK_MAX_ATTEMPTS=10000, JOB_MAX_ATTEMPTS=0)
    for r in range(a.rounds):
        if r:
            s.start(ready=False)
        clients = [Client(s, receiver, random.Random(rng.random()), accepted, lock) for _ in range(3)]
        for c in clients:
            c.start()
        time.sleep(rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.1, 1.2)]))
        if s.process.poll() is not None:
            raise SystemExit(f"round {r}: the server ended by itself:\n{s.log()[-3000:]}")
        s.kill()
        for c in clients:
            c.stop = True
        for c in clients:
            c.join(20)
        if r % 50 == 49:
            print(f"round {r + 1}: {len(accepted)} accepted, {len(receiver.got)} callbacks", flush=True)
    receiver.plan.clear()
    s.start()
    eventually("the queue is empty", lambda: not s.metric("stemforge_jobs_waiting") and not
               s.metric("stemforge_jobs_running") and not s.metric("stemforge_callbacks_pending"), 600, 0.2)
    states, again, compared = check(s, accepted, receiver, 60 if a.rounds < 100 else 1000)
    s.terminate()
    db = sqlite3.connect(s.folder / "jobs.db")
    sound = db.execute("pragma integrity_check").fetchone()[0]
    db.close()
    assert sound == "ok", sound
    count = {st: list(states.values()).count(st) for st in sorted(set(states.values()))}
    print(f"torture: seed {a.seed}, {a.rounds} kills, {len(accepted)} jobs accepted, none lost; {count}; "
          f"{len(receiver.got)} callbacks received, {again} of them repeats; {compared} stems compared with an "
          f"undisturbed run; {time.monotonic() - start:.0f} s")
    receiver.close()
    import shutil
    shutil.rmtree(s.folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    finally:
        Server.kill_all()
