#!/usr/bin/env python3
"""gpu_check.py correct|speed|why [--csv FILE] - what a GPU does, beside what was predicted of it.

  correct   the kernels and the fixtures against the CPU's to the bit on NVIDIA's driver (run_gpu), with both images;
            stems of every type of weights on both devices; compute-sanitizer, where it is
  speed     musicgen-small's shape with random weights: 1, 8, 64 and 256 stems, q8, q4 and bf16; PyTorch on the same card
  why       one step under ncu: what the kernels wait for

It lies in the bundle of tools/gpu-check.sh, beside the programs, their libraries and the fixtures. It needs Python alone;
PyTorch, compute-sanitizer and ncu are used where they are. A call ends within --seconds: what there was no time for says so.
The predictions are those of docs/SPEED.md.
"""
import argparse, csv, hashlib, os, pathlib, shutil, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
BEGAN = time.monotonic()
# steps/s of one stem, then times real time of all stems together: position 250, guided.
PREDICTED = {
    "H100": {"q8": {1: "1790 to 3440", 8: "251 to 433", 64: "1070", 256: "1350"},
             "q4": {1: "2020 to 3770", 8: "278 to 465", 64: "1090", 256: "1360"},
             "bf16": {1: "1430 to 2630", 8: "171 to 260", 64: "317", 256: "340"}},
    "H200": {"q8": {1: "1940 to 3690", 8: "280 to 488", 64: "1310", 256: "1730"}},
}  # fmt: skip
SEVEN = [w for s in "drums bass guitar vocals piano synth other".split() for w in ("--stem", s)]
rows = []


def row(measure, prediction, found, unit="", ok=""):
    rows.append((measure, prediction, found, unit, ok))
    print(f"{measure:46} predicted {prediction:>14}  found {found:>14} {unit} {ok}", flush=True)


def left(a):
    return a.seconds - (time.monotonic() - BEGAN)


def environment(a):
    """The emulator's driver where a rehearsal asks for it; the programs know where their libraries lie."""
    return {**os.environ, **({"LD_LIBRARY_PATH": str(pathlib.Path(a.rehearse).resolve())} if a.rehearse else {})}


def run(a, words, limit=600):
    """(exit status, what was printed); the status is None when there was no time, or not enough."""
    limit = min(limit, left(a))
    if limit < 5:
        return None, ""
    try:
        r = subprocess.run([str(w) for w in words], env=environment(a), cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit)
        return r.returncode, r.stdout
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode(errors="replace")


def judge(measure, expected, code, out, found=None):
    """A row for a program that has to succeed; what it said is printed when it did not."""
    if code is None:
        return row(measure, expected, "no time")
    if code:
        print(out[-3000:], flush=True)
    row(measure, expected, (found or expected) if code == 0 else f"exit {code}", "", "ok" if code == 0 else "FAULT")


# ---- correct


def kernels(a):
    tests = ["kernels", "draw", "lstm"] if a.rehearse else []
    for words in ([], ["--image", "clang", "kernels", "draw", "lstm", "codec"]):
        code, out = run(a, [HERE / "run_gpu", *words, *(tests if not words else [])])
        print(out if len(out) < 1500 else out[:700] + "...\n" + out[-700:], flush=True)
        judge(f"run_gpu {' '.join(words)}", "0 failed", code, out, out.strip().splitlines()[-1] if out.strip() else "nothing")


def stems(a, device, out, words):
    """(exit status, {file: digest}, seconds)"""
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    code, said = run(a, [HERE / "stemforge", "generate", "--quiet", "--seed", "5", "--device", device, "--out", out, *words])
    if code:
        print(said[-1000:], flush=True)
    sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(pathlib.Path(out).glob("*.wav"))}
    return code, sums, time.monotonic() - began


def equal_stems(a, tmp, model, weights, seconds, which):
    words = ["--model", HERE / model, "--weights", weights, "--duration", seconds, "--chords", "Am F C G"]
    found = [stems(a, "cpu", f"{tmp}/cpu", [*words, *which]), stems(a, "cuda", f"{tmp}/gpu", [*words, *which]),
             stems(a, "cuda", f"{tmp}/alone", [*words, *which[:2]])]  # fmt: skip
    name, (cpu, gpu, alone) = f"bytes of {pathlib.Path(model).parts[-2 if 'parity' in model else -1]} {weights}, {len(which) // 2} stems", (f[1] for f in found)
    if any(f[0] is None for f in found):
        return row(name, "equal", "no time")
    same = bool(cpu) and cpu == gpu and alone and all(cpu[k] == v for k, v in alone.items())
    row(name, "equal", "equal" if same else "OTHER", "", "ok" if same else "FAULT")


