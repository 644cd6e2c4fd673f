"""Stage hearing: the program's judge beside outside ones, on the same renders of songs with known truth.

  hearing.py --work DIR [--n 200] [--program build/stemforge]

Song i of series 790 is rendered for 12 s as drums, bass, two more stems and their mix.  `stemforge analyse --json` hears
each file, and so do madmom (tempo and beats of mixes and drums, chords of the rest) and MusicNN (which instrument).
What was heard lies in WORK/hearing, so that an interrupted run goes on.
"""

import argparse
import json
import os
import subprocess

import numpy as np
import soundfile
import torch

import clips
import control
import heldout
import music
import outside

HERE = os.path.dirname(os.path.abspath(__file__))
SERIES, SECONDS, NEAR = 790, 12, 0.07


def render(i, folder):
    """{name: samples} of song i, and its truth; kept as WAV."""
    request = heldout.Request(SERIES, i)
    rng = np.random.default_rng([SERIES, i, 5])
    names = ["drums", "bass", *map(str, rng.choice(music.STEMS[2:], 2, replace=False))]
    mix, out = np.zeros(SECONDS * clips.RATE, np.float32), {}
    for name in names:
        x = attempt = None
        while x is None:
            attempt = 0 if attempt is None else attempt + 1
            own = np.random.default_rng([SERIES, i, 1 + music.STEMS.index(name), attempt])
            x = clips.render(request._song(own, name), own, SECONDS)
        mix += x * (0.1 / max(np.sqrt((x**2).mean()), 1e-4)) * 10 ** (rng.uniform(-4, 4) / 20)
        out[name] = x
    out["mix"] = mix * (0.8 / np.abs(mix).max())
    os.makedirs(folder, exist_ok=True)
    for name, x in out.items():
        soundfile.write(os.path.join(folder, name + ".wav"), x, clips.RATE, subtype="PCM_16")
    return out, request.song


def beats_f(beats, bpm):
    """F-measure within 70 ms."""
    true, beats = np.arange(0, SECONDS - 0.1, 60 / bpm), np.asarray(beats)
    if not len(beats):
        return 0.0
    met = {int(np.argmin(np.abs(beats - t))) for t in true if np.abs(beats - t).min() <= NEAR}
    return 2 * len(met) / (len(true) + len(beats))


def chords_right(heard, song):
    """Share of time with the true root, and with root and third; heard(t) is (root, third) or None."""
    root = third = total = 0
    for t in np.arange(0.05, SECONDS - 0.1, 0.1):
        true, quality = song.chords[int(t * song.bpm / 240) % len(song.chords)]
        steps, got = control.QUALITIES[quality], heard(t)
        want = 4 if 4 in steps else 3 if 3 in steps else 0
        total += 1
        root += got is not None and got[0] == true
        third += got is not None and got[0] == true and (not want or got[1] == want)
    return root / total, third / total


def triad(name):
    """(root, third) of "Am", "A5" or madmom's "A:min"."""
    note = name[:2] if name[1:2] in ("#", "b") else name[:1]
    rest = name[len(note):]
    return None if name == "N" else (outside.NOTES[note], 0 if rest == "5" else 3 if rest in ("m", ":min") else 4)


def at(edges, names, t):
    i = int(np.searchsorted(edges, t, "right")) - 1
    return triad(names[i]) if 0 <= i < len(names) else None


def ours(program, path, song, known):
    words = [program, "analyse", path, "--json"] + (["--bpm", f"{song.bpm:g}"] if known else [])
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def describe(name, x, path, song, program, madmom, tagger):
    row, free = {"name": name}, ours(program, path, song, False)
    if name in ("mix", "drums"):
        from madmom.features.beats import DBNBeatTrackingProcessor
        curve = madmom.beats(madmom._signal(x))
        found = madmom.speed(curve)
        for who, bpm, beats in (("ours", free["tempo"]["bpm"], free["beats"]),
                                ("madmom", float(found[0][0]) if len(found) else 0, DBNBeatTrackingProcessor(fps=100)(curve))):  # fmt: skip
            row[who + " tempo"] = abs(bpm / song.bpm - 1) < 0.02
            row[who + " octave"] = any(abs(bpm / song.bpm / m - 1) < 0.02 for m in (0.5, 1, 2))
            row[who + " beats"] = beats_f(beats, song.bpm)
    if name != "drums":
        spans = madmom.names(madmom.chroma(madmom._signal(x)))
        row["madmom root"], row["madmom third"] = chords_right(lambda t: at([s[0] for s in spans], [s[2] for s in spans], t), song)
        for who, heard in (("ours, nothing said", free), ("ours, tempo said", ours(program, path, song, True))):
            row[who + " root"], row[who + " third"] = chords_right(lambda t: at(heard["bars"], heard["chords"], t), song)
    if name != "mix":
        row["ours type"] = free["type"] == name
        if name != "bass":  # a family that the tagger does not know
            row["MusicNN type"] = tagger.family(x)[0] == outside.NAMES.get(name, name)
    return row


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--n", type=int, default=200)
    args.add_argument("--program", default=os.path.join(HERE, "../build/stemforge"))
    got = args.parse_args()
    torch.set_num_threads(1)
    folder = os.path.join(got.work, "hearing")
    os.makedirs(folder, exist_ok=True)
    path, rows = os.path.join(folder, "rows.jsonl"), {}
    if os.path.exists(path):
        with open(path) as f:
            rows = dict(json.loads(line) for line in f if line.endswith("\n"))
    madmom, tagger = outside.Madmom(), outside.MusicNN()
    for i in range(got.n):
        if i in rows:
            continue
        sounds, song = render(i, os.path.join(folder, f"{i:04d}"))
        rows[i] = [describe(name, x, os.path.join(folder, f"{i:04d}", name + ".wav"), song, got.program, madmom, tagger) for name, x in sounds.items()]
        with open(path, "a") as f:
            f.write(json.dumps([i, rows[i]], default=float) + "\n")
    every = [row for of in rows.values() for row in of]
    for name in ("mix", *music.STEMS):
        mine = [row for row in every if row["name"] == name]
        for key in sorted({k for row in mine for k in row} - {"name"}):
            values = [float(row[key]) for row in mine if key in row]
            print(f"{name:7s} {key:26s} {np.mean(values):.3f}  n {len(values)}")


if __name__ == "__main__":
    main()
