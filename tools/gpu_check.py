#!/usr/bin/env python3
"""gpu_check.py correct|speed|why [--csv FILE] - what a GPU does, beside what was predicted of it.

  correct   every fixture and type of weights on both devices: equal bytes; then compute-sanitizer, where it is
  speed     musicgen-small's shape with random weights, in q8: one stem, 8, 64 and 256 at a time
  why       one stem under ncu: what the slowest kernels wait for

It lies in the bundle of tools/gpu-check.sh, beside the program, its libraries and the fixtures. It needs Python
and, for `speed`, torch and transformers, which make the model. The predictions are those of docs/SPEED.md.
"""
import argparse, csv, hashlib, json, os, pathlib, shutil, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PREDICTED = {"one stem": (1800, 3400), "8 stems": (250, 430), "64 stems": (1070, 1070), "256 stems": (1350, 1350)}
rows = []


def row(measure, prediction, measured, unit, ok=""):
    rows.append((measure, prediction, measured, unit, ok))
    print(f"{measure:42} predicted {prediction:>14}  found {measured:>14} {unit} {ok}", flush=True)


def environment(a):
    paths = [str(HERE / "lib"), *([str(pathlib.Path(a.driver).resolve())] if a.driver else []), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(p for p in paths if p)}


def run(a, *words, before=(), check=True):
    r = subprocess.run([*before, str(HERE / "stemforge"), *words], env=environment(a), capture_output=True, text=True)
    if check and r.returncode:
        sys.exit(f"{' '.join(words)}: {r.stderr.strip() or r.stdout.strip()}")
    return r


