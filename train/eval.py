"""Stage eval: held-out requests through build/stemforge, measured and tabled.

  eval.py --work DIR [--n 1000] [--model models/stemforge-mini] [--write docs/MODEL_CARD.md]
          [--also weights=q8 --also weights=q4 --also seed=1 --also model=DIR] [--also-n 200] [--pictures docs/img] [--prepare] [--outside]

Every request is answered by `stemforge generate` with the model's defaults, on one thread, two requests at a time.
What was made stays in WORK/eval (half a megabyte a stem), as do the measures, so that an interrupted run goes on.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
import torch
from safetensors.numpy import load_file
from scipy import signal

import card
import heldout
import judges
import measure
import music
import outside

HERE = os.path.dirname(os.path.abspath(__file__))
RENDERS = ["analog.py", "clips.py", "control.py", "heldout.py", "music.py", "synth.py"]
JUDGES = [*RENDERS, "judges.py", "measure.py"]
SOURCES = [*JUDGES, "eval.py", "outside.py"]
WORKERS = 2
YARDSTICK = 250  # of the requests are also rendered, and those renders coded; as many others are what features are compared with
CONTROLS, REPEATS, TAKES, TIMINGS = 100, 30, 14, 5  # requests for withheld chords, same seed, ten seeds, speed
OUTSIDE = 100  # requests that outside judges hear, generated, rendered and coded
SEEDS = 10


def digest(*paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(f.read())
    return h.hexdigest()[:12]


def read(path):
    """Mono samples at 32 kHz of a sound file."""
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    x = x.mean(1)
    if rate != measure.RATE:
        g = np.gcd(rate, measure.RATE)
        x = signal.resample_poly(x, measure.RATE // g, rate // g).astype(np.float32)
    return x


class Maker:
    """A model behind the program, with the weights and the seeds of one variant."""

    def __init__(self, program, model, work, weights="stored", seed=0):
        self.program, self.model, self.weights, self.seed = program, model, weights, seed
        self.identity = digest(*(os.path.join(model, f) for f in ("model.safetensors", "config.json")))
        self.audio = os.path.join(work, "audio", f"{self.identity}-{weights}-{seed}-{digest(os.path.join(HERE, 'music.py'))}")

    def run(self, *words):
        done = subprocess.run([self.program, *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.program} {' '.join(words)}\n{done.stderr}")
        return done.stdout

    def generate(self, request, out, stems=None, chords=(), seed=0, threads=1):
        """{stem: file}; chords None withholds them.  What is there already is not made again."""
        stems = stems or request.stems
        files = {stem: os.path.join(out, stem + ".flac") for stem in stems}
        if not all(map(os.path.exists, [*files.values(), os.path.join(out, "recipe.json")])):
            asked = request.arguments(request.song.chords if chords == () else chords, stems)
            self.run("generate", "--model", self.model, "--weights", self.weights, "--threads", str(threads), "--format", "flac",
                     "--seed", str(request.index + 100000 * self.seed + seed), "--out", out, "--quiet", *asked)  # fmt: skip
        return files

    def through_codec(self, x, folder):
        """(codes [books, frames], samples) of samples that go through the codec alone."""
        wav, codes, back = (os.path.join(folder, name) for name in ("in.wav", "codes.safetensors", "out.wav"))
        soundfile.write(wav, x, measure.RATE, subtype="FLOAT")
        self.run("encode", "--model", self.model, "--threads", "1", wav, codes)
        self.run("decode", "--model", self.model, "--threads", "1", "--format", "wavf32", codes, back)
        return next(iter(load_file(codes).values())), read(back)[: len(x)]


def describe(x, stem, request, judge):
    """All measures of one stem that need no other."""
    song = request.song
    power = judges.power_mel(x)
    shares = judge.shares(power)
    row = {"stem": stem, "feature": measure.features(x).round(4).tolist(), "leak": judges.leak(shares, stem),
           "type": int(shares.argmax()) == music.STEMS.index(stem), "heard": music.STEMS[int(shares.argmax())],
           "plain": int(judge.shares(power, plain=True).argmax()) == music.STEMS.index(stem),
           "onsets": measure.onset_times(x).round(4).tolist(),
           "faults": measure.faults(x, song.bpm, None if stem == "drums" else song.chords)}  # fmt: skip
    row["comb"], row["lines"] = measure.comb(x)
    if stem == "drums":
        row["tempo"] = abs(judge.tempo(x) / song.bpm - 1) < 0.02
        row["near"] = abs(measure.tempo_fit(x, song.bpm)[1] / song.bpm - 1) < 0.02
        row["grid"], row["even"] = measure.on_grid(x, song.bpm)
    else:
        row["chord"] = measure.chord_agreement(x, song.bpm, song.chords)
        row["moved"] = measure.chord_agreement(x, song.bpm, request.moved)
    return row


# The groups: one function each, from a request's number to its row.


def made(index, maker, judge):
    request = heldout.Request(heldout.REQUESTS, index)
    files = maker.generate(request, os.path.join(maker.audio, f"{index:04d}"))
    return {"bpm": request.song.bpm, "stems": [describe(read(files[s]), s, request, judge) for s in request.stems]}


def rendered(index, maker, judge):
    request = heldout.Request(heldout.REQUESTS, index)
    return {"bpm": request.song.bpm, "stems": [describe(request.render(s), s, request, judge) for s in request.stems]}


def coded(index, maker, judge):
    request = heldout.Request(heldout.REQUESTS, index)
    rows = []
    for stem in request.stems:
        x = request.render(stem)
        with tempfile.TemporaryDirectory() as folder:
            codes, y = maker.through_codec(x, folder)
        codes = codes.reshape(-1, codes.shape[-1])
        rows.append(dict(describe(y, stem, request, judge), sdr=measure.si_sdr(x, y), mel=measure.mel_distance(x, y),
                         used=[np.bincount(book).tolist() for book in codes]))  # fmt: skip
    return {"bpm": request.song.bpm, "stems": rows}


def reference(index, maker, judge):
    request = heldout.Request(heldout.REFERENCE, index)
    return {"stems": [{"stem": s, "feature": measure.features(request.render(s)).round(4).tolist()} for s in request.stems]}


def controls(index, maker, judge):
    """One chorded stem made without chords, and for other chords, both measured against the request's own."""
    request = heldout.Request(heldout.REQUESTS, index)
    row = {}
    for name, chords in (("withheld", None), ("others", request.moved)) if request.tonal else ():
        stem = request.tonal[0]
        with tempfile.TemporaryDirectory() as folder:
            x = read(maker.generate(request, folder, [stem], chords)[stem])
        row[name] = measure.chord_agreement(x, request.song.bpm, request.song.chords)
        row[name + " asked"] = measure.chord_agreement(x, request.song.bpm, chords) if chords else None
    return row