def sanitize(a):
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if not tool:
        return row("compute-sanitizer", "clean", "not there")
    for kind in ("memcheck", "racecheck", "synccheck"):
        code, out = run(a, [tool, "--tool", kind, "--error-exitcode", "9", HERE / "run_gpu", "kernels", "draw", "lstm"], 75)
        judge(f"compute-sanitizer {kind}", "clean", code, out)
    code, out = run(a, [tool, "--tool", "memcheck", "--error-exitcode", "9", HERE / "run_gpu", "codec", "decoder"], 90)
    judge("compute-sanitizer memcheck, networks", "clean", code, out)
    # Rests of panels are read before they are written, and multiplied by 0: to be looked at, no fault by itself.
    code, out = run(a, [tool, "--tool", "initcheck", "--error-exitcode", "9", HERE / "run_gpu", "draw", "lstm", "codec"], 60)
    row("compute-sanitizer initcheck", "clean", "no time" if code is None else f"exit {code}")


def correct(a, tmp):
    kernels(a)
    cases = [("mono", "q8", "0.2", SEVEN[:4]), ("stereo", "bf16", "0.2", SEVEN[:2])]
    if not a.rehearse:
        cases = [(m, w, "0.4", SEVEN[:4]) for m in ("mono", "stereo", "melody", "bf16", "f16") for w in ("stored", "f32", "bf16", "q8", "q4")]
    for model, weights, seconds, which in cases:
        equal_stems(a, tmp, f"tests/parity/{model}/model", weights, seconds, which)
    for weights in () if a.rehearse else ("q8", "bf16", "q4", "stored"):
        equal_stems(a, tmp, "models/stemforge-mini", weights, "10", SEVEN)
    if not a.rehearse:
        equal_stems(a, tmp, "models/stemforge-mini", "q8", "25", SEVEN[:4])
    sanitize(a)


# ---- speed


def gpu_kind(a):
    code, out = run(a, ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]) if not a.rehearse else (0, "emulated")
    print(out.strip(), flush=True)
    return "H200" if "H200" in out else "H100"


def make_model(a, tmp):
    sys.path[:0] = [str(HERE), str(HERE / "tools")]
    import gpu_model

    began = time.monotonic()
    gpu_model.make(HERE / "tests/parity/mono/model/config.json", f"{tmp}/small", not a.rehearse)
    print(f"weights drawn in {time.monotonic() - began:.1f} s", flush=True)


def packed(a, tmp, weights):
    """The model in one file of packed weights; None: it could not be made."""
    out = f"{tmp}/small-{weights}.gguf"
    code, said = run(a, [HERE / "stemforge", "convert", f"{tmp}/small", "--out", out, "--type", weights])
    judge(f"convert to {weights}", "done", code, said)
    return out if code == 0 else None


def bench(a, model, weights, stem_counts, words=()):
    """Rows of `stemforge bench` as (stage, stems, value, unit)."""
    code, out = run(a, [HERE / "stemforge", "bench", model, "--device", "cuda", "--csv", "--position", "2" if a.rehearse else "250", "--steps",
                        "2" if a.rehearse else "500", "--stems", ",".join(map(str, stem_counts)), *words])  # fmt: skip
    if code != 0:
        judge(f"bench {weights} {stem_counts}", "done", code, out)
    cells = [line.split(",") for line in out.splitlines() if line.count(",") == 5 and not line.startswith(("#", "stage"))]
    return [(c[0], int(c[1]), float(c[3]), c[4]) for c in cells]


def bench_rows(kind, weights, found):
    known = PREDICTED[kind].get(weights, {})
    for stage, n, value, unit in found:
        if stage == "steps":
            row(f"{weights}, {n} stems, steps", known.get(n, "-") if n == 1 else "-", f"{value:.0f}", "steps/s")
        elif stage == "audio" and n > 1:
            row(f"{weights}, {n} stems, all together", known.get(n, "-"), f"{value:.0f}", "x realtime")
        elif stage in ("load", "text encoder", "prefill", "first token again", "codec") and unit != "x realtime":
            predicted = {"text encoder": "0.3", "codec": "0.0037", "load": "150"}.get(stage, "-")
            row(f"{weights}, {stage}", predicted, f"{value:.4g}", unit)