def stems(a, device, out, *words):
    """The digest of each stem, and the seconds it took."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    run(a, "generate", "--quiet", "--seed", "5", "--device", device, "--out", out, *words)
    took = time.monotonic() - began
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(pathlib.Path(out).glob("*.wav"))}, took


def correct(a, tmp):
    print(run(a, "info", str(HERE / "fixtures/mono")).stdout)
    seven = [w for s in "drums bass guitar vocals piano synth other".split() for w in ("--stem", s)]
    cases = [(m, w, "0.4", seven[:4]) for m in ("mono", "stereo", "melody", "bf16", "f16")
             for w in ("stored", "f32", "bf16", "q8", "q4")]
    if a.quick:
        cases = [("mono", "q8", "0.2", seven[:4]), ("stereo", "bf16", "0.2", seven[:2])]
    else:
        cases += [("mini", w, "10", seven) for w in ("stored", "bf16", "q8", "q4")] + [("mini", "q8", "25", seven[:2])]
    for model, weights, seconds, which in cases:
        folder = str(HERE / ("mini" if model == "mini" else f"fixtures/{model}"))
        words = ["--model", folder, "--weights", weights, "--duration", seconds, "--chords", "Am F C G", *which]
        cpu, _ = stems(a, "cpu", f"{tmp}/cpu", *words)
        gpu, _ = stems(a, "cuda", f"{tmp}/gpu", *words)
        alone, _ = stems(a, "cuda", f"{tmp}/alone", *words[:-len(which)], *which[:2])
        same = cpu == gpu and all(cpu[k] == v for k, v in alone.items())
        row(f"bytes of {model} {weights}, {len(which) // 2} stems", "equal", "equal" if same else "OTHER", "", "ok" if same else "FAULT")
    tool = shutil.which("compute-sanitizer")
    for kind in ("memcheck", "racecheck", "initcheck", "synccheck") if tool and not a.driver else ():
        r = run(a, "generate", "--quiet", "--device", "cuda", "--out", f"{tmp}/s", "--model", str(HERE / "fixtures/mono"), "--stem", "bass",
                "--duration", "0.2", "--overwrite", before=(tool, "--tool", kind, "--error-exitcode", "9"), check=False)
        row(f"compute-sanitizer {kind}", "clean", "clean" if r.returncode == 0 else f"exit {r.returncode}", "", "ok" if r.returncode == 0 else "FAULT")


def make_small(folder):
    """musicgen-small's shape with random weights: speed does not depend on what they are."""
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config
    text = T5Config(vocab_size=32128, d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    audio = EncodecConfig(sampling_rate=32000, audio_channels=1, codebook_size=2048, codebook_dim=128, hidden_size=128, num_filters=64,
                          upsampling_ratios=[8, 5, 4, 4], use_causal_conv=False, pad_mode="reflect", normalize=False, chunk_length_s=None,
                          use_conv_shortcut=False, num_lstm_layers=2, norm_type="weight_norm", target_bandwidths=[2.2])
    decoder = MusicgenDecoderConfig(vocab_size=2048, num_hidden_layers=24, ffn_dim=4096, num_attention_heads=16, hidden_size=1024,
                                    num_codebooks=4, audio_channels=1)
    config = MusicgenConfig.from_sub_models_config(text, audio, decoder)
    MusicgenForConditionalGeneration(config).save_pretrained(folder)
    shutil.copy(HERE / "fixtures/mono/tokenizer.json", folder)


class Service:
    def __init__(self, a, model, tmp, places):
        self.port = 18000 + os.getpid() % 1000
        env = {**environment(a), "USE_GPU": "true", "MODEL": model, "MODEL_WEIGHTS": "q8", "BATCH_MAX": str(places), "WORKERS": "64",
               "QUEUE_MAX": "1000", "PORT": str(self.port), "DATA_DIR": f"{tmp}/data{places}", "LOG_LEVEL": "warn"}
        self.process = subprocess.Popen([str(HERE / "stemforge"), "serve"], env=env)
        while self.ask("/readyz") is None:
            if self.process.poll() is not None:
                sys.exit("serve ended")
            time.sleep(0.2)

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        q = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(q, timeout=30) as r:
                return json.load(r)
        except OSError:
            return None

    def make(self, jobs, stems_each, seconds):
        names = "drums bass guitar piano".split()[:stems_each]
        began = time.monotonic()
        for i in range(jobs):
            self.ask("/generate", {"generation_request_id": f"{began}-{i}", "audio_file_id": "a", "target_stems": names,
                                   "parameters": {"duration_seconds": seconds, "random_seed": i}})
        for i in range(jobs):
            while (self.ask(f"/jobs/{began}-{i}") or {}).get("status") not in ("completed", "failed"):
                time.sleep(0.02)
        return time.monotonic() - began

    def close(self):
        self.process.terminate()
        self.process.wait()


def speed(a, tmp):
    model = f"{tmp}/small"
    make_small(model)
    run(a, "convert", model, f"{tmp}/small-q8.gguf", "--weights", "q8")
    model = f"{tmp}/small-q8.gguf"
    words = ["--model", model, "--stem", "bass", "--duration", "10"]
    _, cpu = stems(a, "cpu", f"{tmp}/cpu", *words)
    best = min(stems(a, "cuda", f"{tmp}/gpu", *words)[1] for _ in range(3))
    row("a 10 s stem, process start included", "0.25 + load", f"{best:.2f}", "s")
    row("the same on this machine's CPU", "-", f"{cpu:.2f}", "s")
    for places, jobs, each in ((1, 3, 1), (8, 4, 4), (64, 32, 4), (256, 128, 4)):
        s = Service(a, model, tmp, places)
        s.make(1, 1, 1)  # graphs are recorded
        took = s.make(jobs, each, 10)
        s.close()
        audio = jobs * each * 10
        low, high = PREDICTED["one stem" if places == 1 else f"{places} stems"]
        if places == 1:
            row("one stem at a time, steps a second", f"{low} to {high}", f"{audio * 50 / took:.0f}", "steps/s")
        else:
            row(f"{places} stems at a time, times real time", f"{low} to {high}", f"{audio / took:.0f}", "x")


def why(a, tmp):
    tool = shutil.which("ncu")
    if not tool:
        sys.exit("ncu is not on this machine")
    out = run(a, "generate", "--quiet", "--device", "cuda", "--model", str(HERE / "mini"), "--weights", "q8", "--stem", "bass", "--duration", "1",
              "--out", f"{tmp}/n", before=(tool, "--clock-control", "none", "--csv", "--launch-skip", "2000", "--launch-count", "150", "--metrics",
              "gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active"))
    for line in csv.reader(out.stdout.splitlines()):
        if len(line) > 14 and line[0].isdigit():
            row(line[4][:40], "-", line[-1], f"{line[-3]} {line[-2]}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=("correct", "speed", "why"))
    p.add_argument("--csv")
    p.add_argument("--quick", action="store_true", help="two cases")
    p.add_argument("--driver", help="folder of a libcuda.so.1 in place of the machine's")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        globals()[a.what](a, tmp)
    if a.csv:
        with open(a.csv, "w", newline="") as f:
            csv.writer(f).writerows([("measure", "predicted", "measured", "unit", "ok"), *rows])
    return 1 if any(r[4] == "FAULT" for r in rows) else 0


sys.exit(main())
