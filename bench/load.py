#!/usr/bin/env python3
"""load.py - the service under load, with a tone for a model so that the service is what is measured.

    make bench-load          (or: python3 bench/load.py [--rate 1000] [--seconds 10])

1. RATE submissions a second for SECONDS, over kept connections, while jobs run; p50 and p99 of the
   202, of /health all the while, how many were accepted and whether each is there afterwards.
2. 500 event streams open: how long /health takes then.
3. Memory: resident before and after; with --drain also when all jobs are done.
Prints one line a figure: name,value,unit. Client and server share the machine's processors."""
import argparse, asyncio, http.client, json, os, pathlib, subprocess, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "api"))
from lib import Server

WORK = {"audio_file_id": "a", "target_stems": ["drums"], "parameters": {"duration_seconds": 0.1, "random_seed": 1}}


async def exchange(reader, writer, data):
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    await reader.readexactly(int(lower[at:lower.index(b"\r", at)]))
    return int(head.split(b" ", 2)[1])


def post(id, prompt):
    parameters = {**WORK["parameters"], **({"prompt": prompt} if prompt else {})}
    body = json.dumps({"generation_request_id": id, **WORK, "parameters": parameters}).encode()
    return (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)) + body


async def submit(port, rate, seconds, clients, name="load", prompt=None):
    """Open loop: each submission has its moment, whether or not earlier ones were answered."""
    waits, served, codes, start = [], [], {}, time.monotonic() + 0.5
    queue = asyncio.Queue()
    for i in range(int(rate * seconds)):
        queue.put_nowait(i)

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not queue.empty():
            i = queue.get_nowait()
            due = start + i / rate
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            sent = time.monotonic()
            code = await exchange(reader, writer, post(f"{name}-{i}", prompt))
            now = time.monotonic()
            waits.append(now - due)  # lateness of this client counts too
            served.append(now - sent)
            codes[code] = codes.get(code, 0) + 1
        writer.close()

    await asyncio.gather(*[client() for _ in range(clients)])
    return waits, served, codes, time.monotonic() - start


def probe(port, path, seconds):
    """Asks every 10 ms; returns how long each answer took. Run in a process of its own, so that what
    is measured is the server and not this client's other work."""
    c, waits, end = http.client.HTTPConnection("127.0.0.1", port), [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        c.request("GET", path)
        r = c.getresponse()
        r.read()
        assert r.status == 200, r.status
        waits.append(time.monotonic() - start)
        time.sleep(0.01)
    return waits


def probing(port, path, seconds):
    return subprocess.Popen([sys.executable, __file__, "--probe", f"{port} {path} {seconds}"], stdout=subprocess.PIPE)


def probed(p):
    return json.loads(p.communicate()[0])


def figure(name, value, unit):
    print(f"{name},{value:.3f},{unit}" if isinstance(value, float) else f"{name},{value},{unit}", flush=True)


def percentiles(name, waits):
    waits = sorted(waits)
    for p in (50, 99):
        figure(f"{name}_p{p}", 1000 * waits[min(len(waits) - 1, len(waits) * p // 100)], "ms")
    figure(f"{name}_max", 1000 * waits[-1], "ms")


async def load(s, a):
    task = probing(s.port, "/health", a.seconds)
    waits, served, codes, took = await submit(s.port, a.rate, a.seconds, a.clients)
    health = probed(task)
    figure("submissions", len(waits), "requests")
    figure("submissions_per_second", len(waits) / took, "1/s")
    for code in sorted(codes):
        figure(f"answered_{code}", codes[code], "requests")
    percentiles("submit_from_when_due", waits)
    percentiles("submit_from_when_sent", served)
    percentiles("health_under_load", health)
    return codes.get(202, 0)


async def streams(s, n):
    held = []
    s.submit({"generation_request_id": "long", **WORK, "parameters": {"prompt": "slow:20000"}})
    for _ in range(n):
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"GET /jobs/long/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        held.append(writer)
    figure("event_streams", int(s.metric("stemforge_event_streams")), "open")
    task = probing(s.port, "/health", 3)
    await asyncio.sleep(3.2)
    percentiles("health_with_streams", probed(task))
    for w in held:
        w.close()
    s.ask("DELETE", "/jobs/long")


def resident(s):
    return s.metric("process_resident_memory_bytes") / 2**20


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rate", type=float, default=1000)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--clients", type=int, default=128)
    p.add_argument("--drain", action="store_true", help="also wait until all jobs are done (minutes)")
    p.add_argument("--probe", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.probe:
        port, path, seconds = a.probe.split()
        print(json.dumps(probe(int(port), path, float(seconds))))
        return 0
    s = Server(LOG_LEVEL="error", QUEUE_MAX=1000000, WORKERS=1)
    figure("processors", os.cpu_count(), "")
    figure("load_average_before", os.getloadavg()[0], "")
    figure("resident_before", resident(s), "MiB")
    accepted = asyncio.run(load(s, a))
    figure("queued_after", int(s.metric("stemforge_jobs_waiting")), "jobs")
    figure("commits", int(s.metric("stemforge_job_commits_total")), "")
    figure("writes_per_commit", s.metric("stemforge_job_writes_total") / s.metric("stemforge_job_commits_total"), "")
    figure("resident_after_load", resident(s), "MiB")
    text = s.ask("GET", "/metrics").body.decode()  # once, so that no job moves between two looks
    there = sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith("stemforge_jobs{"))
    figure("lost", accepted - there, "jobs")
    if a.drain:
        start = time.monotonic()
        while s.metric("stemforge_jobs_waiting") or s.metric("stemforge_jobs_running"):
            time.sleep(0.5)
        figure("drained_in", time.monotonic() - start, "s")
        done = int(s.metric('stemforge_jobs{state="completed"}'))
        figure("lost_after_drain", accepted - done, "jobs")
        figure("resident_drained", resident(s), "MiB")
        there = min(there, done)
    asyncio.run(streams(s, 500))
    figure("resident_end", resident(s), "MiB")
    s.kill()
    return accepted != there


if __name__ == "__main__":
    sys.exit(main())