def outsiders(index, maker, judges_outside):
    """What judges from outside, and the program's own beside them, hear in the request's stems: generated, rendered, through the codec."""
    request = heldout.Request(heldout.REQUESTS, index)
    files = maker.generate(request, os.path.join(maker.audio, f"{index:04d}"))
    row = {"made": [], "true": [], "coded": []}
    for stem in request.stems:
        true = request.render(stem)
        with tempfile.TemporaryDirectory() as folder:
            heard = {"made": read(files[stem]), "true": true, "coded": maker.through_codec(true, folder)[1]}
            for name, x in heard.items():
                row[name].append({**judges_outside.describe(x, stem, request.song), **own(x, stem, request.song, maker, folder)})
    return row


def own(x, stem, song, maker, folder):
    """What `stemforge analyse` hears in the same samples; like the outside judges it is not told what was asked for."""
    wav = os.path.join(folder, "heard.wav")
    soundfile.write(wav, x, measure.RATE, subtype="FLOAT")
    got = json.loads(maker.run("analyse", wav, "--json"))
    row = {"own tagged": got.get("type") == stem, "own leak": got.get("leak", 0), "own held": got.get("held_pitch", 0)}
    if stem == "drums":
        tempo = (got.get("tempo") or {}).get("bpm", 0) / song.bpm
        row["own strict"], row["own octave"] = outside.tempo_right(tempo)
    elif stem in outside.CHORDED:
        bars = got.get("bars", [])
        spans = [(*at, name) for *at, name in zip(bars, bars[1:], got.get("chords", []))]
        row["own root"] = outside.on_root(spans, song.bpm, song.chords)
    return row


