"""Stage hearing: the program's judge beside outside ones, on the same renders with known truth (pieces.py).

  hearing.py outside --work DIR [--n 200]                                what madmom, Chordino and MusicNN hear; goes on where it was
  hearing.py report  --work DIR [--n 200] [--program build/stemforge]    what the program hears, beside it: a table, and rows.csv

Mixes are judged by tempo, beats and chords, each stem alone by its type.  Of a piece that nobody outside heard yet the program's
figures count all the same: the table says of how many pieces each figure is.
"""

import argparse
import csv
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile

import control
import music
import pieces

HERE = os.path.dirname(os.path.abspath(__file__))
NEAR = 0.07  # seconds by which a beat may be off
SCALES = {True: (0, 2, 3, 5, 7, 8, 10), False: (0, 2, 4, 5, 7, 9, 11)}  # by minor


# --- judges from outside


class Outside:
    def __init__(self):
        import chordino
        import outside
        import torch
        torch.set_num_threads(1)
        self.madmom, self.chordino, self.tagger = outside.Madmom(), chordino.Chordino(), outside.MusicNN()
        from madmom.features.beats import DBNBeatTrackingProcessor
        self.track = DBNBeatTrackingProcessor(fps=100)

    def mix(self, x):
        heard = self.madmom._signal(x)
        curve = self.madmom.beats(heard)
        found = self.madmom.speed(curve)
        spans = self.madmom.names(self.madmom.chroma(heard))
        return {"bpm": float(found[0][0]) if len(found) else 0, "beats": [float(b) for b in self.track(curve)],
                "madmom": [(float(a), name) for a, _, name in spans], "Chordino": self.chordino(x, pieces.RATE)}  # fmt: skip


def hear_outside(n, folder):
    judges = Outside()
    for i in range(n):
        own = os.path.join(folder, f"{i:04d}")
        truth, path = pieces.rendered(i, own), os.path.join(own, "outside.json")
        if os.path.exists(path):
            continue
        sound = lambda name: soundfile.read(os.path.join(own, name + ".wav"), dtype="float32")[0]
        heard = judges.mix(sound("mix"))
        heard["families"] = {stem: judges.tagger.family(sound(stem))[0] for stem in truth["stems"]}
        with open(path + ".part", "w") as f:
            json.dump(heard, f)
        os.replace(path + ".part", path)
        print(f"{i + 1} of {n}", flush=True)


# --- figures


def beats_f(found, truth):
    """F-measure; each true beat is met once."""
    if not len(found) or not len(truth):
        return 0.0
    found, used = np.asarray(found), set()
    for b in truth:
        k = int(np.argmin(np.abs(found - b)))
        if abs(found[k] - b) <= NEAR:
            used.add(k)
    return 2 * len(used) / (len(found) + len(truth))


def beats_of(found, truth):
    """(F-measure, the same where twice as many, every second one or those in between count as right)"""
    inside = [b for b in truth["beats"] if 0 <= b <= truth["seconds"]]
    between = [(a + b) / 2 for a, b in zip(inside, inside[1:])]
    plain = beats_f(found, inside)
    return plain, max(plain, beats_f(found, sorted(inside + between)), beats_f(found, inside[::2]), beats_f(found, inside[1::2]))


def triad(name):
    """(root, third) of "Am", "A5", "A:min" or "Am7b5": third 4, 3 or 0; None: no chord."""
    if name == "N":
        return None
    note = name[:2] if name[1:2] in ("#", "b") else name[:1]
    root, rest = (control.NOTE[note[0]] + {"#": 1, "b": -1}.get(note[1:], 0)) % 12, name[len(note) :].split("/")[0]
    minor = rest.startswith((":min", "dim")) or rest.startswith("m") and not rest.startswith("maj")
    return root, 0 if rest == "5" else 3 if minor else 4


def in_key(name, key):
    """What the program plays of a chord whose third it does not hear: the third that lies in the key."""
    got = triad(name)
    if not got or got[1] or not key:
        return got
    tonic, _ = triad(key.split()[0])
    scale = {(tonic + s) % 12 for s in SCALES[key.endswith("minor")]}
    return got[0], 3 if (got[0] + 4) % 12 not in scale and (got[0] + 3) % 12 in scale else 4


