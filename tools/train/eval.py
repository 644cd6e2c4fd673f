"""Stage eval: held-out requests through build/stemforge, measured and tabled.

  eval.py --root . --n 50 [--model models/stemforge-mini] [--wav DIR] [--write docs/MODEL_CARD.md]

A request asks for four stems of one style, tempo and progression.  Every figure stands beside the same
measure of true renders of the same requests, and of those renders through the codec alone.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy as np
import soundfile
import torch
from scipy import linalg, signal
from transformers import MusicgenMelodyForConditionalGeneration

import clips
import codec
import control
import measure
import music

HELD_OUT = 771
MARK = ("<!-- figures: begin -->", "<!-- figures: end -->")


def ask(index):
    """One held-out request and the true renders of its stems."""
    rng = np.random.default_rng([HELD_OUT, index])
    shared = music.Song(rng)
    stems = ["drums"] + [str(s) for s in rng.choice(music.STEMS[1:], 3, replace=False)]
    renders = {}
    for stem in stems:
        song = music.Song(rng, stem=stem, style=shared.style, bpm=shared.bpm, chords=shared.chords,
                          key=(shared.root, shared.minor))
        song.start, song.density, song.tone, song.room = 0.0, "", "", "dry"
        renders[stem] = clips.render(song, rng)
    return shared, stems, renders


def key_of(song):
    return control.NAMES[song.root] + (" minor" if song.minor else " major")


def generate(root, model, song, stems, seed, out, chords=None, extra=()):
    command = [os.path.join(root, "build/stemforge"), "generate", "--model", model, "--bpm", f"{song.bpm:g}",
               "--style", song.style, "--duration", "10", "--seed", str(seed), "--out", out, "--json",
               "--key", key_of(song), "--chords", " ".join(control.spell(c) for c in chords or song.chords), *extra]
    for stem in stems:
        command += ["--stem", stem]
    begun = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return {stem: read(os.path.join(out, stem + ".wav")) for stem in stems}, time.time() - begun


def read(path):
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    x = x.mean(1)
    if rate != measure.RATE:
        g = np.gcd(rate, measure.RATE)
        x = signal.resample_poly(x, measure.RATE // g, rate // g).astype(np.float32)
    return x


def features(x):
    """144 numbers: mean, spread and movement of 48 log-mel bands, deaf to what lies 40 dB below the peak."""
    _, _, z = signal.stft(x, measure.RATE, nperseg=1024, noverlap=512)
    mel = codec.mel_filters(1024, 64).numpy()[:48] @ np.abs(z)
    level = np.log10(mel + 1e-2 * max(mel.max(), 1e-6))
    return np.concatenate([level.mean(1), level.std(1), np.abs(np.diff(level, axis=1)).mean(1)]).astype(np.float32)


class Classifier:
    """Which of the seven stems a signal is, learned from renders only."""

    def __init__(self, count=700):
        x, y = [], []
        for i in range(count):
            song, wave, _ = clips.make(772, i, stem=music.STEMS[i % 7])
            x.append(features(wave))
            y.append(i % 7)
        x, y = np.stack(x), np.array(y)
        self.mean, self.std = x.mean(0), x.std(0) + 1e-3
        x = torch.from_numpy((x - self.mean) / self.std)
        y = torch.from_numpy(y)
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(144, 96), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(96, 7))
        optimiser = torch.optim.AdamW(self.net.parameters(), 2e-3, weight_decay=0.05)
        for _ in range(400):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(self.net(x + 0.2 * torch.randn_like(x)), y, label_smoothing=0.05).backward()
            optimiser.step()
        self.net.eval()

    @torch.no_grad()
    def __call__(self, feature):
        return int(self.net(torch.from_numpy((feature - self.mean) / self.std)[None])[0].argmax())


def frechet(a, b):
    """Distance of two sets of features as Gaussians (shrunk covariances)."""
    a, b = np.stack(a), np.stack(b)
    ca, cb = (np.cov(v, rowvar=False) + 1e-3 * np.eye(v.shape[1]) for v in (a, b))
    root = linalg.sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root.real))


def through_codec(model, x):
    with torch.no_grad():
        codes = codec.encode(model, torch.from_numpy(x)[None, None])
        return codec.decode(model, codes)[0, 0, :len(x)].numpy()


def offset(a, b, bpm):
    """Milliseconds between the beat grids of two stems, from the phase of their onsets at the beat and sixteenth."""
    phase = []
    for x in (a, b):
        env = measure.onsets(x)
        t = np.arange(len(env)) / measure.ONSET_RATE
        phase.append(np.angle((env * np.exp(-2j * np.pi * t * bpm / 60 * 4)).sum()))
    turn = (phase[0] - phase[1] + np.pi) % (2 * np.pi) - np.pi
    return abs(turn) / (2 * np.pi) * 15000 / bpm


def one(x, stem, song, chords, wrong, classifier):
    row = dict(stem=stem, feature=features(x), faults=measure.faults(x))
    row["type"] = classifier(row["feature"]) == music.STEMS.index(stem)
    grid, even = measure.on_grid(x, song.bpm)
    row["grid"], row["even"] = grid, even
    _, near = measure.tempo_fit(x, song.bpm)
    row["near"] = abs(near / song.bpm - 1) < 0.02
    row["free"] = abs(measure.tempo(x)[0] / song.bpm - 1) < 0.02
    if stem != "drums":
        row["chord"] = measure.chord_agreement(x, song.bpm, chords)
        row["wrong"] = measure.chord_agreement(x, song.bpm, wrong)
    return row


def summarise(rows):
    drums = [r for r in rows if r["stem"] == "drums"]
    tonal = [r for r in rows if r["stem"] != "drums"]
    mean = lambda rs, k: float(np.mean([r[k] for r in rs])) if rs else float("nan")
    out = {"drums: tempo within 2 % (within a factor 0.8-1.25)": mean(drums, "near"),
           "drums: tempo within 2 % (free estimate, 55-190 bpm)": mean(drums, "free"),
           "drums: onset strength on the sixteenth grid": mean(drums, "grid"),
           "  the same, spread evenly": mean(drums, "even"),
           "chord agreement, asked chords": mean(tonal, "chord"),
           "chord agreement, other chords": mean(tonal, "wrong"),
           "right stem type": mean(rows, "type"),
           "stems with a fault": float(np.mean([bool(r["faults"]) for r in rows]))}
    for stem in music.STEMS:
        mine = [r for r in rows if r["stem"] == stem]
        if mine:
            out[f"right stem type, {stem}"] = mean(mine, "type")
    for stem in music.STEMS[1:]:
        mine = [r for r in rows if r["stem"] == stem]
        if mine:
            out[f"chord agreement, {stem}"] = mean(mine, "chord")
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--root", default=".")
    args.add_argument("--work")
    args.add_argument("--model")
    args.add_argument("--n", type=int, default=50)
    args.add_argument("--wav")
    args.add_argument("--write")
    got = args.parse_args()
    model = got.model or os.path.join(got.root, "models/stemforge-mini")
    torch.set_num_threads(1)
    coder = codec.quicken(MusicgenMelodyForConditionalGeneration.from_pretrained(model, dtype=torch.float32).audio_encoder).eval()
    classifier = Classifier()
    groups = {"generated": [], "render": [], "codec": []}
    shuffled, offsets, render_offsets, seconds, sdr = [], [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(got.n):
            song, stems, renders = ask(i)
            rng = np.random.default_rng([HELD_OUT, i, 1])
            wrong = [((c[0] + int(rng.choice([1, 2, 4, 6]))) % 12, c[1]) for c in song.chords]
            out = os.path.join(got.wav or scratch, f"{i:03d}")
            made, took = generate(got.root, model, song, stems, i, out)
            seconds.append(took)
            for stem in stems:
                groups["generated"].append(one(made[stem], stem, song, song.chords, wrong, classifier))
                if renders[stem] is None:
                    continue
                coded = through_codec(coder, renders[stem])
                groups["render"].append(one(renders[stem], stem, song, song.chords, wrong, classifier))
                groups["codec"].append(one(coded, stem, song, song.chords, wrong, classifier))
                sdr.append(float(codec.si_sdr(torch.from_numpy(renders[stem])[None], torch.from_numpy(coded)[None])[0]))
            for other in ("bass", "guitar", "piano"):
                if other in made:
                    offsets.append(offset(made["drums"], made[other], song.bpm))
                    if renders[other] is not None and renders["drums"] is not None:
                        render_offsets.append(offset(renders["drums"], renders[other], song.bpm))
            if i < 20:
                tonal = [s for s in stems if s != "drums"][0]
                again, _ = generate(got.root, model, song, [tonal], i, os.path.join(scratch, "w"), chords=wrong)
                shuffled.append(measure.chord_agreement(again[tonal], song.bpm, song.chords))
            print(f"{i + 1}/{got.n}", end="\r", flush=True)
    table = {name: summarise(rows) for name, rows in groups.items()}
    lines = [f"{got.n} held-out requests of four 10 s stems, defaults.", "",
             "| measure | generated | true renders | renders through the codec |", "| --- | --- | --- | --- |"]
    for key in table["render"]:
        lines.append(f"| {key.strip()} | " + " | ".join(f"{table[g].get(key, float('nan')):.2f}" for g in ("generated", "render", "codec")) + " |")
    real = [r["feature"] for r in groups["render"]]
    half = len(real) // 2
    lines += [f"| distance of features to the renders (Fréchet) | {frechet([r['feature'] for r in groups['generated']], real):.2f} "
              f"| {frechet(real[:half], real[half:]):.2f} (two halves) | {frechet([r['feature'] for r in groups['codec']], real):.2f} |",
              f"| median grid offset to the drums, ms | {np.median(offsets):.1f} | {np.median(render_offsets):.1f} | |",
              f"| chord agreement when asked for other chords | {np.mean(shuffled):.2f} | | |",
              f"| SI-SDR, dB | | | {np.mean(sdr):.2f} |",
              f"| seconds for four stems (median, this machine, shared) | {np.median(seconds):.1f} | | |"]
    names = sorted({f for r in groups["generated"] for f in r["faults"]})
    lines.append("| faults seen | " + (", ".join(f"{n}: {sum(n in r['faults'] for r in groups['generated'])}" for n in names) or "none") + " | | |")
    print("\n".join(lines))
    if got.write:
        with open(got.write) as f:
            text = f.read()
        head, rest = text.split(MARK[0])
        _, tail = rest.split(MARK[1])
        with open(got.write, "w") as f:
            f.write(head + MARK[0] + "\n" + "\n".join(lines) + "\n" + MARK[1] + tail)


if __name__ == "__main__":
    main()