def repeats(index, maker, judge):
    """Is a request the same bytes again, with another number of threads?"""
    request = heldout.Request(heldout.REQUESTS, index)
    first = maker.generate(request, os.path.join(maker.audio, f"{index:04d}"))
    with tempfile.TemporaryDirectory() as folder:
        again = maker.generate(request, folder, threads=2)
        return {"equal": all(digest(first[s]) == digest(again[s]) for s in request.stems)}


def takes(index, maker, judge):
    """Ten seeds of one stem: mean distance of their pictures, and of ten true renders', dB."""
    request = heldout.Request(heldout.REQUESTS, index)
    stem = music.STEMS[index % len(music.STEMS)]
    folder = os.path.join(maker.audio, f"{index:04d}-{stem}")
    ours = [read(maker.generate(request, os.path.join(folder, str(i)), [stem], seed=1000 * (i + 1))[stem]) for i in range(SEEDS)]
    true = [request.render(stem, take + 1) for take in range(SEEDS)]
    return {"stem": stem, "made": spread(ours), "true": spread(true)}


def spread(signals):
    pictures = np.stack([measure.picture(x) for x in signals])
    pairs = np.triu_indices(len(pictures), 1)
    return float(np.sqrt(((pictures[pairs[0]] - pictures[pairs[1]]) ** 2).mean((1, 2))).mean())


class Runner:
    """Rows of a group over requests, in a pool, each row on disk as soon as it is there."""

    def __init__(self, work, quick=False):
        self.work = work
        self.sources = digest(*(os.path.join(HERE, name) for name in SOURCES)) + "-quick" * quick

    def rows(self, group, maker, judge, n):
        """[row of request 0 ... n - 1] of that function above; maker None: the rows hang on no model."""
        of = f"{maker.identity}-{maker.weights}-{maker.seed}" if maker else "any"
        folder = os.path.join(self.work, "rows", self.sources)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{group.__name__}-{of}.jsonl")
        have = self._have(path)
        missing = [i for i in range(n) if i not in have]
        if missing:
            with open(path, "a") as out, fork(_Job(group, maker, judge)) as pool:
                for done, (i, row) in enumerate(progress(pool.imap_unordered(_work, missing), group.__name__, len(missing))):
                    out.write(json.dumps([i, row]) + "\n")
                    out.flush()
                    have[i] = row
        return [have[i] for i in range(n)]

    @staticmethod
    def _have(path):
        out = {}
        if os.path.exists(path):
            with open(path) as f:
                for line in f:
                    if line.endswith("\n"):  # the last may be torn
                        i, row = json.loads(line)
                        out[i] = row
        return out


class _Job:
    now = None

    def __init__(self, group, maker, judge):
        self.group, self.maker, self.judge = group, maker, judge


def fork(job=None):
    """A pool whose processes inherit the job."""
    _Job.now = job
    return multiprocessing.get_context("fork").Pool(WORKERS)


def _work(index):
    torch.set_num_threads(1)
    return index, _Job.now.group(index, _Job.now.maker, _Job.now.judge)


