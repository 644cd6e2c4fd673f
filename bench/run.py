"""Speed beside PyTorch and ONNX Runtime, as ratios of one run on one machine.

    build/peers/bin/python bench/run.py MODEL [--steps 500] [--threads 2] [--peers pytorch onnx] [--rounds 1]
                                      [--cache DIR] [--out bench.csv]

Runs `stemforge bench` and the scripts of bench/peers on the same checkpoint, threads and steps, guided, from position 0
(500 steps are 10 s), one stem and four, the two sides in turn; prints each pair with its ratio, and
writes all rows as CSV. Steps a second are all steps over the time they took, on both sides. Nothing else should run on the
machine meanwhile.

The pairs: f32 and bf16 beside the peer's best mode of the same precision; q8 and q4 beside every precision and mode.
--precision and --stems leave out rows; --cache keeps ONNX Runtime's exported files for the next run.
"""

import argparse
import csv
import io
import itertools
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "..", "build", "stemforge")
# What a peer is run in, and with which of our weights each is compared; None: with each of the peer's rows.
PEERS = {
    "pytorch": {"script": "torch_musicgen.py", "precisions": ["f32", "bf16", "int8"],
                "pairs": [("f32", "f32"), ("bf16", "bf16"), ("q8", None), ("q4", None)]},
    "onnx": {"script": "onnx_musicgen.py", "precisions": ["f32", "int8"],
             "pairs": [("f32", "f32"), ("q8", None), ("q4", None)]},
}  # fmt: skip
KEPT = ("steps_per_s", "decode10_s", "t5_s", "load_s", "peak_mb")


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")
    return done.stdout


def ours(args, weights):
    """Rows of `stemforge bench`, and the line that says what ran."""
    out = run(
        [BINARY, "bench", args.model, "--weights", weights, "--position", "0", "--steps", str(args.steps), "--threads",
         str(args.threads), "--stems", ",".join(map(str, args.stems)), "--csv"])  # fmt: skip
    title, _, table = out.partition("\n")
    return list(csv.DictReader(io.StringIO(table))), title.lstrip("# ")


def theirs(args, peer, precision):
    command = [sys.executable, os.path.join(HERE, "peers", PEERS[peer]["script"]), args.model, "--steps", str(args.steps),
               "--threads", str(args.threads), "--precision", precision, "--stems", *map(str, args.stems)]  # fmt: skip
    if peer == "pytorch":
        command += ["--mode", *args.mode]
    elif args.cache:
        command += ["--cache", args.cache]
    return list(csv.DictReader(io.StringIO(run(command))))


def value(rows, stage, stems, unit):
    return next(float(r["value"]) for r in rows if (r["stage"], r["stems"], r["unit"]) == (stage, str(stems), unit))


def rivals(rows, precision, stems):
    """Which of the peer's rows ours is compared with, as (precision, mode), the fastest first."""
    found = [r for p, r in rows if precision in (None, p) and r["stems"] == str(stems)]
    found.sort(key=lambda r: -float(r["steps_per_s"]))
    return [(r["precision"], r["mode"]) for r in (found[:1] if precision else found)]


def theirs_per_s(rows, rival, stems):
    return next(float(r["steps_per_s"]) for _, r in rows if (r["precision"], r["mode"], r["stems"]) == (*rival, str(stems)))


def compare(weights, rounds, peer, rival, stems):
    """One line: our steps beside the peer's; of several rounds the medians, and each round's ratio."""
    rates = [value(mine[weights], "steps", stems, "steps/s") for mine, _ in rounds]
    others = [theirs_per_s(rows[peer], rival, stems) for _, rows in rounds]
    ratios = [x / y for x, y in zip(rates, others)]
    each = f" ({', '.join(f'{r:.2f}' for r in ratios)})" if len(ratios) > 1 else ""
    print(f"{weights:4} {stems} stem{'s' if stems > 1 else ' '}  {statistics.median(rates):6.1f} steps/s; {peer} {rival[0]} "
          f"({rival[1]}) {statistics.median(others):6.1f}; ratio {statistics.median(ratios):.2f}{each}")  # fmt: skip