def chords_right(starts, heard, truth):
    """Share of time with the true root, and with root and third; heard: triads that begin at starts."""
    times, root, third = np.arange(0.05, truth["seconds"] - 0.05, 0.1), 0, 0
    for t in times:
        beat = max(int(np.searchsorted(truth["beats"], t, "right")) - 1, 0)
        true, quality = control.parse(truth["chords"][beat // 4 % len(truth["chords"])])
        steps = control.QUALITIES[quality]
        want = 4 if 4 in steps else 3 if 3 in steps else 0
        k = min(max(int(np.searchsorted(starts, t, "right")) - 1, 0), len(heard) - 1)
        got = heard[k] if heard else None
        root += got is not None and got[0] == true
        third += got is not None and got[0] == true and (not want or got[1] == want)
    return root / len(times), third / len(times)


def tempo_right(bpm, truth):
    return float(abs(bpm / truth["bpm"] - 1) < 0.02), float(any(abs(bpm * m / truth["bpm"] - 1) < 0.02 for m in (0.5, 1, 2)))


def figures(who, bpm, beats, chords, truth):
    row = {}
    if bpm is not None:
        row["tempo"], row["tempo octave"] = tempo_right(bpm, truth)
        row["beats"], row["beats octave"] = beats_of(beats, truth)
    row["root"], row["third"] = chords_right([c[0] for c in chords], [c[1] for c in chords], truth)
    return {f"{who} {k}": v for k, v in row.items()}


# --- the program


def analysed(program, path):
    ran = subprocess.run([program, "analyse", path, "--json"], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def sure_chords(heard):
    """Share of the bars whose chord is sure, as engine/followed.h has it."""
    sounding = [s for s, name in zip(heard["chords_sure"], heard["chords"]) if name != "N"]
    return float(np.mean([s >= 0.5 for s in sounding])) if sounding else 0.0


def row_of(i, folder, program):
    own = os.path.join(folder, f"{i:04d}")
    truth = pieces.rendered(i, own)
    row = {k: truth[k] for k in ("index", "style", "bpm", "moves", "development")}
    got = analysed(program, os.path.join(own, "mix.wav"))
    row["drums"], row["sure"], row["heard bpm"] = "drums" in truth["stems"], got.get("tempo_sure", 0), (got.get("tempo") or {}).get("bpm", 0)
    chords = list(zip(got.get("bars", []), [in_key(c, got.get("key")) for c in got.get("chords", [])]))
    row.update(figures("ours", row["heard bpm"], got.get("beats", []), chords, truth))
    if "chords_sure" in got:
        row["chords sure"] = sure_chords(got)
    alone = {stem: analysed(program, os.path.join(own, stem + ".wav")).get("type") for stem in truth["stems"]}
    row["stems"], row["ours types"] = " ".join(truth["stems"]), " ".join(map(str, alone.values()))
    path = os.path.join(own, "outside.json")
    if os.path.exists(path):
        with open(path) as f:
            other = json.load(f)
        named = lambda who: [(a, triad(name)) for a, name in other[who]]
        row.update(figures("madmom", other["bpm"], other["beats"], named("madmom"), truth))
        row.update(figures("Chordino", None, None, named("Chordino"), truth))
        row["MusicNN families"] = " ".join(other["families"][stem] for stem in truth["stems"])
    return row


def mean(rows, key):
    values = [r[key] for r in rows if key in r]
    return f"{np.mean(values):.3f} ({len(values)})" if values else "-"


FIGURES = ("tempo", "tempo octave", "beats", "beats octave", "root", "third")


def table(rows):
    keys = [f"{who} {k}" for k in FIGURES for who in ("ours", "madmom", "Chordino") if any(f"{who} {k}" in r for r in rows)]
    groups = {"all": rows, "all heard outside": [r for r in rows if "madmom beats" in r], "development": [r for r in rows if r["development"]],
              "reported": [r for r in rows if not r["development"]], "sure": [r for r in rows if r["sure"] >= 0.3],
              "drums": [r for r in rows if r["drums"]], "moves": [r for r in rows if r["moves"]],
              **{style: [r for r in rows if r["style"] == style] for style in music.STYLES}}  # fmt: skip
    print("\t".join(["group", *keys]))
    for name, some in groups.items():
        print("\t".join([name, *(mean(some, k) for k in keys)]))


def types(rows):
    import outside
    print("type\tours\tMusicNN")
    for stem in music.STEMS:
        mine, other = [], []
        for r in rows:
            stems = r["stems"].split()
            if stem in stems:
                k = stems.index(stem)
                mine.append(r["ours types"].split()[k] == stem)
                if "MusicNN families" in r and stem != "bass":  # a family that it does not know
                    other.append(r["MusicNN families"].split()[k] == outside.NAMES.get(stem, stem))
        print(f"{stem}\t{sum(mine)} of {len(mine)}\t{sum(other)} of {len(other)}")


def report(n, folder, program):
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda i: row_of(i, folder, program), range(n)))
    keys = list(dict.fromkeys(k for r in rows for k in r))
    with open(os.path.join(folder, "rows.csv"), "w", newline="") as f:
        out = csv.DictWriter(f, keys)
        out.writeheader()
        out.writerows(rows)
    table(rows)
    types(rows)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["outside", "report"])
    args.add_argument("--work", required=True)
    args.add_argument("--n", type=int, default=200)
    args.add_argument("--program", default=os.path.join(HERE, "../build/stemforge"))
    got = args.parse_args()
    folder = os.path.join(got.work, "hearing")
    os.makedirs(folder, exist_ok=True)
    if got.what == "outside":
        hear_outside(got.n, folder)
    else:
        report(got.n, folder, got.program)


if __name__ == "__main__":
    main()