def progress(rows, name, count):
    begun = time.time()
    for i, row in enumerate(rows, 1):
        each = (time.time() - begun) / i
        bar = "#" * (30 * i // count)
        print(f"\r{name:10s} [{bar:30s}] {i}/{count}  {each:.2f} s each, {each * (count - i) / 60:.1f} min left ", end="", file=sys.stderr, flush=True)
        yield row
    print(file=sys.stderr)


def seconds(maker):
    """Wall-clock seconds of `stemforge generate` for four 10 s stems on two threads: the median."""
    took = []
    for i in range(TIMINGS):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.time()
            maker.generate(heldout.Request(heldout.REQUESTS, i), folder, ["drums", "bass", "guitar", "piano"], threads=2)
            took.append(time.time() - begun)
    return float(np.median(took))


def variant(text, maker, work):
    """The maker of "weights=q8", "seed=1" or "model=DIR"."""
    name, value = text.split("=", 1)
    if name not in ("weights", "seed", "model"):
        raise SystemExit(f"--also {text}: expected weights=, seed= or model=")
    asked = {"model": maker.model, name: int(value) if name == "seed" else value}
    return Maker(maker.program, work=work, **asked)


def publish_outside(runner, maker, n, path):
    others = outside.Outside()
    rows = runner.rows(outsiders, maker, others, min(n, OUTSIDE))
    card.publish(card.outside_lines(rows, others.missing), "outside", path)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.join(HERE, "..")
    args.add_argument("--work", required=True)
    args.add_argument("--model", default=os.path.join(root, "models/stemforge-mini"))
    args.add_argument("--program", default=os.path.join(root, "build/stemforge"))
    args.add_argument("--n", type=int, default=1000)
    args.add_argument("--also", action="append", default=[])
    args.add_argument("--also-n", type=int, default=200)
    args.add_argument("--write")
    args.add_argument("--pictures")
    args.add_argument("--quick", action="store_true", help="judges that learn from a quarter of the renders, for a look; the card says so")
    args.add_argument("--outside", action="store_true", help="only the outside judges and the program's own beside them: minutes, not hours")
    args.add_argument("--prepare", action="store_true", help="only what hangs on no model: the judges and the true renders")
    got = args.parse_args()
    work = os.path.join(got.work, "eval")
    os.makedirs(work, exist_ok=True)
    torch.set_num_threads(1)
    runner = Runner(work, quick=got.quick)
    maker = Maker(got.program, got.model, work)
    if got.outside:
        publish_outside(runner, maker, got.n, got.write)
        return
    with fork() as pool:
        judge = judges.load(os.path.join(work, f"judges{'-quick' * got.quick}-{digest(*(os.path.join(HERE, s) for s in JUDGES))}.pt"), pool, got.quick)
    data = card.Data(judge, got.n)
    data.true = runner.rows(rendered, None, judge, min(got.n, YARDSTICK))
    data.reference = runner.rows(reference, None, judge, min(got.n, YARDSTICK))
    if got.prepare:
        return
    data.made = runner.rows(made, maker, judge, got.n)
    data.coded = runner.rows(coded, maker, judge, min(got.n, YARDSTICK))
    data.controls = runner.rows(controls, maker, judge, min(got.n, CONTROLS))
    data.repeats = runner.rows(repeats, maker, judge, min(got.n, REPEATS))
    data.takes = runner.rows(takes, maker, judge, min(got.n, TAKES))
    data.seconds = seconds(maker)
    card.publish(data.lines(), "figures", got.write)
    publish_outside(runner, maker, got.n, got.write)
    if got.also:
        columns = {"as shipped": data.made[: got.also_n]}
        for text in got.also:
            columns[text] = runner.rows(made, variant(text, maker, work), judge, min(got.n, got.also_n))
        card.publish(card.compare(columns, data), "variants", got.write)
    if got.pictures:
        import pictures
        pictures.draw(maker, got.pictures)


if __name__ == "__main__":
    main()
