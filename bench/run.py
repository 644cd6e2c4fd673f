"""Speed beside PyTorch, as ratios of one run on one machine.

    build/peers/bin/python bench/run.py MODEL [--steps 40] [--threads 2] [--out bench.csv]

Runs `stemforge bench` and bench/peers/torch_musicgen.py on the same checkpoint, threads and steps, guided, from position 0,
one stem and four, f32 and bf16, the two in turn; prints each pair with its ratio, and writes all rows as CSV. A peer's figure
is its best mode. Nothing else should run on the machine meanwhile.
"""

import argparse
import csv
import io
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.join(HERE, "..", "build", "stemforge")


def ours(args, precision):
    out = subprocess.run(
        [BINARY, "bench", args.model, "--weights", precision, "--position", "0", "--steps", str(args.steps), "--threads",
         str(args.threads), "--stems", "1,4", "--csv"],
        check=True, capture_output=True, text=True).stdout  # fmt: skip
    return [dict(zip(("stage", "stems", "value", "unit", "share"), row)) for row in csv.reader(io.StringIO(out))]


def peers(args, precision):
    out = subprocess.run(
        [sys.executable, os.path.join(HERE, "peers", "torch_musicgen.py"), args.model, "--steps", str(args.steps),
         "--threads", str(args.threads), "--precision", precision, "--mode", *args.mode],
        check=True, capture_output=True, text=True).stdout  # fmt: skip
    return list(csv.DictReader(io.StringIO(out)))


def value(rows, stage, stems="1", unit=None):
    return next(
        (float(r["value"]), float(r["share"]))
        for r in rows
        if r["stage"] == stage and r["stems"] == stems and (unit is None or r["unit"] == unit)
    )


def compare(precision, mine, theirs):
    for stems in ("1", "4"):
        steps, share = value(mine, "steps", stems)
        best = max((r for r in theirs if r["stems"] == stems), key=lambda r: float(r["steps_per_s"]))
        rate = float(best["steps_per_s"])
        print(
            f"{precision:5} {stems:>2} stem(s)  {steps:7.1f} steps/s, {100 * share:4.0f}% of the roof; "
            f"PyTorch ({best['mode']}) {rate:6.1f}; ratio {steps / rate:.2f}"
        )
    seconds = value(mine, "codec 10 s", unit="s")[0]
    theirs_s = min(float(r["decode10_s"]) for r in theirs)
    print(f"{precision:5} codec 10 s   {seconds:7.3f} s; PyTorch {theirs_s:.3f}; ratio {theirs_s / seconds:.2f}")
    print(f"{precision:5} load         {value(mine, 'load', '0')[0]:7.3f} s; peak {value(mine, 'memory peak', '0')[0]:.0f} MB; "
          f"PyTorch {float(theirs[0]['load_s']):.3f} s; peak {min(float(r['peak_mb']) for r in theirs):.0f} MB")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--mode", nargs="*", default=["generate", "lean"])
    parser.add_argument("--out", default="bench.csv")
    args = parser.parse_args()
    with open(args.out, "w", newline="", encoding="utf-8") as f:
        sheet = csv.writer(f)
        sheet.writerow(["who", "precision", "what", "stems", "value", "unit"])
        for precision in ("f32", "bf16"):
            mine, theirs = ours(args, precision), peers(args, precision)
            for r in mine:
                sheet.writerow(["stemforge", precision, r["stage"], r["stems"], r["value"], r["unit"]])
            for r in theirs:
                for what in ("steps_per_s", "decode10_s", "t5_s", "load_s", "peak_mb"):
                    sheet.writerow([f"torch {r['mode']}", precision, what, r["stems"], r[what], ""])
            compare(precision, mine, theirs)
    print(f"all rows: {args.out}")


if __name__ == "__main__":
    main()