def compare_rest(weights, mine, rows):
    """Codec and load, where the peer has its own: the first round."""
    seconds, other = value(mine, "codec", 1, "s"), min(float(r["decode10_s"]) for r in rows)
    print(f"{weights:4} codec 10 s  {seconds:.3f} s; PyTorch {other:.3f}; ratio {other / seconds:.2f}")
    print(f"{weights:4} load  {value(mine, 'load', 0, 'ms') / 1000:.3f} s; PyTorch {float(rows[0]['load_s']):.3f} s")


def report(args, rounds):
    mine, rows = rounds[0]
    for peer in args.peers:
        for weights, precision in PEERS[peer]["pairs"]:
            if weights not in mine:
                continue
            for stems in args.stems:
                for rival in rivals(rows[peer], precision, stems):
                    compare(weights, rounds, peer, rival, stems)
            same = [r for p, r in rows[peer] if p == precision]
            if peer == "pytorch" and same:
                compare_rest(weights, mine[weights], same)


def save(path, rounds):
    with open(path, "w", newline="", encoding="utf-8") as f:
        sheet = csv.writer(f)
        sheet.writerow(["round", "who", "precision", "what", "stems", "value", "unit"])
        for i, (mine, rows) in enumerate(rounds):
            for weights, own in mine.items():
                for r in own:
                    sheet.writerow([i, "stemforge", weights, r["stage"], r["stems"], r["value"], r["unit"]])
            for peer, found in rows.items():
                for precision, r in found:
                    for what in KEPT:
                        sheet.writerow([i, f"{peer} {r['mode']}", precision, what, r["stems"], r[what], ""])
    print(f"all rows: {path}")


def measure_peer(args, peer, precision, rows):
    found = theirs(args, peer, precision)
    rows[peer] += [(precision, r) for r in found]
    if found:
        print(f"{found[0]['peer']} {found[0]['version']}, {precision}, {found[0]['threads']} threads", flush=True)


def describe_machine():
    """The processor and the kernel's huge pages; what was measured of the machine comes with our rows."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        facts = dict(line.split(":", 1) for line in f if ":" in line)
    names = {k.strip(): v.strip() for k, v in facts.items()}
    name = names.get("model name") or f"part {names.get('CPU part', 'unknown')}"
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="utf-8") as f:
            pages = f.read().strip()
    except OSError:
        pages = "not there"
    print(f"{name}, family {names.get('cpu family', '?')} model {names.get('model', '?')}, {os.cpu_count()} processors; "
          f"transparent huge pages {pages}", flush=True)  # fmt: skip


def describe_run(rows):
    """What our side found of the machine: bytes that it reads a second, and the weights' pages."""
    rate, pages = value(rows, "memory read", 0, "GB/s"), value(rows, "huge pages", 0, "MB")
    print(f"  memory read {rate:.1f} GB/s, {pages:.0f} MB in huge pages", flush=True)


def measure(args):
    """({weights: our rows}, {peer: [(precision, row)]}), our side and theirs in turn."""
    mine, rows = {}, {peer: [] for peer in args.peers}
    jobs = [(p, precision) for p in args.peers for precision in PEERS[p]["precisions"] if precision in args.precision]
    for weights, job in itertools.zip_longest(args.weights, jobs):
        if weights:
            mine[weights], title = ours(args, weights)
            print(title, flush=True)
            describe_run(mine[weights])
        if job:
            measure_peer(args, *job, rows)
    return mine, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--weights", nargs="*", choices=("f32", "bf16", "q8", "q4"), default=["f32", "bf16", "q8", "q4"], help="ours")
    parser.add_argument("--precision", nargs="*", choices=("f32", "bf16", "int8"), default=["f32", "bf16", "int8"], help="theirs")
    parser.add_argument("--stems", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--mode", nargs="*", default=["generate", "lean"], help="PyTorch's: generate, lean, compiled")
    parser.add_argument("--rounds", type=int, default=1, help="all of it so many times, where the machine changes meanwhile")
    parser.add_argument("--cache", help="folder for ONNX Runtime's exported files, kept; of one checkpoint only")
    parser.add_argument("--out", default="bench.csv")
    args = parser.parse_args()
    describe_machine()
    rounds = [measure(args) for _ in range(args.rounds)]
    report(args, rounds)
    save(args.out, rounds)


if __name__ == "__main__":
    main()