def peers(a):
    """PyTorch on this card, in this run."""
    words = ["--shape", "tiny", "--steps", "10", "--stems", "1"] if a.rehearse else []
    code, out = run(a, [a.python, HERE / "gpu_peer.py" if (HERE / "gpu_peer.py").exists() else HERE / "tools/gpu_peer.py", *words], 170)
    for line in out.splitlines():
        cells = line.split(" #")[0].split(",")
        if line.startswith("#"):
            print(line, flush=True)
        elif cells[0] == "copy":
            row("copy on the device", "3000 (H200 4300)", cells[2], "GB/s")
        elif cells[0] in ("lean", "graph", "generate"):
            predicted = "70 to 120" if cells[:2] == ["generate", "1"] else "-"
            row(f"PyTorch bf16, {cells[0]}, {cells[1]} stems", predicted, cells[2], "steps/s", "FAULT" if "#" in line else "")
    if code != 0:
        row("PyTorch", "-", "no time" if code is None else "not there")
        print(out[-800:], flush=True)


def speed(a, tmp):
    kind = gpu_kind(a)
    make_model(a, tmp)
    many = (1, 2) if a.rehearse else (1, 8, 64, 256)
    q8 = packed(a, tmp, "q8")
    if q8:
        bench_rows(kind, "q8", bench(a, q8, "q8", many))
        words = ["--model", q8, "--stem", "bass", "--duration", "0.2" if a.rehearse else "10"]
        took = [stems(a, "cuda", f"{tmp}/gpu", words) for _ in range(1 if a.rehearse else 3)]
        made = [t for t in took if t[0] == 0]
        found = f"{min(t[2] for t in made):.2f}" if made else "no time" if took[0][0] is None else "failed"
        row("a 10 s stem, process start included", "0.25 + load", found, "s", "FAULT" if found == "failed" else "")
    peers(a)
    q4 = packed(a, tmp, "q4")
    if q4:
        bench_rows(kind, "q4", [r for r in bench(a, q4, "q4", many[:3]) if r[0] in ("steps", "audio")])
    found = bench(a, f"{tmp}/small", "bf16", many[:3], ["--weights", "bf16"])
    bench_rows(kind, "bf16", [r for r in found if r[0] in ("steps", "audio")])
    if q8:
        code, _, took = stems(a, "cpu", f"{tmp}/cpu", words)
        row("the same 10 s stem on this machine's CPU", "-", f"{took:.2f}" if code == 0 else "no time", "s")


# ---- why


def why(a, tmp):
    tool = shutil.which("ncu") or shutil.which("ncu", path="/usr/local/cuda/bin")
    if not tool:
        return row("ncu", "-", "not there")
    make_model(a, tmp)
    model = packed(a, tmp, "q8")
    metrics = ("gpu__time_duration.sum", "dram__throughput.avg.pct_of_peak_sustained_elapsed", "sm__warps_active.avg.pct_of_peak_sustained_active",
               "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio")  # fmt: skip
    for n, skip in ((1, 2000), (64, 3000)):
        code, out = run(a, [tool, "--clock-control", "none", "--csv", "--launch-skip", skip, "--launch-count", "200", "--metrics", ",".join(metrics),
                            HERE / "stemforge", "bench", model, "--device", "cuda", "--stems", n, "--steps", "30", "--position", "20"], 240)  # fmt: skip
        sums = {}
        for line in csv.reader(out.splitlines()):
            if len(line) > 14 and line[0].isdigit():
                sums.setdefault((line[4][:30], line[-3], line[-2]), []).append(float(line[-1].replace(",", "")))
        for (kernel, metric, unit), found in sorted(sums.items()):
            row(f"{n} stems, {kernel}, {metric[:40]}", "-", f"{sum(found) / len(found):.4g}", f"{unit}, mean of {len(found)}")
        if not sums:
            judge(f"ncu, {n} stems", "done", code if code else 1, out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=("correct", "speed", "why"))
    p.add_argument("--csv")
    p.add_argument("--seconds", type=float, default=540, help="in which the call has to end")
    p.add_argument("--python", default=sys.executable, help="the Python that has PyTorch")
    p.add_argument("--rehearse", metavar="DIR", help="a short run on the libcuda.so.1 of DIR, the emulator's")
    a = p.parse_args()
    print(run(a, [HERE / "stemforge", "info", HERE / "models/stemforge-mini"])[1], flush=True)
    try:
        with tempfile.TemporaryDirectory() as tmp:
            globals()[a.what](a, tmp)
    finally:
        if a.csv:
            with open(a.csv, "w", newline="") as f:
                csv.writer(f).writerows([("measure", "predicted", "measured", "unit", "ok"), *rows])
    return 1 if any(r[4] == "FAULT" for r in rows) else 0


sys.exit(main())
