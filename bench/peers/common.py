"""What the peer measurements share: prompts, conditions, one process a row, CSV."""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import time

PROMPTS = [
    "80s rock drums, punchy kick and snare, driving groove, 120 bpm",
    "deep electric bass, rock, 120 bpm, A minor",
    "distorted electric guitar riff, rock, 120 bpm, A minor",
    "warm analog synth pad, rock, 120 bpm, A minor",
]
GUIDANCE = 3.0
TOP_K = 250

FIELDS = [
    "peer", "version", "model", "precision", "mode", "threads", "stems", "steps", "steps_per_s",
    "s_per_audio_s", "t5_s", "decode10_s", "load_s", "peak_mb",
]  # fmt: skip


def parser(about, precisions):
    """The arguments that every peer has; --row is how each_in_its_process asks for one row."""
    args = argparse.ArgumentParser(description=about)
    args.add_argument("model")
    args.add_argument("--steps", type=int, default=200)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args.add_argument("--stems", type=int, nargs="*", default=[1, 4])
    args.add_argument("--precision", nargs="*", choices=precisions, default=list(precisions))
    args.add_argument("--row", help=argparse.SUPPRESS)
    return args


def median_time(f, times=3):
    out = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        out.append(time.perf_counter() - start)
    return statistics.median(out)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def finish(row, stems):
    """Adds what follows from the measurements. A second of audio is 50 steps and its decoding, for all stems."""
    row["s_per_audio_s"] = 50 / row["steps_per_s"] + row["decode10_s"] * stems / 10
    row["peak_mb"] = peak_mb()
    return {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}


def write_row(row):
    csv.DictWriter(sys.stdout, FIELDS).writerow(row)
    sys.stdout.flush()


def each_in_its_process(script, jobs, arguments):
    """Runs script once a job, so that each row has its own peak memory, and prints one CSV."""
    csv.DictWriter(sys.stdout, FIELDS).writeheader()
    sys.stdout.flush()
    failed = 0
    for job in jobs:
        done = subprocess.run(
            [sys.executable, os.path.abspath(script), *arguments, "--row", ",".join(map(str, job))],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            failed += 1
            print(f"{job}: exit {done.returncode}", file=sys.stderr)
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
    return 1 if failed else 0
